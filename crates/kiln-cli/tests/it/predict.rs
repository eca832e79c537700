//! `kiln predict`: digits as image files.

use std::fs;
use std::path::Path;

use crate::{digits, json, keys, kiln, short_run, text};

#[test]
fn most_digits_of_a_folder_are_told_apart() {
    let folder = digits().join("test/1");
    let object = json(0, ["predict", text(&short_run()), text(&folder), "--top", "3"]);
    assert_eq!(keys(&object), ["errors", "images"]);
    let images = object["images"].as_array().unwrap();
    assert_eq!(images.len(), fs::read_dir(&folder).unwrap().count());
    assert_eq!(keys(&images[0]), ["path", "predictions"]);
    let right = images.iter().filter(|image| image["predictions"][0]["name"] == "1").count();
    assert!(10 * right > 8 * images.len(), "{right} of {}", images.len());
    for image in images {
        let predictions = image["predictions"].as_array().unwrap();
        assert_eq!(predictions.len(), 3);
        assert_eq!(keys(&predictions[0]), ["class", "name", "score"]);
        let scores: Vec<f64> = predictions.iter().map(|p| p["score"].as_f64().unwrap()).collect();
        assert!(scores.is_sorted_by(|a, b| a >= b) && scores[0] <= 1.0, "{scores:?}");
    }
}

#[test]
fn an_image_that_cannot_be_read_does_not_stop_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.png");
    fs::write(&broken, b"\x89PNG\r\n\x1a\nhalf").unwrap();
    let good = fs::read_dir(digits().join("test/7")).unwrap().flatten().next().unwrap().path();
    let run = short_run();
    let run = text(&run);

    let object = json(1, ["predict", run, text(&broken), text(&good), "nowhere.png"]);
    assert_eq!(object["images"].as_array().unwrap().len(), 1);
    let errors = object["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 2);
    assert_eq!(keys(&errors[0]), ["error", "path"]);
    assert_eq!(errors[0]["path"], text(&broken));
}

#[test]
fn a_model_takes_its_weights_from_a_file_and_patterns_are_expanded() {
    let weights = short_run().join("checkpoints/best/model.safetensors");
    let pattern = format!("{}/test/0/*.png", digits().display());
    let with_weights = json(0, ["predict", "lenet5", "--weights", text(&weights), &pattern]);
    let checkpoint = json(0, ["predict", text(&short_run()), &pattern]);
    assert_eq!(with_weights, checkpoint);
}

#[test]
fn predictions_are_written_where_asked_as_table_object_and_sheets() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("seen");
    let sheets = || {
        let names = fs::read_dir(&out).unwrap().flatten().map(|file| file.file_name());
        let names = names.map(|name| name.into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name.ends_with(".png")).collect();
        names.sort();
        names
    };
    let [ones, four] = ["test/1", "test/4"].map(|class| digits().join(class));
    let run = short_run();
    let predict = |images: &Path| {
        ["predict", text(&run), text(images), "--out", text(&out), "--force"].map(str::to_owned)
    };
    let output = kiln(predict(&ones).iter().map(String::as_str)).output().unwrap();
    assert!(output.status.success());
    assert_eq!(sheets(), ["predictions-1.png", "predictions-2.png", "predictions-3.png"]);
    for name in sheets() {
        assert!(fs::read(out.join(name)).unwrap().starts_with(b"\x89PNG"));
    }

    let table = fs::read_to_string(out.join("predictions.csv")).unwrap();
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(lines[0], ["path", "rank", "class", "name", "score", "error"]);
    assert_eq!(lines.len(), 1 + 5 * 161);
    assert_eq!((lines[1][1], lines[5][1], lines[6][1]), ("1", "5", "1"));
    let written = fs::read_to_string(out.join("predictions.json")).unwrap();
    let written: serde_json::Value = serde_json::from_str(&written).unwrap();
    assert_eq!(written, json(0, ["predict", text(&run), text(&ones)]));
    let first = &written["images"][0]["predictions"][0];
    assert_eq!(lines[1][3], first["name"]);
    // Reading JSON may cost the last digit.
    let score: f64 = lines[1][4].parse().unwrap();
    assert!((score - first["score"].as_f64().unwrap()).abs() < 1e-12);

    // Fewer images in the same folder, one of them broken: old sheets don't stay.
    let few = folder.path().join("few");
    fs::create_dir(&few).unwrap();
    let good = fs::read_dir(four).unwrap().flatten().next().unwrap().path();
    fs::copy(good, few.join("a.png")).unwrap();
    fs::write(few.join("b.png"), "no image").unwrap();
    let output = kiln(predict(&few).iter().map(String::as_str)).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(sheets(), ["predictions.png"]);
    let table = fs::read_to_string(out.join("predictions.csv")).unwrap();
    assert_eq!(table.lines().count(), 1 + 5 + 1);
    assert!(table.contains(&format!("{},,,,,\"it is no PNG", text(&few.join("b.png")))), "{table}");
}

