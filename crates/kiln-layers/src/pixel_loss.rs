//! Losses of networks that give every pixel a class.
//!
//! Long, Shelhamer, Darrell. *Fully Convolutional Networks for Semantic Segmentation.* CVPR 2015, §4.3.
//! <https://arxiv.org/abs/1411.4038>
//!
//! Milletari, Navab, Ahmadi. *V-Net.* 3DV 2016, §3 (Dice). <https://arxiv.org/abs/1606.04797>
//!
//! Lin et al. *Focal Loss for Dense Object Detection.* ICCV 2017. <https://arxiv.org/abs/1708.02002>
//!
//! Zhao et al. *Pyramid Scene Parsing Network.* CVPR 2017, §3.3 (auxiliary heads). <https://arxiv.org/abs/1612.01105>
//!
//! One departure: V-Net squares probabilities in the denominator, and knows two classes. Here they are summed as they are,
//! as most programs do, and the overlaps of all classes that occur are averaged.

use burn::prelude::*;
use burn::tensor::activation::log_softmax;

/// What makes a loss of the scores and classes of pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PixelCriterion {
    /// Cross entropy with the softmax of a pixel's scores, in nats.
    #[default]
    CrossEntropy,
    /// Cross entropy that counts less the surer the network is: `-(1 - p)^gamma log p`, of the softmax `p`.
    Focal,
    /// One minus the overlap of what is there and what is likely, `2 Σ pt / (Σ p + Σ t)` over all pixels, averaged over the
    /// classes that are there.
    Dice,
}

/// What training minimizes.
#[derive(Clone, Debug, PartialEq)]
pub struct PixelObjective {
    /// What makes a loss of scores and classes.
    pub criterion: PixelCriterion,
    /// Weight of each class; empty: 1 for all. [`PixelCriterion::Dice`] has no use for them.
    pub class_weights: Vec<f32>,
    /// The exponent of [`PixelCriterion::Focal`].
    pub gamma: f32,
    /// The number of pixels of no class, which count for nothing.
    pub ignore: Option<u8>,
    /// Weight of each auxiliary head's loss.
    pub aux_weight: f32,
}

impl Default for PixelObjective {
    /// Cross entropy, where 255 is no class and an auxiliary head counts half.
    fn default() -> Self {
        Self {
            criterion: PixelCriterion::default(),
            class_weights: Vec::new(),
            gamma: 2.0,
            ignore: Some(255),
            aux_weight: 0.5,
        }
    }
}

impl PixelObjective {
    /// The mean loss over the pixels that count, weighted as the classes are, as PyTorch has it; 0 where none counts.
    ///
    /// # Shapes
    ///
    /// - `scores`: `[batch, classes, height, width]`, unnormalized
    /// - `classes`: `[batch, height, width]`, each in `0..classes` or to be ignored
    /// - output: `[1]`
    ///
    /// # Panics
    ///
    /// May panic for other classes, or where there are weights of some classes only.
    pub fn of(&self, scores: Tensor<4>, classes: Tensor<3, Int>) -> Tensor<1> {
        let classes: Tensor<4, Int> = classes.unsqueeze_dim(1); // [batch, 1, height, width]
        let (counts, classes) = match self.ignore {
            None => (classes.ones_like().float(), classes),
            Some(ignore) => {
                let ignored = classes.clone().equal_elem(i32::from(ignore));
                let counts = ignored.clone().bool_not().float();
                (counts, classes.mask_fill(ignored, 0))
            }
        };
        let log = log_softmax(scores, 1); // [batch, classes, height, width]
        if self.criterion == PixelCriterion::Dice {
            return dice(log.exp(), classes, counts);
        }
        let weights = match &self.class_weights[..] {
            [] => counts,
            weights => {
                let weights = TensorData::new(weights.to_vec(), [weights.len()]);
                let weights = Tensor::<1>::from_data(weights, &counts.device());
                let of_pixels = weights.select(0, classes.clone().flatten(0, 3));
                counts.clone() * of_pixels.reshape(counts.dims())
            }
        };
        let log = log.gather(1, classes); // [batch, 1, height, width]
        let losses = match self.criterion {
            PixelCriterion::Focal => {
                // 1 - p loses all its digits where p is almost 1, and its power has no slope at 0.
                let rest = (log.clone().exp().neg() + 1.0).clamp_min(1e-7);
                log * rest.log().mul_scalar(self.gamma).exp()
            }
            _ => log,
        };
        let total = weights.clone().sum().clamp_min(f32::MIN_POSITIVE);
        (losses * weights).sum().neg() / total
    }

    /// As [`of`](Self::of), with the losses of auxiliary heads.
    ///
    /// # Shapes
    ///
    /// - `scores`, `others`: `[batch, classes, height, width]` each
    /// - `classes`: `[batch, height, width]`
    /// - output: `[1]`
    ///
    /// # Panics
    ///
    /// As [`of`](Self::of).
    pub fn of_all(
        &self,
        scores: Tensor<4>,
        others: Vec<Tensor<4>>,
        classes: Tensor<3, Int>,
    ) -> Tensor<1> {
        let loss = self.of(scores, classes.clone());
        let others = others.into_iter();
        others.fold(loss, |loss, scores| loss + self.of(scores, classes.clone()) * self.aux_weight)
    }
}

