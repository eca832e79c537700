//! The dense layer: a matrix product with bias and activation. One image reads every weight once, so it runs at the
//! speed of memory; the weights are packed so that each core reads one stream.

use burn::tensor::{Tensor, module};

use crate::activation::Activation;

/// `activation(x · weight + bias)`.
///
/// # Shapes
/// - x: `[batch, features in]`
/// - weight: `[features in, features out]`, as burn keeps it
/// - bias: `[features out]`
/// - output: `[batch, features out]`
///
/// # Panics
/// If the shapes do not fit together.
#[must_use]
pub fn linear(
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    activation: Activation,
) -> Tensor<2> {
    #[cfg(feature = "flex")]
    if let Some(out) = kernel::flex(&x, &weight, bias.as_ref(), activation) {
        return out;
    }
    #[cfg(feature = "flex")]
    if let Some(out) = crate::grad::linear(&x, &weight, bias.as_ref(), activation) {
        return out;
    }
    activation.burn(module::linear(x, weight, bias))
}

#[cfg(feature = "flex")]
pub(crate) mod kernel {
    use std::sync::Arc;

    use super::{Activation, Tensor};
    use burn::backend::flex::{FlexTensor, Layout};
    use burn::tensor::Shape;

    use crate::buffer::Buffer;
    use crate::cache::{self, Form};
    use crate::conv::fold::padded_bias;
    use crate::conv::indirect::pointwise;
    use crate::conv::run::{Destination, Epilogue};
    use crate::dispatch::Path;
    use crate::extension::{contiguous, flex as primitive, flex_maybe, floats};
    use crate::gemm::Rows;
    use crate::pack::Packed;
    use crate::parallel::Shared;

    pub(super) fn flex(
        x: &Tensor<2>,
        weight: &Tensor<2>,
        bias: Option<&Tensor<1>>,
        activation: Activation,
    ) -> Option<Tensor<2>> {
        let [batch, depth] = x.dims();
        let [rows, columns] = weight.dims();
        if batch * depth * columns == 0 || rows != depth {
            return None;
        }
        let (x, weight, bias) = (contiguous(&primitive(x)?), primitive(weight)?, flex_maybe(bias)?);
        if let Some(bias) = &bias {
            assert_eq!(
                bias.layout().shape().to_vec(),
                [columns],
                "the bias must have one value per output feature"
            );
        }
        let out =
            product(Path::best(), &x, &weight, bias.as_ref(), activation, [batch, depth, columns]);
        Some(crate::extension::tensor(out, Layout::contiguous(Shape::from(vec![batch, columns]))))
    }

    pub(crate) fn product(
        path: Path,
        x: &FlexTensor,
        weight: &FlexTensor,
        bias: Option<&FlexTensor>,
        activation: Activation,
        [batch, depth, columns]: [usize; 3],
    ) -> Buffer {
        let packed = cache::packed(weight, Form::Dense, || {
            let strides = [weight.layout().strides()[0], weight.layout().strides()[1]];
            Packed::matrix(
                depth,
                columns,
                weight.storage::<f32>(),
                weight.layout().start_offset(),
                strides,
            )
        });
        let bias = Arc::new(padded_bias(bias, columns));
        let epilogue = Epilogue { bias, residual: None, activation };
        let mut out = Buffer::new(batch * columns);
        let destination = Destination { pointer: Shared::new(out.pointer()), step: columns };
        let x = floats(x);
        assert_eq!(x.len(), batch * depth);
        pointwise(
            path,
            Rows::Regular(x.as_ptr(), depth),
            batch,
            depth,
            &packed,
            &epilogue,
            destination,
        );
        out
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::dispatch::Path;
    use burn::backend::flex::FlexTensor;
    use burn::tensor::TensorData;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_product_matches_the_naive_loop(batch in 1usize..15, depth in 1usize..70, columns in 1usize..70, seed in 0u64..1000) {
            let x = crate::testing::floats(batch * depth, seed);
            let w = crate::testing::floats(depth * columns, seed + 1);
            let b = crate::testing::floats(columns, seed + 2);
            let flex = |values: &[f32], shape: Vec<usize>| FlexTensor::from_data(TensorData::new(values.to_vec(), shape));
            let mut expected = vec![0.0; batch * columns];
            for i in 0..batch {
                for j in 0..columns {
                    let sum: f64 = (0..depth).map(|k| f64::from(x[i * depth + k]) * f64::from(w[k * columns + j])).sum();
                    expected[i * columns + j] = (sum + f64::from(b[j])).max(0.0) as f32;
                }
            }
            for path in Path::available() {
                let out = kernel::product(
                    path,
                    &flex(&x, vec![batch, depth]),
                    &flex(&w, vec![depth, columns]),
                    Some(&flex(&b, vec![columns])),
                    Activation::Relu,
                    [batch, depth, columns],
                );
                crate::testing::assert_close(&out, &expected, 1e-5);
            }
        }
    }

    #[test]
    fn long_sums_are_cut_without_changing_them() {
        // Two rows' panels exceed the cache: the depth is cut. One row's are not. Both must agree to the bit.
        let (depth, columns) = (9000, 24);
        let x = crate::testing::floats(8 * depth, 1);
        let w = crate::testing::floats(depth * columns, 2);
        let flex = |values: &[f32], shape: Vec<usize>| {
            FlexTensor::from_data(TensorData::new(values.to_vec(), shape))
        };
        let weight = flex(&w, vec![depth, columns]);
        for path in Path::available() {
            let all = kernel::product(
                path,
                &flex(&x, vec![8, depth]),
                &weight,
                None,
                Activation::Tanh,
                [8, depth, columns],
            );
            for i in 0..8 {
                let one = flex(&x[i * depth..(i + 1) * depth], vec![1, depth]);
                let one = kernel::product(
                    path,
                    &one,
                    &weight,
                    None,
                    Activation::Tanh,
                    [1, depth, columns],
                );
                assert_eq!(&all[i * columns..(i + 1) * columns], &one[..]);
            }
        }
    }
}
