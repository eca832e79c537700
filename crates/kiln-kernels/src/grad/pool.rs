//! Maximum and global average pooling as nodes of the graph.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::{
    BalancedCheckpointing, CheckpointStrategy, NoCheckpointing,
};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::{Autodiff, DispatchKindConversion, DispatchTensor, Flex};
use burn::tensor::Tensor;
use burn::tensor::ops::{AvgPoolOptions, MaxPoolOptions};

use super::{primitive, tracked};
use crate::buffer::Buffer;
use crate::dispatch::Path;
use crate::layout::{self, Map};
use crate::parallel::{Shared, for_ranges};
use crate::pool::global;
use crate::pool::kernel::Windows;

/// Maximum pooling in the graph; nothing where burn's operations must do.
pub(crate) fn max_pool2d(x: &Tensor<4>, options: &MaxPoolOptions<2>) -> Option<Tensor<4>> {
    let windows = Windows::of_max(x.dims(), options)?;
    max_node::<NoCheckpointing>(x, windows)
        .or_else(|| max_node::<BalancedCheckpointing>(x, windows))
}

fn max_node<C: CheckpointStrategy>(x: &Tensor<4>, windows: Windows) -> Option<Tensor<4>>
where
    DispatchTensor: DispatchKindConversion<Autodiff<Flex, C>>,
{
    let [batch, channels, ..] = x.dims();
    let x = tracked::<4, C>(x)?;
    let node = x.node();
    let [height, width] = windows.output();
    let run = |x: FlexTensor| {
        primitive(
            windows.max(Path::best(), &Map::of(x)),
            layout::layout([batch, channels, height, width]),
        )
    };
    let out = match MaxStep.prepare::<C>([node]).compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let id = prep.checkpoint(&x);
            let y = run(x.into_primitive());
            prep.finish((id, y.clone(), windows), y)
        }
        OpsKind::UnTracked(prep) => prep.finish(run(x.into_primitive())),
    };
    Some(Tensor::from_primitive::<Autodiff<Flex, C>>(out))
}

#[derive(Debug)]
struct MaxStep;

impl Backward<Flex, 1> for MaxStep {
    type State = (NodeId, FlexTensor, Windows);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let grad = grads.consume::<Flex>(&ops.node);
        let (x, y, windows) = ops.state;
        let x = checkpointer.retrieve_node_output::<FlexTensor>(x);
        if let [Some(parent)] = ops.parents {
            let shape = layout::dims(&x);
            let out = windows.max_gradient(Path::best(), &Map::of(x), &Map::of(y), &Map::of(grad));
            grads.register::<Flex>(parent.id, primitive(out, layout::layout(shape)));
        }
    }
}

/// Average pooling in the graph; nothing where burn's operations must do.
pub(crate) fn avg_pool2d(x: &Tensor<4>, options: &AvgPoolOptions<2>) -> Option<Tensor<4>> {
    let windows = Windows::of_average(x.dims(), options)?;
    let counts = options.count_include_pad;
    average_node::<NoCheckpointing>(x, windows, counts)
        .or_else(|| average_node::<BalancedCheckpointing>(x, windows, counts))
}

fn average_node<C: CheckpointStrategy>(
    x: &Tensor<4>,
    windows: Windows,
    counts: bool,
) -> Option<Tensor<4>>
where
    DispatchTensor: DispatchKindConversion<Autodiff<Flex, C>>,
{
    let [batch, channels, rows, columns] = x.dims();
    let x = tracked::<4, C>(x)?;
    let node = x.node();
    let [height, width] = windows.output();
    let out = windows.average(Path::best(), &Map::of(x.into_primitive()), counts);
    let out = primitive(out, layout::layout([batch, channels, height, width]));
    let out = match AverageStep.prepare::<C>([node]).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(([rows, columns], windows, counts), out),
        OpsKind::UnTracked(prep) => prep.finish(out),
    };
    Some(Tensor::from_primitive::<Autodiff<Flex, C>>(out))
}

#[derive(Debug)]
struct AverageStep;

impl Backward<Flex, 1> for AverageStep {
    type State = ([usize; 2], Windows, bool);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = Map::of(grads.consume::<Flex>(&ops.node));
        let (input, windows, counts) = ops.state;
        if let [Some(parent)] = ops.parents {
            let out = windows.average_gradient(Path::best(), input, &grad, counts);
            let layout = layout::layout([grad.batch, grad.channels, input[0], input[1]]);
            grads.register::<Flex>(parent.id, primitive(out, layout));
        }
    }
}

/// Global average pooling in the graph; nothing where burn's operations must do.
pub(crate) fn global_avg_pool(x: &Tensor<4>) -> Option<Tensor<4>> {
    if x.dims().contains(&0) {
        return None;
    }
    global_node::<NoCheckpointing>(x).or_else(|| global_node::<BalancedCheckpointing>(x))
}

fn global_node<C: CheckpointStrategy>(x: &Tensor<4>) -> Option<Tensor<4>>
where
    DispatchTensor: DispatchKindConversion<Autodiff<Flex, C>>,
{
    let shape = x.dims();
    let x = tracked::<4, C>(x)?;
    let node = x.node();
    let out = global::global_map(Path::best(), &Map::of(x.into_primitive()));
    let out = primitive(out, layout::layout([shape[0], shape[1], 1, 1]));
    let out = match GlobalStep.prepare::<C>([node]).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(shape, out),
        OpsKind::UnTracked(prep) => prep.finish(out),
    };
    Some(Tensor::from_primitive::<Autodiff<Flex, C>>(out))
}

#[derive(Debug)]
struct GlobalStep;

impl Backward<Flex, 1> for GlobalStep {
    type State = [usize; 4];

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<Flex>(&ops.node);
        let shape @ [batch, channels, height, width] = ops.state;
        if let [Some(parent)] = ops.parents {
            let grad = Map::of(grad);
            let (pixels, factor) = (height * width, 1.0 / (height * width) as f32);
            let mut out = Buffer::new(batch * pixels * channels);
            let target = Shared::new(out.pointer());
            // A view of some channels of a wider gradient, behind a concatenation, has pixels further apart.
            let (step, grad) = (grad.step, grad.data());
            for_ranges(batch * pixels, channels, |range| {
                for pixel in range {
                    // SAFETY: the pixel lies within the buffer and is this task's alone.
                    let to = unsafe {
                        std::slice::from_raw_parts_mut(target.get().add(pixel * channels), channels)
                    };
                    for (value, g) in to.iter_mut().zip(&grad[pixel / pixels * step..]) {
                        *value = g * factor;
                    }
                }
            });
            grads.register::<Flex>(parent.id, primitive(out, layout::layout(shape)));
        }
    }
}
