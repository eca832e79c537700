//! The dense layer as a node of the graph.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::{
    BalancedCheckpointing, CheckpointStrategy, NoCheckpointing,
};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::{Autodiff, DispatchKindConversion, DispatchTensor, Flex};
use burn::tensor::Tensor;

use super::{activation, contiguous, present, tracked, tracked_maybe, weight};
use crate::activation::Activation;
use crate::cache;
use crate::conv::Geometry;
use crate::dense::kernel::product;
use crate::dispatch::Path;
use crate::layout::Map;

/// Batch, features in, features out.
type Sizes = [usize; 3];

/// The layer in the graph; nothing where burn's operations must do.
pub(crate) fn linear(
    x: &Tensor<2>,
    weight: &Tensor<2>,
    bias: Option<&Tensor<1>>,
    activation: Activation,
) -> Option<Tensor<2>> {
    let [batch, depth] = x.dims();
    let [rows, columns] = weight.dims();
    let fits =
        rows == depth && batch * depth * columns > 0 && bias.is_none_or(|b| b.dims() == [columns]);
    if !fits || !activation::known_from_output(activation) {
        return None;
    }
    let sizes = [batch, depth, columns];
    node::<NoCheckpointing>(x, weight, bias, sizes, activation)
        .or_else(|| node::<BalancedCheckpointing>(x, weight, bias, sizes, activation))
}

fn node<C: CheckpointStrategy>(
    x: &Tensor<2>,
    weight: &Tensor<2>,
    bias: Option<&Tensor<1>>,
    sizes: Sizes,
    activation: Activation,
) -> Option<Tensor<2>>
where
    DispatchTensor: DispatchKindConversion<Autodiff<Flex, C>>,
{
    let (x, weight, bias) =
        (tracked::<2, C>(x)?, tracked::<2, C>(weight)?, tracked_maybe::<1, C>(bias)?);
    let nodes = [x.node(), weight.node(), bias.node()];
    let [batch, _, columns] = sizes;
    let run = |x: FlexTensor, weight: FlexTensor, bias: FlexTensor| {
        let x = crate::extension::contiguous(&x);
        contiguous(
            cache::passing(|| {
                product(Path::best(), &x, &weight, present(bias).as_ref(), activation, sizes)
            }),
            &[batch, columns],
        )
    };
    let out = match Step.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let ids = (prep.checkpoint(&x), prep.checkpoint(&weight));
            let y = run(x.into_primitive(), weight.into_primitive(), bias.into_primitive());
            let saved = (activation != Activation::Identity).then(|| y.clone());
            prep.finish((ids.0, ids.1, saved, sizes, activation), y)
        }
        OpsKind::UnTracked(prep) => {
            prep.finish(run(x.into_primitive(), weight.into_primitive(), bias.into_primitive()))
        }
    };
    Some(Tensor::from_primitive::<Autodiff<Flex, C>>(out))
}

/// A matrix as a map of one pixel per row.
fn map(matrix: &FlexTensor, [rows, columns]: [usize; 2]) -> FlexTensor {
    let matrix = crate::extension::contiguous(matrix);
    let start = matrix.layout().start_offset();
    let shape = crate::layout::layout([rows, columns, 1, 1]);
    matrix.with_layout(Layout::new(shape.shape().clone(), shape.strides().to_vec(), start))
}

#[derive(Debug)]
struct Step;

impl Backward<Flex, 3> for Step {
    type State = (NodeId, NodeId, Option<FlexTensor>, Sizes, Activation);

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let grad = grads.consume::<Flex>(&ops.node);
        let (x, weight, y, [batch, depth, columns], activation) = ops.state;
        let x = checkpointer.retrieve_node_output::<FlexTensor>(x);
        let weight = checkpointer.retrieve_node_output::<FlexTensor>(weight);
        let [to_x, to_weight, to_bias] = ops.parents;
        let path = Path::best();
        let y = y.map(|y| map(&y, [batch, columns]));
        let grad = Map::of(activation::before(path, activation, y, map(&grad, [batch, columns])));
        if let Some(parent) = to_bias {
            grads.register::<Flex>(
                parent.id,
                contiguous(activation::sum_pixels(path, &grad), &[columns]),
            );
        }
        if let Some(parent) = to_weight {
            // As the weight of a 1×1 convolution from `columns` to `depth` channels: burn keeps it transposed.
            let options = burn::tensor::ops::ConvOptions::new([1, 1], [0, 0], [1, 1], 1);
            let g = Geometry::new([batch, columns, 1, 1], [depth, columns, 1, 1], &options)
                .expect("positive sizes fit");
            let sums = weight::gradient(path, &g, &grad, &Map::of(map(&x, [batch, depth])));
            grads.register::<Flex>(parent.id, contiguous(sums, &[depth, columns]));
        }
        if let Some(parent) = to_x {
            let grad = crate::extension::contiguous(grad.tensor());
            let (turned, sizes) = (weight.transpose(0, 1), [batch, columns, depth]);
            let out =
                cache::passing(|| product(path, &grad, &turned, None, Activation::Identity, sizes));
            grads.register::<Flex>(parent.id, contiguous(out, &[batch, depth]));
        }
    }
}
