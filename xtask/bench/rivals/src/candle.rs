//! candle: the graph of the ONNX file, node by node, on candle's tensors with weights made once. candle-onnx's own
//! evaluator would make them anew at each pass.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use candle_core::{Device, Tensor};
use tract_onnx::pb::{AttributeProto, ModelProto, NodeProto, TensorProto};
use tract_onnx::prelude::Framework;

use crate::Engine;
use crate::images::Images;

pub struct Session {
    nodes: Vec<Node>,
    weights: HashMap<String, Tensor>,
    /// How many nodes read each value: it is dropped after the last.
    uses: HashMap<String, usize>,
    input: (String, Tensor),
    output: String,
}

struct Node {
    inputs: Vec<String>,
    output: String,
    op: Op,
}

/// Top, left, bottom, right, as ONNX orders them.
type Pads = [usize; 4];

enum Op {
    Convolution {
        pads: Pads,
        stride: usize,
        dilation: usize,
        groups: usize,
    },
    MaxPool {
        kernel: [usize; 2],
        stride: [usize; 2],
        pads: Pads,
        ceil: bool,
    },
    /// Every output is a mean of pixels that exist.
    AveragePool {
        kernel: [usize; 2],
        stride: [usize; 2],
    },
    /// Over height and width.
    Mean {
        keep: bool,
    },
    Dense {
        transposed: bool,
    },
    Relu,
    Sigmoid,
    Add,
    Multiply,
    Concatenate {
        axis: usize,
    },
    Reshape(Vec<usize>),
    Same,
}

impl Session {
    pub fn new(file: &Path, images: Images) -> Result<Session> {
        let model: ModelProto = tract_onnx::onnx().proto_model_for_path(file)?;
        let graph = model.graph.context("the file has no graph")?;
        let mut weights = HashMap::new();
        let mut integers = HashMap::new();
        for tensor in &graph.initializer {
            match tensor.data_type {
                FLOAT => _ = weights.insert(tensor.name.clone(), floats(tensor)?),
                INT64 => _ = integers.insert(tensor.name.as_str(), int64s(tensor)),
                other => bail!("`{}` is of type {other}", tensor.name),
            }
        }
        let mut nodes = Vec::new();
        let mut uses = HashMap::new();
        for node in &graph.node {
            let [output] = &node.output[..] else { bail!("{} has several outputs", node.op_type) };
            let op = Op::of(node, &integers).with_context(|| node.op_type.clone())?;
            let inputs: Vec<String> = node
                .input
                .iter()
                .filter(|name| !integers.contains_key(name.as_str()))
                .cloned()
                .collect();
            for name in &inputs {
                *uses.entry(name.clone()).or_insert(0) += 1;
            }
            nodes.push(Node { inputs, output: output.clone(), op });
        }
        let name = graph.input.first().context("the graph has no input")?.name.clone();
        let output = graph.output.first().context("the graph has no output")?.name.clone();
        let input = Tensor::from_vec(images.data, &images.shape[..], &Device::Cpu)?;
        Ok(Session { nodes, weights, uses, input: (name, input), output })
    }
}

impl Engine for Session {
    fn about(&self) -> String {
        "0.11.1".to_owned()
    }

    fn forward(&self) -> Result<Vec<f32>> {
        let mut left = self.uses.clone();
        let mut values: HashMap<&str, Tensor> = HashMap::new();
        values.insert(&self.input.0, self.input.1.clone());
        for node in &self.nodes {
            let inputs: Vec<&Tensor> = node
                .inputs
                .iter()
                .map(|name| {
                    let value = values.get(name.as_str()).or_else(|| self.weights.get(name));
                    value.with_context(|| format!("no value `{name}`"))
                })
                .collect::<Result<_>>()?;
            let value = node.op.run(&inputs)?;
            for name in &node.inputs {
                let uses = left.entry(name.clone()).or_insert(1);
                *uses -= 1;
                if *uses == 0 {
                    values.remove(name.as_str());
                }
            }
            values.insert(&node.output, value);
        }
        let scores = values.get(self.output.as_str()).context("no scores")?;
        Ok(scores.flatten_all()?.to_vec1()?)
    }
}

