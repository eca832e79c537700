//! Stochastic depth: in training, a residual branch is left out for some of the images.
//!
//! Huang, Sun, Liu, Sedra, Weinberger. *Deep Networks with Stochastic Depth.* ECCV 2016.
//! <https://arxiv.org/abs/1603.09382>
//!
//! Departures from the paper, both as timm does:
//! - a branch is dropped for each image on its own, not for the batch;
//! - a branch that stays is divided by its chance in training, where the paper multiplies by it in
//!   inference.

use burn::nn::{Dropout, DropoutConfig};
use burn::prelude::*;

/// Configuration of a [`DropPath`].
#[derive(Config, Debug)]
pub struct DropPathConfig {
    /// Chance that a branch is left out, in `0..1`.
    pub chance: f64,
}

/// A factor for each image's branch: in training zero by chance, and else so much more than one
/// that it is one on average; in inference, and where it is frozen, nothing.
///
/// Built by [`DropPathConfig`].
#[derive(Module, Debug)]
pub struct DropPath {
    dropout: Dropout,
}

impl DropPathConfig {
    /// Builds the layer; it has no parameters.
    ///
    /// # Panics
    ///
    /// Panics if the chance isn't in `0..1`.
    pub fn init(&self) -> DropPath {
        DropPath { dropout: DropoutConfig::new(self.chance).init() }
    }
}

impl DropPath {
    /// Drops `x` for some of the images.
    ///
    /// # Shapes
    ///
    /// - `x`: `[batch, channels, height, width]`
    /// - output: the shape of `x`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        match self.factor(&x) {
            Some(factor) => x * factor,
            None => x,
        }
    }

    /// The factor of each image's branch `x`, `[batch, 1, 1, 1]`; none where it is one for all.
    pub(crate) fn factor(&self, x: &Tensor<4>) -> Option<Tensor<4>> {
        let drops = self.dropout.training.is_enabled() && x.device().is_autodiff();
        (drops && self.dropout.prob > 0.0)
            .then(|| self.dropout.forward(Tensor::ones([x.dims()[0], 1, 1, 1], &x.device())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_testkit::{assert_gradients, device, noise, nothing};

    #[test]
    fn in_inference_nothing_is_dropped() {
        let x = noise([4, 2, 3, 3], 1, &device());

        let y = DropPathConfig::new(0.9).init().forward(x.clone());

        y.to_data().assert_eq(&x.to_data(), true);
    }

    #[test]
    fn in_training_whole_images_are_dropped_and_the_mean_stays() {
        let device = device().autodiff();
        let x = Tensor::<4>::ones([4000, 1, 2, 1], &device);

        let y = DropPathConfig::new(0.2).init().forward(x);

        let pixels: Vec<f32> = y.to_data().iter().collect();
        assert!(pixels.chunks(2).all(|image| image[0] == image[1]));
        assert!(pixels.iter().all(|&x| x == 0.0 || (x - 1.25).abs() < 1e-6));
        let mean = pixels.iter().sum::<f32>() / pixels.len() as f32;
        assert!((mean - 1.0).abs() < 0.05, "{mean}");
    }

    #[test]
    fn frozen_it_drops_nothing() {
        let x = noise([64, 1, 1, 1], 1, &device().autodiff());

        let y = DropPathConfig::new(0.9).init().freeze().forward(x.clone());

        y.to_data().assert_eq(&x.to_data(), true);
    }
    #[test]
    fn gradients_agree_with_finite_differences() {
        let device = device().autodiff();
        let layer = DropPathConfig::new(0.5).init();

        assert_gradients(&nothing(), noise([6, 2, 2, 2], 1, &device), |_, x| {
            // The same images are dropped each time.
            device.seed(7);
            layer.forward(x)
        });
    }
}
