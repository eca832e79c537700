//! The sections of a `.cfg` that need more than a line: convolutions, routes and heads.

use kiln_layers::{Activation, Norm};

use super::parse::{Fault, Section, fault};
use super::plan::{Act, DEEPEST, LONGEST, Plan, Step, WIDEST, Weights};
use crate::yolo::{Head, Scores, Units};

impl Plan {
    pub fn convolution(
        &mut self,
        section: &Section,
        shape @ [from, height, width]: [usize; 3],
    ) -> Result<(Step, [usize; 3]), Fault> {
        let to = section.number("filters", 1, 1..=WIDEST)?;
        let kernel = section.number("size", 1, 1..=LONGEST)?;
        let stride = section.number("stride", 1, 1..=LONGEST)?;
        let dilation = section.number("dilation", 1, 1..=LONGEST)?;
        let groups = section.number("groups", 1, 1..=WIDEST)?;
        let padding = section.number("padding", 0, 0..=LONGEST)?;
        let padding = if section.is_set("pad")? { kernel / 2 } else { padding };
        let padding = padding * dilation;
        if !from.is_multiple_of(groups) || !to.is_multiple_of(groups) {
            let reason = format!("{groups} groups don't divide {from} and {to} channels");
            return fault(section.line_of("groups"), reason);
        }
        for key in ["binary", "xnor", "antialiasing", "deform", "flipped", "stretch"] {
            if section.number(key, 0, 0..=WIDEST)? != 0 {
                return fault(section.line_of(key), format!("{key} is not supported"));
            }
        }
        let reach = dilation * (kernel - 1) + 1;
        let after = [height, width].map(|side| windows(side + 2 * padding, reach, stride));
        let [Some(h), Some(w)] = after else {
            return fault(section.line, small(section, reach, shape));
        };
        let (activation, act) = activation(section, "logistic")?;
        let norm = norm(section)?;
        let conv = self.push(Weights {
            channels: [from, to],
            kernel,
            stride,
            padding,
            dilation,
            groups,
            norm,
            activation,
            dense: false,
        });
        Ok((Step::Conv { conv, act }, [to, h, w]))
    }

    pub fn route(&self, section: &Section) -> Result<(Step, [usize; 3]), Fault> {
        let from = self.numbers(section, "layers")?;
        let groups = section.number("groups", 1, 1..=WIDEST)?;
        let group = section.number("group_id", 0, 0..=groups - 1)?;
        let [_, height, width] = self.layers[from[0]].shape;
        let mut channels = 0_usize;
        for &at in &from {
            let [more, h, w] = self.layers[at].shape;
            if [h, w] != [height, width] {
                let reason =
                    format!("layer {at} is {w}×{h} pixels and layer {} {width}×{height}", from[0]);
                return fault(section.line_of("layers"), reason);
            }
            if !more.is_multiple_of(groups) {
                let reason =
                    format!("{groups} groups don't divide the {more} channels of layer {at}");
                return fault(section.line_of("groups"), reason);
            }
            channels = channels.saturating_add(more / groups);
        }
        Ok((Step::Route { from, groups, group }, [channels, height, width]))
    }

    /// The layers that `key` names, from the start or, if negative, back from here.
    pub fn numbers(&self, section: &Section, key: &str) -> Result<Vec<usize>, Fault> {
        let here = self.layers.len() as i64;
        let numbers: Vec<i64> = section.list(key)?;
        if numbers.is_empty() || numbers.len() > DEEPEST {
            return fault(section.line, format!("[{}] needs {key}", section.kind));
        }
        let absolute = numbers.into_iter().map(|number| {
            let at = if number < 0 { here.saturating_add(number) } else { number };
            if (0..here).contains(&at) {
                return Ok(at as usize);
            }
            let reason = format!("{key} names layer {number}, and this is layer {here}");
            fault(section.line_of(key), reason)
        });
        absolute.collect()
    }

    pub fn head(&self, section: &Section, [channels, ..]: [usize; 3]) -> Result<Head, Fault> {
        let yolo = section.kind == "yolo";
        let classes = section.number("classes", 20, 1..=WIDEST)?;
        let num = section.number("num", 1, 1..=DEEPEST)?;
        let numbers: Vec<f32> = section.list("anchors")?;
        let anchors: Vec<[f32; 2]> = numbers.as_chunks().0.to_vec();
        let usable = |side: &f32| side.is_finite() && *side > 0.0;
        if anchors.len() < num || !numbers.iter().all(usable) {
            let reason = format!("anchors must be {num} pairs of numbers above 0");
            return fault(section.line_of("anchors"), reason);
        }
        let mask: Vec<usize> = section.list("mask")?;
        let mask = if yolo && section.find("mask").is_some() { mask } else { (0..num).collect() };
        if mask.iter().any(|&at| at >= num) || mask.is_empty() || mask.len() > num {
            let reason = format!("mask must name some of the {num} anchors, from 0");
            return fault(section.line_of("mask"), reason);
        }
        for key in ["new_coords", "tree", "bias_match_tree", "map"] {
            if let Some((line, value)) = section.find(key).filter(|found| found.1 != "0") {
                return fault(line, format!("{key}={value} is not supported"));
            }
        }
        if section.number("coords", 4, 4..=4)? != 4 || section.number("background", 0, 0..=0)? != 0
        {
            return fault(section.line, "[region] needs coords=4 and background=0".to_owned());
        }
        let expected = mask.len() * (5 + classes);
        if channels != expected {
            let reason = format!(
                "[{}] with {} boxes of {classes} classes needs {expected} channels, found {channels}",
                section.kind,
                mask.len()
            );
            return fault(section.line, reason);
        }
        let softmax = !yolo && section.is_set("softmax")?;
        Ok(Head {
            anchors: mask.into_iter().map(|at| anchors[at]).collect(),
            units: if yolo { Units::Pixels } else { Units::Cells },
            classes,
            scores: if softmax { Scores::Softmax } else { Scores::Logistic },
            scale_xy: section.real("scale_x_y", 1.0)?,
            input: [self.input[1], self.input[2]],
        })
    }
}

/// How many windows of `size` fit into `side`.
pub(super) fn windows(side: usize, size: usize, stride: usize) -> Option<usize> {
    side.checked_sub(size).map(|rest| rest / stride + 1)
}

pub(super) fn small(section: &Section, size: usize, [_, height, width]: [usize; 3]) -> String {
    format!("[{}] has windows of {size} pixels and a map of {width}×{height}", section.kind)
}

pub(super) fn norm(section: &Section) -> Result<Norm, Fault> {
    Ok(if section.is_set("batch_normalize")? { Norm::Batch } else { Norm::None })
}

/// What the convolution applies, and what is left.
pub(super) fn activation(section: &Section, default: &str) -> Result<(Activation, Act), Fault> {
    let (line, name) = section.find("activation").unwrap_or((section.line, default));
    Ok(match name {
        "linear" => (Activation::Identity, Act::Done),
        "leaky" => (Activation::LeakyRelu, Act::Done),
        "relu" => (Activation::Relu, Act::Done),
        "logistic" => (Activation::Sigmoid, Act::Done),
        "tanh" => (Activation::Tanh, Act::Done),
        "swish" => (Activation::Identity, Act::Silu),
        "mish" => (Activation::Identity, Act::Mish),
        other => {
            let known = "linear, leaky, relu, logistic, tanh, swish or mish";
            let other: String = other.chars().take(40).collect();
            return fault(line, format!("activation must be {known}, found `{other}`"));
        }
    })
}