#[test]
fn images_that_cannot_be_read_are_counted_in_the_error() {
    let folder = tempfile::tempdir().unwrap();
    let [broken, other] = ["broken.png", "other.png"].map(|name| folder.path().join(name));
    fs::write(&broken, "no image").unwrap();
    fs::write(&other, "").unwrap();
    let good = fs::read_dir(digits().join("test/7")).unwrap().flatten().next().unwrap().path();
    let run = short_run();
    let said = |images: &[&Path]| {
        let images = images.iter().map(|image| text(image));
        let output = kiln(["predict", text(&run)].into_iter().chain(images)).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let some = said(&[&broken, &good]);
    assert!(some.contains("error: 1 of 2 images could not be read\nhint: "), "{some}");
    assert!(some.contains(&format!("note: {}: it is no PNG", text(&broken))), "{some}");
    assert!(said(&[&broken, &other]).contains("error: none of 2 images could be read"));
    let one = said(&[&broken]);
    assert!(one.starts_with(&format!("error: {}: it is no PNG", text(&broken))), "{one}");
    let missing = said(&[Path::new("nowhere.png")]);
    assert!(missing.starts_with("error: nowhere.png: no such file or folder\nhint: "), "{missing}");

    let object = json(1, ["predict", text(&run), text(&broken), text(&good)]);
    assert_eq!(keys(&object), ["error", "errors", "hint", "images"]);
    assert_eq!(object["error"], "1 of 2 images could not be read");
}

#[test]
fn transparency_is_ignored_and_that_is_said_once() {
    let folder = tempfile::tempdir().unwrap();
    for (name, alpha) in [("a.png", 0), ("b.png", 128), ("c.png", 255)] {
        let image = image::RgbaImage::from_pixel(28, 28, image::Rgba([200, 200, 200, alpha]));
        image.save(folder.path().join(name)).unwrap();
    }
    let output = kiln(["predict", text(&short_run()), text(folder.path())]).output().unwrap();
    let notes = String::from_utf8(output.stderr).unwrap();
    assert_eq!(notes.lines().count(), 1, "{notes}");
    assert!(notes.starts_with("note: 2 images: transparency is ignored"), "{notes}");
    let shown = String::from_utf8(output.stdout).unwrap();
    let scores: Vec<&str> = shown.lines().map(|line| line.split_once(": ").unwrap().1).collect();
    assert!(scores[0] == scores[1] && scores[1] == scores[2], "{shown}");
}

#[test]
fn predictions_of_one_class_end_at_their_last_letter() {
    let folder = digits().join("test/1");
    let run = short_run();
    let call = ["predict", text(&run), text(&folder), "--top", "1"];
    let shown = String::from_utf8(kiln(call).output().unwrap().stdout).unwrap();
    assert!(shown.lines().all(|line| line.trim_end() == line), "{shown:?}");
}

#[test]
fn tensors_of_a_file_that_a_network_has_no_use_for_are_told() {
    use kiln::models::{Registry, Zoo, weights};

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("googlenet.safetensors");
    let device = kiln::burn::tensor::Device::default();
    let options = serde_json::json!({ "aux": true });
    let network = Zoo.build("googlenet", options.as_object().unwrap(), &device).unwrap();
    weights::export(&network, &file, Zoo.keys("googlenet", options.as_object().unwrap()).unwrap())
        .unwrap();
    let image = fs::read_dir(digits().join("test/7")).unwrap().flatten().next().unwrap().path();
    let call = ["predict", "googlenet", "--weights", text(&file), text(&image)];
    let output = kiln(call).output().unwrap();
    let notes = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{notes}");
    assert!(notes.contains("left out, of auxiliary heads: "), "{notes}");
}

#[test]
fn how_the_images_of_a_weight_file_are_normalized_is_told_and_can_be_set() {
    let weights = short_run().join("checkpoints/best/model.safetensors");
    let eval = |set: &[&str]| {
        let call = ["eval", "lenet5", "--weights", text(&weights), "--json"];
        let set = set.iter().flat_map(|set| ["--set", set]);
        let output = kiln(call.into_iter().chain(set)).output().unwrap();
        let notes = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{notes}");
        let mut object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (object["metrics"].take(), notes)
    };
    let (usual, notes) = eval(&[]);
    assert!(notes.contains("mean [0.1307]") && notes.contains("--set preprocess.mean"), "{notes}");
    let same = ["preprocess.mean=[0.1307]", "preprocess.std=[0.3081]"];
    let (said, notes) = eval(&same);
    assert_eq!((&said, notes.contains("normalized")), (&usual, false), "{notes}");
    let (other, _) = eval(&["preprocess.mean=[0.9]"]);
    assert_ne!(other, usual);

    // Any number of images at a time gives the same, from a run too.
    let right =
        |set| json(0, ["eval", text(&short_run()), "--set", set])["metrics"]["top1"].clone();
    assert_eq!(right("batch_size=1000"), right("batch_size=7"));
    assert_eq!(right("batch_size=7"), usual["top1"]);
}
