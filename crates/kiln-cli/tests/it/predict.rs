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
        ["predict", text(&run), text(images), "--out", text(&out)].map(str::to_owned)
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
