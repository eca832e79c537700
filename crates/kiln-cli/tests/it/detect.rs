//! `kiln predict` of a darknet detector.

use std::fs;
use std::path::{Path, PathBuf};

use kiln::burn::tensor::Device;
use kiln::models::Detectors;
use kiln::models::weights::{self, darknet};
use serde_json::Value;

use crate::{json, keys, text};

/// A detector that sees the same box of the class `b` in every image: half as wide and high, in the middle. Its weights are
/// zero but for the biases.
fn detector(folder: &Path) -> [PathBuf; 3] {
    let [cfg, weights, names] = ["box.cfg", "box.weights", "box.names"].map(|n| folder.join(n));
    let layers = "[avgpool]\n[convolutional]\nfilters=7\nsize=1\nactivation=linear\n";
    let head = "[yolo]\nmask=0\nanchors=4,4\nclasses=2\nnum=1\n";
    fs::write(&cfg, format!("[net]\nwidth=8\nheight=8\nchannels=3\n{layers}{head}")).unwrap();
    let mut bytes: Vec<u8> = [0_i32, 2, 5].iter().flat_map(|part| part.to_le_bytes()).collect();
    bytes.extend(0_u64.to_le_bytes());
    let biases = [0.0_f32, 0.0, 0.0, 0.0, 10.0, -10.0, 10.0];
    bytes.extend(biases.iter().chain(&[0.0; 21]).flat_map(|value| value.to_le_bytes()));
    fs::write(&weights, bytes).unwrap();
    fs::write(&names, "a\nb\n").unwrap();
    [cfg, weights, names]
}

#[test]
fn detected_boxes_are_printed_drawn_and_written_in_three_formats() {
    let folder = tempfile::tempdir().unwrap();
    let [cfg, weights, names] = detector(folder.path());
    let photo = folder.path().join("photo.png");
    image::RgbImage::from_pixel(400, 200, image::Rgb([90; 3])).save(&photo).unwrap();
    let out = folder.path().join("seen");
    let call = ["predict", text(&cfg), "--weights", text(&weights), "--names", text(&names)];
    let call = [&call[..], &[text(&photo), "--out", text(&out)]].concat();

    let object = json(0, call.clone());

    assert_eq!(keys(&object), ["errors", "images"]);
    let seen = &object["images"][0];
    assert_eq!((&seen["width"], &seen["height"]), (&400.into(), &200.into()));
    assert_eq!(seen["detections"].as_array().unwrap().len(), 1);
    let one = &seen["detections"][0];
    assert_eq!((&one["name"], &one["class"]), (&"b".into(), &1.into()));
    assert!(one["score"].as_f64().unwrap() > 0.99);
    let sides = |value: &Value| {
        value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap().round()).collect::<Vec<_>>()
    };
    assert_eq!(sides(&one["box"]), [100.0, 50.0, 300.0, 150.0]);

    // Between bars the image is the middle half of the input, and the box all of it from top to bottom.
    let boxed = json(0, [&call[..7], &["--letterbox"]].concat());
    assert_eq!(sides(&boxed["images"][0]["detections"][0]["box"]), [100.0, 0.0, 300.0, 200.0]);

    let read = |name: &str| fs::read_to_string(out.join(name)).unwrap();
    let coco: Value = serde_json::from_str(&read("coco.json")).unwrap();
    assert_eq!((&coco[0]["image_id"], &coco[0]["category_id"]), (&1.into(), &2.into()));
    assert_eq!(sides(&coco[0]["bbox"]), [100.0, 50.0, 200.0, 100.0]);
    assert!(read("photo.txt").starts_with("1 0.500000 0.500000 0.500000 0.500000 0.99"));
    let drawn = image::open(out.join("photo.png")).unwrap().into_rgb8();
    assert_eq!(drawn.dimensions(), (400, 200));
    // The right edge, and a place inside that nothing is drawn on.
    assert_ne!(*drawn.get_pixel(299, 100), image::Rgb([90; 3]));
    assert_eq!(*drawn.get_pixel(200, 100), image::Rgb([90; 3]));

    json(2, call.clone()); // nothing is overwritten unasked
    json(0, [&call[..], &["--force"]].concat());
}

