//! Transposed convolution as a node of the graph: its gradients are a convolution's own two products.

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
use burn::tensor::ops::ConvTransposeOptions;

use super::{activation, contiguous, present, primitive, tracked, tracked_maybe, weight};
use crate::activation::Activation;
use crate::cache;
use crate::conv::Geometry;
use crate::conv::fold::Parameters;
use crate::conv::run::forward;
use crate::conv::transpose::kernel::{Sizes, convolve};
use crate::dispatch::Path;
use crate::layout::{self, Map};

/// The layer in the graph; nothing where burn's operations must do.
pub(crate) fn conv_transpose2d(
    x: &Tensor<4>,
    weight: &Tensor<4>,
    bias: Option<&Tensor<1>>,
    options: &ConvTransposeOptions<2>,
    activation: Activation,
) -> Option<Tensor<4>> {
    let sizes = Sizes::new(x.dims(), weight.dims(), options)?;
    if !activation::known_from_output(activation)
        || bias.is_some_and(|b| b.dims() != [sizes.channels()])
    {
        return None;
    }
    node::<NoCheckpointing>(x, weight, bias, sizes, activation)
        .or_else(|| node::<BalancedCheckpointing>(x, weight, bias, sizes, activation))
}

fn node<C: CheckpointStrategy>(
    x: &Tensor<4>,
    weight: &Tensor<4>,
    bias: Option<&Tensor<1>>,
    sizes: Sizes,
    activation: Activation,
) -> Option<Tensor<4>>
where
    DispatchTensor: DispatchKindConversion<Autodiff<Flex, C>>,
{
    let (x, weight, bias) =
        (tracked::<4, C>(x)?, tracked::<4, C>(weight)?, tracked_maybe::<1, C>(bias)?);
    let nodes = [x.node(), weight.node(), bias.node()];
    let shape = [sizes.batch, sizes.channels(), sizes.output[0], sizes.output[1]];
    let run = |x: FlexTensor, weight: FlexTensor, bias: FlexTensor| {
        primitive(
            cache::passing(|| {
                convolve(Path::best(), &sizes, x, &weight, present(bias).as_ref(), activation)
            }),
            layout::layout(shape),
        )
    };
    let out = match Step.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let ids = (prep.checkpoint(&x), prep.checkpoint(&weight));
            let y = run(x.into_primitive(), weight.into_primitive(), bias.into_primitive());
            let saved = (activation != Activation::Identity).then(|| y.clone());
            prep.finish((ids.0, ids.1, saved, sizes.convolution(), activation), y)
        }
        OpsKind::UnTracked(prep) => {
            prep.finish(run(x.into_primitive(), weight.into_primitive(), bias.into_primitive()))
        }
    };
    Some(Tensor::from_primitive::<Autodiff<Flex, C>>(out))
}

#[derive(Debug)]
struct Step;

impl Backward<Flex, 3> for Step {
    /// The geometry is that of the convolution which this one transposes.
    type State = (NodeId, NodeId, Option<FlexTensor>, Geometry, Activation);

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let grad = grads.consume::<Flex>(&ops.node);
        let (x, weight, y, g, activation) = ops.state;
        let x = checkpointer.retrieve_node_output::<FlexTensor>(x);
        let weight = checkpointer.retrieve_node_output::<FlexTensor>(weight);
        let [to_x, to_weight, to_bias] = ops.parents;
        let path = Path::best();
        let map = Map::of(activation::before(path, activation, y, grad));
        if let Some(parent) = to_bias {
            grads.register::<Flex>(
                parent.id,
                contiguous(activation::sum_pixels(path, &map), &[g.in_channels]),
            );
        }
        if let Some(parent) = to_weight {
            let shape = [g.out_channels, g.in_channels / g.groups, g.kernel[0], g.kernel[1]];
            grads.register::<Flex>(
                parent.id,
                contiguous(weight::gradient(path, &g, &map, &Map::of(x)), &shape),
            );
        }
        if let Some(parent) = to_x {
            let grad = map.into_tensor();
            let out = cache::passing(|| {
                forward(
                    path,
                    &g,
                    grad,
                    &Parameters::plain(weight, None),
                    Activation::Identity,
                    None,
                )
            });
            grads.register::<Flex>(parent.id, out);
        }
    }
}
