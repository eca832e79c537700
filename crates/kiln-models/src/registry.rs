//! The networks that can be built by name.

use std::fmt;
use std::sync::LazyLock;

use burn::config::Config;
use burn::prelude::*;

use crate::lenet5::{self, LeNet5, LeNet5Config};
use crate::options::{self, Options};
use crate::suggest::nearest;
use crate::weights::Keys;
use crate::{Classifier, Error, parameters};

/// What a network is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Task {
    /// One class per image.
    Classification,
    /// Boxes with a class each.
    Detection,
    /// One class per pixel.
    Segmentation,
}

/// What a registry says about a network.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The name it is built by.
    pub name: &'static str,
    /// What it is for.
    pub task: Task,
    /// Trainable parameters with the default options.
    pub parameters: usize,
    /// Channels, height and width of the images of its default recipe.
    pub input: [usize; 3],
    /// Data set of its default recipe.
    pub dataset: &'static str,
    /// One line about it: authors, year, what is special.
    pub summary: &'static str,
}

/// Networks that can be built by name: [`Zoo`], or one of your own.
///
/// Every network has the options `num_classes` and `in_channels`, which training sets from the
/// data set.
pub trait Registry {
    /// What the networks are built as.
    type Network: Classifier;

    /// All networks, in the order in which they shall be listed.
    fn entries(&self) -> &[Entry];

    /// All options of the network `name` with their defaults.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownModel`] for a name that [`entries`](Self::entries) doesn't have.
    fn defaults(&self, name: &str) -> Result<Options, Error>;

    /// The network `name` on `device`, with `options` over its defaults.
    ///
    /// # Errors
    ///
    /// Names an unknown network or option, a value of the wrong type, or what is impossible.
    fn build(&self, name: &str, options: &Options, device: &Device)
    -> Result<Self::Network, Error>;

    /// How PyTorch's names of the parameters of network `name` are spelt here; see
    /// [`weights::load`](crate::weights::load). None, unless the registry says otherwise.
    fn keys(&self, name: &str) -> &'static Keys {
        let _ = name;
        &[]
    }

    /// What the registry says about the network `name`.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownModel`] with the nearest name, for a name that isn't there.
    fn entry(&self, name: &str) -> Result<&Entry, Error> {
        self.entries().iter().find(|entry| entry.name == name).ok_or_else(|| {
            let names = self.entries().iter().map(|entry| entry.name);
            Error::UnknownModel {
                name: name.to_owned(),
                nearest: nearest(name, names).map(str::to_owned),
            }
        })
    }
}

/// The networks that kiln brings along.
#[derive(Clone, Copy, Debug, Default)]
pub struct Zoo;

/// Any network of the [`Zoo`].
///
/// The paths of its parameters are those of the network inside.
#[derive(Module, Debug)]
pub enum Architecture {
    /// [`LeNet5`]
    LeNet5(LeNet5),
}

/// Evaluates an expression for the network inside an [`Architecture`].
macro_rules! inside {
    ($architecture:expr, $network:ident => $result:expr) => {
        match $architecture {
            Architecture::LeNet5($network) => $result,
        }
    };
}

/// A configuration that the zoo can list: its fields are the network's options.
trait Family: Config + Send + Sync + 'static {
    const KEYS: &'static Keys;

    /// Whether such a network is possible.
    fn check(&self) -> Result<(), Error>;

    fn network(&self, device: &Device) -> Architecture;
}

impl Family for LeNet5Config {
    const KEYS: &'static Keys = lenet5::KEYS;

    fn check(&self) -> Result<(), Error> {
        self.check()
    }

    fn network(&self, device: &Device) -> Architecture {
        Architecture::LeNet5(self.init(device))
    }
}

static LINES: LazyLock<Vec<Line>> = LazyLock::new(|| {
    vec![line(
        LeNet5Config::new(),
        Entry {
            name: "lenet5",
            task: Task::Classification,
            parameters: 61_750,
            input: [1, 28, 28],
            dataset: "mnist",
            summary: "LeCun et al. 1998, as textbooks draw it: tanh, trainable subsampling",
        },
    )]
});

static ENTRIES: LazyLock<Vec<Entry>> =
    LazyLock::new(|| LINES.iter().map(|line| line.entry).collect());

