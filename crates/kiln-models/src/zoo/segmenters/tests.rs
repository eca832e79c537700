//! Every network for segmentation, tiny, as training will need it.

use super::*;
use crate::weights::{self, keys};
use crate::{Parameter, PixelObjective, is_below, summarize_segmenter};
use burn::module::{ModuleMapper, ModuleVisitor, Param};
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::Gradients;
use kiln_testkit::{assert_close, device, noise};
use std::path::Path;

const CLASSES: usize = 3;
/// Names that aren't listed, too.
const MORE: [&str; 8] = [
    "fcn32s-resnet50",
    "fcn16s-vgg11_bn",
    "fcn8s-googlenet",
    "fcn8s-xception",
    "fcn8s-darknet53",
    "fcn16s-legacy_seresnet18",
    "fcn-resnet18",
    "fcn-vgg13",
];

fn names() -> impl Iterator<Item = &'static str> {
    Segmenters.entries().iter().map(|entry| entry.name).chain(MORE)
}

/// Options that make a network small, and still whole.
fn tiny(name: &str) -> Options {
    let backbone = match name.rsplit('-').next().unwrap() {
        "fcn32s" | "fcn16s" | "fcn8s" | "vgg11" | "vgg11_bn" | "vgg13" => json!({ "width": 4 }),
        "googlenet" => json!({ "width": 8 }),
        "xception" => json!({
            "stem": [8, 8], "entry": [16, 16, 16], "middle": 1, "exit": [16, 16, 16],
        }),
        "darknet53" => {
            json!({ "stem": 4, "channels": [4, 4, 8, 8, 8], "depths": [1, 1, 1, 1, 1] })
        }
        "legacy_seresnet18" => {
            json!({ "width": 8, "depths": [1, 1, 1, 2], "se_reduction": 1 })
        }
        _ => json!({ "width": 4, "depths": [1, 1, 1, 2] }),
    };
    let defaults = Segmenters.defaults(name).unwrap();
    let mut options = Options::new();
    options.insert("num_classes".to_owned(), CLASSES.into());
    match defaults.contains_key(BACKBONE) {
        true => options.insert(BACKBONE.to_owned(), backbone),
        false => options.insert("width".to_owned(), 4.into()),
    };
    if defaults.get("hidden").is_some_and(|hidden| hidden != &json!(0)) {
        options.insert("hidden".to_owned(), 8.into());
    }
    options
}

fn build(name: &str, device: &Device) -> AnySegmenter {
    Segmenters.build(name, &tiny(name), device).unwrap()
}

fn images(name: &str, batch: usize, [height, width]: [usize; 2], device: &Device) -> Tensor<4> {
    let channels = if name == "unet" { 1 } else { 3 };
    noise([batch, channels, height, width], 1, device)
}

/// What learns, moved a little: scores begin at zero.
fn stirred<M: Module>(module: M) -> M {
    struct Stir {
        name: Vec<String>,
        count: u64,
    }
    impl ModuleMapper for Stir {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.name.push(name.to_owned());
        }

        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.name.pop();
        }

        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            self.count += 1;
            let count = self.count;
            if self.name.last().is_some_and(|name| name.starts_with("running_")) {
                return param;
            }
            param.map(|tensor| {
                let noise = noise(tensor.dims(), count, &tensor.device()) * 0.1;
                match tensor.device().is_autodiff() {
                    true => (tensor + noise).detach().require_grad(),
                    false => tensor + noise,
                }
            })
        }
    }
    module.map(&mut Stir { name: Vec::new(), count: 0 })
}

#[test]
fn the_listed_parameters_are_right_and_so_is_what_the_list_says() {
    for entry in Segmenters.entries() {
        let network = Segmenters.build(entry.name, &Options::new(), &device()).unwrap();
        assert_eq!(trainable(&network), entry.parameters, "{}", entry.name);
        assert_eq!(entry.task, Task::Segmentation);
        network.check_input(entry.input).unwrap();
        let defaults = Segmenters.defaults(entry.name).unwrap();
        assert_eq!(defaults["in_channels"], json!(entry.input[0]));
        assert!(defaults.contains_key("num_classes"));
        assert_eq!(Segmenters.entry(entry.name).unwrap().parameters, entry.parameters);
    }
}

#[test]
fn every_network_gives_each_pixel_finite_scores_and_every_parameter_a_gradient() {
    let device = device().autodiff();
    for name in names() {
        println!("{name}");
        device.seed(1);
        let model = stirred(build(name, &device));

        let (scores, others) = model.forward_all(images(name, 2, [64, 72], &device));

        let mut loss = Tensor::zeros([1], &device);
        for scores in [scores].into_iter().chain(others) {
            assert_eq!(scores.dims(), [2, CLASSES, 64, 72]);
            assert!(scores.to_data().iter::<f32>().all(f32::is_finite));
            loss = loss + (scores.clone() * noise(scores.dims(), 3, &device)).sum();
        }
        let paths = parameters(&model);
        let mut seen = Seen { gradients: &loss.backward(), paths: paths.into_iter() };
        model.visit(&mut seen);
    }
}

