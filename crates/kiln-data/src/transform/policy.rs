//! RandAugment and TrivialAugmentWide: changes picked at random from a fixed list.
//!
//! Cubuk, Zoph, Shlens, Le. *RandAugment: Practical Automated Data Augmentation with a Reduced Search Space.* NeurIPS
//! 2020. <https://arxiv.org/abs/1909.13719>. Müller, Hutter. *TrivialAugment: Tuning-free Yet State-of-the-Art Data
//! Augmentation.* ICCV 2021. <https://arxiv.org/abs/2103.10158>. Lists, strengths and signs are torchvision's.

use serde::{Deserialize, Serialize};

use super::{Affine, Op};
use crate::Random;

/// A policy that picks changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// None is picked.
    #[default]
    None,
    /// Some changes, all of one strength.
    RandAugment,
    /// One change of a random strength from a wide range.
    TrivialAugmentWide,
}

/// Strengths that there are; the first is the weakest.
pub(super) const BINS: usize = 31;

const NAMES: [Name; 14] = [
    Name::Identity,
    Name::ShearX,
    Name::ShearY,
    Name::TranslateX,
    Name::TranslateY,
    Name::Rotate,
    Name::Brightness,
    Name::Color,
    Name::Contrast,
    Name::Sharpness,
    Name::Posterize,
    Name::Solarize,
    Name::AutoContrast,
    Name::Equalize,
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Name {
    Identity,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    Brightness,
    Color,
    Contrast,
    Sharpness,
    Posterize,
    Solarize,
    AutoContrast,
    Equalize,
}

impl Policy {
    /// The changes for an image of `width` × `height`. `count` and `bin`, the strength, are RandAugment's.
    pub(super) fn pick(
        self,
        [width, height]: [usize; 2],
        count: usize,
        bin: usize,
        random: &mut Random,
    ) -> Vec<Op> {
        let mut pick = |bin: Option<usize>| {
            let name = NAMES[random.below(NAMES.len())];
            let bin = bin.unwrap_or_else(|| random.below(BINS));
            let negative = random.below(2) == 0;
            name.op(self == Self::TrivialAugmentWide, [width, height], bin, negative)
        };
        let picked: Vec<Option<Op>> = match self {
            Self::None => Vec::new(),
            Self::RandAugment => (0..count).map(|_| pick(Some(bin))).collect(),
            Self::TrivialAugmentWide => vec![pick(None)],
        };
        picked.into_iter().flatten().collect()
    }
}

impl Name {
    /// The change at strength `bin`, none for the identity.
    fn op(self, wide: bool, [width, height]: [usize; 2], bin: usize, negative: bool) -> Option<Op> {
        let part = bin as f32 / (BINS - 1) as f32;
        let up_to = |usual: f32, widest: f32| {
            let most = if wide { widest } else { usual };
            if negative { -part * most } else { part * most }
        };
        let shear = |lean: f32| lean.atan().to_degrees();
        // A 331 pixels wide image is shifted by 150.
        let shift = |side: usize| up_to(150.0 / 331.0 * side as f32, 32.0).trunc();
        let affine = |map: Affine| Some(Op::Affine(map));
        let plain = Affine::default();
        let corner = Affine { about_corner: true, ..plain };
        match self {
            Self::Identity => None,
            Self::ShearX => affine(Affine { shear: [shear(up_to(0.3, 0.99)), 0.0], ..corner }),
            Self::ShearY => affine(Affine { shear: [0.0, shear(up_to(0.3, 0.99))], ..corner }),
            Self::TranslateX => affine(Affine { shift: [shift(width), 0.0], ..plain }),
            Self::TranslateY => affine(Affine { shift: [0.0, shift(height)], ..plain }),
            // torchvision's `rotate` turns the other way than its `affine`.
            Self::Rotate => affine(Affine { angle: -up_to(30.0, 135.0), ..plain }),
            Self::Brightness => Some(Op::Brightness(1.0 + up_to(0.9, 0.99))),
            Self::Color => Some(Op::Saturation(1.0 + up_to(0.9, 0.99))),
            Self::Contrast => Some(Op::Contrast(1.0 + up_to(0.9, 0.99))),
            Self::Sharpness => Some(Op::Sharpness(1.0 + up_to(0.9, 0.99))),
            Self::Posterize => {
                let bits = 8.0 - (part * if wide { 6.0 } else { 4.0 });
                Some(Op::Posterize(bits.round_ties_even() as u8))
            }
            Self::Solarize => Some(Op::Solarize(255.0 * (1.0 - part))),
            Self::AutoContrast => Some(Op::AutoContrast),
            Self::Equalize => Some(Op::Equalize),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strengths_are_torchvisions() {
        let op = |name: Name, wide, bin| name.op(wide, [331, 662], bin, false).unwrap();
        let near = |found: Op, expected: Op| {
            let (found, expected) = (format!("{found:?}"), format!("{expected:?}"));
            assert_eq!(found, expected);
        };
        near(op(Name::TranslateX, false, 30), {
            Op::Affine(Affine { shift: [150.0, 0.0], ..Affine::default() })
        });
        near(op(Name::TranslateY, true, 15), {
            Op::Affine(Affine { shift: [0.0, 16.0], ..Affine::default() })
        });
        // RandAugment's: (8 - (arange(31) / (30 / 4))).round() is 8 at 3, 7 at 4, 4 at 30; the wide one ends at 2.
        let bits = [3, 4, 30].map(|bin| op(Name::Posterize, false, bin));
        assert_eq!(bits, [Op::Posterize(8), Op::Posterize(7), Op::Posterize(4)]);
        assert_eq!(op(Name::Posterize, true, 30), Op::Posterize(2));
        assert_eq!(op(Name::Solarize, false, 0), Op::Solarize(255.0));
        assert_eq!(op(Name::Brightness, false, 30), Op::Brightness(1.9));
        assert_eq!(Name::Identity.op(true, [9, 9], 5, true), None);
    }

    #[test]
    fn every_change_is_picked_and_as_often_as_the_others() {
        let mut random = Random::new(&[4]);
        let mut counts = std::collections::BTreeMap::new();
        for _ in 0..14_000 {
            let picked = Policy::TrivialAugmentWide.pick([224, 224], 0, 0, &mut random);
            let name = picked.first().map_or("identity".into(), |op| format!("{op:?}"));
            let name = name.split(['(', ' ']).next().unwrap_or_default().to_owned();
            *counts.entry(name).or_insert(0) += 1;
        }
        assert!(
            (4_800..5_200).contains(&counts["Affine"]),
            "five of the fourteen move: {counts:?}"
        );
        assert_eq!(counts.len(), 10, "{counts:?}");
        assert!(counts.values().all(|&count| count > 850), "{counts:?}");
        let mut picked = |count| Policy::RandAugment.pick([9, 9], count, 9, &mut random).len();
        assert!(picked(200) > 150 && picked(0) == 0);
    }
}
