//! The detectors that kiln brings along, by name: heads of YOLO on networks of the zoo.

use std::sync::LazyLock;

use burn::config::Config;
use burn::prelude::*;
use serde_json::{Value, json};

use super::{Architecture, Zoo};
use crate::darknet_cfg::CfgNetwork;
use crate::options::{self, Options};
use crate::suggest::nearest;
use crate::yolo::Head;
use crate::yolov2::{self, YoloV2, YoloV2Config};
use crate::yolov3::{YoloV3, YoloV3Config};
use crate::{Detector, Entry, Error, Registry, Task, bounds, parameters, trainable};

/// The detectors that kiln brings along: those of the papers, and their heads on any network of the [`Zoo`] with the maps
/// that they need, by the name `yolov3-resnet18` and the like.
///
/// Every one has the options `num_classes`, `in_channels`, and a table `backbone` with those of the network below.
#[derive(Clone, Copy, Debug, Default)]
pub struct Detectors;

/// Any detector: of [`Detectors`], or one that a `.cfg` of darknet describes.
///
/// The paths of its parameters are those of the network inside.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "a module can't be boxed, and there are few")]
pub enum AnyDetector {
    /// A head of the second paper.
    YoloV2(YoloV2<Architecture>),
    /// A head of the third paper.
    YoloV3(YoloV3<Architecture>),
    /// A network of darknet.
    Cfg(CfgNetwork),
}

impl Detector for AnyDetector {
    fn forward(&self, images: Tensor<4>) -> Vec<Tensor<4>> {
        match self {
            Self::YoloV2(network) => network.forward(images),
            Self::YoloV3(network) => network.forward(images),
            Self::Cfg(network) => network.forward(images),
        }
    }

    fn heads(&self, image: [usize; 2]) -> Vec<Head> {
        match self {
            Self::YoloV2(network) => network.heads(image),
            Self::YoloV3(network) => network.heads(image),
            Self::Cfg(network) => Detector::heads(network, image),
        }
    }

    fn check_input(&self, image: [usize; 3]) -> Result<(), Error> {
        match self {
            Self::YoloV2(network) => network.check_input(image),
            Self::YoloV3(network) => network.check_input(image),
            Self::Cfg(network) => network.check_input(image),
        }
    }
}

/// A head, as data.
#[derive(Clone, Debug)]
enum Kind {
    V2(YoloV2Config),
    V3(YoloV3Config),
}

/// Makes a head with its defaults.
type Make = fn() -> Kind;

/// One detector.
struct Line {
    entry: Entry,
    head: Kind,
    /// What the zoo calls the network below, and what differs from its defaults.
    backbone: &'static str,
    changes: Value,
}

static LINES: LazyLock<Vec<Line>> = LazyLock::new(|| {
    let darknet19 = || json!({ "epsilon": EPSILON });
    let darknet53 = || json!({ "activation": "LeakyRelu" });
    let tiny = || json!({ "epsilon": EPSILON, "stages": yolov2::TINY });
    let v2 = |config| Kind::V2(config);
    let v3 = |config| Kind::V3(config);
    #[rustfmt::skip]
    let lines = vec![
        line("yolov2", v2(YoloV2Config::yolov2()), "darknet19", darknet19(), 50_962_889,
            "Redmon & Farhadi 2017: boxes on one map of Darknet-19, with a passthrough"),
        line("yolov2-tiny", v2(YoloV2Config::tiny()), "darknet19", tiny(), 11_232_057,
            "Redmon & Farhadi 2017, the authors' small one: boxes on one map of 9 convolutions"),
        line("yolov3", v3(YoloV3Config::yolov3()), "darknet53", darknet53(), 61_949_149,
            "Redmon & Farhadi 2018: boxes on three maps of Darknet-53"),
        line("yolov3-tiny", v3(YoloV3Config::tiny()), "darknet19", tiny(), 8_852_366,
            "Redmon & Farhadi 2018, the authors' small one: boxes on two maps"),
        line("yolov3-spp", v3(YoloV3Config::spp()), "darknet53", darknet53(), 62_998_749,
            "Redmon & Farhadi 2018, the authors' strongest: with a pyramid of pools"),
        line("yolov3-resnet18", v3(YoloV3Config::yolov3()), "resnet18", json!({}), 32_196_669,
            "Redmon & Farhadi 2018: its heads on ResNet-18; any network will do"),
    ];
    lines
});

static ENTRIES: LazyLock<Vec<Entry>> =
    LazyLock::new(|| LINES.iter().map(|line| line.entry).collect());

/// The papers' heads, by the beginning of the names of the detectors that have them.
const HEADS: [(&str, Make); 2] = [
    ("yolov2-", || Kind::V2(YoloV2Config::yolov2())),
    ("yolov3-", || Kind::V3(YoloV3Config::yolov3())),
];

