//! Random changes of a training image, as a recipe names them.
//!
//! LeCun, Bottou, Bengio, Haffner. *Gradient-Based Learning Applied to Document Recognition.* Proc. IEEE 1998, §III.B:
//! training on randomly distorted digits (planar affine maps) lowered LeNet-5's error from 0.95 % to 0.8 %. Random
//! resized crops are those of Szegedy and others, *Going Deeper with Convolutions*, CVPR 2015, §6, with torchvision's
//! constants.

use serde::{Deserialize, Serialize};

use super::policy::BINS;
use super::{Affine, Mixing, Op, Policy, Region, Scene};
use crate::{Error, Preprocess, Random};

/// What may happen to a training image at random. The default changes nothing.
///
/// Everything is drawn for each image and epoch anew, in this order: [`shift`](Self::shift), [`rotate`](Self::rotate),
/// [`scale`](Self::scale) and [`shear`](Self::shear) move the original image; [`crop`](Self::crop) makes it one of the
/// network's size; flips, the policy, colours, blur, lighting and erasing change that. [`mixup`](Self::mixup) and
/// [`cutmix`](Self::cutmix) then blend the images of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// Farthest shift along each axis, in pixels of the original image.
    pub shift: f32,
    /// Largest rotation, in degrees.
    pub rotate: f32,
    /// Largest change of size, as a fraction: 0.1 gives factors from 0.9 to 1.1.
    pub scale: f32,
    /// Largest horizontal shear, in degrees: how far a vertical stroke may lean.
    pub shear: f32,
    /// How the part that the network sees is cut out.
    pub crop: Crop,
    /// With `crop = "random"`: the black border that an image gets before, in pixels.
    pub crop_pad: usize,
    /// With `crop = "resized"`: least and largest part of the image's area.
    pub crop_area: [f32; 2],
    /// With `crop = "resized"`: least and largest width by height.
    pub crop_aspect: [f32; 2],
    /// How often left and right are exchanged, from 0 to 1.
    pub flip: f32,
    /// How often top and bottom are exchanged, from 0 to 1.
    pub flip_vertical: f32,
    /// RandAugment or TrivialAugmentWide.
    pub policy: Policy,
    /// Changes that RandAugment makes.
    pub policy_count: usize,
    /// How strong they are, from 0 to 30.
    pub policy_strength: usize,
    /// Largest change of brightness: 0.4 gives factors from 0.6 to 1.4.
    pub brightness: f32,
    /// Largest change of contrast, likewise.
    pub contrast: f32,
    /// Largest change of saturation, likewise.
    pub saturation: f32,
    /// Farthest turn of the hue, as a fraction of the circle: at most 0.5.
    pub hue: f32,
    /// How often an image becomes grey, from 0 to 1.
    pub grayscale: f32,
    /// How often an image is blurred, from 0 to 1.
    pub blur: f32,
    /// Least and largest standard deviation of the blur, in pixels.
    pub blur_sigma: [f32; 2],
    /// Standard deviation of AlexNet's lighting; its paper has 0.1.
    pub lighting: f32,
    /// How often a region is erased, from 0 to 1. It gets the mean colour.
    pub erase: f32,
    /// Least and largest part of the area that is erased.
    pub erase_area: [f32; 2],
    /// Least and largest width by height of what is erased.
    pub erase_aspect: [f32; 2],
    /// MixUp's alpha; 0 leaves it out. Where both are on, each batch has one of the two.
    pub mixup: f32,
    /// CutMix's alpha; 0 leaves it out.
    pub cutmix: f32,
}

/// How the part of an image that the network sees is cut out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Crop {
    /// The middle, as in evaluation.
    #[default]
    Center,
    /// As large a part as in evaluation, anywhere.
    Random,
    /// A part of random size, shape and place, stretched.
    Resized,
}

impl Default for Augment {
    fn default() -> Self {
        Self {
            shift: 0.0,
            rotate: 0.0,
            scale: 0.0,
            shear: 0.0,
            crop: Crop::Center,
            crop_pad: 0,
            crop_area: [0.08, 1.0],
            crop_aspect: [0.75, 1.333_333_4],
            flip: 0.0,
            flip_vertical: 0.0,
            policy: Policy::None,
            policy_count: 2,
            policy_strength: 9,
            brightness: 0.0,
            contrast: 0.0,
            saturation: 0.0,
            hue: 0.0,
            grayscale: 0.0,
            blur: 0.0,
            blur_sigma: [0.1, 2.0],
            lighting: 0.0,
            erase: 0.0,
            erase_area: [0.02, 0.33],
            erase_aspect: [0.3, 3.3],
            mixup: 0.0,
            cutmix: 0.0,
        }
    }
}

