//! Networks that give every pixel a class: listed, summed up, run on tensors and converted.

use std::fs;
use std::path::Path;

use kiln::burn::module::Module;
use kiln::burn::tensor::{Device, Tensor};
use kiln::models::unet::UNetConfig;
use kiln::models::{AnySegmenter, Segmenters, weights};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json as value;

use crate::{json, keys, text};

#[test]
fn they_are_listed_as_classifiers_are() {
    let object = json(0, ["models", "segmentation"]);
    let listed = object["models"].as_array().unwrap();
    assert_eq!(listed.len(), Segmenters.entries().len());
    assert_eq!(
        (&listed[0]["name"], &listed[0]["parameters"]),
        (&value!("fcn32s"), &value!(136_152_917))
    );
    assert!(listed.iter().all(|model| model["task"] == "segmentation"));
    assert_eq!(keys(&listed[0]), keys(&json(0, ["models", "cnn"])["models"][0]));
    assert_eq!(json(0, ["models", "fcn-resnet50"])["models"].as_array().unwrap().len(), 1);
}

#[test]
fn the_summary_has_every_layer_up_to_the_scores_of_the_pixels() {
    let narrow = ["--set", "backbone.width=4", "--set", "hidden=8", "--set", "num_classes=3"];
    let call = [&["summary", "fcn8s-vgg11", "--input", "3x70x90"], &narrow[..]].concat();
    let object = json(0, call.iter().copied());
    let layers = object["layers"].as_array().unwrap();
    let sum: u64 = layers.iter().map(|layer| layer["parameters"].as_u64().unwrap()).sum();
    assert_eq!(object["parameters"], sum);
    let last = layers.last().unwrap();
    assert_eq!((&last["name"], &last["kind"]), (&value!("upsample"), &value!("transposed_conv")));
    // Eight times the nine rows and twelve columns of the finest map, before they are cut.
    assert_eq!(last["output"], value!([3, 72, 96]));

    // A network that isn't listed, and what can't be.
    assert!(
        json(0, ["summary", "fcn16s-resnet34", "--input", "3x64x64"])["depth"].as_u64() > Some(34)
    );
    let refused = json(2, ["summary", "fcn8s-lenet5"]);
    assert!(refused["error"].as_str().unwrap().contains("maps of the strides"), "{refused}");
    json(2, ["summary", "fcn8s", "--input", "1x64x64"]);
    json(2, ["summary", "fcn8s", "--input", "3x16x16"]);
    json(2, ["summary", "unet", "--input", "1x1048576x1048576"]);
    json(2, ["summary", "unet", "--set", "widht=3"]);
}

fn write(path: &Path, shape: &[usize], values: &[f32]) {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let tensor = TensorView::new(Dtype::F32, shape.to_vec(), &bytes).unwrap();
    fs::write(path, safetensors::serialize([("input", tensor)], None).unwrap()).unwrap();
}

#[test]
fn forward_gives_scores_of_every_pixel_and_converted_weights_give_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let [x, y, z, ours, theirs] =
        ["x.safetensors", "y.safetensors", "z.safetensors", "a.safetensors", "a.pth"]
            .map(|name| folder.path().join(name));
    let values: Vec<f32> = (0..2 * 11 * 14).map(|at| (at as f32 * 0.1).sin()).collect();
    write(&x, &[2, 1, 11, 14], &values);
    let device = Device::default();
    let network = UNetConfig::new().with_width(2).with_depth(2).init(&device);
    weights::save(&AnySegmenter::UNet(network), &ours).unwrap();
    let small = ["--set", "width=2", "--set", "depth=2"];
    let forward = |file: &Path, to: &Path| {
        let call = [
            &[
                "forward",
                "unet",
                "--weights",
                text(file),
                "--input",
                text(&x),
                "--output",
                text(to),
            ],
            &small[..],
        ];
        json(0, call.concat().iter().copied())
    };

    assert_eq!(forward(&ours, &y)["output"], value!([2, 2, 11, 14]));
    let convert = [&["convert", text(&ours), text(&theirs), "--model", "unet"], &small[..]];
    let converted = json(0, convert.concat().iter().copied());
    assert_eq!(converted["left_out"], value!([]));
    forward(&theirs, &z);

    let bytes = fs::read(&y).unwrap();
    assert!(fs::read(&z).unwrap() == bytes);
    let file = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.names(), ["output"]);
    let missing =
        json(2, ["forward", "unet", "--input", text(&x), "--output", text(&z), "--force"]);
    assert!(missing["error"].as_str().unwrap().contains("needs weights"), "{missing}");
    let none = ["--weights", "pretrained", "--input", text(&x), "--output", text(&z), "--force"];
    let none = json(2, ["forward", "unet"].iter().chain(&none).copied());
    assert!(none["error"].as_str().unwrap().contains("no weights are published"), "{none}");
}