/// Every head on every network of the zoo, whether that has the maps or not.
static PAIRS: LazyLock<Vec<(String, &'static str, Make)>> = LazyLock::new(|| {
    let heads = HEADS.iter();
    let each = heads.flat_map(|(start, head)| {
        let networks = Zoo.entries().iter();
        networks.map(move |entry| (format!("{start}{}", entry.name), entry.name, *head))
    });
    each.collect()
});

/// What darknet's detectors add to the variance.
const EPSILON: f64 = 1e-5;
/// Images of the papers.
const INPUT: [usize; 3] = [3, 416, 416];
/// The table of the backbone's options.
const BACKBONE: &str = "backbone";

fn line(
    name: &'static str,
    head: Kind,
    backbone: &'static str,
    changes: Value,
    parameters: usize,
    summary: &'static str,
) -> Line {
    let entry =
        Entry { name, task: Task::Detection, parameters, input: INPUT, dataset: "coco", summary };
    Line { entry, head, backbone, changes }
}

impl Detectors {
    /// The detectors that are listed; there are more, as [`Detectors`] says.
    pub fn entries(&self) -> &'static [Entry] {
        &ENTRIES
    }

    /// Whether there is a detector called `name`.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }

    /// What is known of the detector `name`.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownModel`] with the nearest name for a name that isn't there, [`Error::Strides`] for a head on a
    /// network without the maps that it needs.
    pub fn entry(&self, name: &str) -> Result<Entry, Error> {
        let found = self.find(name)?;
        if found.entry.parameters > 0 {
            return Ok(found.entry);
        }
        let network = self.build(name, &Options::new(), &Device::default())?;
        Ok(Entry { parameters: trainable(&network), ..found.entry })
    }

    /// All options of the detector `name` with their defaults.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownModel`] for a name that isn't there.
    pub fn defaults(&self, name: &str) -> Result<Options, Error> {
        let Line { head, backbone, changes, .. } = self.find(name)?;
        let mut below = Value::Object(Zoo.defaults(backbone)?);
        options::overlay(&mut below, changes)?;
        let mut table = match &head {
            Kind::V2(config) => options::table(config),
            Kind::V3(config) => options::table(config),
        };
        if let Value::Object(mut below) = below {
            below.remove("num_classes");
            below.remove("in_channels");
            table.insert(BACKBONE.to_owned(), below.into());
        }
        table.insert("in_channels".to_owned(), INPUT[0].into());
        Ok(table)
    }

    /// The detector `name` on `device`, with `options` over its defaults.
    ///
    /// # Errors
    ///
    /// Names an unknown detector or option, a value of the wrong type, or what is impossible.
    pub fn build(
        &self,
        name: &str,
        options: &Options,
        device: &Device,
    ) -> Result<AnyDetector, Error> {
        let Line { head, backbone, .. } = self.find(name)?;
        let mut table = Value::Object(self.defaults(name)?);
        options::overlay(&mut table, Value::Object(options.clone()))?;
        let Value::Object(mut table) = table else { unreachable!("options are a table") };
        let mut below = match table.remove(BACKBONE) {
            Some(Value::Object(below)) => below,
            _ => Options::new(),
        };
        let channels = table.remove("in_channels").unwrap_or_default();
        below.insert("in_channels".to_owned(), channels.clone());
        let network =
            Zoo.build(backbone, &below, device).map_err(|error| error.within(BACKBONE))?;
        let offered = Zoo.features(backbone, &below)?;
        let channels = channels.as_u64().map_or(0, |channels| channels as usize);
        let detector = match head {
            Kind::V2(_) => AnyDetector::YoloV2(
                read::<YoloV2Config>(table)?.init(network, &offered, channels, device)?,
            ),
            Kind::V3(_) => AnyDetector::YoloV3(
                read::<YoloV3Config>(table)?.init(network, &offered, channels, device)?,
            ),
        };
        let sizes = parameters(&detector).into_iter().map(|parameter| {
            [1, 1, parameter.shape.iter().fold(1_usize, |size, &side| size.saturating_mul(side))]
        });
        bounds::affordable(sizes)?;
        Ok(detector)
    }

    fn find(&self, name: &str) -> Result<Line, Error> {
        if let Some(line) = LINES.iter().find(|line| line.entry.name == name) {
            let Line { entry, head, backbone, changes } = line;
            let (head, changes) = (head.clone(), changes.clone());
            return Ok(Line { entry: *entry, head, backbone, changes });
        }
        if let Some((name, backbone, head)) = PAIRS.iter().find(|pair| pair.0 == name) {
            let summary = "Redmon & Farhadi: a head of theirs on a network of kiln's";
            return Ok(line(name, head(), backbone, json!({}), 0, summary));
        }
        let names = ENTRIES.iter().map(|entry| entry.name);
        Err(Error::UnknownModel {
            name: name.to_owned(),
            nearest: nearest(name, names).map(str::to_owned),
        })
    }
}

fn read<C: Config>(table: Options) -> Result<C, Error> {
    options::read(Value::Object(table))
}

#[cfg(test)]
mod tests;
