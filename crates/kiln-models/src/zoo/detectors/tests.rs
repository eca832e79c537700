//! Every detector, tiny: against the network that darknet's description gives, and as training will need it.

use super::*;
use crate::darknet_cfg::DarknetCfg;
use crate::weights::{self, darknet};
use burn::module::{ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Gradients;
use kiln_testkit::{assert_close, device, largest_difference, noise};
use std::path::Path;

/// Widths of a narrow Darknet-19.
const NARROW: [&[usize]; 6] =
    [&[4], &[6], &[8, 4, 8], &[10, 6, 10], &[12, 6, 12, 6, 12], &[14, 6, 14, 6, 14]];
const TINY: [&[usize]; 6] = [&[4], &[6], &[8], &[10], &[12], &[14]];
const CHANNELS: [usize; 5] = [4, 6, 8, 10, 12];
const DEPTHS: [usize; 5] = [1, 1, 2, 2, 1];

fn tiny(name: &str) -> Options {
    let darknet53 = json!({ "stem": 4, "channels": CHANNELS, "depths": DEPTHS });
    let options = match name {
        "yolov2" => json!({
            "neck": [10, 8], "passthrough": 4, "joined": 12, "backbone": { "stages": NARROW },
        }),
        "yolov2-tiny" => json!({ "neck": [10, 8], "backbone": { "stages": TINY } }),
        "yolov3" | "yolov3-spp" => json!({ "width": 8, "backbone": darknet53 }),
        "yolov3-tiny" => json!({ "width": 8, "deepened": 10, "backbone": { "stages": TINY } }),
        _ => json!({ "width": 8, "backbone": { "width": 8, "depths": [1, 1, 1, 1] } }),
    };
    options.as_object().unwrap().clone()
}

fn conv(filters: usize, size: usize, stride: usize) -> String {
    format!(
        "[convolutional]\nbatch_normalize=1\nfilters={filters}\nsize={size}\nstride={stride}\npad=1\nactivation=leaky\n"
    )
}

fn output(boxes: usize) -> String {
    let filters = boxes * 85;
    format!("[convolutional]\nfilters={filters}\nsize=1\nactivation=linear\n")
}

fn listed(anchors: &[[f32; 2]]) -> String {
    anchors.iter().flatten().map(f32::to_string).collect::<Vec<_>>().join(",")
}

/// The same network in darknet's words, for images of 64×64.
fn cfg(name: &str, heads: &[Head]) -> String {
    let mut text = String::from("[net]\nwidth=64\nheight=64\nchannels=3\n");
    let layers = |text: &str| text.matches('[').count() - 1;
    let mut finer = 0;
    let plain = |text: &mut String, stages: [&[usize]; 6], finer: &mut usize| {
        let mut channels = 0;
        for (stage, widths) in stages.into_iter().enumerate() {
            if stage > 0 {
                *text += "[maxpool]\nsize=2\nstride=2\n";
            }
            for &width in widths {
                *text += &conv(width, if width < channels { 1 } else { 3 }, 1);
                channels = width;
            }
            if stage == 4 {
                *finer = layers(text) - 1;
            }
        }
    };
    let region =
        format!("[region]\nanchors={}\nclasses=80\nnum=5\nsoftmax=1\n", listed(&heads[0].anchors));
    match name {
        "yolov2" => {
            plain(&mut text, NARROW, &mut finer);
            text += &(conv(10, 3, 1) + &conv(8, 3, 1));
            let last = layers(&text) - 1;
            text += &format!("[route]\nlayers={finer}\n{}[reorg]\nstride=2\n", conv(4, 1, 1));
            text += &format!("[route]\nlayers=-1,{last}\n{}{}{region}", conv(12, 3, 1), output(5));
        }
        "yolov2-tiny" => {
            plain(&mut text, TINY, &mut finer);
            text += "[maxpool]\nsize=2\nstride=1\n";
            text += &(conv(10, 3, 1) + &conv(8, 3, 1) + &output(5) + &region);
        }
        _ => {
            let mut laterals = Vec::new();
            if name == "yolov3-tiny" {
                plain(&mut text, TINY, &mut finer);
                text += "[maxpool]\nsize=2\nstride=1\n";
                text += &conv(10, 3, 1);
                laterals.push(finer);
            } else {
                text += &conv(4, 3, 1);
                for (wide, units) in CHANNELS.into_iter().zip(DEPTHS) {
                    text += &conv(wide, 3, 2);
                    let unit = conv(wide / 2, 1, 1) + &conv(wide, 3, 1);
                    text += &(unit + "[shortcut]\nfrom=-3\nactivation=linear\n").repeat(units);
                    laterals.push(layers(&text) - 1);
                }
                laterals = vec![laterals[3], laterals[2]];
            }
            let anchors: Vec<[f32; 2]> =
                heads.iter().rev().flat_map(|head| head.anchors.clone()).collect();
            for (scale, head) in heads.iter().enumerate() {
                let (narrow, wide) = (8 >> scale, 16 >> scale);
                let pair = conv(narrow, 1, 1) + &conv(wide, 3, 1);
                let pyramid = "[maxpool]\nstride=1\nsize=5\n[route]\nlayers=-2\n[maxpool]\nstride=1\nsize=9\n\
                    [route]\nlayers=-4\n[maxpool]\nstride=1\nsize=13\n[route]\nlayers=-1,-3,-5,-6\n";
                text += &match (name, scale) {
                    ("yolov3-tiny", 0) => conv(narrow, 1, 1),
                    ("yolov3-tiny", _) => String::new(),
                    ("yolov3-spp", 0) => {
                        pair.clone() + &conv(narrow, 1, 1) + pyramid + &pair + &conv(narrow, 1, 1)
                    }
                    _ => pair.repeat(2) + &conv(narrow, 1, 1),
                };
                let neck = layers(&text) - 1;
                let first = anchors.len() - 3 * (scale + 1);
                text += &(conv(wide, 3, 1) + &output(3));
                text += &format!(
                    "[yolo]\nmask={},{},{}\nanchors={}\nclasses=80\nnum={}\n",
                    first,
                    first + 1,
                    first + 2,
                    listed(&anchors),
                    anchors.len()
                );
                if scale + 1 < heads.len() {
                    let (narrower, lateral) = (conv(narrow / 2, 1, 1), laterals[scale]);
                    text += &format!(
                        "[route]\nlayers={neck}\n{narrower}[upsample]\nstride=2\n[route]\nlayers=-1,{lateral}\n"
                    );
                }
                assert_eq!(head.anchors.len(), if name == "yolov2" { 5 } else { 3 });
            }
        }
    }
    text
}

/// Every number drawn anew, so that none can stand for another.
fn stirred<M: Module>(module: M) -> M {
    struct Stir {
        path: Vec<String>,
        count: u64,
    }
    impl ModuleMapper for Stir {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.path.push(name.to_owned());
        }

        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.pop();
        }

        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            self.count += 1;
            let name = self.path.last().cloned().unwrap_or_default();
            let count = self.count;
            param.map(|tensor| {
                let noise = noise(tensor.dims(), count, &tensor.device()) * 0.4;
                match name.as_str() {
                    "weight" => tensor,
                    "gamma" | "running_var" => noise + 1.0,
                    _ => noise,
                }
            })
        }
    }
    module.map(&mut Stir { path: Vec::new(), count: 0 })
}