/// Codes of `TensorProto.DataType`.
const FLOAT: i32 = 1;
const INT64: i32 = 7;

fn floats(tensor: &TensorProto) -> Result<Tensor> {
    let shape: Vec<usize> = tensor.dims.iter().map(|&size| size as usize).collect();
    let data = if tensor.raw_data.is_empty() {
        tensor.float_data.clone()
    } else {
        tensor.raw_data.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
    };
    Ok(Tensor::from_vec(data, shape, &Device::Cpu)?)
}

fn int64s(tensor: &TensorProto) -> Vec<i64> {
    if tensor.raw_data.is_empty() {
        return tensor.int64_data.clone();
    }
    tensor.raw_data.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect()
}

impl Op {
    fn of(node: &NodeProto, integers: &HashMap<&str, Vec<i64>>) -> Result<Op> {
        let attribute = |name: &str| node.attribute.iter().find(|a| a.name == name);
        let number = |name: &str, default: i64| attribute(name).map_or(default, |a| a.i);
        let auto = attribute("auto_pad").is_none_or(|a| a.s.is_empty() || a.s == b"NOTSET");
        if !auto {
            bail!("auto_pad is not NOTSET");
        }
        Ok(match node.op_type.as_str() {
            "Conv" => {
                let (strides, dilations) =
                    (pair(attribute("strides"))?, pair(attribute("dilations"))?);
                if strides[0] != strides[1] || dilations[0] != dilations[1] {
                    bail!("candle has one stride and one dilation for both axes");
                }
                Op::Convolution {
                    pads: pads(attribute("pads"))?,
                    stride: strides[0],
                    dilation: dilations[0],
                    groups: number("group", 1) as usize,
                }
            }
            "MaxPool" => {
                if pair(attribute("dilations"))? != [1, 1] {
                    bail!("dilation");
                }
                Op::MaxPool {
                    kernel: pair(attribute("kernel_shape"))?,
                    stride: pair(attribute("strides"))?,
                    pads: pads(attribute("pads"))?,
                    ceil: number("ceil_mode", 0) == 1,
                }
            }
            "AveragePool" => {
                if pads(attribute("pads"))? != [0; 4] || number("ceil_mode", 0) == 1 {
                    bail!("padding");
                }
                let (kernel, stride) =
                    (pair(attribute("kernel_shape"))?, pair(attribute("strides"))?);
                if kernel == [1, 1] && stride == [1, 1] {
                    return Ok(Op::Same);
                }
                Op::AveragePool { kernel, stride }
            }
            "ReduceMean" => {
                let axes = node.input.get(1).and_then(|name| integers.get(name.as_str()));
                let mut axes = axes.cloned().unwrap_or_default();
                axes.iter_mut().for_each(|axis| *axis = axis.rem_euclid(4));
                axes.sort_unstable();
                if axes != [2, 3] {
                    bail!("over the axes {axes:?}");
                }
                Op::Mean { keep: number("keepdims", 1) == 1 }
            }
            "Gemm" => {
                let ones =
                    ["alpha", "beta"].iter().all(|name| attribute(name).is_none_or(|a| a.f == 1.0));
                if !ones || number("transA", 0) != 0 {
                    bail!("scaled or transposed");
                }
                Op::Dense { transposed: number("transB", 0) == 1 }
            }
            "Relu" => Op::Relu,
            "Sigmoid" => Op::Sigmoid,
            "Add" => Op::Add,
            "Mul" => Op::Multiply,
            "Concat" => Op::Concatenate { axis: number("axis", 1) as usize },
            "Reshape" => {
                let shape = node.input.get(1).and_then(|name| integers.get(name.as_str()));
                let shape = shape.context("the shape is no constant")?;
                if shape.iter().any(|&size| size <= 0) {
                    bail!("to {shape:?}");
                }
                Op::Reshape(shape.iter().map(|&size| size as usize).collect())
            }
            _ => bail!("not written here"),
        })
    }

