//! Losses of classifiers.
//!
//! Szegedy et al. *Rethinking the Inception Architecture for Computer Vision.* CVPR 2016, §7 (label smoothing).
//! <https://arxiv.org/abs/1512.00567>
//!
//! Lin et al. *Focal Loss for Dense Object Detection.* ICCV 2017. <https://arxiv.org/abs/1708.02002>
//!
//! Wightman, Touvron, Jégou. *ResNet strikes back.* 2021 (binary cross entropy for classes that exclude each other).
//! <https://arxiv.org/abs/2110.00476>

use burn::prelude::*;
use burn::tensor::activation::log_softmax;

/// What a classifier is to approach.
#[derive(Clone, Debug)]
pub enum Targets {
    /// The class of each sample: `[batch]`, each in `0..classes`.
    Classes(Tensor<1, Int>),
    /// How much each sample is of each class, as mixed images are: `[batch, classes]`, rows of sum 1.
    Soft(Tensor<2>),
}

/// What makes a loss of scores and targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Criterion {
    /// Cross entropy with the softmax of the scores, in nats.
    #[default]
    CrossEntropy,
    /// Binary cross entropy with the sigmoid of each score, averaged over the classes: yes or no for each.
    Binary,
    /// Cross entropy that counts less the surer the network is: `-(1 - p)^gamma log p`, of the softmax `p`.
    Focal,
}

/// What training minimizes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Objective {
    /// What makes a loss of scores and targets.
    pub criterion: Criterion,
    /// Label smoothing ε: a target becomes `1 - ε` of itself and `ε / classes` of every class.
    pub smoothing: f32,
    /// Weight of each class; empty: 1 for all.
    pub class_weights: Vec<f32>,
    /// The exponent of [`Criterion::Focal`].
    pub gamma: f32,
    /// Weight of each auxiliary head's loss; `None`: what the network's paper takes.
    pub aux_weight: Option<f32>,
}

impl From<Tensor<1, Int>> for Targets {
    fn from(classes: Tensor<1, Int>) -> Self {
        Targets::Classes(classes)
    }
}

impl Targets {
    /// The targets of `length` samples from `start` on.
    pub fn narrow(&self, start: usize, length: usize) -> Targets {
        match self {
            Targets::Classes(classes) => Targets::Classes(classes.clone().narrow(0, start, length)),
            Targets::Soft(rows) => Targets::Soft(rows.clone().narrow(0, start, length)),
        }
    }

    /// The same targets among `more` further classes, which no sample is of.
    pub fn among(self, more: usize) -> Targets {
        match self {
            Targets::Soft(rows) => {
                let [batch, _] = rows.dims();
                let none = Tensor::zeros([batch, more], &rows.device());
                Targets::Soft(Tensor::cat(vec![rows, none], 1))
            }
            classes => classes,
        }
    }
}

impl Objective {
    /// The objective with further classes of weight 1.
    pub fn among(&self, more: usize) -> Objective {
        let mut objective = self.clone();
        if !objective.class_weights.is_empty() {
            objective.class_weights.extend(std::iter::repeat_n(1.0, more));
        }
        objective
    }

    /// The mean loss, as PyTorch's losses of these names have it: where `scores` have class targets and weights, the
    /// mean is weighted too.
    ///
    /// # Shapes
    ///
    /// - `scores`: `[batch, classes]`, unnormalized
    /// - `targets`: `[batch]` or `[batch, classes]`
    /// - output: `[1]`
    pub fn of(&self, scores: Tensor<2>, targets: Targets) -> Tensor<1> {
        let Objective { criterion, smoothing, class_weights, gamma, .. } = self;
        let plain = class_weights.is_empty();
        match (criterion, targets) {
            (Criterion::CrossEntropy, Targets::Classes(classes)) if plain => {
                cross_entropy(scores, classes, *smoothing)
            }
            (Criterion::Binary, targets) => {
                let [batch, classes] = scores.dims();
                let elements = (batch * classes) as f64;
                let targets = self.distribution(targets, &scores);
                // max(x, 0) - x t + log(1 + exp(-|x|)), which no score makes overflow.
                let soft = (scores.clone().abs().neg().exp() + 1.0).log();
                let losses = scores.clone().clamp_min(0.0) - scores * targets + soft;
                self.weighted(losses).sum() / elements
            }
            (criterion, targets) => {
                let batch = scores.dims()[0];
                let total = match &targets {
                    Targets::Classes(of) if !plain => {
                        self.weights(&scores).select(1, of.clone()).sum()
                    }
                    _ => Tensor::full([1], batch as f64, &scores.device()),
                };
                let targets = self.distribution(targets, &scores);
                let log = log_softmax(scores, 1); // [batch, classes]
                let losses = match criterion {
                    Criterion::Focal => {
                        // 1 - p loses all its digits where p is almost 1, and its power has no slope at 0.
                        let rest = (log.clone().exp().neg() + 1.0).clamp_min(1e-7);
                        log * rest.log().mul_scalar(*gamma).exp()
                    }
                    _ => log,
                };
                self.weighted(losses * targets).sum().neg() / total
            }
        }
    }

