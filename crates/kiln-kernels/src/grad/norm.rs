//! Batch normalization in training as a node of the graph.

use std::sync::Arc;

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

use super::{activation, contiguous, present, primitive, tracked, tracked_maybe};
use crate::activation::Activation;
use crate::buffer::Buffer;
use crate::dispatch::Path;
use crate::extension::floats;
use crate::layout::{self, Map};
use crate::norm::kernel::{Affine, Statistics, forward, sums};

type Output = (Tensor<4>, Tensor<1>, Tensor<1>);

/// The layer in the graph; nothing where burn's operations must do.
pub(crate) fn batch_norm(
    x: &Tensor<4>,
    gamma: &Tensor<1>,
    beta: &Tensor<1>,
    epsilon: f64,
    activation: Activation,
    residual: Option<&Tensor<4>>,
) -> Option<Output> {
    let shape = x.dims();
    let fits = !shape.contains(&0)
        && gamma.dims() == [shape[1]]
        && beta.dims() == [shape[1]]
        && residual.is_none_or(|r| r.dims() == shape);
    if !fits || !activation::known_from_output(activation) {
        return None;
    }
    node::<NoCheckpointing>(x, gamma, beta, epsilon, activation, residual)
        .or_else(|| node::<BalancedCheckpointing>(x, gamma, beta, epsilon, activation, residual))
}

/// Mean and one over the standard deviation, shared by the clones of a step.
#[derive(Clone)]
struct Saved(Arc<Statistics>);

impl std::fmt::Debug for Saved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Saved({} channels)", self.0.mean.len())
    }
}

fn node<C: CheckpointStrategy>(
    x: &Tensor<4>,
    gamma: &Tensor<1>,
    beta: &Tensor<1>,
    epsilon: f64,
    activation: Activation,
    residual: Option<&Tensor<4>>,
) -> Option<Output>
where
    DispatchTensor: DispatchKindConversion<Autodiff<Flex, C>>,
{
    let shape = x.dims();
    let (x, gamma, beta) = (tracked::<4, C>(x)?, tracked::<1, C>(gamma)?, tracked::<1, C>(beta)?);
    let residual = tracked_maybe::<4, C>(residual)?;
    let path = Path::best();
    let map = Map::of(x.primitive().clone());
    let statistics = Saved(Arc::new(Statistics::of(path, &map, epsilon)));
    let other = present(residual.primitive().clone()).map(Map::of);
    let y = forward(
        path,
        &map,
        &statistics.0,
        gamma.primitive(),
        beta.primitive(),
        activation,
        other.as_ref(),
    );
    let y = primitive(y, layout::layout(shape));
    drop(map);
    let vector = |values: &Buffer| {
        let mut copy = Buffer::new(shape[1]);
        copy.copy_from_slice(values);
        Tensor::from_primitive::<Autodiff<Flex, C>>(super::Tracked::<C>::new(contiguous(
            copy,
            &[shape[1]],
        )))
    };
    let (mean, variance) = (vector(&statistics.0.mean), vector(&statistics.0.variance));
    let nodes = [x.node(), gamma.node(), beta.node(), residual.node()];
    let out = match Step.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let ids = (prep.checkpoint(&x), prep.checkpoint(&gamma));
            let saved = (activation != Activation::Identity).then(|| y.clone());
            prep.finish((ids.0, ids.1, saved, statistics, activation), y)
        }
        OpsKind::UnTracked(prep) => prep.finish(y),
    };
    Some((Tensor::from_primitive::<Autodiff<Flex, C>>(out), mean, variance))
}

#[derive(Debug)]
struct Step;

impl Backward<Flex, 4> for Step {
    type State = (NodeId, NodeId, Option<FlexTensor>, Saved, Activation);

    fn backward(
        self,
        ops: Ops<Self::State, 4>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let grad = grads.consume::<Flex>(&ops.node);
        let (x, gamma, y, statistics, activation) = ops.state;
        let x = checkpointer.retrieve_node_output::<FlexTensor>(x);
        let gamma =
            crate::extension::contiguous(&checkpointer.retrieve_node_output::<FlexTensor>(gamma));
        let [to_x, to_gamma, to_beta, to_residual] = ops.parents;
        let path = Path::best();
        let shape = layout::dims(&x);
        let channels = shape[1];
        let (x, grad) = (Map::of(x), Map::of(activation::before(path, activation, y, grad)));
        let statistics = &statistics.0;
        let [sum, product] = sums(path, Some(&grad), &x, &statistics.mean);
        let vector = |value: &dyn Fn(usize) -> f64| {
            let mut out = Buffer::new(channels);
            for (c, out) in out.iter_mut().enumerate() {
                *out = value(c) as f32;
            }
            out
        };
        let rate = |c: usize| f64::from(statistics.rate[c]);
        if let Some(parent) = to_gamma {
            grads.register::<Flex>(
                parent.id,
                contiguous(vector(&|c| product[c] * rate(c)), &[channels]),
            );
        }
        if let Some(parent) = to_beta {
            grads.register::<Flex>(parent.id, contiguous(vector(&|c| sum[c]), &[channels]));
        }
        if let Some(parent) = to_x {
            // dx = γ r (g − mean(g) − x̂ mean(g x̂)), as one multiple of g, one of x and a constant.
            let count = x.pixels() as f64;
            let scale = |c: usize| f64::from(floats(&gamma)[c]) * rate(c);
            let slope = |c: usize| -scale(c) * rate(c) * rate(c) * product[c] / count;
            let of_grad = vector(&scale);
            let of_x = vector(&slope);
            let constant =
                vector(&|c| -scale(c) * sum[c] / count - slope(c) * f64::from(statistics.mean[c]));
            let activation = Activation::Identity;
            let affine = Affine {
                scale: &of_grad,
                shift: &constant,
                other: Some((&x, Some(&of_x))),
                activation,
            };
            grads.register::<Flex>(
                parent.id,
                primitive(affine.run(path, &grad), layout::layout(shape)),
            );
        }
        if let Some(parent) = to_residual {
            grads.register::<Flex>(parent.id, grad.into_tensor());
        }
    }
}