#[test]
fn a_native_network_and_the_one_that_darknet_describes_are_equal_with_the_same_weights() {
    for name in ["yolov2", "yolov2-tiny", "yolov3", "yolov3-tiny", "yolov3-spp"] {
        println!("{name}");
        let fresh = || Detectors.build(name, &tiny(name), &device()).unwrap();
        let native = stirred(fresh());
        let heads = native.heads([64, 64]);
        let text = cfg(name, &heads);
        let twin = DarknetCfg::parse(&text, Path::new("a.cfg")).unwrap();
        let bytes = darknet::module_to_bytes(&native, darknet::Header::default());
        assert_eq!(bytes.len(), 20 + 4 * twin.floats());

        let (twin, read) = darknet::from_bytes(twin.init(&device()), &bytes).unwrap();
        let (again, _) = darknet::module_from_bytes(fresh(), &bytes).unwrap();

        assert_eq!(read.layers, read.of);
        assert!(darknet::module_to_bytes(&again, read.header) == bytes);
        assert_eq!(twin.heads(), heads);
        let images = noise([2, 3, 64, 64], 7, &device());
        let maps = native.forward(images.clone());
        let (theirs, loaded) = (twin.forward(images.clone()), again.forward(images));
        assert_eq!((maps.len(), theirs.len()), (heads.len(), heads.len()));
        for ((ours, theirs), loaded) in maps.into_iter().zip(theirs).zip(loaded) {
            assert!(largest_difference(ours.clone(), theirs) <= 1e-5);
            assert!(largest_difference(ours, loaded) <= 1e-5);
        }
    }
}