type Build = dyn Fn(&Options, &Device) -> Result<Architecture, Error> + Send + Sync;

/// One network of the zoo.
struct Line {
    entry: Entry,
    keys: &'static Keys,
    defaults: Options,
    build: Box<Build>,
}

fn line<C: Family>(config: C, entry: Entry) -> Line {
    Line {
        entry,
        keys: C::KEYS,
        defaults: options::table(&config),
        build: Box::new(move |options, device| {
            let config = options::configure(&config, options)?;
            config.check()?;
            affordable(config.network(device))
        }),
    }
}

/// `network`, unless a slip in its options made it larger than any memory. Nothing is allocated
/// yet: parameters are drawn when they are first needed.
fn affordable(network: Architecture) -> Result<Architecture, Error> {
    const MOST: usize = 10_000_000_000;

    let total = parameters(&network).iter().try_fold(0_usize, |total, parameter| {
        let size =
            parameter.shape.iter().try_fold(1_usize, |size, &side| size.checked_mul(side))?;
        total.checked_add(size).filter(|&total| total <= MOST)
    });
    match total {
        Some(_) => Ok(network),
        None => Err(Error::Options { reason: format!("more than {MOST} parameters") }),
    }
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

    fn keys(&self, name: &str) -> &'static Keys {
        self.line(name).map_or(&[], |line| line.keys)
    }
}

