//! Losses.

use burn::prelude::*;
use burn::tensor::activation::log_softmax;

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
    use kiln_testkit::{assert_close, assert_gradients, device, noise, nothing};

    fn targets(device: &Device) -> Tensor<1, Int> {
        Tensor::from_ints([2, 0, 1], device)
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
    fn large_scores_stay_finite() {
        let scores = Tensor::<2>::from_floats([[1e4, -1e4, 0.0]], &device());

        let loss = cross_entropy(scores, Tensor::from_ints([1], &device()), 0.0);

        assert_eq!(loss.into_scalar::<f32>(), 2e4);
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let device = device().autodiff();

        assert_gradients(&nothing(), noise([3, 4], 2, &device), |_, scores| {
            cross_entropy(scores, targets(&device), 0.1)
        });
    }
}
