//! Local response normalization: a strong unit lowers its neighbours.
//!
//! Krizhevsky, Sutskever, Hinton. *ImageNet Classification with Deep Convolutional Neural
//! Networks.* NIPS 2012, §3.3.
//! <https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks>

use burn::prelude::*;
use kiln_kernels as kernels;

use crate::trace;

/// Configuration of a [`LocalResponseNorm`]; the defaults are the paper's constants.
#[derive(Config, Debug)]
pub struct LocalResponseNormConfig {
    /// Neighbouring maps in the sum, the paper's `n`.
    #[config(default = 5)]
    pub size: usize,
    /// Factor of the sum of squares. PyTorch and burn count it per map, `n` times as large.
    #[config(default = 1e-4)]
    pub alpha: f64,
    /// Exponent of the denominator.
    #[config(default = 0.75)]
    pub beta: f64,
    /// Constant in the denominator.
    #[config(default = 2.0)]
    pub k: f64,
}

/// `x / (k + alpha · Σ x²)^beta`, summed over `size` neighbouring maps at the same position.
///
/// Built by [`LocalResponseNormConfig`].
#[derive(Module, Debug)]
pub struct LocalResponseNorm {
    size: usize,
    alpha: f64,
    beta: f64,
    k: f64,
}

impl LocalResponseNormConfig {
    /// Builds the layer; it has no parameters.
    pub fn init(&self) -> LocalResponseNorm {
        let Self { size, alpha, beta, k } = *self;
        LocalResponseNorm { size, alpha, beta, k }
    }
}

impl LocalResponseNorm {
    /// # Shapes
    ///
    /// - `x`: `[batch, channels, height, width]`
    /// - output: the shape of `x`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let Self { size, alpha, beta, k } = *self;
        let y = kernels::lrn(x, kernels::Lrn { size, alpha: alpha * size as f64, beta, k });

        trace::note(|| trace::Layer::new("lrn", &y));
        y
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_testkit::{Golden, assert_gradients, device, noise, nothing};

    #[test]
    fn matches_pytorch() {
        let golden = Golden::open("lrn");
        let layer = LocalResponseNormConfig::new().with_alpha(0.2).init();

        golden.assert_close("output", layer.forward(golden.tensor("input")));
    }

    #[test]
    fn a_strong_unit_lowers_only_neighbouring_maps_at_its_own_position() {
        let layer = LocalResponseNormConfig::new().init();
        let x = Tensor::<4>::ones([1, 9, 2, 3], &device());
        let strong = x.clone().slice_assign(s![.., 3, 1, 2], Tensor::full([1; 4], 1e3, &device()));

        let (before, after) = (layer.forward(x).to_data(), layer.forward(strong).to_data());

        let pairs = before.iter::<f32>().zip(after.iter::<f32>());
        for (i, (before, after)) in pairs.enumerate() {
            let (map, row, column) = (i / 6, i / 3 % 2, i % 3);
            let near = (row, column) == (1, 2) && map != 3 && (1..=5).contains(&map);
            if near {
                assert!(after < 0.5 * before, "map {map}: {before} became {after}");
            } else if map != 3 || (row, column) != (1, 2) {
                assert!(after == before, "map {map}: {before} became {after}");
            }
        }
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let device = device().autodiff();
        let layer = LocalResponseNormConfig::new().with_alpha(0.3).init();

        assert_gradients(&nothing(), noise([2, 7, 2, 3], 1, &device), |_, x| layer.forward(x));
    }
}