#[test]
fn verbs_for_classifiers_say_which_take_them() {
    for call in [&["train", "fcn8s"][..], &["bench", "fcn-resnet50"], &["eval", "unet"]] {
        let object = json(2, call.iter().copied());
        assert!(object["error"].as_str().unwrap().contains("is for segmentation"), "{object}");
        assert!(object["hint"].as_str().unwrap().contains("kiln forward"), "{object}");
    }
}

#[test]
fn predictions_are_written_as_numbers_as_colours_and_over_the_photo() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    // Its scores are the image's own grey value against a threshold of one half.
    let network = UNetConfig::new().with_width(1).with_depth(1).with_dropout(0.0);
    let network = bright(network.init(&Device::default()));
    weights::save(&network, &path("a.safetensors")).unwrap();
    let photo = |width, height| {
        image::GrayImage::from_fn(width, height, |x, _| {
            image::Luma([if x < 12 { 20 } else { 230 }])
        })
    };
    photo(30, 20).save(path("small.png")).unwrap();
    photo(8000, 140).save(path("long.png")).unwrap();
    fs::write(path("broken.png"), b"no image").unwrap();
    fs::write(path("names.txt"), "dark\nbright\n").unwrap();
    let out = path("seen");
    let weights = path("a.safetensors");
    let (small, long, names) = (path("small.png"), path("long.png"), path("names.txt"));
    let call = |images: &[&Path]| -> Vec<String> {
        let mut words =
            vec!["predict", "unet", "--weights", text(&weights), "--names", text(&names)];
        words.extend(["--set", "width=1", "--set", "depth=1", "--out", text(&out)]);
        words.extend(images.iter().map(|image| text(image)));
        words.into_iter().map(str::to_owned).collect()
    };
    let run = |status, words: Vec<String>| json(status, words.iter().map(String::as_str));

    let object = run(0, call(&[&small, &long]));

    assert_eq!(keys(&object), ["errors", "images"]);
    let image = &object["images"][0];
    assert_eq!(keys(image), ["classes", "height", "path", "width"]);
    assert_eq!(
        image["classes"],
        value!([
            { "class": 1, "name": "bright", "pixels": 18 * 20 },
            { "class": 0, "name": "dark", "pixels": 12 * 20 },
        ])
    );
    // Longer than a window, and of the same stripes.
    assert_eq!(object["images"][1]["classes"][1]["pixels"], 12 * 140);
    let bytes = fs::read(out.join("classes/small.png")).unwrap();
    let mask = kiln::data::masks::Coding::Index.read(&out.join("classes/small.png"), 255).unwrap();
    assert_eq!((mask.width, mask.height), (30, 20));
    assert!(mask.data.iter().enumerate().all(|(at, &class)| class == u8::from(at % 30 >= 12)));
    assert!(!bytes.is_empty());
    let colours = image::open(out.join("colours/small.png")).unwrap();
    assert!(colours.height() > 20);
    let over = image::open(out.join("overlays/small.png")).unwrap();
    assert_eq!((over.width(), over.height()), (30, 20));
    assert!(out.join("segmentation.json").is_file());

    json(2, call(&[&small]).iter().map(String::as_str)); // they are there already
    let forced = [call(&[&small, &path("broken.png")]), vec!["--force".to_owned()]].concat();
    let object = run(1, forced);
    assert_eq!(object["images"].as_array().unwrap().len(), 1);
    assert!(object["errors"][0]["path"].as_str().unwrap().contains("broken.png"));
    let few = [call(&[&small]), vec!["--set".to_owned(), "num_classes=3".to_owned()]].concat();
    assert!(run(2, few)["error"].as_str().unwrap().contains("names 2 classes"));
}

/// A network whose second class scores as a pixel is bright, and whose first scores one half.
fn bright(network: kiln::models::unet::UNet) -> AnySegmenter {
    use kiln::burn::module::{ModuleMapper, Param};
    use kiln::burn::tensor::TensorData;

    struct Set(Vec<String>);
    impl ModuleMapper for Set {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.0.push(name.to_owned());
        }

        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.0.pop();
        }

        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let path = self.0.join(".");
            param.map(|tensor| {
                let shape = tensor.dims();
                let mut values = vec![0_f32; shape.iter().product()];
                // The first channel of every convolution on the way beside is its input's middle.
                match path.as_str() {
                    "down.0.0.conv.weight"
                    | "down.0.1.conv.weight"
                    | "up.0.convs.0.conv.weight"
                    | "up.0.convs.1.conv.weight" => values[4] = 1.0,
                    "head.conv.weight" => values[1] = 1.0,
                    "head.conv.bias" => values[0] = 0.5,
                    _ => {}
                }
                Tensor::from_data(TensorData::new(values, shape), &tensor.device())
            })
        }
    }
    AnySegmenter::UNet(network.map(&mut Set(Vec::new())))
}