/// Checks that every trainable parameter has a finite gradient that isn't zero throughout.
struct Seen<'a> {
    gradients: &'a Gradients,
    paths: std::vec::IntoIter<Parameter>,
}

impl ModuleVisitor for Seen<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Parameter { path, trainable, .. } = self.paths.next().unwrap();
        if !trainable {
            return;
        }
        let gradient = param.grad(self.gradients).unwrap_or_else(|| panic!("none for {path}"));
        let data = gradient.to_data();
        assert!(data.iter::<f32>().all(f32::is_finite), "{path}");
        assert!(data.iter::<f32>().any(|x| x != 0.0), "{path} does not influence the loss");
    }
}

#[test]
fn a_batch_of_two_is_two_batches_of_one_in_inference_and_sizes_may_be_odd() {
    for name in names() {
        println!("{name}");
        let model = stirred(build(name, &device())).valid();
        let two = images(name, 2, [71, 45], &device());
        assert!(model.forward(two.clone()).abs().max().into_scalar::<f32>() > 1e-3);

        let each = [0, 1].map(|i| model.forward(two.clone().narrow(0, i, 1)));

        let both = model.forward(two);
        assert_eq!(both.dims(), [2, CLASSES, 71, 45]);
        assert_close(both, Tensor::cat(each.to_vec(), 0));
    }
}

#[test]
fn saved_and_loaded_it_gives_the_same_scores_and_foreign_names_lead_back() {
    use keys::{Direction::*, translate};
    for name in names() {
        println!("{name}");
        let model = stirred(build(name, &device()));
        let images = images(name, 1, [64, 64], &device());

        let bytes = weights::to_bytes(&model);
        let again = weights::from_bytes(build(name, &device()), bytes.clone(), Path::new("memory"))
            .unwrap();

        assert_eq!(weights::to_bytes(&again), bytes);
        let scores = again.forward(images.clone()).to_data();
        scores.assert_eq(&model.forward(images).to_data(), true);
        let keys = Segmenters.keys(name, &tiny(name)).unwrap();
        for parameter in parameters(&model) {
            let there = translate(&parameter.path, keys, There);
            assert_eq!(translate(&there, keys, Here), parameter.path);
        }
    }
    let there = |name: &str, here: &str| {
        translate(here, Segmenters.keys(name, &Options::new()).unwrap(), There)
    };
    assert_eq!(there("fcn8s", "backbone.stages.4.2.conv.weight"), "conv5_3.weight");
    assert_eq!(there("fcn8s", "doubles.1.weight"), "upscore_pool4.weight");
    assert_eq!(there("fcn16s", "upsample.weight"), "upscore16.weight");
    assert_eq!(there("fcn32s", "score.conv.bias"), "score_fr.bias");
    assert_eq!(
        there("fcn-resnet50", "backbone.stages.3.2.branch.1.conv.weight"),
        "backbone.layer4.2.conv2.weight"
    );
    assert_eq!(there("fcn-resnet50", "aux.conv.norm.gamma"), "aux_classifier.1.gamma");
}

#[test]
fn the_heads_paths_and_what_only_training_uses_are_where_they_are_said_to_be() {
    for name in names() {
        let model = build(name, &device());
        let paths: Vec<String> = parameters(&model).into_iter().map(|p| p.path).collect();
        for path in &paths {
            let in_head = model.head_paths().iter().any(|start| is_below(path, start));
            assert!(in_head || path.starts_with("backbone.") || name == "unet", "{name}: {path}");
            assert!(!in_head || !path.starts_with("backbone."), "{name}: {path}");
        }
        assert!(model.head_paths().iter().any(|start| paths.iter().any(|p| is_below(p, start))));
        for start in model.training_paths() {
            assert!(paths.iter().any(|path| is_below(path, start)), "{name}: {start}");
        }
    }
}

#[test]
fn the_table_of_layers_adds_up_and_aux_is_beside_it() {
    for name in names() {
        let model = build(name, &device());
        let channels = if name == "unet" { 1 } else { 3 };

        let summary = summarize_segmenter(&model, [channels, 64, 64], &device()).unwrap();

        assert_eq!(summary.parameters, trainable(&model));
        let rows: usize = summary.layers.iter().map(|row| row.parameters).sum();
        assert_eq!(rows, summary.parameters, "{name}");
        let others = summary.layers.iter().filter(|row| row.kind == "other");
        assert!(others.into_iter().all(|row| row.name.starts_with("aux.")), "{name}");
    }
}

