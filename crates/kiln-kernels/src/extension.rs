//! The doors between `Tensor` and the kernels.
//!
//! A call asks [`flex`] for its tensors' storage. Where it gets none the tensor may record gradients, which is for
//! [`grad`](crate::grad), or belong to another backend or precision; then burn's own operations are composed, which mean
//! the same and differentiate.

use burn::backend::Flex;
use burn::backend::flex::{FlexTensor, Layout};
use burn::tensor::{DType, Tensor};

use crate::buffer::Buffer;

/// The tensor's storage if the kernels can serve it.
pub(crate) fn flex<const D: usize>(tensor: &Tensor<D>) -> Option<FlexTensor> {
    if crate::dispatch::plain() || tensor.dtype() != DType::F32 {
        return None;
    }
    tensor.clone().try_into_primitive::<Flex>().ok()
}

/// The same for what may be absent: the outer `None` means that the kernels cannot serve it.
pub(crate) fn flex_maybe<const D: usize>(tensor: Option<&Tensor<D>>) -> Option<Option<FlexTensor>> {
    match tensor {
        None => Some(None),
        Some(tensor) => flex(tensor).map(Some),
    }
}

/// A tensor of the floats in `buffer`.
pub(crate) fn tensor<const D: usize>(buffer: Buffer, layout: Layout) -> Tensor<D> {
    Tensor::from_primitive::<Flex>(FlexTensor::new(buffer.into_bytes(), layout, DType::F32))
}

/// The floats of a tensor in row-major order; copied only if they are not.
pub(crate) fn contiguous(tensor: &FlexTensor) -> FlexTensor {
    if tensor.layout().is_contiguous() { tensor.clone() } else { tensor.to_contiguous() }
}

/// The floats of a tensor made by [`contiguous`].
pub(crate) fn floats(tensor: &FlexTensor) -> &[f32] {
    let start = tensor.layout().start_offset();
    &tensor.storage::<f32>()[start..start + tensor.layout().num_elements()]
}
