//! What a convolution computes with: weight and bias, and the normalization after them folded into both.

use std::any::Any;
use std::sync::Arc;

use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;

use super::Geometry;
use crate::buffer::Buffer;
use crate::cache::{self, Form};
use crate::extension::{contiguous, flex as primitive, flex_maybe, floats};
use crate::norm::Norm;
use crate::pack::PANEL;

/// Weight, bias and normalization as they are stored.
pub(crate) struct Parameters {
    pub(crate) weight: FlexTensor,
    pub(crate) bias: Option<FlexTensor>,
    pub(crate) norm: Option<Vectors>,
}

/// The numbers of a [`Norm`], one per output channel.
pub(crate) struct Vectors {
    pub(crate) gamma: FlexTensor,
    pub(crate) beta: FlexTensor,
    pub(crate) mean: FlexTensor,
    pub(crate) variance: FlexTensor,
    pub(crate) epsilon: f64,
}

/// Weights and bias in the form that an algorithm reads, the normalization folded in.
pub(super) struct Ready<T> {
    pub(super) weights: Arc<T>,
    pub(super) bias: Arc<Buffer>,
}

/// A bias as the kernels read it.
pub(crate) fn padded_bias(bias: Option<&FlexTensor>, columns: usize) -> Buffer {
    let mut out = Buffer::zeros(columns.next_multiple_of(PANEL) + PANEL);
    if let Some(bias) = bias {
        let bias = contiguous(bias);
        out[..columns].copy_from_slice(floats(&bias));
    }
    out
}

impl Parameters {
    /// Their storage; nothing where the kernels can't serve one of them.
    pub(super) fn of(
        weight: &Tensor<4>,
        bias: Option<&Tensor<1>>,
        norm: Option<&Norm>,
    ) -> Option<Self> {
        let norm = match norm {
            None => None,
            Some(norm) => Some(Vectors {
                gamma: primitive(&norm.gamma)?,
                beta: primitive(&norm.beta)?,
                mean: primitive(&norm.mean)?,
                variance: primitive(&norm.variance)?,
                epsilon: norm.epsilon,
            }),
        };
        Some(Self { weight: primitive(weight)?, bias: flex_maybe(bias)?, norm })
    }

    /// Without a normalization.
    pub(crate) fn plain(weight: FlexTensor, bias: Option<FlexTensor>) -> Self {
        Self { weight, bias, norm: None }
    }

    /// # Panics
    /// If one of the vectors does not have one value per output channel.
    pub(crate) fn check(&self, g: &Geometry) {
        let fits = |vector: &FlexTensor| vector.layout().shape().to_vec() == [g.out_channels];
        assert!(
            self.bias.as_ref().is_none_or(fits),
            "the bias must have one value per output channel"
        );
        assert!(
            self.norm.iter().flat_map(Vectors::all).all(fits),
            "a norm must have one value per output channel"
        );
    }

    /// Packed by `pack`, which gets the factor of every output, and kept while the parameters live.
    pub(super) fn ready<T: Any + Send + Sync>(
        &self,
        g: &Geometry,
        form: Form,
        pack: impl FnOnce(&[f32]) -> T,
    ) -> Arc<Ready<T>> {
        let Some(norm) = &self.norm else {
            let weights = cache::packed(&self.weight, form, || pack(&vec![1.0; g.out_channels]));
            let bias = padded_bias(self.bias.as_ref(), g.out_channels);
            return Arc::new(Ready { weights, bias: Arc::new(bias) });
        };
        let sources: Vec<&FlexTensor> =
            std::iter::once(&self.weight).chain(norm.all()).chain(&self.bias).collect();
        cache::packed_from(&sources, norm.epsilon, form, || {
            let factors = norm.factors();
            let weights = pack(&factors.iter().map(|&factor| factor as f32).collect::<Vec<_>>());
            let mut bias = padded_bias(self.bias.as_ref(), g.out_channels);
            norm.shift(&factors, &mut bias);
            Ready { weights: Arc::new(weights), bias: Arc::new(bias) }
        })
    }
}

impl Vectors {
    fn all(&self) -> [&FlexTensor; 4] {
        [&self.gamma, &self.beta, &self.mean, &self.variance]
    }

    /// What each output is multiplied by.
    fn factors(&self) -> Vec<f64> {
        let (gamma, variance) = (contiguous(&self.gamma), contiguous(&self.variance));
        let pairs = floats(&gamma).iter().zip(floats(&variance));
        pairs.map(|(&g, &v)| f64::from(g) / (f64::from(v) + self.epsilon).sqrt()).collect()
    }

    /// Makes the convolution's bias that of the normalized outputs.
    fn shift(&self, factors: &[f64], bias: &mut [f32]) {
        let (beta, mean) = (contiguous(&self.beta), contiguous(&self.mean));
        let rows = bias.iter_mut().zip(factors).zip(floats(&beta).iter().zip(floats(&mean)));
        for ((bias, factor), (&beta, &mean)) in rows {
            let centred = f64::from(*bias) - f64::from(mean);
            *bias = (f64::from(beta) + centred * factor) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::Activation;
    use crate::cache::entries_of;
    use crate::conv::run::forward;
    use crate::dispatch::Path;
    use burn::tensor::TensorData;
    use burn::tensor::ops::ConvOptions;

    fn flex<const D: usize>(shape: [usize; D], seed: u64) -> FlexTensor {
        let values = crate::testing::floats(shape.iter().product(), seed);
        FlexTensor::from_data(TensorData::new(values, shape))
    }

    #[test]
    fn a_layer_keeps_one_packed_form_however_often_it_runs_and_its_norm_changes() {
        let (x, w) = ([1, 16, 9, 9], [24, 16, 3, 3]);
        let g = Geometry::new(x, w, &ConvOptions::new([1, 1], [1, 1], [1, 1], 1)).unwrap();
        let x = flex(x, 1);
        let mut parameters = Parameters {
            weight: flex(w, 2),
            bias: Some(flex([24], 3)),
            norm: Some(Vectors {
                gamma: flex([24], 4),
                beta: flex([24], 5),
                mean: flex([24], 6),
                variance: FlexTensor::from_data(TensorData::new(vec![0.5f32; 24], [24])),
                epsilon: 1e-3,
            }),
        };
        let run = |parameters: &Parameters| {
            for _ in 0..2 {
                let _ = forward(Path::best(), &g, x.clone(), parameters, Activation::Relu, None);
            }
            assert_eq!(entries_of(&parameters.weight), 1);
        };
        run(&parameters);
        parameters.norm.as_mut().unwrap().mean = flex([24], 7);
        run(&parameters);
        parameters.norm.as_mut().unwrap().variance.storage_mut::<f32>()[3] = 0.25;
        run(&parameters);
        parameters.bias = None;
        run(&parameters);
        let weight = parameters.weight.clone();
        drop(parameters);
        assert_eq!(entries_of(&weight), 0);
    }
}