#[test]
fn the_listed_parameters_are_right_and_so_are_the_sizes_of_the_published_files() {
    for entry in Detectors.entries() {
        let network = Detectors.build(entry.name, &Options::new(), &device()).unwrap();
        assert_eq!(trainable(&network), entry.parameters, "{}", entry.name);
        assert_eq!(entry.task, Task::Detection);
        network.check_input(entry.input).unwrap();
    }
    for (name, floats) in [
        ("yolov2", 50_983_561),
        ("yolov2-tiny", 11_237_145),
        ("yolov3", 62_001_757),
        ("yolov3-tiny", 8_858_734),
    ] {
        let network = Detectors.build(name, &Options::new(), &device()).unwrap();
        let sizes = parameters(&network).into_iter();
        let all: usize = sizes.map(|one| one.shape.iter().product::<usize>()).sum();
        assert_eq!(all, floats, "{name}");
    }
}

#[test]
fn at_416_pixels_there_are_as_many_boxes_as_in_the_papers() {
    for (name, boxes) in [
        ("yolov2", 845),
        ("yolov2-tiny", 845),
        ("yolov3", 10_647),
        ("yolov3-spp", 10_647),
        ("yolov3-tiny", 2535),
        ("yolov3-resnet18", 10_647),
    ] {
        let network = Detectors.build(name, &tiny(name), &device()).unwrap();

        let maps = network.forward(Tensor::zeros([1, 3, 416, 416], &device()));

        assert_eq!(maps[0].dims()[2..], [13, 13], "{name}");
        let heads = network.heads([416, 416]);
        let each = heads.iter().zip(&maps).map(|(head, map)| {
            let [_, channels, height, width] = map.dims();
            assert_eq!(channels, head.channels());
            head.anchors.len() * height * width
        });
        assert_eq!(each.sum::<usize>(), boxes, "{name}");
        if name.starts_with("yolov2") {
            assert_eq!(maps[0].dims(), [1, 425, 13, 13]);
        }
    }
}

fn images(batch: usize, device: &Device) -> Tensor<4> {
    noise([batch, 3, 64, 96], 3, device)
}

fn for_each(test: impl Fn(&str, &Options)) {
    for entry in Detectors.entries() {
        println!("{}", entry.name);
        device().seed(1);
        test(entry.name, &tiny(entry.name));
    }
}

#[test]
fn every_map_is_finite_and_every_parameter_gets_a_gradient() {
    for_each(|name, options| {
        let device = device().autodiff();
        let network = Detectors.build(name, options, &device).unwrap();

        let maps = network.forward(images(2, &device));

        let mut loss = Tensor::<1>::zeros([1], &device);
        for map in maps {
            assert!(map.to_data().iter::<f32>().all(f32::is_finite));
            loss = loss + map.powf_scalar(2.0).mean();
        }
        let mut check = Check { gradients: &loss.backward(), paths: paths(&network), seen: 0 };
        network.visit(&mut check);
    });
}

fn paths(network: &AnyDetector) -> Vec<Option<String>> {
    let all = parameters(network).into_iter();
    all.map(|parameter| parameter.trainable.then_some(parameter.path)).collect()
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
fn a_batch_of_two_is_two_batches_of_one_and_a_saved_network_comes_back() {
    for_each(|name, options| {
        let build = || Detectors.build(name, options, &device()).unwrap().valid();
        let network = stirred(build());
        let two = images(2, &device());

        let each = [0, 1].map(|at| network.forward(two.clone().narrow(0, at, 1)));
        let bytes = weights::to_bytes(&network);
        let again = weights::from_bytes(build(), bytes, Path::new("memory")).unwrap();

        let maps = network.forward(two.clone());
        for (at, map) in maps.iter().enumerate() {
            let apart = each.iter().map(|maps| maps[at].clone()).collect();
            assert_close(map.clone(), Tensor::cat(apart, 0));
        }
        for (map, loaded) in maps.into_iter().zip(again.forward(two)) {
            map.to_data().assert_eq(&loaded.to_data(), true);
        }
    });
}

#[test]
fn the_boxes_of_all_heads_are_gathered_image_by_image() {
    let network = Detectors.build("yolov3-tiny", &tiny("yolov3-tiny"), &device()).unwrap();
    let found = network.candidates(images(2, &device()), -1.0);

    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|boxes| boxes.len() == 3 * (2 * 3 + 4 * 6) * 80));
}