    fn run(&self, inputs: &[&Tensor]) -> Result<Tensor> {
        let x = *inputs.first().context("a node without inputs")?;
        let second = || inputs.get(1).copied().context("a node without a second input");
        Ok(match self {
            Op::Convolution { pads, stride, dilation, groups } => {
                let even = pads.iter().all(|pad| pad == &pads[0]);
                let padded;
                let (x, pad) = if even {
                    (x, pads[0])
                } else {
                    padded = x
                        .pad_with_zeros(2, pads[0], pads[2])?
                        .pad_with_zeros(3, pads[1], pads[3])?;
                    (&padded, 0)
                };
                let out = x.conv2d(second()?, pad, *stride, *dilation, *groups)?;
                match inputs.get(2) {
                    Some(bias) => {
                        out.broadcast_add(&bias.reshape((1, bias.elem_count(), 1, 1))?)?
                    }
                    None => out,
                }
            }
            Op::MaxPool { kernel, stride, pads, ceil } => {
                let [_, _, height, width] = x.dims() else { bail!("no map to pool") };
                let mut x = x.clone();
                for (axis, size) in [*height, *width].into_iter().enumerate() {
                    let (before, mut after) = (pads[axis], pads[axis + 2]);
                    let room = size + before + after - kernel[axis];
                    if *ceil {
                        // A window that begins within the map, however far it reaches out.
                        let windows = room.div_ceil(stride[axis]);
                        if windows * stride[axis] < size + before {
                            after += windows * stride[axis] - room;
                        }
                    }
                    x = lowest(&x, axis + 2, before, after)?;
                }
                x.max_pool2d_with_stride((kernel[0], kernel[1]), (stride[0], stride[1]))?
            }
            Op::AveragePool { kernel, stride } => {
                x.avg_pool2d_with_stride((kernel[0], kernel[1]), (stride[0], stride[1]))?
            }
            Op::Mean { keep: true } => x.mean_keepdim((2, 3))?,
            Op::Mean { keep: false } => x.mean((2, 3))?,
            Op::Dense { transposed } => {
                let weight = if *transposed { second()?.t()? } else { second()?.clone() };
                let out = x.matmul(&weight)?;
                match inputs.get(2) {
                    Some(bias) => out.broadcast_add(bias)?,
                    None => out,
                }
            }
            Op::Relu => x.relu()?,
            Op::Sigmoid => candle_nn::ops::sigmoid(x)?,
            Op::Add => x.broadcast_add(second()?)?,
            Op::Multiply => x.broadcast_mul(second()?)?,
            Op::Concatenate { axis } => Tensor::cat(inputs, *axis)?,
            Op::Reshape(shape) => x.reshape(&shape[..])?,
            Op::Same => x.clone(),
        })
    }
}

/// `x` with what no maximum is below before and after it.
fn lowest(x: &Tensor, axis: usize, before: usize, after: usize) -> Result<Tensor> {
    let border = |count: usize| {
        let mut shape = x.dims().to_vec();
        shape[axis] = count;
        Tensor::full(f32::NEG_INFINITY, shape, &Device::Cpu)
    };
    let mut parts = Vec::new();
    if before > 0 {
        parts.push(border(before)?);
    }
    parts.push(x.clone());
    if after > 0 {
        parts.push(border(after)?);
    }
    Ok(if parts.len() == 1 { x.clone() } else { Tensor::cat(&parts, axis)? })
}

/// Down and right; ones where nothing is said.
fn pair(attribute: Option<&AttributeProto>) -> Result<[usize; 2]> {
    match attribute.map(|a| &a.ints[..]) {
        None | Some([]) => Ok([1, 1]),
        Some(&[down, right]) => Ok([down as usize, right as usize]),
        Some(other) => bail!("two numbers are needed, not {other:?}"),
    }
}

fn pads(attribute: Option<&AttributeProto>) -> Result<Pads> {
    match attribute.map(|a| &a.ints[..]) {
        None | Some([]) => Ok([0; 4]),
        Some(&[top, left, bottom, right]) => Ok([top, left, bottom, right].map(|pad| pad as usize)),
        Some(other) => bail!("four numbers are needed, not {other:?}"),
    }
}
