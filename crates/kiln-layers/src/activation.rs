//! Activation functions, as a value that a configuration can hold.

use burn::prelude::*;
use kiln_kernels as kernels;

/// A function applied to every element of a layer's output.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x`
    Identity,
    /// `max(0, x)`
    Relu,
    /// `tanh(x)`
    Tanh,
    /// `1.7159 tanh(2x / 3)`, so that ±1 maps to ±1 (LeCun et al. 1998, appendix A).
    ScaledTanh,
    /// `1 / (1 + exp(-x))`
    Sigmoid,
    /// `max(0.1 x, x)`, with darknet's slope.
    LeakyRelu,
    /// `max(0.01 x, x)`, with PyTorch's default slope.
    SlightlyLeakyRelu,
}

impl Activation {
    /// Applies the function to every element; the shape stays.
    pub fn forward<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        kernels::activate(x, self.kernel())
    }

    /// The same function as the last step of a kernel.
    pub(crate) fn kernel(self) -> kernels::Activation {
        match self {
            Self::Identity => kernels::Activation::Identity,
            Self::Relu => kernels::Activation::Relu,
            Self::Tanh => kernels::Activation::Tanh,
            Self::ScaledTanh => kernels::Activation::ScaledTanh,
            Self::Sigmoid => kernels::Activation::Sigmoid,
            Self::LeakyRelu => kernels::Activation::LeakyRelu(0.1),
            Self::SlightlyLeakyRelu => kernels::Activation::LeakyRelu(0.01),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_testkit::{Golden, assert_close, assert_gradients, device, far_apart, nothing};

    const ALL: [Activation; 7] = [
        Activation::Identity,
        Activation::Relu,
        Activation::Tanh,
        Activation::ScaledTanh,
        Activation::Sigmoid,
        Activation::LeakyRelu,
        Activation::SlightlyLeakyRelu,
    ];

    #[test]
    fn matches_pytorch() {
        let golden = Golden::open("activation");
        for (activation, name) in [
            (Activation::Relu, "relu"),
            (Activation::Tanh, "tanh"),
            (Activation::ScaledTanh, "scaled_tanh"),
            (Activation::Sigmoid, "sigmoid"),
            (Activation::LeakyRelu, "leaky_relu"),
            (Activation::SlightlyLeakyRelu, "slightly_leaky_relu"),
        ] {
            golden.assert_close(name, activation.forward(golden.tensor::<2>("input")));
        }
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let device = device().autodiff();
        // None of them on a kink, and on both sides of it.
        let x = far_apart([1, 2, 3, 4], &device) * 2.0 + 3.23;
        for activation in ALL {
            assert_gradients(&nothing(), x.clone(), |_, x| activation.forward(x));
        }
    }

    #[test]
    fn each_follows_its_formula() {
        let formulas: [fn(f32) -> f32; 7] = [
            |x| x,
            |x| x.max(0.0),
            f32::tanh,
            |x| 1.7159 * (2.0 * x / 3.0).tanh(),
            |x| 1.0 / (1.0 + (-x).exp()),
            |x| x.max(0.1 * x),
            |x| x.max(0.01 * x),
        ];
        let x = [-30.0_f32, -1.5, -0.25, 0.0, 0.25, 1.5, 30.0];
        for (activation, formula) in ALL.into_iter().zip(formulas) {
            let y = activation.forward(Tensor::<1>::from_floats(x, &device()));

            assert_close(y, Tensor::from_floats(x.map(formula), &device()));
        }
    }

    #[test]
    fn scaled_tanh_keeps_plus_and_minus_one() {
        let ones = Tensor::<1>::from_floats([-1.0, 1.0], &device());

        assert_close(Activation::ScaledTanh.forward(ones.clone()), ones);
    }

    #[test]
    fn not_a_number_stays_visible() {
        for activation in ALL {
            let y = activation.forward(Tensor::<1>::from_floats([f32::NAN], &device()));

            assert!(y.into_scalar::<f32>().is_nan(), "{activation:?}");
        }
    }
}
