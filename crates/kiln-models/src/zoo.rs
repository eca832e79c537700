//! The networks that kiln brings along, by name.

mod detectors;
mod segmenters;

use std::sync::LazyLock;

use burn::config::Config;
use burn::prelude::*;
use kiln_layers::{Norm, Objective, Targets};

use crate::alexnet::{self, AlexNet, AlexNetConfig};
use crate::cnn::{self, Cnn, CnnConfig};
use crate::darknet::{Darknet, DarknetConfig};
use crate::darknet53::{self, Darknet53, Darknet53Config};
use crate::googlenet::{self, GoogLeNet, GoogLeNetConfig};
use crate::lenet::{LeNet, LeNetConfig};
use crate::lenet5::{self, LeNet5, LeNet5Config};
use crate::lenet5_1998::{self, LeNet5Of1998, LeNet5Of1998Config};
use crate::options::{self, Options};
use crate::resnet::{self, ResNet, ResNetConfig};
use crate::resnet_cifar::{self, CifarResNet, CifarResNetConfig};
use crate::senet::{self, SeNet, SeNetConfig};
use crate::vgg::{Vgg, VggConfig};
use crate::weights::{Keys, Pretrained, pretrained};
use crate::xception::{self, Xception, XceptionConfig};
use crate::{
    Classifier, ConvolutionalHead, Entry, Error, Feature, FeatureInfo, Registry, Task, bounds,
    parameters,
};

pub use detectors::{AnyDetector, Detectors};
pub use segmenters::{AnySegmenter, Segmenters};

/// The networks that kiln brings along.
#[derive(Clone, Copy, Debug, Default)]
pub struct Zoo;

/// A configuration that the zoo can list: its fields are the network's options.
trait Family: Config + Clone + Send + Sync + 'static {
    /// How PyTorch's names of the parameters are spelt here.
    fn keys(&self) -> &'static Keys;

    /// The maps that it offers to heads.
    fn features(&self) -> Vec<FeatureInfo>;

    /// Whether such a network is possible.
    fn check(&self) -> Result<(), Error>;

    fn network(&self, device: &Device) -> Architecture;
}

/// Makes [`Architecture`] of the families: per line a network, its configuration, and the keys of a
/// configuration.
macro_rules! families {
    ($($network:ident, $config:ident, |$this:ident| $keys:expr;)*) => {
        /// Any network of the [`Zoo`].
        ///
        /// The paths of its parameters are those of the network inside.
        #[derive(Module, Debug)]
        #[expect(clippy::large_enum_variant, reason = "a module can't be boxed, and there are few")]
        pub enum Architecture {
            $(
                #[doc = concat!("[`", stringify!($network), "`]")]
                $network($network),
            )*
        }

        $(impl Family for $config {
            fn keys(&self) -> &'static Keys {
                let $this = self;
                $keys
            }

            fn features(&self) -> Vec<FeatureInfo> {
                self.features()
            }

            fn check(&self) -> Result<(), Error> {
                self.check()
            }

            fn network(&self, device: &Device) -> Architecture {
                Architecture::$network(self.init(device))
            }
        })*

        impl Classifier for Architecture {
            fn forward(&self, images: Tensor<4>) -> Tensor<2> {
                match self { $(Self::$network(network) => network.forward(images),)* }
            }

            fn loss(
                &self,
                images: Tensor<4>,
                targets: Targets,
                objective: &Objective,
            ) -> (Tensor<2>, Tensor<1>) {
                match self { $(Self::$network(network) => network.loss(images, targets, objective),)* }
            }

            fn features(&self, images: Tensor<4>) -> Vec<Feature> {
                match self { $(Self::$network(network) => network.features(images),)* }
            }

            fn head_paths(&self) -> &'static [&'static str] {
                match self { $(Self::$network(network) => network.head_paths(),)* }
            }

            fn training_paths(&self) -> &'static [&'static str] {
                match self { $(Self::$network(network) => network.training_paths(),)* }
            }

            fn into_backbone(self) -> Option<Self> {
                match self {
                    $(Self::$network(network) => network.into_backbone().map(Self::$network),)*
                }
            }

            fn convolutional_head(&self, seen: usize) -> Option<ConvolutionalHead> {
                match self { $(Self::$network(network) => network.convolutional_head(seen),)* }
            }

            fn score_map(&self, map: Tensor<4>) -> Tensor<4> {
                match self { $(Self::$network(network) => network.score_map(map),)* }
            }

            fn check_input(&self, image: [usize; 3]) -> Result<(), Error> {
                match self { $(Self::$network(network) => network.check_input(image),)* }
            }
        }
    };
}

