//! What the sections of a `.cfg` mean: layers, their shapes, and who needs whose map for how long.

use kiln_layers::{Activation, Norm};

use super::layers::{activation, norm, small, windows};
use super::parse::{Fault, Section, fault};
use crate::bounds;
use crate::yolo::Head;

/// Most layers.
pub(super) const DEEPEST: usize = 10_000;
/// Most channels or units.
pub(super) const WIDEST: usize = 1 << 20;
/// Most pixels of a side, of an image or a window.
pub(super) const LONGEST: usize = 1 << 14;
/// Most numbers of a map.
const LARGEST: usize = 1 << 30;

#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Channels, height and width of the images.
    pub input: [usize; 3],
    pub layers: Vec<Layer>,
    pub weights: Vec<Weights>,
    pub heads: Vec<Head>,
}

#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub step: Step,
    /// Channels, height and width of its map.
    pub shape: [usize; 3],
    /// The last layer that asks for its map by number; its own number where none does.
    pub kept_until: usize,
    /// The maps that nobody asks for after this layer.
    pub frees: Vec<usize>,
    /// The shortcut that a convolution can compute along.
    pub sum: Option<usize>,
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Conv { conv: usize, act: Act },
    Connected { conv: usize, act: Act },
    MaxPool(Pool),
    AvgPool,
    Route { from: Vec<usize>, groups: usize, group: usize },
    Shortcut { from: Vec<usize>, act: Act },
    Upsample(usize),
    Reorg { stride: usize, reverse: bool },
    Dropout(f64),
    Softmax { groups: usize, temperature: f32 },
    Head,
    Nothing,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Pool {
    pub size: usize,
    pub stride: usize,
    /// Pixels beyond the left and upper border, and beyond the right and lower one.
    pub before: usize,
    pub after: usize,
}

/// What is left to apply to a layer's sum.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    Done,
    Known(Activation),
    Silu,
    Mish,
}

/// A layer with weights, as a convolution.
#[derive(Clone, Debug)]
pub(super) struct Weights {
    pub channels: [usize; 2],
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
    pub dilation: usize,
    pub groups: usize,
    pub norm: Norm,
    pub activation: Activation,
    /// Whether it is a connected layer, whose weights lie in another order.
    pub dense: bool,
}

impl Weights {
    /// Numbers in a file of weights.
    pub fn floats(&self) -> usize {
        let [from, to] = self.channels;
        let vectors = if self.norm == Norm::Batch { 4 } else { 1 };
        to * vectors + to * (from / self.groups) * self.kernel * self.kernel
    }
}

impl Layer {
    /// The layers whose maps it asks for by number.
    pub fn sources(&self) -> impl Iterator<Item = usize> {
        let from: &[usize] = match &self.step {
            Step::Route { from, .. } | Step::Shortcut { from, .. } => from,
            _ => &[],
        };
        from.iter().copied()
    }

    pub fn act(&self) -> Act {
        match self.step {
            Step::Shortcut { act, .. } => act,
            _ => Act::Done,
        }
    }
}

impl Plan {
    pub fn new(sections: &[Section]) -> Result<Self, Fault> {
        let Some((net, rest)) = sections.split_first() else {
            return fault(1, "the file must begin with [net]".to_owned());
        };
        if net.kind != "net" && net.kind != "network" {
            return fault(net.line, format!("expected [net], found [{}]", net.kind));
        }
        if let Some(section) = rest.get(DEEPEST) {
            return fault(section.line, format!("more than {DEEPEST} layers"));
        }
        let side = |key| {
            let found = net.number(key, 0, 1..=LONGEST)?;
            if found == 0 { fault(net.line, format!("[net] needs {key}")) } else { Ok(found) }
        };
        let input = [net.number("channels", 3, 1..=WIDEST)?, side("height")?, side("width")?];
        let mut plan = Self { input, layers: Vec::new(), weights: Vec::new(), heads: Vec::new() };
        let mut shape = plan.room(net, input)?;
        for section in rest {
            let (step, after) = plan.layer(section, shape)?;
            shape = plan.room(section, after)?;
            let kept_until = plan.layers.len();
            plan.layers.push(Layer { step, shape, kept_until, frees: Vec::new(), sum: None });
            let products = plan.weights.iter().map(|weights| [1, 1, weights.floats()]);
            if let Err(error) = bounds::affordable(products) {
                return fault(section.line, error.to_string());
            }
        }
        if plan.layers.is_empty() {
            return fault(net.line, "there is no layer after [net]".to_owned());
        }
        plan.link();
        Ok(plan)
    }

    /// `shape`, if such a map fits into a memory.
    fn room(&self, section: &Section, shape: [usize; 3]) -> Result<[usize; 3], Fault> {
        let size = shape.iter().try_fold(1_usize, |size, &side| size.checked_mul(side));
        match size {
            Some(0) => fault(section.line, format!("[{}] has an empty map", section.kind)),
            Some(size) if size <= LARGEST && shape[0] <= WIDEST => Ok(shape),
            _ => fault(
                section.line,
                format!("[{}] has a map of {shape:?}, too large for any memory", section.kind),
            ),
        }
    }