/// The streams of an image, one for each kind of change: to switch one on leaves the others as they were.
#[derive(Clone, Copy)]
enum Stream {
    Crop,
    Flip,
    Policy,
    Colour,
    Grayscale,
    Blur,
    Lighting,
    Erase,
}

/// A region is drawn this often before the image is found to be too small for it.
const ATTEMPTS: usize = 10;

impl Augment {
    /// Whether nothing is changed, neither an image nor a batch.
    pub fn is_identity(&self) -> bool {
        self.keeps_images() && self.mixing().is_none()
    }

    /// Whether no image is changed.
    pub(crate) fn keeps_images(&self) -> bool {
        let amounts = [self.shift, self.rotate, self.scale, self.shear, self.brightness];
        let more = [self.contrast, self.saturation, self.hue, self.lighting];
        let chances = [self.flip, self.flip_vertical, self.grayscale, self.blur, self.erase];
        let mut all = amounts.iter().chain(&more).chain(&chances);
        all.all(|&value| value == 0.0)
            && self.crop == Crop::Center
            && (self.policy == Policy::None
                || self.policy == Policy::RandAugment && self.policy_count == 0)
    }

    /// How the images of a batch are blended, if they are.
    pub fn mixing(&self) -> Option<Mixing> {
        let Self { mixup, cutmix, .. } = *self;
        (mixup > 0.0 || cutmix > 0.0).then_some(Mixing { mixup, cutmix })
    }

    /// Checks that the limits have a meaning.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] with the key, what is allowed and what was found.
    pub fn check(&self) -> Result<(), Error> {
        for (key, value, most) in [
            ("augment.shift", self.shift, 1e4),
            ("augment.rotate", self.rotate, 180.0),
            ("augment.scale", self.scale, 0.95),
            ("augment.shear", self.shear, 80.0),
            ("augment.crop_pad", self.crop_pad as f32, 4096.0),
            ("augment.flip", self.flip, 1.0),
            ("augment.flip_vertical", self.flip_vertical, 1.0),
            ("augment.policy_count", self.policy_count as f32, 100.0),
            ("augment.policy_strength", self.policy_strength as f32, (BINS - 1) as f32),
            ("augment.brightness", self.brightness, 1.0),
            ("augment.contrast", self.contrast, 1.0),
            ("augment.saturation", self.saturation, 1.0),
            ("augment.hue", self.hue, 0.5),
            ("augment.grayscale", self.grayscale, 1.0),
            ("augment.blur", self.blur, 1.0),
            ("augment.lighting", self.lighting, 10.0),
            ("augment.erase", self.erase, 1.0),
            ("augment.mixup", self.mixup, 100.0),
            ("augment.cutmix", self.cutmix, 100.0),
        ] {
            if !(0.0..=most).contains(&value) {
                return Err(Error::setting(key, format!("{value}; 0 to {most} are possible")));
            }
        }
        for (key, [low, high], least, most) in [
            ("augment.crop_area", self.crop_area, 1e-4, 1.0),
            ("augment.crop_aspect", self.crop_aspect, 0.01, 100.0),
            ("augment.blur_sigma", self.blur_sigma, 0.01, 100.0),
            ("augment.erase_area", self.erase_area, 0.0, 1.0),
            ("augment.erase_aspect", self.erase_aspect, 0.01, 100.0),
        ] {
            let inside = |value| (least..=most).contains(&value);
            if !(inside(low) && inside(high) && low <= high) {
                let range = format!("two numbers from {least} to {most}, the smaller one first");
                return Err(Error::setting(key, format!("[{low}, {high}]; {range}")));
            }
        }
        Ok(())
    }