    /// What the mean of a batch whose samples are of the classes `labels` is divided by.
    ///
    /// # Panics
    ///
    /// Panics if a label has no weight where classes have one.
    pub fn total(&self, labels: &[usize]) -> f64 {
        if self.class_weights.is_empty() || self.criterion == Criterion::Binary {
            return labels.len() as f64;
        }
        labels.iter().map(|&label| f64::from(self.class_weights[label])).sum()
    }

    /// The targets as smoothed rows.
    fn distribution(&self, targets: Targets, scores: &Tensor<2>) -> Tensor<2> {
        let classes = scores.dims()[1];
        let rows = match targets {
            Targets::Classes(of) => of.one_hot::<2>(classes).float(),
            Targets::Soft(rows) => rows,
        };
        if self.smoothing == 0.0 {
            return rows;
        }
        rows * (1.0 - self.smoothing) + f64::from(self.smoothing) / classes as f64
    }

    fn weighted(&self, losses: Tensor<2>) -> Tensor<2> {
        if self.class_weights.is_empty() {
            return losses;
        }
        let weights = self.weights(&losses);
        losses * weights
    }

    /// The weights as a row, on the device of `like`.
    fn weights(&self, like: &Tensor<2>) -> Tensor<2> {
        let weights = TensorData::new(self.class_weights.clone(), [1, self.class_weights.len()]);
        Tensor::from_data(weights, &like.device())
    }
}

