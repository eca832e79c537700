//! Sums, activations, channel factors and concatenation as nodes of the graph.

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

use super::{Tracked, activation, present, primitive, tracked, tracked_maybe};
use crate::activation::Activation;
use crate::dispatch::Path;
use crate::extension::floats;
use crate::layout::{self, Map};

/// The sum of two maps in the graph; nothing where burn's operations must do.
pub(crate) fn add(x: &Tensor<4>, y: &Tensor<4>, activation: Activation) -> Option<Tensor<4>> {
    let shape = x.dims();
    if shape != y.dims() || shape.contains(&0) || !activation::known_from_output(activation) {
        return None;
    }
    add_node::<NoCheckpointing>(x, y, activation)
        .or_else(|| add_node::<BalancedCheckpointing>(x, y, activation))
}

fn add_node<C: CheckpointStrategy>(
    x: &Tensor<4>,
    y: &Tensor<4>,
    activation: Activation,
) -> Option<Tensor<4>>
where
    DispatchTensor: DispatchKindConversion<Autodiff<Flex, C>>,
{
    let shape = x.dims();
    let (x, y) = (tracked::<4, C>(x)?, tracked::<4, C>(y)?);
    let nodes = [x.node(), y.node()];
    let (x, y) = (Map::of(x.into_primitive()), Map::of(y.into_primitive()));
    let out =
        primitive(crate::add::kernel::run(Path::best(), &x, &y, activation), layout::layout(shape));
    let out = match AddStep.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let saved = (activation != Activation::Identity).then(|| out.clone());
            prep.finish((saved, activation), out)
        }
        OpsKind::UnTracked(prep) => prep.finish(out),
    };
    Some(Tensor::from_primitive::<Autodiff<Flex, C>>(out))
}

#[derive(Debug)]
struct AddStep;

impl Backward<Flex, 2> for AddStep {
    type State = (Option<FlexTensor>, Activation);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<Flex>(&ops.node);
        let (y, activation) = ops.state;
        let grad = activation::before(Path::best(), activation, y, grad);
        for parent in ops.parents.into_iter().flatten() {
            grads.register::<Flex>(parent.id, grad.clone());
        }
    }
}

/// An activation of a map in the graph; nothing where burn's operations must do.
pub(crate) fn activate(x: &Tensor<4>, activation: Activation) -> Option<Tensor<4>> {
    if x.dims().contains(&0) || !activation::known_from_output(activation) {
        return None;
    }
    activate_node::<NoCheckpointing>(x, activation)
        .or_else(|| activate_node::<BalancedCheckpointing>(x, activation))
}

fn activate_node<C: CheckpointStrategy>(x: &Tensor<4>, activation: Activation) -> Option<Tensor<4>>
where
    DispatchTensor: DispatchKindConversion<Autodiff<Flex, C>>,
{
    let x = tracked::<4, C>(x)?;
    let node = x.node();
    let out = crate::activation::whole(&x.into_primitive(), activation)?;
    let out = match ActivateStep.prepare::<C>([node]).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish((out.clone(), activation), out),
        OpsKind::UnTracked(prep) => prep.finish(out),
    };
    Some(Tensor::from_primitive::<Autodiff<Flex, C>>(out))
}

#[derive(Debug)]
struct ActivateStep;

impl Backward<Flex, 1> for ActivateStep {
    type State = (FlexTensor, Activation);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<Flex>(&ops.node);
        let (y, activation) = ops.state;
        if let [Some(parent)] = ops.parents {
            grads.register::<Flex>(
                parent.id,
                activation::before(Path::best(), activation, Some(y), grad),
            );
        }
    }
}

/// Channel factors in the graph; nothing where burn's operations must do.
pub(crate) fn scale_channels(
    x: &Tensor<4>,
    scale: &Tensor<4>,
    residual: Option<&Tensor<4>>,
    activation: Activation,
) -> Option<Tensor<4>> {
    let shape @ [batch, channels, _, _] = x.dims();
    let fits =
        scale.dims() == [batch, channels, 1, 1] && residual.is_none_or(|r| r.dims() == shape);
    if !fits || shape.contains(&0) || !activation::known_from_output(activation) {
        return None;
    }
    scale_node::<NoCheckpointing>(x, scale, residual, activation)
        .or_else(|| scale_node::<BalancedCheckpointing>(x, scale, residual, activation))
}

