//! `kiln predict`: digits as image files.

use std::fs;

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
fn predictions_are_written_where_asked() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("seen");
    let digits = digits().join("test/4");
    let run = short_run();
    let run = text(&run);
    let output = kiln(["predict", run, text(&digits), "--out", text(&out)]).output().unwrap();
    assert!(output.status.success());
    assert!(fs::read(out.join("predictions.png")).unwrap().starts_with(b"\x89PNG"));
    let written = fs::read_to_string(out.join("predictions.json")).unwrap();
    let written: serde_json::Value = serde_json::from_str(&written).unwrap();
    assert_eq!(written, json(0, ["predict", run, text(&digits)]));
}