impl Classifier for Architecture {
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        inside!(self, network => network.forward(images))
    }

    fn loss(
        &self,
        images: Tensor<4>,
        targets: Tensor<1, Int>,
        smoothing: f32,
    ) -> (Tensor<2>, Tensor<1>) {
        inside!(self, network => network.loss(images, targets, smoothing))
    }

    fn check_input(&self, image: [usize; 3]) -> Result<(), Error> {
        inside!(self, network => network.check_input(image))
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Classification => "classification",
            Self::Detection => "detection",
            Self::Segmentation => "segmentation",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::initialize;
    use crate::weights::{self, keys};
    use burn::module::{ModuleVisitor, Param};
    use burn::tensor::Gradients;
    use kiln_testkit::{assert_close, device, noise};
    use serde_json::json;
    use std::path::Path;

    const CLASSES: usize = 3;

    /// Options that make a network small, and still whole.
    fn tiny(name: &str) -> Options {
        let options = match name {
            "lenet5" => json!({ "maps": [2, 3, 6], "hidden": 5 }),
            name => panic!("no tiny options for {name}"),
        };
        let mut tiny = options.as_object().unwrap().clone();
        tiny.insert("num_classes".to_owned(), CLASSES.into());
        tiny
    }

    fn for_each(test: impl Fn(&Entry, &Device)) {
        for entry in Zoo.entries() {
            println!("{}", entry.name); // shown when the test fails
            test(entry, &device());
        }
    }

    fn images(entry: &Entry, batch: usize, device: &Device) -> Tensor<4> {
        let [channels, height, width] = entry.input;
        noise([batch, channels, height, width], 1, device)
    }

    #[test]
    fn every_network_gives_finite_scores_and_every_parameter_a_gradient() {
        for_each(|entry, device| {
            let device = device.clone().autodiff();
            let model = Zoo.build(entry.name, &tiny(entry.name), &device).unwrap();
            let targets = Tensor::from_ints([0, 2], &device);

            let (scores, loss) = model.loss(images(entry, 2, &device), targets, 0.1);

            assert_eq!(scores.dims(), [2, CLASSES]);
            assert!(scores.to_data().iter::<f32>().all(f32::is_finite));
            let paths = parameters(&model).into_iter();
            let mut gradients = Check {
                gradients: &loss.backward(),
                paths: paths
                    .map(|parameter| parameter.trainable.then_some(parameter.path))
                    .collect(),
                seen: 0,
            };
            model.visit(&mut gradients);
        });
    }

    /// Checks that every trainable parameter has a finite gradient that isn't zero throughout.
    struct Check<'a> {
        gradients: &'a Gradients,
        paths: Vec<Option<String>>,
        seen: usize,
    }

    impl ModuleVisitor for Check<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let path = &self.paths[self.seen];
            self.seen += 1;
            let Some(path) = path else { return };
            let gradient = param.grad(self.gradients).unwrap_or_else(|| panic!("none for {path}"));
            let data = gradient.to_data();
            assert!(data.iter::<f32>().all(f32::is_finite), "{path}");
            assert!(data.iter::<f32>().any(|x| x != 0.0), "{path} does not influence the loss");
        }
    }

    #[test]
    fn a_batch_of_two_is_two_batches_of_one_in_inference() {
        for_each(|entry, device| {
            let model = Zoo.build(entry.name, &tiny(entry.name), device).unwrap().valid();
            let both = images(entry, 2, device);

            let each = [0, 1].map(|i| model.forward(both.clone().narrow(0, i, 1)));

            assert_close(model.forward(both), Tensor::cat(each.to_vec(), 0));
        });
    }

    #[test]
    fn saved_and_loaded_it_gives_the_same_scores() {
        for_each(|entry, device| {
            let build = || Zoo.build(entry.name, &tiny(entry.name), device).unwrap();
            let (model, images) = (build(), images(entry, 2, device));

            let bytes = weights::to_bytes(&model);
            let again = weights::from_bytes(build(), bytes.clone(), Path::new("memory")).unwrap();

            assert_eq!(weights::to_bytes(&again), bytes);
            let scores = again.forward(images.clone()).to_data();
            scores.assert_eq(&model.forward(images).to_data(), true);
        });
    }

    #[test]
    fn the_listed_parameters_are_right_and_nothing_is_initialized_to_count_them() {
        for_each(|entry, device| {
            let defaults = Zoo.defaults(entry.name).unwrap();
            let model = Zoo.build(entry.name, &defaults, device).unwrap();

            let trainable = parameters(&model).into_iter().filter(|p| p.trainable);
            let count: usize = trainable.map(|p| p.shape.iter().product::<usize>()).sum();

            assert_eq!(count, entry.parameters);
            assert_eq!(defaults["in_channels"], json!(entry.input[0]));
            assert!(defaults.contains_key("num_classes"));
            model.check_input(entry.input).unwrap();
        });
    }

    #[test]
    fn foreign_names_lead_back_to_their_own_parameters() {
        use keys::{Direction::*, translate};
        for_each(|entry, device| {
            let model = Zoo.build(entry.name, &tiny(entry.name), device).unwrap();
            for parameter in parameters(&model) {
                let there = translate(&parameter.path, Zoo.keys(entry.name), There);
                assert_eq!(translate(&there, Zoo.keys(entry.name), Here), parameter.path);
            }
        });
    }

    #[test]
    fn initialize_leaves_nothing_to_draw_later() {
        struct Lazy(usize);
        impl ModuleVisitor for Lazy {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                self.0 += usize::from(!param.is_initialized());
            }
        }
        let model = Zoo.build("lenet5", &Options::new(), &device()).unwrap();
        let lazy = |model: &Architecture| {
            let mut lazy = Lazy(0);
            model.visit(&mut lazy);
            lazy.0
        };

        assert_eq!(lazy(&model), 14);
        initialize(&model);
        assert_eq!(lazy(&model), 0);
    }

    #[test]
    fn a_wrong_name_or_option_is_an_error_with_a_hint() {
        let build = |name: &str, options: serde_json::Value| {
            let options = options.as_object().unwrap();
            Zoo.build(name, options, &device()).unwrap_err().to_string()
        };

        assert_eq!(build("lenet", json!({})), "unknown model `lenet`; did you mean `lenet5`?");
        assert_eq!(
            build("lenet5", json!({ "classes": 3 })),
            "unknown key `classes`; did you mean `num_classes`?"
        );
        assert_eq!(
            build("lenet5", json!({ "hidden": "many" })),
            "`hidden` takes a whole number, not \"many\""
        );
        assert_eq!(
            build("lenet5", json!({ "maps": [1, 2] })),
            "`maps`: invalid length 2, expected an array of length 3"
        );
        assert!(build("lenet5", json!({ "hidden": 0 })).contains("must be positive"));
        assert!(build("lenet5", json!({ "hidden": u64::MAX })).contains("10000000000 parameters"));
        assert_eq!(
            build("lenet5", json!({ "hidden": -1 })),
            "`hidden`: invalid value: integer `-1`, expected usize"
        );
    }
}
