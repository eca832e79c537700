//! The networks that give each pixel a class, by name: heads on networks of the zoo, and U-Net.

use std::sync::LazyLock;

use burn::prelude::*;
use serde_json::{Value, json};

use super::{Architecture, Zoo};
use crate::fcn::{Fcn, FcnConfig};
use crate::fcn_dilated::{DilatedFcn, DilatedFcnConfig};
use crate::options::{self, Options};
use crate::suggest::nearest;
use crate::unet::{UNet, UNetConfig};
use crate::weights::Keys;
use crate::{Entry, Error, Registry, Segmenter, Task, bounds, parameters, trainable};

/// The networks for segmentation that kiln brings along: those of the papers, and their heads on any network of the [`Zoo`]
/// with the maps that they need, by the name `fcn8s-resnet18` and the like.
///
/// Every one has the options `num_classes` and `in_channels`; a head on another network has a table `backbone` with that
/// one's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Segmenters;

/// Any network of [`Segmenters`].
///
/// The paths of its parameters are those of the network inside.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "a module can't be boxed, and there are few")]
pub enum AnySegmenter {
    /// With learned upsampling and skips.
    Fcn(Fcn<Architecture>),
    /// On a dilated backbone.
    Dilated(DilatedFcn<Architecture>),
    /// Down and up again.
    UNet(UNet),
}

impl Segmenter for AnySegmenter {
    fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Fcn(network) => network.forward(images),
            Self::Dilated(network) => network.forward(images),
            Self::UNet(network) => network.forward(images),
        }
    }

    fn forward_all(&self, images: Tensor<4>) -> (Tensor<4>, Vec<Tensor<4>>) {
        match self {
            Self::Fcn(network) => network.forward_all(images),
            Self::Dilated(network) => network.forward_all(images),
            Self::UNet(network) => network.forward_all(images),
        }
    }

    fn head_paths(&self) -> &'static [&'static str] {
        match self {
            Self::Fcn(network) => network.head_paths(),
            Self::Dilated(network) => network.head_paths(),
            Self::UNet(network) => network.head_paths(),
        }
    }

    fn training_paths(&self) -> &'static [&'static str] {
        match self {
            Self::Fcn(network) => network.training_paths(),
            Self::Dilated(network) => network.training_paths(),
            Self::UNet(network) => network.training_paths(),
        }
    }

    fn check_input(&self, image: [usize; 3]) -> Result<(), Error> {
        match self {
            Self::Fcn(network) => network.check_input(image),
            Self::Dilated(network) => network.check_input(image),
            Self::UNet(network) => network.check_input(image),
        }
    }
}

/// A network, as data.
#[derive(Clone, Debug)]
enum Kind {
    Fcn(FcnConfig),
    Dilated(DilatedFcnConfig),
    UNet(UNetConfig),
}

/// The kind for a backbone.
type Head = fn(&str) -> Kind;

/// One network.
#[derive(Clone, Copy)]
struct Line {
    entry: Entry,
    head: Head,
    /// What the zoo calls the network below.
    backbone: Option<&'static str>,
}

static LINES: LazyLock<Vec<Line>> = LazyLock::new(|| {
    #[rustfmt::skip]
    let lines = vec![
        line("fcn32s", fcn32s, Some("vgg16"), 136_152_917, PHOTO,
            "Long et al. 2015: VGG-16 as convolutions, its scores upsampled 32 times"),
        line("fcn16s", fcn16s, Some("vgg16"), 134_815_994, PHOTO,
            "Long et al. 2015: VGG-16 as convolutions, with the scores of a finer map"),
        line("fcn8s", fcn8s, Some("vgg16"), 134_489_759, PHOTO,
            "Long et al. 2015: VGG-16 as convolutions, with the scores of two finer maps"),
        line("fcn8s-vgg11", fcn8s, Some("vgg11"), 128_995_551, PHOTO,
            "Long et al. 2015: its head on VGG-11; any network with the maps will do"),
        line("fcn8s-resnet18", fcn8s, Some("resnet18"), 11_322_399, PHOTO,
            "Long et al. 2015: its head on ResNet-18; any network with the maps will do"),
        line("fcn-resnet50", dilated, Some("resnet50"), 35_322_218, PHOTO,
            "Long et al. 2015 as torchvision has it: one map of a dilated ResNet-50"),
        line("fcn-resnet101", dilated, Some("resnet101"), 54_314_346, PHOTO,
            "Long et al. 2015 as torchvision has it: one map of a dilated ResNet-101"),
        line("unet", |_| Kind::UNet(UNetConfig::new()), None, 31_030_658, [1, 512, 512],
            "Ronneberger et al. 2015: a way down that sees far, a way up that knows where"),
    ];
    lines
});