families! {
    LeNet5, LeNet5Config, |_config| lenet5::KEYS;
    LeNet5Of1998, LeNet5Of1998Config, |_config| lenet5_1998::KEYS;
    LeNet, LeNetConfig, |config| config.keys();
    Cnn, CnnConfig, |_config| cnn::KEYS;
    AlexNet, AlexNetConfig, |_config| alexnet::KEYS;
    Vgg, VggConfig, |config| config.keys();
    GoogLeNet, GoogLeNetConfig, |_config| googlenet::KEYS;
    ResNet, ResNetConfig, |_config| resnet::KEYS;
    CifarResNet, CifarResNetConfig, |_config| resnet_cifar::KEYS;
    SeNet, SeNetConfig, |_config| senet::KEYS;
    Xception, XceptionConfig, |_config| xception::KEYS;
    Darknet, DarknetConfig, |config| config.keys();
    Darknet53, Darknet53Config, |_config| darknet53::KEYS;
}

/// Small photos in colour.
const SMALL_PHOTO: [usize; 3] = [3, 32, 32];
/// What most networks are listed with: photos of this size, in colour.
const PHOTO: [usize; 3] = [3, 224, 224];

static LINES: LazyLock<Vec<Line>> = LazyLock::new(|| {
    #[rustfmt::skip]
    let lines = vec![
        line("lenet5", LeNet5Config::new(), 61_750, [1, 28, 28], "mnist",
            "LeCun et al. 1998, as textbooks draw it: tanh, trainable subsampling"),
        line("lenet5-1998", LeNet5Of1998Config::new(), 60_000, [1, 28, 28], "mnist",
            "LeCun et al. 1998 as in the paper: partial connections, distances to drawings"),
        line("lenet5-tanh", LeNetConfig::tanh(), 61_706, [1, 32, 32], "mnist",
            "LeCun et al. 1998 with average pooling and a dense output, for images of 32x32"),
        line("lenet-caffe", LeNetConfig::caffe(), 431_080, [1, 28, 28], "mnist",
            "LeCun et al. 1998 as in Caffe: wider, max pooling, one rectifier"),
        line("cnn", CnnConfig::new(), 1_413_834, [1, 28, 28], "fashion-mnist",
            "a textbook's plain stack for small grey images: 64, 128, 256 channels, dropout"),
        line("alexnet", AlexNetConfig::alexnet(), 61_100_840, PHOTO, "imagenet",
            "Krizhevsky 2014 as torchvision has it: five convolutions, three dense layers"),
        line("alexnet-2012", AlexNetConfig::alexnet_2012(), 60_965_224, PHOTO, "imagenet",
            "Krizhevsky et al. 2012 as in the paper: two groups, local response norms"),
        line("vgg11", VggConfig::vgg11(), 132_863_336, PHOTO, "imagenet",
            "Simonyan & Zisserman 2015: 11 layers of 3x3 convolutions"),
        line("vgg13", VggConfig::vgg13(), 133_047_848, PHOTO, "imagenet",
            "Simonyan & Zisserman 2015: 13 layers of 3x3 convolutions"),
        line("vgg16", VggConfig::vgg16(), 138_357_544, PHOTO, "imagenet",
            "Simonyan & Zisserman 2015: 16 layers of 3x3 convolutions"),
        line("vgg19", VggConfig::vgg19(), 143_667_240, PHOTO, "imagenet",
            "Simonyan & Zisserman 2015: 19 layers of 3x3 convolutions"),
        line("vgg11_bn", VggConfig::vgg11().with_norm(Norm::Batch), 132_868_840, PHOTO, "imagenet",
            "Simonyan & Zisserman 2015: 11 layers of 3x3 convolutions, with batch norm"),
        line("vgg13_bn", VggConfig::vgg13().with_norm(Norm::Batch), 133_053_736, PHOTO, "imagenet",
            "Simonyan & Zisserman 2015: 13 layers of 3x3 convolutions, with batch norm"),
        line("vgg16_bn", VggConfig::vgg16().with_norm(Norm::Batch), 138_365_992, PHOTO, "imagenet",
            "Simonyan & Zisserman 2015: 16 layers of 3x3 convolutions, with batch norm"),
        line("vgg19_bn", VggConfig::vgg19().with_norm(Norm::Batch), 143_678_248, PHOTO, "imagenet",
            "Simonyan & Zisserman 2015: 19 layers of 3x3 convolutions, with batch norm"),
        line("googlenet", GoogLeNetConfig::googlenet(), 6_624_904, PHOTO, "imagenet",
            "Szegedy et al. 2015 as torchvision has it: inception modules, batch norm"),
        line("googlenet-2014", GoogLeNetConfig::googlenet_2014(), 6_998_552, PHOTO, "imagenet",
            "Szegedy et al. 2015 as in the paper: inception modules, local response norms"),
        line("se-googlenet", GoogLeNetConfig::se_googlenet(), 7_105_007, PHOTO, "imagenet",
            "Hu et al. 2018: inception modules with gates"),
        line("resnet18", ResNetConfig::resnet18(), 11_689_512, PHOTO, "imagenet",
            "He et al. 2016: 18 layers with shortcuts, as torchvision has it"),
        line("resnet34", ResNetConfig::resnet34(), 21_797_672, PHOTO, "imagenet",
            "He et al. 2016: 34 layers with shortcuts, as torchvision has it"),
        line("resnet50", ResNetConfig::resnet50(), 25_557_032, PHOTO, "imagenet",
            "He et al. 2016: 50 layers with shortcuts, as torchvision has it"),
        line("resnet101", ResNetConfig::resnet101(), 44_549_160, PHOTO, "imagenet",
            "He et al. 2016: 101 layers with shortcuts, as torchvision has it"),
        line("resnet152", ResNetConfig::resnet152(), 60_192_808, PHOTO, "imagenet",
            "He et al. 2016: 152 layers with shortcuts, as torchvision has it"),
        line("resnet50-v1", ResNetConfig::resnet50().v1(), 25_557_032, PHOTO, "imagenet",
            "He et al. 2016: 50 layers, stride where the paper has it"),
        line("resnet101-v1", ResNetConfig::resnet101().v1(), 44_549_160, PHOTO, "imagenet",
            "He et al. 2016: 101 layers, stride where the paper has it"),
        line("resnet152-v1", ResNetConfig::resnet152().v1(), 60_192_808, PHOTO, "imagenet",
            "He et al. 2016: 152 layers, stride where the paper has it"),
        line("seresnet50", ResNetConfig::resnet50().with_se(true), 28_088_024, PHOTO, "imagenet",
            "Hu et al. 2018: ResNet-50 with gates, as timm has it"),
        line("seresnet101", ResNetConfig::resnet101().with_se(true), 49_326_872, PHOTO, "imagenet",
            "Hu et al. 2018: ResNet-101 with gates, as timm has it"),
        line("seresnet152", ResNetConfig::resnet152().with_se(true), 66_821_848, PHOTO, "imagenet",
            "Hu et al. 2018: ResNet-152 with gates, as timm has it"),
        line("legacy_seresnet18", SeNetConfig::seresnet18(), 11_778_592, PHOTO, "imagenet",
            "Hu et al. 2018: ResNet-18 with gates, for the weights in timm's legacy format"),
        line("legacy_seresnet34", SeNetConfig::seresnet34(), 21_958_868, PHOTO, "imagenet",
            "Hu et al. 2018: ResNet-34 with gates, for the weights in timm's legacy format"),
        line("legacy_seresnet50", SeNetConfig::seresnet50(), 28_088_024, PHOTO, "imagenet",
            "Hu et al. 2018: ResNet-50 with gates, for the weights in timm's legacy format"),
        line("legacy_seresnet101", SeNetConfig::seresnet101(), 49_326_872, PHOTO, "imagenet",
            "Hu et al. 2018: ResNet-101 with gates, for the weights in timm's legacy format"),
        line("legacy_seresnet152", SeNetConfig::seresnet152(), 66_821_848, PHOTO, "imagenet",
            "Hu et al. 2018: ResNet-152 with gates, for the weights in timm's legacy format"),
        line("legacy_senet154", SeNetConfig::senet154(), 115_088_984, PHOTO, "imagenet",
            "Hu et al. 2018: grouped bottlenecks with gates, winner of ILSVRC 2017"),
        line("resnet20", CifarResNetConfig::resnet(20), 269_722, SMALL_PHOTO, "cifar10",
            "He et al. 2016, §4.2: 20 layers for small images, shortcuts without parameters"),
        line("resnet32", CifarResNetConfig::resnet(32), 464_154, SMALL_PHOTO, "cifar10",
            "He et al. 2016, §4.2: 32 layers for small images, shortcuts without parameters"),
        line("resnet44", CifarResNetConfig::resnet(44), 658_586, SMALL_PHOTO, "cifar10",
            "He et al. 2016, §4.2: 44 layers for small images, shortcuts without parameters"),
        line("resnet56", CifarResNetConfig::resnet(56), 853_018, SMALL_PHOTO, "cifar10",
            "He et al. 2016, §4.2: 56 layers for small images, shortcuts without parameters"),
        line("resnet110", CifarResNetConfig::resnet(110), 1_727_962, SMALL_PHOTO, "cifar10",
            "He et al. 2016, §4.2: 110 layers for small images, shortcuts without parameters"),
        line("plain20", CifarResNetConfig::plain(20), 269_722, SMALL_PHOTO, "cifar10",
            "He et al. 2016, §4.2: 20 layers without shortcuts"),
        line("plain56", CifarResNetConfig::plain(56), 853_018, SMALL_PHOTO, "cifar10",
            "He et al. 2016, §4.2: 56 layers without shortcuts"),
        line("seresnet20", CifarResNetConfig::seresnet(20), 272_095, SMALL_PHOTO, "cifar10",
            "Hu et al. 2018: 20 layers for small images, with gates"),
        line("xception", XceptionConfig::new(), 22_855_952, [3, 299, 299], "imagenet",
            "Chollet 2017: residual stacks of depthwise separable convolutions"),
        line("darknet-tiny", DarknetConfig::tiny(), 1_042_104, PHOTO, "imagenet",
            "Redmon 2016: the smallest classifier of darknet, 16 convolutions"),
        line("darknet19", DarknetConfig::darknet19(), 20_842_376, PHOTO, "imagenet",
            "Redmon & Farhadi 2017: 19 convolutions, the backbone of YOLOv2"),
        line("darknet53", Darknet53Config::new(), 41_609_928, [3, 256, 256], "imagenet",
            "Redmon & Farhadi 2018: 53 layers with shortcuts, the backbone of YOLOv3"),
    ];
    lines
});

