//! Convolution as a node of the graph: gradients by input, weight, bias and residual.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::{
    BalancedCheckpointing, CheckpointStrategy, NoCheckpointing,
};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::{Autodiff, DispatchKindConversion, DispatchTensor, Flex};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{DType, Shape, Tensor};

use super::{activation, contiguous, present, primitive, tracked, tracked_maybe, weight};
use crate::activation::Activation;
use crate::buffer::Buffer;
use crate::cache::{self, Form};
use crate::conv::fold::{Parameters, Vectors};
use crate::conv::run::{depthwise_data_gradient, forward};
use crate::conv::transpose::kernel as transposed;
use crate::conv::{Algorithm, Geometry};
use crate::dispatch::Path;
use crate::layout::{self, Map};
use crate::norm::Norm;

/// The layer in the graph; nothing where burn's operations must do.
pub(crate) fn conv2d(
    x: &Tensor<4>,
    weight: &Tensor<4>,
    bias: Option<&Tensor<1>>,
    options: &ConvOptions<2>,
    activation: Activation,
    residual: Option<&Tensor<4>>,
) -> Option<Tensor<4>> {
    if !activation::known_from_output(activation) {
        return None;
    }
    let geometry = Geometry::new(x.dims(), weight.dims(), options)?;
    let shape = [geometry.batch, geometry.out_channels, geometry.output[0], geometry.output[1]];
    if bias.is_some_and(|b| b.dims() != [geometry.out_channels])
        || residual.is_some_and(|r| r.dims() != shape)
    {
        return None;
    }
    node::<NoCheckpointing>(x, weight, bias, geometry, activation, residual)
        .or_else(|| node::<BalancedCheckpointing>(x, weight, bias, geometry, activation, residual))
}

fn node<C: CheckpointStrategy>(
    x: &Tensor<4>,
    weight: &Tensor<4>,
    bias: Option<&Tensor<1>>,
    g: Geometry,
    activation: Activation,
    residual: Option<&Tensor<4>>,
) -> Option<Tensor<4>>
where
    DispatchTensor: DispatchKindConversion<Autodiff<Flex, C>>,
{
    let (x, weight) = (tracked::<4, C>(x)?, tracked::<4, C>(weight)?);
    let (bias, residual) = (tracked_maybe::<1, C>(bias)?, tracked_maybe::<4, C>(residual)?);
    let nodes = [x.node(), weight.node(), bias.node(), residual.node()];
    let parameters = Parameters::plain(weight.primitive().clone(), present(bias.into_primitive()));
    let residual = present(residual.into_primitive());
    let run = |x: FlexTensor| forward(Path::best(), &g, x, &parameters, activation, residual);
    let out = match Step.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let ids = (prep.checkpoint(&x), prep.checkpoint(&weight));
            let y = cache::passing(|| run(x.into_primitive()));
            let saved = (activation != Activation::Identity).then(|| y.clone());
            prep.finish((ids.0, ids.1, saved, g, activation), y)
        }
        // Nothing here is trained, so the weight stays as it is.
        OpsKind::UnTracked(prep) => prep.finish(run(x.into_primitive())),
    };
    Some(Tensor::from_primitive::<Autodiff<Flex, C>>(out))
}

/// A convolution and its normalization in the graph, neither of which learns, nor anything before them: as in inference.
/// Nothing where gradients are wanted.
pub(crate) fn frozen(
    x: &Tensor<4>,
    weight: &Tensor<4>,
    bias: Option<&Tensor<1>>,
    norm: &Norm,
    options: &ConvOptions<2>,
    activation: Activation,
    residual: Option<&Tensor<4>>,
) -> Option<Tensor<4>> {
    let g = Geometry::new(x.dims(), weight.dims(), options)?;
    let shape = [g.batch, g.out_channels, g.output[0], g.output[1]];
    if residual.is_some_and(|r| r.dims() != shape) {
        return None;
    }
    constant::<NoCheckpointing>(x, weight, bias, norm, g, activation, residual).or_else(|| {
        constant::<BalancedCheckpointing>(x, weight, bias, norm, g, activation, residual)
    })
}

