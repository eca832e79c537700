//! Gradients: the nodes that our operations put into burn's autodiff graph.
//!
//! A layer is one node: convolution (or product), bias, residual and activation together. It keeps its inputs, as burn
//! would, and its output where the activation's derivative needs it (which the next layer keeps anyway). Where something
//! does not fit (another backend, an activation whose derivative needs its input) the callers compose burn's operations.

mod activation;
mod conv;
mod dense;
mod depthwise;
mod elementwise;
mod norm;
mod pool;
mod transpose;
mod weight;

pub(crate) use conv::{conv2d, frozen};
pub(crate) use dense::linear;
pub(crate) use elementwise::{activate, add, concat_channels, scale_channels};
pub(crate) use norm::batch_norm;
pub(crate) use pool::{avg_pool2d, global_avg_pool, max_pool2d};
pub(crate) use transpose::conv_transpose2d;

use burn::backend::autodiff::checkpoint::strategy::{
    BalancedCheckpointing, CheckpointStrategy, NoCheckpointing,
};
use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, DispatchKindConversion, DispatchTensor, Flex};
use burn::tensor::{DType, Shape, Tensor};

use crate::buffer::Buffer;

/// A tensor that may record gradients, over flex.
type Tracked<C> = FloatTensor<Autodiff<Flex, C>>;

/// The tensor as one of the graph, if it is one over flex in f32.
fn tracked<const D: usize, C: CheckpointStrategy>(tensor: &Tensor<D>) -> Option<Tracked<C>>
where
    DispatchTensor: DispatchKindConversion<Autodiff<Flex, C>>,
{
    if crate::dispatch::plain() || tensor.dtype() != DType::F32 {
        return None;
    }
    tensor.clone().try_into_primitive::<Autodiff<Flex, C>>().ok()
}

/// Whether a tensor records gradients, or may, where the nodes here serve.
pub(crate) fn serves(tensor: &Tensor<4>) -> bool {
    tracked::<4, NoCheckpointing>(tensor).is_some()
        || tracked::<4, BalancedCheckpointing>(tensor).is_some()
}

/// The same for what may be absent: nothing then stands in as a constant without elements.
fn tracked_maybe<const D: usize, C: CheckpointStrategy>(
    tensor: Option<&Tensor<D>>,
) -> Option<Tracked<C>>
where
    DispatchTensor: DispatchKindConversion<Autodiff<Flex, C>>,
{
    match tensor {
        Some(tensor) => tracked::<D, C>(tensor),
        None => Some(Tracked::<C>::new(FlexTensor::empty(Shape::from(vec![0]), DType::F32))),
    }
}

/// What [`tracked_maybe`] made of an absent tensor is absent again.
fn present(tensor: FlexTensor) -> Option<FlexTensor> {
    (tensor.layout().num_elements() > 0).then_some(tensor)
}

fn primitive(buffer: Buffer, layout: Layout) -> FlexTensor {
    FlexTensor::new(buffer.into_bytes(), layout, DType::F32)
}

fn contiguous(buffer: Buffer, shape: &[usize]) -> FlexTensor {
    primitive(buffer, Layout::contiguous(Shape::from(shape.to_vec())))
}
