//! MixUp and CutMix: each sample of a batch blended with its neighbour, the classes likewise.
//!
//! Zhang, Cissé, Dauphin, Lopez-Paz. *mixup: Beyond Empirical Risk Minimization.* ICLR 2018.
//! <https://arxiv.org/abs/1710.09412>. Yun, Han, Oh, Chun, Choe, Yoo. *CutMix.* ICCV 2019.
//! <https://arxiv.org/abs/1905.04899>. As in torchvision, one proportion holds for a batch, and a sample's partner is the
//! one before it.

use crate::{Batch, Random};

/// How the samples of a batch are blended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mixing {
    /// Alpha of MixUp, whose proportions come from Beta(alpha, alpha); 0 leaves it out.
    pub mixup: f32,
    /// Alpha of CutMix; 0 leaves it out. Where both are on, each batch has one of them, evenly.
    pub cutmix: f32,
}

/// How much of each class a sample is.
#[derive(Debug, Clone, PartialEq)]
pub struct SoftTargets {
    /// `[samples, classes]`, row-major; each row sums to 1.
    pub values: Vec<f32>,
    /// How many classes there are.
    pub classes: usize,
}

/// Blends the samples of `batch` and gives it soft targets. Its labels stay those of the larger or own part: they are
/// what accuracy is counted by.
pub(crate) fn mixed(
    mut batch: Batch,
    mixing: Mixing,
    classes: usize,
    random: &mut Random,
) -> Batch {
    let Mixing { mixup, cutmix } = mixing;
    let cut = random.unit() < 0.5;
    let cut = cutmix > 0.0 && (cut || mixup <= 0.0);
    let own = random.beta(if cut { cutmix } else { mixup });
    let own = if cut { cut_and_paste(&mut batch, own, random) } else { blend(&mut batch, own) };
    batch.targets = Some(SoftTargets::mixed(&batch.labels, own, classes));
    batch
}

impl SoftTargets {
    /// Each label with the share `own`, that before it with the rest.
    fn mixed(labels: &[usize], own: f32, classes: usize) -> Self {
        let mut values = vec![0.0; labels.len() * classes];
        for (sample, &label) in labels.iter().enumerate() {
            let row = &mut values[sample * classes..][..classes];
            row[label] += own;
            row[labels[previous(sample, labels.len())]] += 1.0 - own;
        }
        Self { values, classes }
    }
}

fn previous(sample: usize, samples: usize) -> usize {
    sample.checked_sub(1).unwrap_or(samples - 1)
}

/// `own · image + (1 - own) · partner`; the share is returned.
fn blend(batch: &mut Batch, own: f32) -> f32 {
    let before = batch.images.clone();
    let [samples, shape @ ..] = batch.shape;
    let size = shape.iter().product::<usize>();
    for (sample, values) in batch.images.chunks_exact_mut(size.max(1)).enumerate() {
        let partner = &before[previous(sample, samples) * size..][..size];
        for (value, other) in values.iter_mut().zip(partner) {
            *value = own * *value + (1.0 - own) * other;
        }
    }
    own
}

/// Pastes a rectangle of the partner whose area is about `1 - own`; the share that is left is returned.
fn cut_and_paste(batch: &mut Batch, own: f32, random: &mut Random) -> f32 {
    let [samples, _, height, width] = batch.shape;
    let half = 0.5 * (1.0 - own).max(0.0).sqrt();
    let mut span = |side: usize| {
        let (middle, reach) = (random.below(side), (half * side as f32) as usize);
        middle.saturating_sub(reach)..(middle + reach).min(side)
    };
    let (across, down) = (span(width), span(height));
    let before = batch.images.clone();
    let size = batch.shape[1] * height * width;
    for (sample, values) in batch.images.chunks_exact_mut(size.max(1)).enumerate() {
        let partner = &before[previous(sample, samples) * size..][..size];
        let rows = values.chunks_exact_mut(width).zip(partner.chunks_exact(width)).enumerate();
        for (_, (to, from)) in rows.filter(|(row, _)| down.contains(&(row % height))) {
            to[across.clone()].copy_from_slice(&from[across.clone()]);
        }
    }
    1.0 - (across.len() * down.len()) as f32 / (width * height) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One image of each class, filled with the class's number.
    fn batch(samples: usize) -> Batch {
        Batch {
            images: (0..samples * 2 * 20 * 10).map(|at| (at / 400) as f32).collect(),
            shape: [samples, 2, 20, 10],
            labels: (0..samples).collect(),
            indices: (0..samples).collect(),
            skipped: Vec::new(),
            targets: None,
        }
    }

    fn mean(values: &[f32]) -> f32 {
        values.iter().sum::<f32>() / values.len() as f32
    }

    #[test]
    fn images_and_targets_hold_the_same_shares() {
        for mixing in [
            Mixing { mixup: 0.4, cutmix: 0.0 },
            Mixing { mixup: 0.0, cutmix: 1.0 },
            Mixing { mixup: 1.0, cutmix: 1.0 },
        ] {
            let (mut flat, mut pasted) = (0, 0);
            for seed in 0..50 {
                let batch = mixed(batch(4), mixing, 5, &mut Random::new(&[seed]));
                let targets = batch.targets.unwrap();
                assert_eq!((targets.values.len(), targets.classes), (20, 5));
                for (image, row) in batch.images.chunks(400).zip(targets.values.chunks(5)) {
                    assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
                    let expected: f32 = (0..5).map(|class| class as f32 * row[class]).sum();
                    assert!((mean(image) - expected).abs() < 1e-4, "{row:?}");
                }
                match batch.images[..400].iter().all(|value| *value == batch.images[0]) {
                    true => flat += 1,
                    false => pasted += 1,
                }
            }
            match (mixing.mixup > 0.0, mixing.cutmix > 0.0) {
                (true, false) => assert_eq!(pasted, 0),
                (false, _) => assert!(pasted > 25),
                _ => assert!(flat > 10 && pasted > 5, "{flat} {pasted}"),
            }
        }
    }

    #[test]
    fn a_sample_alone_is_its_own_partner() {
        let mixing = Mixing { mixup: 0.4, cutmix: 0.0 };
        let alone = mixed(batch(1), mixing, 1, &mut Random::new(&[1]));
        assert_eq!(alone.targets.unwrap().values, [1.0]);
        assert_eq!(alone.images, batch(1).images);
        let none = mixed(batch(0), mixing, 3, &mut Random::new(&[1]));
        assert!(none.images.is_empty() && none.targets.unwrap().values.is_empty());
    }
}