    /// Changes `scene` and brings it to the size and channels of `preprocess`.
    ///
    /// # Errors
    ///
    /// What [`Op::apply`] refuses, and images that are too long and thin for `preprocess`.
    pub fn apply(
        &self,
        mut scene: Scene,
        preprocess: &Preprocess,
        random: &mut Random,
    ) -> Result<Scene, Error> {
        let mut draw = |limit: f32| random.between(-limit, limit);
        let shift = [draw(self.shift), draw(self.shift)];
        let (angle, scale) = (draw(self.rotate), 1.0 + draw(self.scale));
        let shear = [draw(self.shear), 0.0];
        let key = random.bits();
        let stream = |stream: Stream| Random::new(&[key, stream as u64]);

        if [self.shift, self.rotate, self.scale, self.shear] != [0.0; 4] {
            let map = Affine { angle, shift, scale, shear, ..Affine::default() };
            Op::Affine(map).apply(&mut scene)?;
        }
        scene = self.cut(scene, preprocess, &mut stream(Stream::Crop))?;
        for op in self.ops(preprocess, stream) {
            op.apply(&mut scene)?;
        }
        Ok(scene)
    }

    /// Cuts out what the network sees.
    fn cut(
        &self,
        mut scene: Scene,
        preprocess: &Preprocess,
        random: &mut Random,
    ) -> Result<Scene, Error> {
        let Preprocess { width, height, .. } = *preprocess;
        if self.crop == Crop::Center {
            return preprocess.fit(scene);
        }
        preprocess.border(&mut scene)?;
        if self.crop == Crop::Resized {
            let (area, aspect) = (self.crop_area, self.crop_aspect);
            let [wide, high] = [scene.pixels.width, scene.pixels.height];
            let region = region([wide, high], area, aspect, random)
                .unwrap_or_else(|| central(&scene, aspect));
            Op::ResizedCrop { region, width, height }.apply(&mut scene)?;
            return Ok(scene);
        }
        preprocess.shrink(&mut scene)?;
        let bordered = Region::bordered(&scene.pixels, self.crop_pad);
        let mut start = |edge: i64, whole: usize, part: usize| {
            edge + random.below(whole.saturating_sub(part) + 1) as i64
        };
        let left = start(bordered.left, bordered.width, width);
        let top = start(bordered.top, bordered.height, height);
        Op::Crop(Region { left, top, width, height }).apply(&mut scene)?;
        Ok(scene)
    }

    /// What happens to an image of the network's size.
    fn ops(&self, preprocess: &Preprocess, stream: impl Fn(Stream) -> Random) -> Vec<Op> {
        let size = [preprocess.width, preprocess.height];
        let mut ops = Vec::new();
        let mut happens = |chance: f32, random: &mut Random, op: Op| {
            if random.unit() < chance {
                ops.push(op);
            }
        };
        let mut random = stream(Stream::Flip);
        happens(self.flip, &mut random, Op::Flip);
        happens(self.flip_vertical, &mut random, Op::FlipVertical);

        let mut random = stream(Stream::Policy);
        ops.extend(self.policy.pick(size, self.policy_count, self.policy_strength, &mut random));

        let mut random = stream(Stream::Colour);
        let mut factor = |limit: f32| 1.0 + random.between(-limit, limit);
        let mut jitter = [
            (self.brightness, Op::Brightness(factor(self.brightness))),
            (self.contrast, Op::Contrast(factor(self.contrast))),
            (self.saturation, Op::Saturation(factor(self.saturation))),
            (self.hue, Op::Hue(factor(self.hue) - 1.0)),
        ];
        random.shuffle(&mut jitter);
        ops.extend(jitter.iter().filter(|(limit, _)| *limit > 0.0).map(|(_, op)| *op));

        if stream(Stream::Grayscale).unit() < self.grayscale {
            ops.push(Op::Grayscale);
        }
        let mut random = stream(Stream::Blur);
        if random.unit() < self.blur {
            let [low, high] = self.blur_sigma;
            let sigma = random.between(low, high);
            // Beyond three deviations there is next to nothing.
            let kernel = (3.0 * sigma).ceil().max(1.0) as usize * 2 + 1;
            ops.push(Op::Blur { kernel, sigma });
        }
        if self.lighting > 0.0 {
            let mut random = stream(Stream::Lighting);
            ops.push(Op::Lighting([0; 3].map(|_| self.lighting * random.normal())));
        }
        let mut random = stream(Stream::Erase);
        if random.unit() < self.erase
            && let Some(region) = region(size, self.erase_area, self.erase_aspect, &mut random)
        {
            let mean = |channel: usize| preprocess.mean[channel.min(preprocess.channels - 1)];
            let colour = [0, 1, 2].map(|channel| (mean(channel) * 255.0).round() as u8);
            ops.push(Op::Erase { region, colour });
        }
        ops
    }
}