#[test]
fn a_native_detector_takes_darknets_weights_and_those_that_kiln_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let set = [
        "num_classes=2",
        "width=8",
        "deepened=8",
        "backbone.stages=[[4],[4],[4],[4],[4],[4]]",
        "preprocess.width=96",
        "preprocess.height=64",
    ];
    let mut options = Value::Object(Detectors.defaults("yolov3-tiny").unwrap());
    for assignment in &set[..4] {
        kiln::models::options::set(&mut options, assignment).unwrap();
    }
    let device = Device::default();
    let options = options.as_object().unwrap();
    let network = Detectors.build("yolov3-tiny", options, &device).unwrap();
    let [theirs, ours, cut] =
        ["a.weights", "a.safetensors", "cut.weights"].map(|name| folder.path().join(name));
    darknet::save_module(&network, darknet::Header::default(), &theirs).unwrap();
    weights::save(&network, &ours).unwrap();
    let first_layer = 20 + 4 * (4 * 4 + 4 * 3 * 9);
    fs::write(&cut, &fs::read(&theirs).unwrap()[..first_layer]).unwrap();
    let photo = folder.path().join("photo.png");
    image::RgbImage::from_fn(60, 40, |x, y| image::Rgb([x as u8 * 4, y as u8 * 6, 90]))
        .save(&photo)
        .unwrap();
    let call = |weights: &Path| -> Vec<String> {
        let mut words = vec!["predict", "yolov3-tiny", "--weights", text(weights), text(&photo)];
        words.extend(["--conf", "0", "--iou", "1"]);
        words.extend(set.iter().flat_map(|&assignment| ["--set", assignment]));
        words.into_iter().map(str::to_owned).collect()
    };

    let of = |status, call: Vec<String>| json(status, call.iter().map(String::as_str));
    let seen = of(0, call(&theirs));

    // Three boxes at each of 2×3 and 4×6 cells, of two classes each.
    assert_eq!(seen["images"][0]["detections"].as_array().unwrap().len(), 3 * (6 + 24) * 2);
    assert_eq!(of(0, call(&ours)), seen);
    let refused = of(1, call(&cut));
    assert!(refused["error"].as_str().unwrap().contains("ends after 1 of the"), "{refused}");
    let odd = [&call(&ours)[..], &["--set".to_owned(), "preprocess.width=100".to_owned()]].concat();
    assert!(of(2, odd)["error"].as_str().unwrap().contains("multiples of 32"));
}

#[test]
fn a_detector_is_measured_on_a_set_with_boxes() {
    let folder = tempfile::tempdir().unwrap();
    let [cfg, weights, names] = detector(folder.path());
    let at = |name: &str| folder.path().join("set").join(name);
    fs::create_dir_all(at("images/test")).unwrap();
    fs::create_dir_all(at("labels/test")).unwrap();
    for (name, line) in [("1", "1 .5 .5 .5 .5"), ("2", "1 .5 .5 .5 .5\n0 .2 .2 .1 .1"), ("3", "")] {
        image::RgbImage::new(80, 40).save(at(&format!("images/test/{name}.png"))).unwrap();
        fs::write(at(&format!("labels/test/{name}.txt")), line).unwrap();
    }
    fs::write(at("data.yaml"), "test: images/test\nnames: [a, b]\n").unwrap();
    let out = folder.path().join("report");
    let set = folder.path().join("set");
    let call = ["eval", text(&cfg), "--weights", text(&weights), "--data", text(&set)];
    let call = [&call[..], &["--names", text(&names), "--out", text(&out)]].concat();

    let object = json(0, call.clone());

    // The box of `b` is right in two images, and made up in the third; `a` is missed.
    assert_eq!((&object["samples"], &object["skipped"]), (&3.into(), &0.into()));
    let classes = &object["classes"];
    assert_eq!((&classes[0]["ap"], &classes[0]["objects"]), (&0.0.into(), &1.into()));
    assert_eq!((&classes[1]["right"], &classes[1]["wrong"]), (&2.into(), &1.into()));
    assert!(classes[1]["ap50"].as_f64().unwrap() > 0.6);
    let mean = (classes[0]["ap"].as_f64().unwrap() + classes[1]["ap"].as_f64().unwrap()) / 2.0;
    assert!((object["metrics"]["ap"].as_f64().unwrap() - mean).abs() < 1e-12);
    assert_eq!(object["confusion"], serde_json::json!([[0, 0, 1], [0, 2, 0], [0, 1, 0]]));
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    let first = page.find("1 missed, 0 made up").unwrap();
    assert!(first < page.find("0 missed, 0 made up").unwrap(), "the worst come first");
    json(2, call.clone()); // the report is there already
    json(0, [&call[..], &["--force"]].concat());
    let error = json(2, [&call[..], &["--force", "--split", "train"]].concat());
    assert!(error["hint"].as_str().unwrap().contains("test"), "{error}");
    json(2, ["eval", text(&cfg), "--weights", text(&weights)]);
}

#[test]
fn verbs_for_classifiers_say_which_take_detectors() {
    for call in [&["train", "yolov3"][..], &["bench", "yolov3-resnet18"]] {
        let object = json(2, call.iter().copied());
        assert!(object["error"].as_str().unwrap().contains("is a detector"), "{object}");
        assert!(object["hint"].as_str().unwrap().contains("kiln predict"), "{object}");
    }
}

#[test]
fn what_does_not_belong_together_is_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let [cfg, weights, names] = detector(folder.path());
    let error = |arguments: &[&str]| {
        let object = json(2, [&["predict", text(&cfg)], arguments, &["a.png"]].concat());
        object["error"].as_str().unwrap().to_owned()
    };
    assert!(error(&[]).contains("needs weights"));
    fs::write(&names, "a\n").unwrap();
    let message = error(&["--weights", text(&weights), "--names", text(&names)]);
    assert!(message.contains("names 1 classes, and the network has 2"), "{message}");

    fs::write(&weights, [0; 30]).unwrap();
    let object = json(1, ["predict", text(&cfg), "--weights", text(&weights), "a.png"]);
    assert!(object["error"].as_str().unwrap().contains("box.weights"), "{object}");
    fs::write(&cfg, "[net]\nwidth=8\nheight=8\n[what]\n").unwrap();
    let object = json(1, ["predict", text(&cfg), "--weights", text(&weights), "a.png"]);
    assert!(object["error"].as_str().unwrap().contains("line 4: [what]"), "{object}");
}