    fn layer(&mut self, section: &Section, shape: [usize; 3]) -> Result<(Step, [usize; 3]), Fault> {
        let [channels, height, width] = shape;
        let all = channels * height * width;
        Ok(match section.kind.as_str() {
            "convolutional" | "conv" => self.convolution(section, shape)?,
            "connected" | "conn" => {
                let to = section.number("output", 1, 1..=WIDEST)?;
                let (activation, act) = activation(section, "logistic")?;
                let norm = norm(section)?;
                if all > WIDEST {
                    return fault(
                        section.line,
                        format!("[connected] sees {all} numbers, more than {WIDEST}"),
                    );
                }
                let conv = self.push(Weights {
                    channels: [all, to],
                    kernel: 1,
                    stride: 1,
                    padding: 0,
                    dilation: 1,
                    groups: 1,
                    norm,
                    activation,
                    dense: true,
                });
                (Step::Connected { conv, act }, [to, 1, 1])
            }
            "maxpool" | "max" => {
                let stride = section.number("stride", 1, 1..=LONGEST)?;
                let size = section.number("size", stride, 1..=LONGEST)?;
                let padding = section.number("padding", size - 1, 0..=2 * (size - 1))?;
                let before = padding / 2;
                let pool = Pool { size, stride, before, after: padding - before };
                let after = [height, width].map(|side| windows(side + padding, size, stride));
                let [Some(h), Some(w)] = after else {
                    return fault(section.line, small(section, size, shape));
                };
                (Step::MaxPool(pool), [channels, h, w])
            }
            "avgpool" | "avg" => (Step::AvgPool, [channels, 1, 1]),
            "route" => self.route(section)?,
            "shortcut" => {
                for key in ["weights_type", "weights_normalization"] {
                    if let Some((line, value)) = section.find(key).filter(|found| found.1 != "none")
                    {
                        return fault(line, format!("{key}={value} is not supported"));
                    }
                }
                let from = self.numbers(section, "from")?;
                if let Some(&at) = from.iter().find(|&&at| self.layers[at].shape != shape) {
                    let other = self.layers[at].shape;
                    let reason = format!(
                        "a shortcut from {other:?} (layer {at}) to {shape:?}; shapes must be equal"
                    );
                    return fault(section.line_of("from"), reason);
                }
                let (activation, act) = activation(section, "linear")?;
                let act = match act {
                    Act::Done if activation != Activation::Identity => Act::Known(activation),
                    act => act,
                };
                (Step::Shortcut { from, act }, shape)
            }
            "upsample" => {
                let factor = section.number("stride", 2, 1..=LONGEST)?;
                if section.real("scale", 1.0)? != 1.0 {
                    return fault(section.line_of("scale"), "only scale=1 is supported".to_owned());
                }
                (Step::Upsample(factor), [channels, height * factor, width * factor])
            }
            "reorg" => {
                let stride = section.number("stride", 1, 1..=LONGEST)?;
                let reverse = section.is_set("reverse")?;
                for key in ["flatten", "extra"] {
                    if section.number(key, 0, 0..=WIDEST)? != 0 {
                        return fault(section.line_of(key), format!("{key} is not supported"));
                    }
                }
                let area = stride * stride;
                if !channels.is_multiple_of(area)
                    || !reverse && (height % stride, width % stride) != (0, 0)
                {
                    let reason = format!("[reorg] can't take {shape:?} apart by {stride}");
                    return fault(section.line_of("stride"), reason);
                }
                let after = match reverse {
                    true => [channels / area, height * stride, width * stride],
                    false => [channels * area, height / stride, width / stride],
                };
                (Step::Reorg { stride, reverse }, after)
            }
            "dropout" => {
                let chance = section.real("probability", 0.5)?;
                if !(0.0..1.0).contains(&chance) {
                    let reason = format!("probability must be in 0..1, found {chance}");
                    return fault(section.line_of("probability"), reason);
                }
                (Step::Dropout(f64::from(chance)), shape)
            }
            "softmax" | "soft" => {
                let groups = section.number("groups", 1, 1..=WIDEST)?;
                let temperature = section.real("temperature", 1.0)?;
                if !all.is_multiple_of(groups) {
                    let reason = format!("{groups} groups don't divide {all} numbers");
                    return fault(section.line_of("groups"), reason);
                }
                if temperature <= 0.0 || section.find("tree").is_some() {
                    return fault(
                        section.line,
                        "[softmax] needs a temperature above 0 and no tree".to_owned(),
                    );
                }
                (Step::Softmax { groups, temperature }, shape)
            }
            "cost" => (Step::Nothing, shape),
            "yolo" | "region" => {
                let head = self.head(section, shape)?;
                self.heads.push(head);
                (Step::Head, shape)
            }
            kind => {
                let kind: String = kind.chars().take(40).collect();
                return fault(section.line, format!("[{kind}] is no layer that kiln knows"));
            }
        })
    }

    pub fn push(&mut self, weights: Weights) -> usize {
        self.weights.push(weights);
        self.weights.len() - 1
    }

    /// Finds how long each map is needed, and the shortcuts that a convolution can compute along.
    fn link(&mut self) {
        for at in 0..self.layers.len() {
            for from in self.layers[at].sources().collect::<Vec<_>>() {
                self.layers[from].kept_until = at;
            }
        }
        for from in 0..self.layers.len() {
            let until = self.layers[from].kept_until;
            if until > from {
                self.layers[until].frees.push(from);
            }
        }
        for at in 0..self.layers.len() {
            let Step::Conv { conv, act: Act::Done } = self.layers[at].step else { continue };
            if self.weights[conv].activation != Activation::Identity {
                continue;
            }
            // Between both may be what inference passes over; nobody else may want the convolution's own map.
            let passed = |layer: &&Layer| matches!(layer.step, Step::Dropout(_) | Step::Nothing);
            let sum = at + 1 + self.layers[at + 1..].iter().take_while(passed).count();
            let alone = (at..sum.min(self.layers.len())).all(|i| self.layers[i].kept_until == i);
            match self.layers.get(sum).map(|layer| &layer.step) {
                Some(Step::Shortcut { from, .. }) if alone && from.len() == 1 && from[0] < at => {
                    self.layers[at].sum = Some(sum);
                }
                _ => {}
            }
        }
    }
}