static ENTRIES: LazyLock<Vec<Entry>> =
    LazyLock::new(|| LINES.iter().map(|line| line.entry).collect());

type Build = dyn Fn(&Options, &Device) -> Result<Architecture, Error> + Send + Sync;
type KeysOf = dyn Fn(&Options) -> Result<&'static Keys, Error> + Send + Sync;
type FeaturesOf = dyn Fn(&Options) -> Result<Vec<FeatureInfo>, Error> + Send + Sync;

/// One network of the zoo.
struct Line {
    entry: Entry,
    keys: Box<KeysOf>,
    features: Box<FeaturesOf>,
    defaults: Options,
    build: Box<Build>,
}

fn line<C: Family>(
    name: &'static str,
    config: C,
    parameters: usize,
    input: [usize; 3],
    dataset: &'static str,
    summary: &'static str,
) -> Line {
    let task = Task::Classification;
    Line {
        entry: Entry { name, task, parameters, input, dataset, summary },
        defaults: options::table(&config),
        keys: Box::new({
            let config = config.clone();
            move |options| Ok(configured(&config, options)?.keys())
        }),
        features: Box::new({
            let config = config.clone();
            move |options| Ok(configured(&config, options)?.features())
        }),
        build: Box::new(move |options, device| {
            affordable(configured(&config, options)?.network(device))
        }),
    }
}