/// Mean cross entropy between `softmax(scores)` and the target classes, in nats.
///
/// With `smoothing` ε, the target is `1 - ε` on the true class plus `ε / classes` on every class
/// (Szegedy et al., *Rethinking the Inception Architecture*, CVPR 2016, §7), as in PyTorch.
///
/// # Shapes
///
/// - `scores`: `[batch, classes]`, unnormalized
/// - `targets`: `[batch]`, each in `0..classes`
/// - output: `[1]`
pub fn cross_entropy(scores: Tensor<2>, targets: Tensor<1, Int>, smoothing: f32) -> Tensor<1> {
    let log_probabilities = log_softmax(scores, 1);
    let of_targets = log_probabilities.clone().gather(1, targets.unsqueeze_dim(1));
    let loss = of_targets.mean().neg();
    if smoothing == 0.0 {
        return loss;
    }

    loss * (1.0 - smoothing) - log_probabilities.mean() * smoothing
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_testkit::{Golden, assert_close, assert_gradients, device, noise, nothing};

    fn targets(device: &Device) -> Tensor<1, Int> {
        Tensor::from_ints([2, 0, 1], device)
    }

    fn objective(criterion: Criterion) -> Objective {
        Objective { criterion, gamma: 2.0, ..Objective::default() }
    }

    #[test]
    fn equal_scores_cost_the_logarithm_of_the_classes() {
        for smoothing in [0.0, 0.1] {
            let loss =
                cross_entropy(Tensor::ones([3, 4], &device()), targets(&device()), smoothing);

            assert_close(loss, Tensor::from_floats([4_f32.ln()], &device()));
        }
    }

    #[test]
    fn agrees_with_the_definition() {
        let scores = noise::<2>([3, 4], 1, &device());
        let smoothing = 0.3;
        let rows = scores.to_data().iter::<f32>().collect::<Vec<_>>();
        let mut expected = 0.0;
        for (row, target) in rows.chunks(4).zip([2, 0, 1]) {
            let total: f32 = row.iter().map(|score| score.exp()).sum();
            for (class, score) in row.iter().enumerate() {
                let hit = if class == target { 1.0 - smoothing } else { 0.0 };
                expected -= (hit + smoothing / 4.0) * (score - total.ln()) / 3.0;
            }
        }

        let loss = cross_entropy(scores, targets(&device()), smoothing);

        assert_close(loss, Tensor::from_floats([expected], &device()));
    }

    #[test]
    fn every_loss_is_pytorchs() {
        let golden = Golden::open("losses");
        let classes = || Targets::Classes(targets(&device()));
        let soft = || Targets::Soft(golden.tensor("soft"));
        let weights = golden.tensor::<1>("weights").into_data().iter::<f32>().collect::<Vec<_>>();
        let cross = objective(Criterion::CrossEntropy);
        let binary = objective(Criterion::Binary);
        let focal = objective(Criterion::Focal);
        let smooth = |of: &Objective| Objective { smoothing: 0.2, ..of.clone() };
        let weigh = |of: &Objective| Objective { class_weights: weights.clone(), ..of.clone() };
        for (name, objective, targets) in [
            ("plain", cross.clone(), classes()),
            ("smooth", smooth(&cross), classes()),
            ("weighted", weigh(&cross), classes()),
            ("smooth_weighted", smooth(&weigh(&cross)), classes()),
            ("of_soft", cross.clone(), soft()),
            ("soft_smooth_weighted", smooth(&weigh(&cross)), soft()),
            ("binary", binary.clone(), classes()),
            ("binary_soft_smooth_weighted", smooth(&weigh(&binary)), soft()),
            ("focal", focal.clone(), classes()),
            ("focal_weighted", weigh(&focal), classes()),
        ] {
            golden.assert_close(name, objective.of(golden.tensor("scores"), targets));
        }
    }

    #[test]
    fn soft_targets_that_name_one_class_are_that_class() {
        let scores = noise::<2>([3, 4], 3, &device());
        let rows = Tensor::<2>::from_floats(
            [[0.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]],
            &device(),
        );
        for criterion in [Criterion::CrossEntropy, Criterion::Binary, Criterion::Focal] {
            let objective = Objective { smoothing: 0.1, ..objective(criterion) };
            let of_rows = objective.of(scores.clone(), Targets::Soft(rows.clone()));
            assert_close(of_rows, objective.of(scores.clone(), targets(&device()).into()));
        }
    }

    #[test]
    fn a_focal_loss_without_focus_is_cross_entropy() {
        let scores = noise::<2>([3, 4], 4, &device());
        let plain = Objective { gamma: 0.0, ..objective(Criterion::Focal) };
        let loss = plain.of(scores.clone(), targets(&device()).into());
        assert_close(loss, cross_entropy(scores, targets(&device()), 0.0));
    }

    #[test]
    fn the_loss_of_a_batch_is_that_of_its_parts_by_their_share() {
        let scores = noise::<2>([3, 4], 5, &device());
        let weights = vec![0.5, 2.0, 1.5, 1.0];
        for criterion in [Criterion::CrossEntropy, Criterion::Binary, Criterion::Focal] {
            let objective = Objective { class_weights: weights.clone(), ..objective(criterion) };
            let targets = Targets::Classes(targets(&device()));
            let labels = [2, 0, 1];
            let whole = objective.of(scores.clone(), targets.clone());
            let part = |start: usize, length: usize| {
                let share =
                    objective.total(&labels[start..start + length]) / objective.total(&labels);
                let scores = scores.clone().narrow(0, start, length);
                objective.of(scores, targets.narrow(start, length)) * share
            };
            assert_close(part(0, 2) + part(2, 1), whole);
        }
    }

    #[test]
    fn large_scores_stay_finite() {
        let scores = Tensor::<2>::from_floats([[1e4, -1e4, 0.0]], &device());
        let classes = Tensor::from_ints([1], &device());

        let loss = cross_entropy(scores.clone(), classes.clone(), 0.0);
        assert_eq!(loss.into_scalar::<f32>(), 2e4);
        for criterion in [Criterion::Binary, Criterion::Focal] {
            let loss = objective(criterion).of(scores.clone(), classes.clone().into());
            assert!(loss.into_scalar::<f32>().is_finite(), "{criterion:?}");
        }
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let device = device().autodiff();

        assert_gradients(&nothing(), noise([3, 4], 2, &device), |_, scores| {
            cross_entropy(scores, targets(&device), 0.1)
        });
        for criterion in [Criterion::CrossEntropy, Criterion::Binary, Criterion::Focal] {
            let class_weights = vec![0.5, 2.0, 1.5, 1.0];
            let objective = Objective { class_weights, smoothing: 0.1, ..objective(criterion) };
            assert_gradients(&nothing(), noise([3, 4], 2, &device), |_, scores| {
                objective.of(scores, targets(&device).into())
            });
        }
    }
}
