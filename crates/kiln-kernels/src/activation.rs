//! What a layer applies to its sum: fused into the kernels' last step, or on its own by [`activate`].

#[cfg(feature = "flex")]
mod vector;

use burn::tensor::{Tensor, activation};

#[cfg(all(test, feature = "flex"))]
pub(crate) use vector::apply;
#[cfg(feature = "flex")]
pub(crate) use vector::{in_place, whole};

/// The function applied to every output.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Activation {
    /// None.
    #[default]
    Identity,
    /// max(0, x).
    Relu,
    /// x where positive, else this slope times x.
    LeakyRelu(f32),
    /// The hyperbolic tangent.
    Tanh,
    /// LeCun's 1.7159 tanh(2x / 3).
    ScaledTanh,
    /// 1 / (1 + exp(−x)).
    Sigmoid,
    /// x · sigmoid(x), also called swish.
    Silu,
}

const SCALED_TANH: (f32, f32) = (1.7159, 2.0 / 3.0);

impl Activation {
    /// The same in burn's operations, for other backends, precisions and gradients.
    #[must_use]
    pub fn burn<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Identity => x,
            Self::Relu => activation::relu(x),
            Self::LeakyRelu(slope) => activation::leaky_relu(x, f64::from(slope)),
            Self::Tanh => activation::tanh(x),
            Self::ScaledTanh => activation::tanh(x * SCALED_TANH.1) * SCALED_TANH.0,
            Self::Sigmoid => activation::sigmoid(x),
            Self::Silu => activation::silu(x),
        }
    }
}

/// Applies `activation` to every element. Keeps the memory layout.
#[must_use]
pub fn activate<const D: usize>(x: Tensor<D>, activation: Activation) -> Tensor<D> {
    if activation == Activation::Identity {
        return x;
    }
    #[cfg(feature = "flex")]
    if let Some(out) = crate::extension::flex(&x).and_then(|x| whole(&x, activation)) {
        return Tensor::from_primitive::<burn::backend::Flex>(out);
    }
    #[cfg(feature = "flex")]
    if D == 4
        && let Some(out) =
            crate::grad::activate(&Tensor::from_dispatch(x.clone().into_dispatch()), activation)
    {
        return Tensor::from_dispatch(out.into_dispatch());
    }
    activation.burn(x)
}