/// One minus the mean overlap. `counts` is 1 for the pixels that count and 0 for others.
fn dice(probabilities: Tensor<4>, classes: Tensor<4, Int>, counts: Tensor<4>) -> Tensor<1> {
    let [_, number, _, _] = probabilities.dims();
    let shape = probabilities.dims();
    let likely = probabilities * counts.clone().expand(shape);
    let places = Tensor::<1, Int>::arange(0..number as i64, &classes.device());
    let places = places.reshape([1, number, 1, 1]).expand(shape);
    let there = classes.expand(shape).equal(places).float() * counts.expand(shape);
    let sums = |map: Tensor<4>| map.sum_dims(&[0, 2, 3]).reshape([number]);
    let both = sums(likely.clone() * there.clone());
    let there: Tensor<1> = sums(there);
    let occurs = there.clone().greater_elem(0.0).float();
    let overlap = both * 2.0 / (sums(likely) + there).clamp_min(f32::MIN_POSITIVE);
    let number = occurs.clone().sum().clamp_min(1.0);
    ((overlap.neg() + 1.0) * occurs).sum() / number
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_testkit::{Golden, assert_close, assert_gradients, device, noise, nothing};

    const CRITERIA: [PixelCriterion; 3] =
        [PixelCriterion::CrossEntropy, PixelCriterion::Focal, PixelCriterion::Dice];

    fn weights() -> Vec<f32> {
        vec![0.5, 2.0, 1.5, 1.0]
    }

    #[test]
    fn matches_pytorch_with_weights_and_with_what_is_ignored() {
        let golden = Golden::open("pixel_losses");
        let scores = golden.tensor::<4>("scores");
        let classes = golden.tensor::<3>("classes").int();
        for (name, criterion, class_weights) in [
            ("plain", PixelCriterion::CrossEntropy, Vec::new()),
            ("weighted", PixelCriterion::CrossEntropy, weights()),
            ("focal", PixelCriterion::Focal, Vec::new()),
            ("focal_weighted", PixelCriterion::Focal, weights()),
            ("dice", PixelCriterion::Dice, Vec::new()),
        ] {
            let objective = PixelObjective { criterion, class_weights, ..Default::default() };

            golden.assert_close(name, objective.of(scores.clone(), classes.clone()));
        }
        let objective = PixelObjective { class_weights: weights(), ..Default::default() };
        let others = vec![scores.clone() * 0.5, scores.clone().neg()];
        golden.assert_close("with_aux", objective.of_all(scores, others, classes));
    }

    #[test]
    fn what_is_ignored_changes_no_loss_whatever_its_scores() {
        let scores = noise([1, 4, 2, 3], 1, &device());
        let classes = Tensor::<3, Int>::from_ints([[[0, 1, 2], [3, 255, 255]]], &device());
        let loud = scores
            .clone()
            .slice_assign([0..1, 2..3, 1..2, 1..3], Tensor::full([1, 1, 1, 2], 50.0, &device()));
        for criterion in CRITERIA {
            let objective =
                PixelObjective { criterion, class_weights: weights(), ..Default::default() };

            let [quiet, loud] =
                [scores.clone(), loud.clone()].map(|scores| objective.of(scores, classes.clone()));

            assert_close(loud, quiet);
        }
    }

    #[test]
    fn where_nothing_counts_the_loss_and_its_gradient_are_zero() {
        let device = device().autodiff();
        for criterion in CRITERIA {
            let objective = PixelObjective { criterion, ..Default::default() };
            let scores = noise([1, 3, 2, 2], 1, &device).require_grad();
            let classes = Tensor::<3, Int>::full([1, 2, 2], 255, &device);

            let loss = objective.of(scores.clone(), classes);

            assert_eq!(loss.clone().into_scalar::<f32>(), 0.0, "{criterion:?}");
            let gradient = scores.grad(&loss.backward()).unwrap();
            assert_eq!(gradient.abs().max().into_scalar::<f32>(), 0.0, "{criterion:?}");
        }
    }

    #[test]
    fn right_and_sure_costs_next_to_nothing() {
        let classes = Tensor::<3, Int>::from_ints([[[0, 2], [1, 2]]], &device());
        let places = Tensor::<1, Int>::arange(0..3, &device()).reshape([1, 3, 1, 1]);
        let right = classes.clone().unsqueeze_dim::<4>(1).expand([1, 3, 2, 2]);
        let scores = right.equal(places.expand([1, 3, 2, 2])).float() * 40.0;
        for criterion in CRITERIA {
            let objective = PixelObjective { criterion, ..Default::default() };
            let loss = objective.of(scores.clone(), classes.clone()).into_scalar::<f32>();
            let wrong = objective.of(scores.clone().neg(), classes.clone()).into_scalar::<f32>();
            assert!(loss.abs() < 1e-6 && wrong > 0.9, "{criterion:?}: {loss}, {wrong}");
        }
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let device = device().autodiff();
        let classes = Tensor::<3, Int>::from_ints(
            [[[0, 1, 255], [2, 0, 1]], [[255, 1, 1], [0, 2, 2]]],
            &device,
        );
        for criterion in CRITERIA {
            let class_weights = vec![0.5, 2.0, 1.5];
            let objective = PixelObjective { criterion, class_weights, ..Default::default() };

            assert_gradients(&nothing(), noise([2, 3, 2, 3], 2, &device), |_, scores| {
                objective.of(scores * 2.0, classes.clone())
            });
        }
    }
}