#[test]
fn what_is_ignored_teaches_nothing_and_auxiliary_heads_count_as_the_objective_says() {
    let device = device().autodiff();
    let mut options = tiny("fcn-resnet50");
    options.insert("dropout".to_owned(), json!(0.0));
    let model = stirred(Segmenters.build("fcn-resnet50", &options, &device).unwrap());
    let images = images("fcn-resnet50", 1, [32, 40], &device);
    let void = Tensor::<3, Int>::full([1, 32, 40], 255, &device);
    let (_, nothing) = model.loss(images.clone(), void, &PixelObjective::default());
    assert_eq!(nothing.into_scalar::<f32>(), 0.0);

    let classes = Tensor::<3, Int>::ones([1, 32, 40], &device);
    let loss = |aux_weight: f32| {
        let objective = PixelObjective { aux_weight, ..PixelObjective::default() };
        model.loss(images.clone(), classes.clone(), &objective).1.into_scalar::<f32>()
    };
    let [none, half, whole] = [0.0, 0.5, 1.0].map(loss);
    assert!(none > 0.1 && half > none + 0.05);
    assert!((whole - half - (half - none)).abs() < 1e-4 * whole);
}

#[test]
fn a_few_steps_of_plain_descent_learn_which_half_is_which() {
    let device = device().autodiff();
    for name in ["fcn8s-resnet18", "fcn-resnet18", "unet"] {
        device.seed(1);
        let mut options = tiny(name);
        options.insert("dropout".to_owned(), json!(0.0));
        if name == "unet" {
            options.insert("norm".to_owned(), json!("Batch"));
        }
        let mut model = Segmenters.build(name, &options, &device).unwrap();
        let channels = if name == "unet" { 1 } else { 3 };
        // Noise on the left, and noise twice as bright on the right.
        let side = Tensor::<1, Int>::arange(0..64, &device).greater_equal_elem(32);
        let side = side.reshape([1, 1, 1, 64]).expand([2, 1, 64, 64]);
        let bright = side.clone().float() + 1.0;
        let image = noise([2, channels, 64, 64], 1, &device) + 1.0;
        let image = image * bright.expand([2, channels, 64, 64]);
        let classes = side.int().reshape([2, 64, 64]);
        let objective = PixelObjective::default();
        let mut optimizer: ModuleOptimizer = AdamConfig::new().init();

        let mut losses = Vec::new();
        for _ in 0..30 {
            let (_, loss) = model.loss(image.clone(), classes.clone(), &objective);
            losses.push(loss.clone().into_scalar::<f32>());
            let gradients = GradientsParams::from_grads(loss.backward(), &model);
            model = optimizer.step(0.01, model, gradients);
        }

        let (first, last) = (losses[0], losses[losses.len() - 1]);
        assert!(last < 0.3 * first, "{name}: {losses:?}");
    }
}

#[test]
fn a_stage_begins_with_what_the_one_before_has_learned() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.safetensors");
    for (before, after, fresh) in [
        ("fcn32s", "fcn16s", ["doubles.0", "skips.0", "upsample"].as_slice()),
        ("fcn16s", "fcn8s", &["doubles.1", "skips.1", "upsample"]),
    ] {
        weights::save(&stirred(build(before, &device())), &file).unwrap();

        let (_, report) = weights::load(build(after, &device()), &file, &[]).unwrap();

        assert!(report.unexpected.is_empty(), "{report}");
        let misshapen = report.misshapen.iter().map(|tensor| &tensor.path);
        let mut left: Vec<_> =
            report.missing.iter().map(|tensor| &tensor.path).chain(misshapen).collect();
        left.retain(|path| !fresh.iter().any(|start| is_below(path, start)));
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(report.misshapen.len(), 1, "the kernels of the last upsampling");
        assert!(report.loaded.iter().any(|path| path.starts_with("hidden.")));
    }
}

#[test]
fn absurd_options_are_refused_before_anything_is_built() {
    for name in names() {
        for (option, default) in Segmenters.defaults(name).unwrap() {
            let values = match default {
                Value::Number(number) if number.is_f64() => vec![json!(-1.0), json!(1e9)],
                Value::Number(_) => vec![json!(100_000_000), json!(u64::MAX)],
                _ => continue,
            };
            for value in values {
                let options = Options::from_iter([(option.clone(), value.clone())]);
                let error = Segmenters.build(name, &options, &device()).map(|_| ());
                let error = error.expect_err(&format!("{name}: {option} = {value}")).to_string();
                assert!(error.contains(&option), "{name}: {error}");
            }
        }
    }
}

#[test]
fn a_wrong_name_or_option_is_an_error_with_a_hint() {
    let refused = |name: &str, options: Value| {
        let options = options.as_object().unwrap().clone();
        Segmenters.build(name, &options, &device()).unwrap_err().to_string()
    };

    assert_eq!(refused("fcn8", json!({})), "unknown model `fcn8`; did you mean `fcn8s`?");
    assert!(refused("fcn8s-lenet5", json!({})).starts_with("fcn8s needs maps of the strides 32"));
    assert!(refused("fcn-alexnet", json!({})).contains("without its own head"));
    assert_eq!(
        refused("fcn8s", json!({ "backbone": { "widht": 3 } })),
        "unknown key `backbone.widht`; did you mean `backbone.width`?"
    );
    assert!(refused("fcn8s", json!({ "stride": 12 })).contains("stride must be 8, 16 or 32"));
    assert!(!Segmenters.has("resnet18") && Segmenters.has("fcn16s-resnet34"));
}
