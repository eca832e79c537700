//! The networks that can be built by name.

use std::fmt;

use burn::prelude::*;

use crate::options::Options;
use crate::suggest::nearest;
use crate::weights::{Keys, Pretrained};
use crate::{Classifier, Error, FeatureInfo};

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

/// Networks that can be built by name: [`Zoo`](crate::Zoo), or one of your own.
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

    /// The maps that the network `name`, with `options` over its defaults, offers to detection and segmentation heads:
    /// what is known of its [`features`](Classifier::features) without building it. None, unless the registry says
    /// otherwise.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build).
    fn features(&self, name: &str, options: &Options) -> Result<Vec<FeatureInfo>, Error> {
        let _ = (name, options);
        Ok(Vec::new())
    }

    /// How PyTorch's names of the parameters of network `name`, with `options` over its defaults, are spelt here; see
    /// [`weights::load`](crate::weights::load). None, unless the registry says otherwise.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build): names may count layers, of which the options decide.
    fn keys(&self, name: &str, options: &Options) -> Result<&'static Keys, Error> {
        let _ = (name, options);
        Ok(&[])
    }

    /// The weights published for the network `name`, best last: what `pretrained` means. None,
    /// unless the registry says otherwise.
    fn pretrained(&self, name: &str) -> Vec<&'static Pretrained> {
        let _ = name;
        Vec::new()
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
    use crate::weights::{self, keys};
    use crate::{
        Architecture, Convolutional, Feature, Parameter, Zoo, group, initialize, is_below,
        parameters,
    };
    use burn::module::{ModuleVisitor, Param, ParamId};
    use burn::store::{ModuleSnapshot, bridge};
    use burn::tensor::Gradients;
    use kiln_layers::{Objective, Targets};
    use kiln_testkit::{assert_close, device, noise};
    use serde_json::json;
    use std::path::Path;

    const CLASSES: usize = 3;

    /// Options that make a network small, and still whole.
    fn tiny(name: &str) -> Options {
        let defaults = Zoo.defaults(name).unwrap();
        let options = match name {
            "lenet5" => json!({ "maps": [2, 3, 6], "hidden": 5 }),
            "lenet5-1998" => json!({ "c5": 6 }),
            "lenet5-tanh" => json!({ "maps": [2, 3], "hidden": [6, 5] }),
            "lenet-caffe" => json!({ "maps": [2, 3], "hidden": [6] }),
            "cnn" => json!({ "channels": [4, 6, 8], "hidden": [32, 32] }),
            "alexnet" | "alexnet-2012" => json!({ "channels": [8, 8, 8, 8, 8], "hidden": 32 }),
            name if name.starts_with("vgg") => {
                json!({ "width": 8, "hidden": 32, "se_reduction": 1 })
            }
            "googlenet-2014" => json!({ "width": 32 }),
            name if name.ends_with("googlenet") => json!({ "width": 8, "se_reduction": 2 }),
            "legacy_senet154" => {
                json!({ "width": 8, "groups": 4, "depths": [1, 1, 1, 1], "se_reduction": 1 })
            }
            _ if defaults.contains_key("depth") => {
                json!({ "width": 8, "depth": 8, "se_reduction": 1 })
            }
            name if name.contains("resnet") => {
                json!({ "width": 8, "depths": [1, 1, 1, 1], "se_reduction": 1 })
            }
            "xception" => json!({
                "stem": [8, 8], "entry": [16, 16, 16], "middle": 1, "exit": [16, 16, 16], "dropout": 0.0,
                "se_reduction": 1,
            }),
            "darknet53" => {
                json!({ "stem": 4, "channels": [4, 4, 8, 8, 8], "depths": [1, 1, 1, 1, 1] })
            }
            name if name.starts_with("darknet") => json!({ "stages": [[4], [6, 3, 6], [8]] }),
            name => panic!("no tiny options for {name}"),
        };
        let mut tiny = options.as_object().unwrap().clone();
        tiny.insert("num_classes".to_owned(), CLASSES.into());
        tiny
    }

    /// The same with squeeze-and-excitation, where the network has it as an option.
    fn gated(name: &str) -> Option<Options> {
        let mut options = tiny(name);
        let off = Zoo.defaults(name).unwrap().get("se") == Some(&json!(false));
        off.then(|| {
            options.insert("se".to_owned(), true.into());
            options
        })
    }

    /// The same with what else can be switched on: auxiliary heads, norms, units that begin as their shortcuts, paths
    /// that drop.
    fn combined(name: &str) -> Option<Options> {
        let plain = gated(name).unwrap_or_else(|| tiny(name));
        let defaults = Zoo.defaults(name).unwrap();
        let mut options = plain.clone();
        for (option, value) in [
            ("aux", json!(true)),
            ("norm", json!("Batch")),
            ("zero_init", json!(true)),
            ("drop_path", json!(0.2)),
            ("output_stride", json!(8)),
            ("ceil", json!(true)),
        ] {
            if defaults.get(option).is_some_and(|default| *default != value) {
                options.insert(option.to_owned(), value);
            }
        }
        (options != plain).then_some(options)
    }

    /// All three, or those that there are.
    fn each(name: &str) -> impl Iterator<Item = Options> {
        [Some(tiny(name)), gated(name), combined(name)].into_iter().flatten()
    }

    fn for_each(test: impl Fn(&Entry, &Device)) {
        for entry in Zoo.entries() {
            println!("{}", entry.name); // shown when the test fails
            device().seed(1);
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
            for mut options in each(entry.name) {
                // A branch whose last norm begins at zero has no gradient yet, nor has one that chance
                // drops for both images.
                options.retain(|option, _| option != "zero_init" && option != "drop_path");
                let model = Zoo.build(entry.name, &options, &device).unwrap();
                let targets = Targets::Classes(Tensor::from_ints([0, 2], &device));
                let objective = Objective { smoothing: 0.1, ..Objective::default() };

                let (scores, loss) = model.loss(images(entry, 2, &device), targets, &objective);

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
            }
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
            let two = images(entry, 2, device);
            for options in each(entry.name) {
                let model = Zoo.build(entry.name, &options, device).unwrap().valid();

                let each = [0, 1].map(|i| model.forward(two.clone().narrow(0, i, 1)));

                assert_close(model.forward(two.clone()), Tensor::cat(each.to_vec(), 0));
            }
        });
    }

    #[cfg(feature = "flex")]
    #[test]
    fn in_inference_every_map_stays_as_the_kernels_left_it() {
        for_each(|entry, device| {
            for options in each(entry.name) {
                let model = Zoo.build(entry.name, &options, device).unwrap().valid();
                let images = images(entry, 2, device);
                let before = kiln_kernels::converted_maps();

                let _ = model.forward(images);

                // Xception's first convolution has no border, for which other networks copy the images.
                let of_images = usize::from(entry.name == "xception");
                assert_eq!(kiln_kernels::converted_maps() - before, of_images);
            }
        });
    }

    #[test]
    fn in_its_convolutional_form_it_gives_the_same_scores_at_the_training_size() {
        for_each(|entry, device| {
            let model = Zoo.build(entry.name, &tiny(entry.name), device).unwrap().valid();
            let [channels, mut side, _] = entry.input;
            if entry.name == "lenet5-1998" {
                side = 32; // without the border that smaller images get
            }
            // The entry's own size and a smaller one, whose last map the head was not made for.
            for side in [side, 5 * side / 7] {
                let window = [channels, side, side];
                if model.check_input(window).is_err() {
                    assert!(entry.name.starts_with("lenet") && side < 28, "{side}");
                    continue;
                }
                let form = Convolutional::new(model.clone(), window).unwrap();
                let images = noise([2, channels, side, side], 1, device);

                let scores = form.forward(images.clone());

                assert_eq!(scores.dims(), [2, CLASSES, 1, 1]);
                assert_close(scores.flatten(1, 3), model.forward(images));
                let stride = Zoo.features(entry.name, &tiny(entry.name)).unwrap();
                let larger = side + 3 * stride.last().unwrap().stride;
                let [_, _, rows, columns] =
                    form.forward(noise([1, channels, larger, side], 2, device)).dims();
                assert!((3..=5).contains(&rows) && columns == 1, "{rows}x{columns}");
            }
        });
    }

    #[test]
    fn the_convolutional_form_of_a_network_in_training_learns_and_drops_nothing() {
        let training = device().autodiff();
        let model = Zoo.build("resnet20", &tiny("resnet20"), &training).unwrap();
        initialize(&model);
        let before = weights::to_bytes(&model);
        let image = noise([1, 3, 32, 32], 1, &device());

        let scores = Convolutional::new(model.clone(), [3, 32, 32]).unwrap().forward(image.clone());

        assert!(weights::to_bytes(&model) == before);
        assert_close(scores.flatten(1, 3), model.valid().forward(image));
    }

    #[test]
    fn a_convolutional_form_needs_windows_that_the_network_takes_and_a_square_map() {
        let model = Zoo.build("cnn", &tiny("cnn"), &device()).unwrap().valid();
        let refused = |window| Convolutional::new(model.clone(), window).unwrap_err().to_string();

        assert!(refused([3, 28, 28]).starts_with("the network takes images of at least 1x"));
        assert!(
            refused([1, 28, 44]).contains("28x44 pixels give one of 3x5"),
            "{}",
            refused([1, 28, 44])
        );
    }

    #[test]
    fn saved_and_loaded_it_gives_the_same_scores() {
        for_each(|entry, device| {
            for options in each(entry.name) {
                let build = || Zoo.build(entry.name, &options, device).unwrap();
                let (model, images) = (build(), images(entry, 2, device));

                let bytes = weights::to_bytes(&model);
                let again =
                    weights::from_bytes(build(), bytes.clone(), Path::new("memory")).unwrap();

                assert_eq!(weights::to_bytes(&again), bytes);
                let scores = again.forward(images.clone()).to_data();
                scores.assert_eq(&model.forward(images).to_data(), true);
            }
        });
    }

    #[test]
    fn the_last_feature_depends_on_all_of_the_backbone_and_on_nothing_of_the_head() {
        for_each(|entry, device| {
            let device = device.clone().autodiff();
            for options in each(entry.name) {
                let model = Zoo.build(entry.name, &options, &device).unwrap();
                let head = model.head_paths();
                let in_head = |path: &str| head.iter().any(|start| is_below(path, start));

                let last = model.features(images(entry, 1, &device)).pop().unwrap().map;
                let mut learned = Learned(&last.sum().backward(), Vec::new());
                model.visit(&mut learned);

                let mut parameters = parameters(&model);
                parameters.retain(|parameter| parameter.trainable);
                assert!(parameters.iter().any(|parameter| in_head(&parameter.path)));
                for Parameter { id, path, .. } in parameters {
                    assert_eq!(learned.1.contains(&id), !in_head(&path), "{path}");
                }
            }
        });
    }

    /// Collects the parameters that have a gradient.
    struct Learned<'a>(&'a Gradients, Vec<ParamId>);

    impl ModuleVisitor for Learned<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.1.extend(param.grad(self.0).map(|_| param.id));
        }
    }

    #[test]
    fn the_listed_maps_are_those_it_gives() {
        for_each(|entry, device| {
            for options in each(entry.name) {
                let model = Zoo.build(entry.name, &options, device).unwrap().valid();

                let given = model.features(images(entry, 1, device));

                let given: Vec<_> = given
                    .iter()
                    .map(|&Feature { stride, channels, .. }| FeatureInfo { stride, channels })
                    .collect();
                assert_eq!(Zoo.features(entry.name, &options).unwrap(), given);
            }
            assert!(Zoo.features(entry.name, &Options::new()).unwrap().len() > 1);
        });
    }

    #[test]
    fn a_frozen_backbone_gets_no_gradient_and_keeps_its_statistics() {
        for_each(|entry, device| {
            let device = device.clone().autodiff();
            for options in each(entry.name) {
                let model = Zoo.build(entry.name, &options, &device).unwrap();
                initialize(&model);
                let head = model.head_paths();
                let in_head = |path: &str| head.iter().any(|start| is_below(path, start));
                // The norms of auxiliary heads belong to the head, and learn.
                let values = |model: &Architecture| -> Vec<_> {
                    let mut tensors = model.valid().collect(None, None, true);
                    tensors.retain(|tensor| !in_head(&tensor.name));
                    tensors.into_iter().map(|tensor| bridge::into_data(tensor).unwrap()).collect()
                };
                let before = values(&model);
                let backbone = group(&model, |path| !in_head(path));
                let model = model.freeze_group(backbone);

                let targets = Targets::Classes(Tensor::from_ints([0, 2], &device));
                let images = images(entry, 2, &device);
                let (_, loss) = model.loss(images, targets, &Objective::default());
                let mut learned = Learned(&loss.backward(), Vec::new());
                model.visit(&mut learned);

                for Parameter { id, path, trainable, .. } in parameters(&model) {
                    let learns = trainable && in_head(&path);
                    assert_eq!(learned.1.contains(&id), learns, "{path}");
                }
                assert!(!before.is_empty() && values(&model) == before);
            }
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
            for options in each(entry.name) {
                let model = Zoo.build(entry.name, &options, device).unwrap();
                let keys = Zoo.keys(entry.name, &options).unwrap();
                for parameter in parameters(&model) {
                    let there = translate(&parameter.path, keys, There);
                    assert_eq!(translate(&there, keys, Here), parameter.path);
                }
            }
        });
    }

    #[test]
    fn foreign_numbers_follow_the_options() {
        use keys::{Direction::There, translate};
        let named = |name: &str, options: serde_json::Value, here: &str| {
            translate(here, Zoo.keys(name, options.as_object().unwrap()).unwrap(), There)
        };
        // torch counts convolutions, norms, rectifiers and pools, one after the other.
        let last = "stages.4.0.conv.weight";
        assert_eq!(
            named("vgg11", json!({ "depths": [1, 1, 1, 1, 1] }), last),
            "features.12.weight"
        );
        assert_eq!(
            named("vgg16", json!({ "depths": [2, 2, 3, 3, 1] }), last),
            "features.24.weight"
        );
        let normed = json!({ "depths": [1, 1, 1, 1, 1], "norm": "Batch" });
        assert_eq!(named("vgg16", normed.clone(), last), "features.16.weight");
        assert_eq!(named("vgg16", normed, "stages.4.0.norm.gamma"), "features.17.gamma");
        let plain = json!({ "depths": [1, 1, 1, 1, 1], "norm": "None" });
        assert_eq!(named("vgg16_bn", plain, last), "features.12.weight");
        // darknet counts its convolutions, the last of which has the scores.
        let head = "head.conv.weight";
        assert_eq!(named("darknet-tiny", json!({}), head), "conv16.weight");
        assert_eq!(named("darknet19", json!({}), head), "conv19.weight");
        let stages = json!({ "stages": [[4], [6, 3, 6], [8]] });
        assert_eq!(named("darknet19", stages.clone(), head), "conv6.weight");
        assert_eq!(named("darknet-tiny", stages, "convs.4.conv.weight"), "conv5.weight");

        assert!(Zoo.keys("vgg16", json!({ "deths": 1 }).as_object().unwrap()).is_err());
        // A table that was made once is not made again: it stays for as long as the program runs.
        let keys = |width| Zoo.keys("vgg16", json!({ "width": width }).as_object().unwrap());
        assert!(std::ptr::eq(keys(8).unwrap(), keys(16).unwrap()));
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
        assert_eq!(
            build("lenet5", json!({ "hidden": 0 })),
            "impossible options: hidden must be from 1 to 1048576, found 0"
        );
        assert_eq!(
            build("lenet5", json!({ "hidden": -1 })),
            "`hidden`: integer `-1` is out of range; it takes a whole number of 0 or more"
        );
    }
}
