//! The data set `folders`: images of a user, in a folder per class.

use std::fs;
use std::path::Path;

use crate::{bars, digits, json, shared, short_run, text};

/// The bars as image files, with a validation part of their own.
fn photos() -> std::path::PathBuf {
    shared("photos", |folder| {
        json(0, ["data", "convert", "mnist", "--data", text(&bars()), "--out", text(folder)]);
        for class in 0..10 {
            let [from, to] =
                ["train", "validation"].map(|part| folder.join(format!("{part}/{class}")));
            fs::create_dir_all(&to).unwrap();
            let files = fs::read_dir(from).unwrap().flatten();
            for file in files.take(7) {
                fs::rename(file.path(), to.join(file.file_name())).unwrap();
            }
        }
    })
}

#[test]
fn converted_digits_are_measured_as_the_digits_themselves() {
    let run = short_run();
    let run = text(&run);
    let folders = json(0, ["eval", run, "--dataset", "folders", "--data", text(&digits())]);
    let digits = json(0, ["eval", run]);
    assert_eq!(folders["dataset"], "folders");
    for key in ["samples", "confusion"] {
        assert_eq!(folders[key], digits[key], "{key}");
    }
    assert_eq!(folders["metrics"]["top1"], digits["metrics"]["top1"]);
}

#[test]
fn some_of_the_classes_will_do_for_a_measurement_and_foreign_ones_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let copy = |from: &Path, to: &Path| {
        fs::create_dir_all(to).unwrap();
        for file in fs::read_dir(from).unwrap().flatten() {
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    };
    for class in ["1", "7"] {
        copy(&digits().join("test").join(class), &folder.path().join("test").join(class));
    }
    let run = short_run();
    let eval = ["eval", text(&run), "--dataset", "folders", "--data", text(folder.path())];
    let object = json(0, eval);
    let rows = object["confusion"].as_array().unwrap();
    let sum = |row: usize| {
        rows[row].as_array().unwrap().iter().filter_map(serde_json::Value::as_u64).sum::<u64>()
    };
    assert_eq!((rows.len(), sum(0), sum(1), sum(7)), (10, 0, 161, 160));

    copy(&digits().join("test/1"), &folder.path().join("test/one"));
    let object = json(2, eval);
    assert!(
        object["error"].as_str().unwrap().contains("`one` of the data set `folders`"),
        "{object}"
    );
}

#[test]
fn training_uses_the_validation_part_that_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let photos = photos();
    let train = ["train", "lenet5", "--dataset", "folders", "--data", text(&photos)];
    let plan = json(0, train.into_iter().chain(["--dry-run"]));
    assert_eq!(plan["samples"], serde_json::json!({ "train": 570, "validation": 70, "test": 100 }));
    let plan = json(0, train.into_iter().chain(["--dry-run", "--set", "validation=0"]));
    assert_eq!(plan["samples"]["validation"], 0);

    json(0, train.into_iter().chain(["--epochs", "2", "--out", text(&out)]));
    let evaluation =
        json(0, ["eval", text(&out), "--data", text(&photos), "--split", "validation"]);
    assert_eq!(evaluation["samples"], 70);
    let results = fs::read_to_string(out.join("results.csv")).unwrap();
    assert_eq!(results.lines().count(), 3, "{results}");
}

#[test]
fn an_unreadable_image_is_named_by_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let class = folder.path().join("train/cat");
    fs::create_dir_all(&class).unwrap();
    for (number, file) in
        fs::read_dir(digits().join("test/3")).unwrap().flatten().take(9).enumerate()
    {
        fs::copy(file.path(), class.join(format!("{number}.png"))).unwrap();
    }
    let broken = class.join("broken.jpg");
    fs::write(&broken, "no image").unwrap();
    let object = json(1, ["data", "check", "folders", "--data", text(folder.path())]);
    let set = &object["datasets"][0];
    assert_eq!((&set["clean"], &set["classes"]), (&false.into(), &serde_json::json!(["cat"])));
    assert_eq!(set["splits"][0]["unreadable"][0]["name"], text(&broken));

    let object = json(1, ["data", "check", "folders", "--data", text(&class)]);
    assert!(object["error"].as_str().unwrap().contains("no images in folders"), "{object}");
    assert!(object["hint"].as_str().unwrap().contains("train/CLASS/IMAGE"), "{object}");
}

#[test]
fn an_unreadable_photo_ends_training_with_the_way_on_and_an_empty_part_is_not_clean() {
    let folder = tempfile::tempdir().unwrap();
    let picture = digits().join("test/3");
    let picture = fs::read_dir(picture).unwrap().next().unwrap().unwrap().path();
    for (part, class) in [("train", "a"), ("train", "b"), ("test", "a"), ("test", "b")] {
        let to = folder.path().join("whole").join(part).join(class);
        fs::create_dir_all(&to).unwrap();
        for number in 0..4 {
            fs::copy(&picture, to.join(format!("{number}.png"))).unwrap();
        }
    }
    let data = folder.path().join("whole");
    fs::write(data.join("train/a/bad.png"), "no picture").unwrap();
    let out = folder.path().join("run");
    let train = ["train", "lenet5", "--dataset", "folders", "--data", text(&data), "--epochs", "1"];
    let object = json(1, train.into_iter().chain(["--out", text(&out)]));
    assert!(object["error"].as_str().unwrap().contains("bad.png"), "{object}");
    assert!(object["hint"].as_str().unwrap().contains("loader.on_error=skip"), "{object}");

    fs::remove_dir_all(data.join("train")).unwrap();
    fs::create_dir_all(data.join("train/a")).unwrap();
    let object = json(1, ["data", "check", "folders", "--data", text(&data)]);
    assert_eq!(object["datasets"][0]["clean"], false, "{object}");
}