fn constant<C: CheckpointStrategy>(
    x: &Tensor<4>,
    weight: &Tensor<4>,
    bias: Option<&Tensor<1>>,
    norm: &Norm,
    g: Geometry,
    activation: Activation,
    residual: Option<&Tensor<4>>,
) -> Option<Tensor<4>>
where
    DispatchTensor: DispatchKindConversion<Autodiff<Flex, C>>,
{
    let (x, weight) = (tracked::<4, C>(x)?, tracked::<4, C>(weight)?);
    let (bias, residual) = (tracked_maybe::<1, C>(bias)?, tracked_maybe::<4, C>(residual)?);
    let (gamma, beta) = (tracked::<1, C>(&norm.gamma)?, tracked::<1, C>(&norm.beta)?);
    let (mean, variance) = (tracked::<1, C>(&norm.mean)?, tracked::<1, C>(&norm.variance)?);
    let nodes = [
        x.node(),
        weight.node(),
        bias.node(),
        residual.node(),
        gamma.node(),
        beta.node(),
        mean.node(),
        variance.node(),
    ];
    let OpsKind::UnTracked(prep) = Constant.prepare::<C>(nodes).compute_bound().stateful() else {
        return None;
    };
    let norm = Vectors {
        gamma: gamma.into_primitive(),
        beta: beta.into_primitive(),
        mean: mean.into_primitive(),
        variance: variance.into_primitive(),
        epsilon: norm.epsilon,
    };
    let (weight, bias) = (weight.into_primitive(), present(bias.into_primitive()));
    let parameters = Parameters { weight, bias, norm: Some(norm) };
    parameters.check(&g);
    let (x, residual) = (x.into_primitive(), present(residual.into_primitive()));
    let y = forward(Path::best(), &g, x, &parameters, activation, residual);
    Some(Tensor::from_primitive::<Autodiff<Flex, C>>(prep.finish(y)))
}

/// The operation that is never differentiated.
#[derive(Debug)]
struct Constant;

impl Backward<Flex, 8> for Constant {
    type State = ();

    fn backward(self, _: Ops<(), 8>, _: &mut Gradients, _: &mut Checkpointer) {
        unreachable!("a tracked operation does not become a constant");
    }
}

#[derive(Debug)]
struct Step;

impl Backward<Flex, 4> for Step {
    type State = (NodeId, NodeId, Option<FlexTensor>, Geometry, Activation);

    fn backward(
        self,
        ops: Ops<Self::State, 4>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let grad = grads.consume::<Flex>(&ops.node);
        let (x, weight, y, g, activation) = ops.state;
        let x = checkpointer.retrieve_node_output::<FlexTensor>(x);
        let weight = checkpointer.retrieve_node_output::<FlexTensor>(weight);
        let [to_x, to_weight, to_bias, to_residual] = ops.parents;
        let path = Path::best();
        let grad = activation::before(path, activation, y, grad);
        let map = Map::of(grad);
        if let Some(parent) = to_bias {
            grads.register::<Flex>(
                parent.id,
                contiguous(activation::sum_pixels(path, &map), &[g.out_channels]),
            );
        }
        if let Some(parent) = to_weight {
            let shape = [g.out_channels, g.in_channels / g.groups, g.kernel[0], g.kernel[1]];
            grads.register::<Flex>(
                parent.id,
                contiguous(weight::gradient(path, &g, &Map::of(x), &map), &shape),
            );
        }
        if let Some(parent) = to_x {
            grads.register::<Flex>(
                parent.id,
                cache::passing(|| data(path, &g, map.tensor().clone(), &weight)),
            );
        }
        if let Some(parent) = to_residual {
            grads.register::<Flex>(parent.id, map.into_tensor());
        }
    }
}

/// The same weights with inputs and outputs exchanged and both axes turned round, without copying them.
fn turned(weight: &FlexTensor) -> FlexTensor {
    let [k, c, height, width] = layout::dims(weight);
    let s = weight.layout().strides();
    let end = (height as isize - 1) * s[2] + (width as isize - 1) * s[3];
    let start = weight.layout().start_offset() as isize + end;
    let layout = Layout::new(
        Shape::from(vec![c, k, height, width]),
        vec![s[1], s[0], -s[2], -s[3]],
        start as usize,
    );
    FlexTensor::from_arc(weight.data_arc(), layout, DType::F32)
}

/// The geometry of the convolution that takes the gradient back, if there is one: of stride one, without groups.
fn back(g: &Geometry) -> Option<Geometry> {
    if g.stride != [1, 1] || g.groups != 1 {
        return None;
    }
    let mut back = Geometry {
        in_channels: g.out_channels,
        out_channels: g.in_channels,
        input: g.output,
        output: g.input,
        ..*g
    };
    for i in 0..2 {
        let extent = g.dilation[i] * (g.kernel[i] - 1);
        back.before[i] = extent.checked_sub(g.before[i])?;
        back.after[i] = (g.input[i] + extent).checked_sub(g.output[i] + back.before[i])?;
    }
    Some(back)
}