/// A region of random size, shape and place; none if an image is of such a shape that none was found.
fn region(
    [width, height]: [usize; 2],
    area: [f32; 2],
    aspect: [f32; 2],
    random: &mut Random,
) -> Option<Region> {
    let whole = (width * height) as f32;
    for _ in 0..ATTEMPTS {
        let area = whole * random.between(area[0], area[1]);
        let aspect = random.between(aspect[0].ln(), aspect[1].ln()).exp();
        let side = |square: f32| square.sqrt().round() as usize;
        let (wide, high) = (side(area * aspect), side(area / aspect));
        if (1..=width).contains(&wide) && (1..=height).contains(&high) {
            let left = random.below(width - wide + 1) as i64;
            let top = random.below(height - high + 1) as i64;
            return Some(Region { left, top, width: wide, height: high });
        }
    }
    None
}

/// The largest region of the middle whose shape is allowed.
fn central(scene: &Scene, [low, high]: [f32; 2]) -> Region {
    let (width, height) = (scene.pixels.width, scene.pixels.height);
    let shape = width as f32 / height as f32;
    let (wide, tall) = if shape < low {
        (width, (width as f32 / low).round() as usize)
    } else if shape > high {
        ((height as f32 * high).round() as usize, height)
    } else {
        (width, height)
    };
    Region::middle(&scene.pixels, wide.clamp(1, width), tall.clamp(1, height))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pixels;
    use proptest::prelude::*;

    /// Different values everywhere, in both axes and all channels.
    fn picture(width: usize, height: usize, channels: usize) -> Pixels {
        let data = (0..width * height * channels).map(|i| (i * 37 % 251) as u8).collect();
        Pixels::new(width, height, channels, data).unwrap()
    }

    fn every_change() -> Augment {
        Augment {
            shift: 2.0,
            rotate: 15.0,
            scale: 0.1,
            shear: 5.0,
            crop: Crop::Resized,
            flip: 0.5,
            flip_vertical: 0.5,
            policy: Policy::RandAugment,
            brightness: 0.4,
            contrast: 0.4,
            saturation: 0.4,
            hue: 0.1,
            grayscale: 0.2,
            blur: 0.5,
            lighting: 0.1,
            erase: 0.5,
            ..Augment::default()
        }
    }

    fn apply(augment: &Augment, pixels: &Pixels, to: &Preprocess, key: &[u64]) -> Pixels {
        augment.apply(Scene::of(pixels.clone()), to, &mut Random::new(key)).unwrap().pixels
    }

    #[test]
    fn the_stream_alone_decides() {
        let (before, to) = (picture(28, 28, 3), Preprocess::plain(3, 28, 28));
        let after = |key: &[u64]| apply(&every_change(), &before, &to, key);
        assert_eq!(after(&[1, 2, 3]), after(&[1, 2, 3]));
        assert_ne!(after(&[1, 2, 3]), after(&[1, 2, 4]));
    }

    #[test]
    fn one_more_change_leaves_the_others_as_they_were() {
        let (before, to) = (picture(20, 20, 3), Preprocess::plain(3, 20, 20));
        let some = Augment { shift: 2.0, flip: 0.5, ..Augment::default() };
        let more = Augment { crop: Crop::Random, erase: 1.0, ..some };
        for seed in 0..20 {
            let (some, more) =
                (apply(&some, &before, &to, &[seed]), apply(&more, &before, &to, &[seed]));
            let same = some.data.iter().zip(&more.data).filter(|(a, b)| a == b).count();
            assert!(same > some.data.len() / 2, "only a region may differ: {same}");
            assert_ne!(some, more, "a region is erased");
        }
    }

    #[test]
    fn a_random_crop_with_a_border_is_a_shift() {
        let (before, to) = (picture(6, 5, 1), Preprocess::plain(1, 5, 6));
        let augment = Augment { crop: Crop::Random, crop_pad: 2, ..Augment::default() };
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..400 {
            let after = apply(&augment, &before, &to, &[seed]);
            let shifts = (-2..=2).flat_map(|y| (-2..=2).map(move |x| (x, y)));
            let shift = shifts.into_iter().find(|&(left, top)| {
                let mut moved = Scene::of(before.clone());
                Op::Crop(Region { left, top, width: 6, height: 5 }).apply(&mut moved).unwrap();
                moved.pixels == after
            });
            seen.insert(shift.expect("some shift by at most 2 pixels"));
        }
        assert_eq!(seen.len(), 25, "every shift occurs");
    }

    #[test]
    fn the_mean_colour_is_what_erases() {
        let mean = vec![0.5, 0.2, 1.0];
        let to = Preprocess { mean, ..Preprocess::plain(3, 10, 10) };
        let augment = Augment {
            erase: 1.0,
            erase_area: [0.25; 2],
            erase_aspect: [1.0; 2],
            ..Augment::default()
        };
        let after = apply(&augment, &Pixels::black(10, 10, 3), &to, &[1]);
        let erased = after.data.as_chunks::<3>().0.iter().filter(|&&rgb| rgb == [128, 51, 255]);
        assert_eq!(erased.count(), 25);
    }

    #[test]
    fn limits_without_a_meaning_are_refused_by_their_key() {
        let plain = Augment::default();
        for (bad, message) in [
            (Augment { shift: -1.0, ..plain }, "augment.shift: -1; 0 to 10000 are possible"),
            (Augment { rotate: f32::NAN, ..plain }, "augment.rotate: NaN; 0 to 180 are possible"),
            (Augment { scale: 1.0, ..plain }, "augment.scale: 1; 0 to 0.95 are possible"),
            (Augment { shear: 90.0, ..plain }, "augment.shear: 90; 0 to 80 are possible"),
            (Augment { hue: 0.6, ..plain }, "augment.hue: 0.6; 0 to 0.5 are possible"),
            (
                Augment { policy_strength: 31, ..plain },
                "augment.policy_strength: 31; 0 to 30 are possible",
            ),
            (
                Augment { crop_area: [0.5, 0.2], ..plain },
                "augment.crop_area: [0.5, 0.2]; two numbers from 0.0001 to 1, the smaller one first",
            ),
        ] {
            assert_eq!(bad.check().unwrap_err().to_string(), message);
        }
        assert!(every_change().check().is_ok());
        assert!(plain.is_identity() && !every_change().is_identity());
        assert!(!Augment { mixup: 0.2, ..plain }.is_identity());
    }

    proptest! {
        #[test]
        fn nothing_to_do_changes_nothing(width in 1..9_usize, height in 1..9_usize, seed: u64) {
            let before = picture(width, height, 3);
            let to = Preprocess::plain(3, height, width);
            prop_assert_eq!(&apply(&Augment::default(), &before, &to, &[seed]), &before);
        }

        #[test]
        fn any_image_becomes_one_of_the_networks_size(
            width in 1..40_usize, height in 1..40_usize, grey: bool, seed: u64, random_crop: bool,
        ) {
            let crop = if random_crop { Crop::Random } else { Crop::Resized };
            let augment = Augment { crop, shift: 50.0, rotate: 180.0, ..every_change() };
            for channels in [1, 3] {
                let to = Preprocess { resize: 12, ..Preprocess::plain(channels, 9, 12) };
                let before = picture(width, height, if grey { 1 } else { 3 });
                let after = apply(&augment, &before, &to, &[seed]);
                prop_assert_eq!((after.width, after.height, after.channels), (12, 9, channels));
                prop_assert_eq!(after.fault(), None);
            }
        }

        #[test]
        fn regions_lie_inside_and_have_the_asked_for_area(
            width in 20..300_usize, height in 20..300_usize, seed: u64,
        ) {
            let mut random = Random::new(&[seed]);
            if let Some(region) = region([width, height], [0.2, 0.5], [0.75, 1.25], &mut random) {
                prop_assert!(region.is_inside(width, height));
                let part = (region.width * region.height) as f32 / (width * height) as f32;
                prop_assert!((0.15..0.56).contains(&part), "{}", part);
            }
        }
    }
}