#[test]
fn a_file_of_the_backbone_fills_the_backbone_alone() {
    let mut options = tiny("yolov3")["backbone"].as_object().unwrap().clone();
    options.insert("activation".to_owned(), "LeakyRelu".into());
    let classifier = stirred(Zoo.build("darknet53", &options, &device()).unwrap());
    let network = Detectors.build("yolov3", &tiny("yolov3"), &device()).unwrap();
    let bytes = darknet::module_to_bytes(&classifier, darknet::Header::default());

    let (network, read) = darknet::module_from_bytes(network, &bytes).unwrap();

    let units: usize = DEPTHS.iter().sum();
    assert_eq!((read.layers, read.of), (1 + 5 + 2 * units, 1 + 5 + 2 * units + 7 * 3 + 2));
    let again = darknet::module_to_bytes(&network, read.header);
    assert!(again[..bytes.len()] == bytes);
    let (_, read) = darknet::module_from_bytes(classifier, &bytes).unwrap();
    assert_eq!(read.layers, read.of, "what isn't a convolution is left alone");
}

#[test]
fn any_network_with_the_maps_is_a_backbone_and_another_one_hears_what_it_lacks() {
    for (name, options) in [
        ("yolov2-resnet50", json!({ "backbone": { "width": 8, "depths": [1, 1, 1, 1] } })),
        ("yolov3-vgg16", json!({ "width": 8, "backbone": { "width": 8 } })),
        ("yolov3-googlenet", json!({ "width": 8, "backbone": { "width": 8 } })),
        ("yolov3-darknet53", tiny("yolov3").into()),
        ("yolov2-darknet19", json!({ "backbone": { "stages": NARROW } })),
    ] {
        let options = options.as_object().unwrap();
        let network = Detectors.build(name, options, &device()).unwrap();
        let maps = network.forward(images(1, &device()));
        assert_eq!(maps[0].dims()[2..], [2, 3], "{name}");
        let head = parameters(&network).into_iter();
        assert!(head.into_iter().all(|one| !one.path.contains("head.")), "{name} keeps scores");
    }
    let refused =
        |name: &str| Detectors.build(name, &Options::new(), &device()).unwrap_err().to_string();
    assert!(refused("yolov3-darknet-tiny").contains("needs a map of the stride 32"));
    assert!(refused("yolov2-lenet5").starts_with("yolov2 needs maps of the strides 32 and 16"));
    assert_eq!(refused("yolov4"), "unknown model `yolov4`; did you mean `yolov3`?");
    let entry = Detectors.entry("yolov2-darknet19").unwrap();
    assert_eq!(entry.parameters, 50_962_889, "darknet19 is what yolov2 stands on");
}

#[test]
fn what_is_impossible_is_refused_by_name() {
    let refused = |name: &str, options: Value| {
        let options = options.as_object().unwrap();
        Detectors.build(name, options, &device()).unwrap_err().to_string()
    };
    assert!(refused("yolov3", json!({ "anchors": [[1.0, 2.0]] })).contains("each of 3 maps"));
    assert!(refused("yolov3", json!({ "width": 6 })).contains("width 6"));
    assert!(refused("yolov3", json!({ "width": 100_000_000 })).contains("width"));
    assert!(refused("yolov3-spp", json!({ "necks": [1, 5, 5] })).contains("spp needs"));
    assert!(refused("yolov3", json!({ "necks": [] })).contains("necks"));
    assert!(refused("yolov2", json!({ "neck": [0] })).contains("neck"));
    assert!(refused("yolov2", json!({ "passthrough": 6 })).contains("multiple of 4, found 6"));
    assert!(refused("yolov2", json!({ "anchors": [[0.0, 1.0]] })).contains("anchors"));
    let unknown = refused("yolov3-resnet18", json!({ "backbone": { "with": 8 } }));
    assert!(unknown.contains("`backbone.with`") && unknown.contains("width"), "{unknown}");

    let network = Detectors.build("yolov3", &tiny("yolov3"), &device()).unwrap();
    let error = network.check_input([3, 416, 400]).unwrap_err().to_string();
    assert!(error.contains("multiples of 32, not 3x416x400"), "{error}");
}