static ENTRIES: LazyLock<Vec<Entry>> =
    LazyLock::new(|| LINES.iter().map(|line| line.entry).collect());

/// The heads on any network, by the beginning of the names of those that have them.
const HEADS: [(&str, Head); 4] =
    [("fcn32s-", fcn32s), ("fcn16s-", fcn16s), ("fcn8s-", fcn8s), ("fcn-", dilated)];

/// Every head on every network of the zoo, whether that has the maps or not.
static PAIRS: LazyLock<Vec<(String, &'static str, Head)>> = LazyLock::new(|| {
    let heads = HEADS.iter();
    let each = heads.flat_map(|(start, head)| {
        let networks = Zoo.entries().iter();
        networks.map(move |entry| (format!("{start}{}", entry.name), entry.name, *head))
    });
    each.collect()
});

/// Photos with the sides that the heads on a backbone are listed with.
const PHOTO: [usize; 3] = [3, 480, 480];
/// The table of the backbone's options.
const BACKBONE: &str = "backbone";

fn fcn32s(backbone: &str) -> Kind {
    fcn(FcnConfig::fcn32s(), backbone)
}

fn fcn16s(backbone: &str) -> Kind {
    fcn(FcnConfig::fcn16s(), backbone)
}

fn fcn8s(backbone: &str) -> Kind {
    fcn(FcnConfig::fcn8s(), backbone)
}

/// What VGG's dense layers are becomes part of the head, and the paper looks behind VGG's pools. Other networks have neither
/// such layers nor such pools.
fn fcn(config: FcnConfig, backbone: &str) -> Kind {
    let vgg = backbone.starts_with("vgg");
    Kind::Fcn(if vgg { config } else { config.with_hidden(0).with_pooled(false) })
}

fn dilated(_: &str) -> Kind {
    Kind::Dilated(DilatedFcnConfig::new())
}

fn line(
    name: &'static str,
    head: Head,
    backbone: Option<&'static str>,
    parameters: usize,
    input: [usize; 3],
    summary: &'static str,
) -> Line {
    let dataset = if backbone.is_some() { "voc" } else { "isbi" };
    let entry = Entry { name, task: Task::Segmentation, parameters, input, dataset, summary };
    Line { entry, head, backbone }
}

impl Kind {
    fn table(&self) -> Options {
        match self {
            Self::Fcn(config) => options::table(config),
            Self::Dilated(config) => options::table(config),
            Self::UNet(config) => options::table(config),
        }
    }