/// The gradient by the input, channels-last.
pub(super) fn data(path: Path, g: &Geometry, grad: FlexTensor, weight: &FlexTensor) -> FlexTensor {
    if let Some(back) = back(g) {
        let parameters = Parameters::plain(turned(weight), None);
        return forward(path, &back, grad, &parameters, Activation::Identity, None);
    }
    let mut out = Buffer::new(g.batch * g.input[0] * g.input[1] * g.in_channels);
    let shape = [g.batch, g.in_channels, g.input[0], g.input[1]];
    if Algorithm::Depthwise.possible(g) {
        depthwise_data_gradient(path, g, &Map::of(grad), weight, &mut out);
        return primitive(out, layout::layout(shape));
    }
    let sizes = transposed::Sizes::gradient_of(g);
    let form = Form::Transposed { options: [g.stride, g.before, g.dilation], groups: g.groups };
    let phases = cache::packed(weight, form, || transposed::pack(weight, &sizes));
    let bias = crate::conv::fold::padded_bias(None, g.in_channels);
    transposed::run(path, &sizes, &Map::of(grad), &phases, &bias, Activation::Identity, &mut out);
    primitive(out, layout::layout(shape))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, floats};
    use burn::tensor::TensorData;
    use proptest::prelude::*;

    fn flex(values: &[f32], shape: [usize; 4]) -> FlexTensor {
        FlexTensor::from_data(TensorData::new(values.to_vec(), shape))
    }

    /// By definition: the gradients by input (channels-last) and weight, for a gradient in NCHW.
    fn naive(g: &Geometry, x: &[f32], w: &[f32], grad: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let (channels, outputs) = (g.in_channels / g.groups, g.out_channels / g.groups);
        let (mut dx, mut dw) = (vec![0f64; x.len()], vec![0f64; w.len()]);
        for n in 0..g.batch {
            for k in 0..g.out_channels {
                for (oy, ox) in (0..g.output[0]).flat_map(|y| (0..g.output[1]).map(move |x| (y, x)))
                {
                    let value = f64::from(
                        grad[((n * g.out_channels + k) * g.output[0] + oy) * g.output[1] + ox],
                    );
                    for (ky, kx) in
                        (0..g.kernel[0]).flat_map(|y| (0..g.kernel[1]).map(move |x| (y, x)))
                    {
                        let y = (oy * g.stride[0] + ky * g.dilation[0]).wrapping_sub(g.before[0]);
                        let at = (ox * g.stride[1] + kx * g.dilation[1]).wrapping_sub(g.before[1]);
                        if y >= g.input[0] || at >= g.input[1] {
                            continue;
                        }
                        for c in 0..channels {
                            let channel = k / outputs * channels + c;
                            let wi = ((k * channels + c) * g.kernel[0] + ky) * g.kernel[1] + kx;
                            let xi =
                                ((n * g.in_channels + channel) * g.input[0] + y) * g.input[1] + at;
                            let di =
                                ((n * g.input[0] + y) * g.input[1] + at) * g.in_channels + channel;
                            dx[di] += value * f64::from(w[wi]);
                            dw[wi] += value * f64::from(x[xi]);
                        }
                    }
                }
            }
        }
        (dx.iter().map(|&v| v as f32).collect(), dw.iter().map(|&v| v as f32).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(192))]
        #[test]
        fn gradients_match_the_definition(
            batch in 1usize..3, channels in 1usize..30, outputs in 1usize..20, groups in 1usize..3, depthwise: bool,
            size in [1usize..11, 1usize..11], kernel in [1usize..5, 1usize..5], stride in [1usize..4, 1usize..4],
            padding in [(0usize..3, 0usize..3), (0usize..3, 0usize..3)], dilation in [1usize..3, 1usize..3], seed in 0u64..1_000_000,
        ) {
            let (groups, channels, outputs) = if depthwise { (channels, 1, 1) } else { (groups, channels, outputs) };
            let mut options = ConvOptions::new(stride, [0, 0], dilation, groups);
            options.padding = padding;
            let (xs, ws) = ([batch, channels * groups, size[0], size[1]], [outputs * groups, channels, kernel[0], kernel[1]]);
            if let Some(g) = Geometry::new(xs, ws, &options) {
                let (x, w) = (floats(xs.iter().product(), seed), floats(ws.iter().product(), seed + 1));
                let gs = [batch, g.out_channels, g.output[0], g.output[1]];
                let grad = floats(gs.iter().product(), seed + 2);
                let (dx, dw) = naive(&g, &x, &w, &grad);
                for path in Path::available() {
                    let data = data(path, &g, flex(&grad, gs), &flex(&w, ws));
                    assert_close(Map::of(data).data(), &dx, 1e-4);
                    let sums = weight::gradient(path, &g, &Map::of(flex(&x, xs)), &Map::of(flex(&grad, gs)));
                    assert_close(&sums, &dw, 1e-5);
                }
            }
        }
    }

    #[test]
    fn the_weight_gradient_is_the_same_to_the_bit_for_any_number_of_threads() {
        let options = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
        let (xs, ws) = ([2, 20, 19, 17], [40, 20, 3, 3]);
        let g = Geometry::new(xs, ws, &options).unwrap();
        let gs = [2, 40, 19, 17];
        let (x, grad) = (
            Map::of(flex(&floats(xs.iter().product(), 1), xs)),
            Map::of(flex(&floats(gs.iter().product(), 2), gs)),
        );
        let results: Vec<Vec<f32>> = [1, 2, 5]
            .iter()
            .map(|&n| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
                pool.install(|| {
                    let mut all = weight::gradient(Path::best(), &g, &x, &grad).to_vec();
                    all.extend(activation::sum_pixels(Path::best(), &grad).iter());
                    all
                })
            })
            .collect();
        assert!(results.iter().all(|r| r == &results[0]));
    }
}