/// `config` with `options` over it, if that is possible.
fn configured<C: Family>(config: &C, options: &Options) -> Result<C, Error> {
    let config = options::configure(config, options)?;
    config.check()?;
    Ok(config)
}

/// `network`, unless a slip in its options made it larger than any memory. Nothing is allocated
/// yet: parameters are drawn when they are first needed.
fn affordable(network: Architecture) -> Result<Architecture, Error> {
    let sizes = parameters(&network).into_iter();
    bounds::affordable(sizes.map(|parameter| {
        [1, 1, parameter.shape.iter().fold(1_usize, |size, &side| size.saturating_mul(side))]
    }))?;
    Ok(network)
}

impl Zoo {
    fn line(&self, name: &str) -> Result<&'static Line, Error> {
        let entry = self.entry(name)?;
        LINES
            .iter()
            .find(|line| line.entry.name == entry.name)
            .ok_or_else(|| Error::UnknownModel { name: name.to_owned(), nearest: None })
    }
}

impl Registry for Zoo {
    type Network = Architecture;

    fn entries(&self) -> &[Entry] {
        &ENTRIES
    }

    fn defaults(&self, name: &str) -> Result<Options, Error> {
        Ok(self.line(name)?.defaults.clone())
    }

    fn build(&self, name: &str, options: &Options, device: &Device) -> Result<Architecture, Error> {
        (self.line(name)?.build)(options, device)
    }

    fn features(&self, name: &str, options: &Options) -> Result<Vec<FeatureInfo>, Error> {
        (self.line(name)?.features)(options)
    }

    fn keys(&self, name: &str, options: &Options) -> Result<&'static Keys, Error> {
        (self.line(name)?.keys)(options)
    }

    fn pretrained(&self, name: &str) -> Vec<&'static Pretrained> {
        pretrained(name).collect()
    }
}