    /// What the head changes of a backbone's defaults, where that has such options.
    fn changes(&self) -> Options {
        let change = match self {
            Self::Fcn(_) => Some(("ceil", json!(true))),
            Self::Dilated(_) => Some(("output_stride", json!(8))),
            Self::UNet(_) => None,
        };
        change.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// A network with its options.
struct Configured {
    kind: Kind,
    below: Option<(&'static str, Options)>,
    in_channels: usize,
}

impl Segmenters {
    /// The networks that are listed; there are more, as [`Segmenters`] says.
    pub fn entries(&self) -> &'static [Entry] {
        &ENTRIES
    }

    /// Whether there is a network for segmentation called `name`.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }

    /// What is known of the network `name`.
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

    /// All options of the network `name` with their defaults.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownModel`] for a name that isn't there.
    pub fn defaults(&self, name: &str) -> Result<Options, Error> {
        let Line { entry, head, backbone } = self.find(name)?;
        let kind = head(backbone.unwrap_or_default());
        let mut table = kind.table();
        let Some(backbone) = backbone else { return Ok(table) };
        let mut below = Zoo.defaults(backbone)?;
        for (name, value) in kind.changes() {
            if let Some(default) = below.get_mut(&name) {
                *default = value;
            }
        }
        below.remove("num_classes");
        below.remove("in_channels");
        table.insert(BACKBONE.to_owned(), below.into());
        table.insert("in_channels".to_owned(), entry.input[0].into());
        Ok(table)
    }

    /// The network `name` on `device`, with `options` over its defaults.
    ///
    /// # Errors
    ///
    /// Names an unknown network or option, a value of the wrong type, or what is impossible.
    pub fn build(
        &self,
        name: &str,
        options: &Options,
        device: &Device,
    ) -> Result<AnySegmenter, Error> {
        let Configured { kind, below, in_channels } = self.configured(name, options)?;
        let built = |(backbone, options): (&str, Options)| {
            let network =
                Zoo.build(backbone, &options, device).map_err(|error| error.within(BACKBONE))?;
            Ok::<_, Error>((network, Zoo.features(backbone, &options)?))
        };
        let network = match (kind, below) {
            (Kind::Fcn(config), Some(options)) => {
                let (network, offered) = built(options)?;
                AnySegmenter::Fcn(config.init(network, &offered, in_channels, device)?)
            }
            (Kind::Dilated(config), Some(options)) => {
                let (network, offered) = built(options)?;
                AnySegmenter::Dilated(config.init(network, &offered, in_channels, device)?)
            }
            (Kind::UNet(config), _) => {
                config.check()?;
                AnySegmenter::UNet(config.init(device))
            }
            (Kind::Fcn(_) | Kind::Dilated(_), None) => {
                unreachable!("a head stands on a backbone")
            }
        };
        let sizes = parameters(&network).into_iter().map(|parameter| {
            [1, 1, parameter.shape.iter().fold(1_usize, |size, &side| size.saturating_mul(side))]
        });
        bounds::affordable(sizes)?;
        Ok(network)
    }

    /// How PyTorch's names of the parameters of network `name`, with `options` over its defaults, are spelt here.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build).
    pub fn keys(&self, name: &str, options: &Options) -> Result<&'static Keys, Error> {
        let Configured { kind, below, .. } = self.configured(name, options)?;
        let below = match below {
            Some((backbone, options)) => Zoo.keys(backbone, &options)?,
            None => &[],
        };
        Ok(match kind {
            Kind::Fcn(config) => config.keys(below),
            Kind::Dilated(config) => config.keys(below),
            Kind::UNet(_) => &[],
        })
    }

    fn configured(&self, name: &str, options: &Options) -> Result<Configured, Error> {
        let Line { head, backbone, .. } = self.find(name)?;
        let mut table = Value::Object(self.defaults(name)?);
        options::overlay(&mut table, Value::Object(options.clone()))?;
        let Value::Object(mut table) = table else { unreachable!("options are a table") };
        let channels = table.get("in_channels").cloned().unwrap_or_default();
        let below = backbone.map(|backbone| {
            let mut below = match table.remove(BACKBONE) {
                Some(Value::Object(below)) => below,
                _ => Options::new(),
            };
            table.remove("in_channels");
            below.insert("in_channels".to_owned(), channels.clone());
            (backbone, below)
        });
        let kind = match head(backbone.unwrap_or_default()) {
            Kind::Fcn(_) => Kind::Fcn(options::read(table.into())?),
            Kind::Dilated(_) => Kind::Dilated(options::read(table.into())?),
            Kind::UNet(_) => Kind::UNet(options::read(table.into())?),
        };
        let in_channels = channels.as_u64().map_or(0, |channels| channels as usize);
        Ok(Configured { kind, below, in_channels })
    }

    fn find(&self, name: &str) -> Result<Line, Error> {
        if let Some(line) = LINES.iter().find(|line| line.entry.name == name) {
            return Ok(*line);
        }
        if let Some((name, backbone, head)) = PAIRS.iter().find(|pair| pair.0 == name) {
            let summary = "Long et al. 2015: a head of theirs on a network of kiln's";
            return Ok(line(name, *head, Some(backbone), 0, PHOTO, summary));
        }
        let names = ENTRIES.iter().map(|entry| entry.name);
        Err(Error::UnknownModel {
            name: name.to_owned(),
            nearest: nearest(name, names).map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests;