fn scale_node<C: CheckpointStrategy>(
    x: &Tensor<4>,
    scale: &Tensor<4>,
    residual: Option<&Tensor<4>>,
    activation: Activation,
) -> Option<Tensor<4>>
where
    DispatchTensor: DispatchKindConversion<Autodiff<Flex, C>>,
{
    let shape = x.dims();
    let (x, scale) = (tracked::<4, C>(x)?, tracked::<4, C>(scale)?);
    let residual = tracked_maybe::<4, C>(residual)?;
    let nodes = [x.node(), scale.node(), residual.node()];
    let run = |x: FlexTensor, scale: FlexTensor, residual: FlexTensor| {
        let (scale, residual) =
            (crate::extension::contiguous(&scale), present(residual).map(Map::of));
        let x = Map::of(x);
        let out = crate::scale::kernel::run(
            Path::best(),
            &x,
            floats(&scale),
            residual.as_ref(),
            activation,
        );
        primitive(out, layout::layout(shape))
    };
    let out = match ScaleStep.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let ids = (prep.checkpoint(&x), prep.checkpoint(&scale));
            let out = run(x.into_primitive(), scale.into_primitive(), residual.into_primitive());
            let saved = (activation != Activation::Identity).then(|| out.clone());
            prep.finish((ids.0, ids.1, saved, activation), out)
        }
        OpsKind::UnTracked(prep) => {
            prep.finish(run(x.into_primitive(), scale.into_primitive(), residual.into_primitive()))
        }
    };
    Some(Tensor::from_primitive::<Autodiff<Flex, C>>(out))
}

#[derive(Debug)]
struct ScaleStep;

impl Backward<Flex, 3> for ScaleStep {
    type State = (NodeId, NodeId, Option<FlexTensor>, Activation);

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let grad = grads.consume::<Flex>(&ops.node);
        let (x, scale, y, activation) = ops.state;
        let x = checkpointer.retrieve_node_output::<FlexTensor>(x);
        let scale =
            crate::extension::contiguous(&checkpointer.retrieve_node_output::<FlexTensor>(scale));
        let [to_x, to_scale, to_residual] = ops.parents;
        let path = Path::best();
        let shape = layout::dims(&x);
        let grad = Map::of(activation::before(path, activation, y, grad));
        if let Some(parent) = to_scale {
            let sums = crate::scale::kernel::products(path, &Map::of(x), &grad);
            grads.register::<Flex>(
                parent.id,
                primitive(sums, layout::layout([shape[0], shape[1], 1, 1])),
            );
        }
        if let Some(parent) = to_x {
            let out =
                crate::scale::kernel::run(path, &grad, floats(&scale), None, Activation::Identity);
            grads.register::<Flex>(parent.id, primitive(out, layout::layout(shape)));
        }
        if let Some(parent) = to_residual {
            grads.register::<Flex>(parent.id, grad.into_tensor());
        }
    }
}

/// Concatenation in the graph, of two to six maps; nothing where burn's operations must do.
pub(crate) fn concat_channels(maps: &[Tensor<4>]) -> Option<Tensor<4>> {
    match maps.len() {
        2 => concat::<2>(maps),
        3 => concat::<3>(maps),
        4 => concat::<4>(maps),
        5 => concat::<5>(maps),
        6 => concat::<6>(maps),
        _ => None,
    }
}

fn concat<const N: usize>(maps: &[Tensor<4>]) -> Option<Tensor<4>> {
    concat_node::<N, NoCheckpointing>(maps)
        .or_else(|| concat_node::<N, BalancedCheckpointing>(maps))
}

fn concat_node<const N: usize, C: CheckpointStrategy>(maps: &[Tensor<4>]) -> Option<Tensor<4>>
where
    DispatchTensor: DispatchKindConversion<Autodiff<Flex, C>>,
{
    let tracked = maps.iter().map(tracked::<4, C>).collect::<Option<Vec<_>>>()?;
    let nodes: [_; N] =
        tracked.iter().map(Tracked::<C>::node).collect::<Vec<_>>().try_into().ok()?;
    let channels: Vec<usize> = maps.iter().map(|m| m.dims()[1]).collect();
    let out = crate::concat::kernel::join(
        tracked.into_iter().map(Tracked::<C>::into_primitive).collect(),
    )?;
    let out = match ConcatStep.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(channels, out),
        OpsKind::UnTracked(prep) => prep.finish(out),
    };
    Some(Tensor::from_primitive::<Autodiff<Flex, C>>(out))
}

#[derive(Debug)]
struct ConcatStep;

impl<const N: usize> Backward<Flex, N> for ConcatStep {
    type State = Vec<usize>;

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        // Each part is a view of some channels: the kernels read it in place.
        let grad = Map::of(grads.consume::<Flex>(&ops.node)).into_tensor();
        let mut first = 0;
        for (parent, channels) in ops.parents.into_iter().zip(ops.state) {
            if let Some(parent) = parent {
                grads.register::<Flex>(parent.id, grad.narrow(1, first, channels));
            }
            first += channels;
        }
    }
}
