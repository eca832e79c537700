//! The dense layer: a matrix product with bias and activation. One image reads every weight once, so it runs at the
//! speed of memory; the weights are packed so that each core reads one stream.
//!
//! Packed weights are a second copy. For a large layer, three quarters of some networks, it is made only when the layer
//! is used again: the first time, and always in training, a few outputs' weights at a time are packed and forgotten.

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
    use std::sync::atomic::{AtomicBool, Ordering};

    use crate::buffer::Buffer;
    use crate::cache::{self, Form};
    use crate::conv::fold::padded_bias;
    use crate::conv::indirect::pointwise;
    use crate::conv::run::{Destination, Epilogue};
    use crate::dispatch::Path;
    use crate::extension::{contiguous, flex as primitive, flex_maybe, floats};
    use crate::gemm::{self, Block, Rows, Target};
    use crate::pack::{PANEL, Packed, panels};
    use crate::parallel::{Shared, for_each};

    /// Weights from which on a second copy must pay: 16 MiB.
    const LARGE: usize = 4 << 20;

    /// Outputs whose weights are packed at a time: two panels, which few rows take together.
    const TOGETHER: usize = 2 * PANEL;

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
        crate::ran::ran(crate::ran::Ran::Dense);
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
        let used = || cache::packed(weight, Form::DenseUsed, || AtomicBool::new(false));
        let bias = Arc::new(padded_bias(bias, columns));
        let epilogue = Epilogue { bias, residual: None, activation };
        let mut out = Buffer::new(batch * columns);
        let destination = Destination { pointer: Shared::new(out.pointer()), step: columns };
        let x = floats(x);
        assert_eq!(x.len(), batch * depth);
        if depth * columns >= LARGE && !used().swap(true, Ordering::Relaxed) {
            passing(path, x, [batch, depth, columns], weight, &epilogue, destination);
            return out;
        }
        let packed = cache::packed(weight, Form::Dense, || {
            let (from, start, strides) = elements(weight);
            Packed::matrix(depth, columns, from, start, strides)
        });
        let rows = Rows::Regular(x.as_ptr(), depth);
        pointwise(path, rows, batch, depth, &packed, &epilogue, destination);
        out
    }

    /// A matrix's floats, where the first one is, and the way to the next row and column.
    fn elements(matrix: &FlexTensor) -> (&[f32], usize, [isize; 2]) {
        let layout = matrix.layout();
        let strides = [layout.strides()[0], layout.strides()[1]];
        (matrix.storage::<f32>(), layout.start_offset(), strides)
    }

    /// The product with weights packed on the way. The sums are those of packed weights, in the same order.
    fn passing(
        path: Path,
        x: &[f32],
        [batch, depth, columns]: [usize; 3],
        weight: &FlexTensor,
        epilogue: &Epilogue,
        out: Destination,
    ) {
        let (from, start, strides) = elements(weight);
        for_each(columns.div_ceil(TOGETHER), batch * depth * columns, |task| {
            let first = task * TOGETHER;
            let count = TOGETHER.min(columns - first);
            let start = start.wrapping_add_signed(first as isize * strides[1]);
            let packed = Packed::part_of_matrix(depth, count, from, start, strides);
            let block = Block {
                rows: Rows::Regular(x.as_ptr(), depth),
                count: batch,
                taps: 1,
                depth,
                weights: packed.group(0),
                columns: count,
                panels: (0, panels(count)),
                target: Target {
                    // SAFETY: the column lies within the output.
                    out: unsafe { out.pointer.get().add(first) },
                    step: out.step,
                    bias: epilogue.bias[first..].as_ptr(),
                    residual: std::ptr::null(),
                    residual_step: 0,
                    activation: epilogue.activation,
                },
            };
            // SAFETY: every row has `depth` floats; the bias is padded as the weights are; tasks write disjoint columns.
            unsafe { gemm::run(path, &block) };
        });
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::cache::Form;
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

    #[test]
    fn a_large_layer_gives_the_same_bits_before_and_after_its_weights_are_packed() {
        // 2049 outputs end in a panel of one; the weights are as burn keeps them, then as PyTorch does.
        let (depth, columns) = (2048, 2049);
        let x = crate::testing::floats(3 * depth, 1);
        let w = crate::testing::floats(depth * columns, 2);
        let b = crate::testing::floats(columns, 3);
        let flex = |values: &[f32], shape: Vec<usize>| {
            FlexTensor::from_data(TensorData::new(values.to_vec(), shape))
        };
        let (x, b) = (flex(&x, vec![3, depth]), flex(&b, vec![columns]));
        for weight in
            [flex(&w, vec![depth, columns]), flex(&w, vec![columns, depth]).transpose(0, 1)]
        {
            let product = || {
                let sizes = [3, depth, columns];
                kernel::product(Path::best(), &x, &weight, Some(&b), Activation::Relu, sizes)
            };
            let kept = || crate::cache::keeps(&weight, Form::Dense);
            let first = product();
            assert!(!kept());
            let (second, third) = (product(), product());
            assert!(kept());
            assert!(first[..] == second[..] && second[..] == third[..]);
        }
    }
}
