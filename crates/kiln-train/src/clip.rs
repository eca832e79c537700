//! Clipping of gradients before an optimizer step, as PyTorch's `clip_grad_norm_` and `clip_grad_value_` do it.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;

use crate::Optimizer;

/// Values summed at once: flex adds more of them in an order that isn't always the same.
const CHUNK: usize = 1 << 20;

/// Added to the norm that is divided by, as PyTorch does.
const EPSILON: f64 = 1e-6;

impl Optimizer {
    /// `gradients` of the parameters of `network`, clipped as `clip_norm` or `clip_value` says.
    ///
    /// # Errors
    ///
    /// The norm of all gradients, if it is needed and no number.
    pub(crate) fn clip<M: Module>(
        &self,
        network: &M,
        mut gradients: GradientsParams,
    ) -> Result<GradientsParams, f64> {
        if self.clip_value > 0.0 {
            let value = self.clip_value;
            network.visit(&mut Change { gradients: &mut gradients, to: Clipped::Value(value) });
        }
        if self.clip_norm > 0.0 {
            let norm = global_norm(network, &gradients);
            if !norm.is_finite() {
                return Err(norm);
            }
            let factor = self.clip_norm / (norm + EPSILON);
            if factor < 1.0 {
                let to = Clipped::Factor(factor);
                network.visit(&mut Change { gradients: &mut gradients, to });
            }
        }
        Ok(gradients)
    }
}

/// The Euclidean norm of all `gradients` of the parameters of `network` together, added in module order.
pub(crate) fn global_norm<M: Module>(network: &M, gradients: &GradientsParams) -> f64 {
    struct Squares<'a> {
        gradients: &'a GradientsParams,
        sums: Vec<Tensor<1>>,
    }

    impl ModuleVisitor for Squares<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let Some(gradient) = self.gradients.get::<D>(param.id) else { return };
            let numbers = gradient.dims().iter().product::<usize>();
            let flat = gradient.reshape([numbers]);
            for start in (0..numbers).step_by(CHUNK) {
                let chunk = flat.clone().narrow(0, start, CHUNK.min(numbers - start));
                self.sums.push(chunk.square().sum());
            }
        }
    }

    let mut squares = Squares { gradients, sums: Vec::new() };
    network.visit(&mut squares);
    if squares.sums.is_empty() {
        return 0.0;
    }
    // Read at once: each reading waits for the device.
    let sums = Tensor::cat(squares.sums, 0).into_data().convert::<f32>();
    sums.iter::<f32>().map(f64::from).sum::<f64>().sqrt()
}

enum Clipped {
    Value(f64),
    Factor(f64),
}

struct Change<'a> {
    gradients: &'a mut GradientsParams,
    to: Clipped,
}

impl ModuleVisitor for Change<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = self.gradients.remove::<D>(param.id) else { return };
        let gradient = match self.to {
            Clipped::Value(value) => gradient.clamp(-value, value),
            Clipped::Factor(factor) => gradient.mul_scalar(factor),
        };
        self.gradients.register(param.id, gradient);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::{Linear, LinearConfig};
    use kiln_testkit::{device, noise};

    fn network() -> Linear {
        let device = device().autodiff();
        device.seed(3);
        LinearConfig::new(5, 4).init(&device)
    }

    fn gradients(network: &Linear, size: f32) -> GradientsParams {
        let x = noise::<2>([3, 5], 1, &device().autodiff());
        let loss = network.forward(x).square().sum() * size;
        GradientsParams::from_grads(loss.backward(), network)
    }

    fn numbers(network: &Linear, gradients: &GradientsParams) -> Vec<f32> {
        let weight = gradients.get::<2>(network.weight.id).unwrap().into_data();
        let bias = gradients.get::<1>(network.bias.as_ref().unwrap().id).unwrap().into_data();
        weight.iter::<f32>().chain(bias.iter::<f32>()).collect()
    }

    fn norm(numbers: &[f32]) -> f64 {
        numbers.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt()
    }

    #[test]
    fn the_norm_is_that_of_all_parameters_together() {
        let network = network();
        let gradients = gradients(&network, 1.0);
        let expected = norm(&numbers(&network, &gradients));
        assert!((global_norm(&network, &gradients) / expected - 1.0).abs() < 1e-6);
        assert_eq!(global_norm(&network, &GradientsParams::new()), 0.0);
    }

    #[test]
    fn a_longer_gradient_is_brought_to_the_norm_and_keeps_its_direction() {
        let network = network();
        let before = numbers(&network, &gradients(&network, 1.0));
        let optimizer = Optimizer { clip_norm: 0.5, ..Optimizer::default() };

        let after = optimizer.clip(&network, gradients(&network, 1.0)).unwrap();

        let after = numbers(&network, &after);
        assert!((norm(&after) - 0.5).abs() < 1e-5, "{}", norm(&after));
        let ratio = norm(&after) / norm(&before);
        for (before, after) in before.iter().zip(&after) {
            assert!((f64::from(*before) * ratio - f64::from(*after)).abs() < 1e-6);
        }
        // A short one is left alone, bit for bit.
        let small = gradients(&network, 1e-4);
        let expected = numbers(&network, &small);
        let optimizer = Optimizer { clip_norm: 1.0, ..optimizer };
        assert_eq!(numbers(&network, &optimizer.clip(&network, small).unwrap()), expected);
    }

    #[test]
    fn clipping_by_value_touches_only_what_is_larger() {
        let network = network();
        let before = numbers(&network, &gradients(&network, 1.0));
        let optimizer = Optimizer { clip_value: 0.3, ..Optimizer::default() };
        let after = optimizer.clip(&network, gradients(&network, 1.0)).unwrap();

        let after = numbers(&network, &after);
        assert!(before.iter().any(|x| x.abs() > 0.3) && before.iter().any(|x| x.abs() < 0.3));
        let expected: Vec<f32> = before.iter().map(|x| x.clamp(-0.3, 0.3)).collect();
        assert_eq!(after, expected);
    }

    #[test]
    fn a_norm_that_is_no_number_is_told() {
        let network = network();
        let optimizer = Optimizer { clip_norm: 1.0, ..Optimizer::default() };
        let norm = optimizer.clip(&network, gradients(&network, f32::NAN)).unwrap_err();
        assert!(norm.is_nan());
    }
}
