//! What `kiln train` is asked for and can't do: refused in a short line, with what would do.

use std::fs;

use kiln::burn::tensor::Device;
use kiln::models::{Options, Registry, Zoo, weights};
use serde_json::Value;

use crate::{bars, json, text};

/// The error and the hint of `kiln` with these arguments, which are wrong use.
fn refused(arguments: &[&str]) -> (String, String) {
    told(2, arguments)
}

fn told(status: i32, arguments: &[&str]) -> (String, String) {
    let object = json(status, arguments.iter().copied());
    let [error, hint] = ["error", "hint"].map(|key| match &object[key] {
        Value::String(text) => text.clone(),
        _ => String::new(),
    });
    assert!(error.len() < 200 && !error.contains("os error"), "{arguments:?}: {error}");
    (error, hint)
}

#[test]
fn numbers_out_of_range_are_answered_by_the_range_and_negative_ones_are_no_options() {
    for (option, values, range) in [
        ("--threads", &["100000", "0", "-1", "many"][..], "1 to 1024"),
        ("--epochs", &["-1", "0", "99999999999999999999", "1.5"], "1 to 1000000"),
        ("--seeds", &["-1", "0", "65536"], "1 to 1000"),
        ("--seed", &["-1", "18446744073709551615"], "0 to 9223372036854775807"),
    ] {
        for value in values {
            let (error, hint) = refused(&["train", "lenet5", "--dry-run", option, value]);
            assert!(error.starts_with(&format!("`{value}` is no value of {option}")), "{error}");
            assert_eq!(hint, format!("it takes a whole number from {range}"));
        }
    }
    let long = "9".repeat(309);
    refused(&["train", "lenet5", "--epochs", &long]);
    refused(&["train", "lenet5", "--set", &format!("epochs={long}")]);
    refused(&["train", "lenet5", "--set", &format!("epochs=\"{long}\"")]);
}

#[test]
fn too_many_threads_of_the_environment_are_refused_before_they_are_started() {
    let mut command = crate::kiln(["train", "lenet5", "--dry-run"]);
    let output = command.env("RAYON_NUM_THREADS", "100000").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let shown = String::from_utf8(output.stderr).unwrap();
    assert!(shown.contains("RAYON_NUM_THREADS asks for 100000 threads"), "{shown}");
}

#[test]
fn values_of_a_recipe_out_of_range_are_refused_in_a_dry_run_too() {
    for (set, expected) in [
        ("loader.workers=100000", "loader.workers must lie in [0, 1024]"),
        ("optimizer.learning_rate=-1", "must lie in [0, 1000], found -1.0"),
        ("optimizer.learning_rate=nan", "takes a number, not \"nan\""),
        ("augment.shift=1e9", "augment.shift: 1000000000"),
        ("optimizer.name=sdg", "did you mean `sgd`?"),
        ("schedule.name=cosien", "did you mean `cosine`?"),
    ] {
        let (error, _) = refused(&["train", "lenet5", "--dry-run", "--set", set]);
        assert!(error.contains(expected), "{set}: {error}");
    }
    let (error, hint) = refused(&["train", "lenet5", "--set", "seed=-1"]);
    assert!(error.contains("`seed`: integer `-1` is out of range"), "{error}");
    assert_eq!(hint, "it takes a whole number of 0 or more");
}

#[test]
fn a_value_that_somebody_insists_on_is_not_overruled_by_the_data() {
    let train = ["train", "lenet5", "--dry-run"];
    let (error, hint) = refused(&[&train[..], &["--set", "options.num_classes=5"]].concat());
    assert!(error.starts_with("options.num_classes is 5, but the classes"), "{error}");
    assert!(hint.contains("leave it out"), "{hint}");
    json(0, [&train[..], &["--set", "options.num_classes=10"]].concat());
}

#[test]
fn a_recipe_that_is_missing_is_called_missing() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| text(&folder.path().join(name)).to_owned();
    let (error, _) = refused(&["train", &path("nosuch.toml")]);
    assert!(error.ends_with("nosuch.toml: no such recipe file"), "{error}");
    let (error, hint) = refused(&["train", "lenet5-mnits.toml"]);
    assert!(error.contains("no such recipe file") && hint.contains("`lenet5-mnist`"), "{hint}");
    let (error, _) = refused(&["train", text(folder.path())]);
    assert!(error.ends_with("is a folder, not a recipe file"), "{error}");
    let (error, hint) = refused(&["train", "xyzzy"]);
    assert_eq!(error, "unknown recipe or model `xyzzy`");
    assert!(hint.contains("`kiln models`") && hint.contains("lenet5-mnist"), "{hint}");

    fs::write(path("foreign.toml"), b"model = \"lenet5\xff\"").unwrap();
    let (error, hint) = refused(&["train", &path("foreign.toml")]);
    assert!(error.contains("isn't UTF-8") && !hint.is_empty(), "{error}");

    // A name of another kind than `.toml` is a recipe all the same.
    fs::write(path("recipe.txt"), "model = \"lenet5\"").unwrap();
    assert_eq!(json(0, ["train", &path("recipe.txt"), "--dry-run"])["model"], "lenet5");
}

#[test]
fn a_model_without_a_recipe_starts_from_defaults_and_says_so() {
    let data = bars();
    let arguments = ["train", "resnet32", "--dataset", "mnist", "--data", text(&data), "--dry-run"];
    let output = crate::kiln(arguments).output().unwrap();
    let notes = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{notes}");
    assert!(notes.contains("kiln carries no recipe for resnet32"), "{notes}");
}

#[test]
fn what_the_system_refuses_is_told_in_words_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("file/run");
    fs::write(folder.path().join("file"), "").unwrap();
    let data = bars();
    let with = |option, value| told(1, &["train", "lenet5", "--data", text(&data), option, value]);

    let (error, hint) = with("--out", text(&inside));
    assert!(error.starts_with("the run folder ") && hint.contains("--out"), "{error}");
    let (error, hint) = with("--weights", "nosuch");
    assert!(error.ends_with("nosuch: no such file or folder") && !hint.is_empty(), "{error}");
    let (error, hint) = with("--weights", text(folder.path()));
    assert!(error.ends_with("it is a folder, and a file is wanted"), "{error}");
    assert_eq!(hint, "name a file in it");
}

#[test]
fn a_missing_data_folder_is_told_from_one_without_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere");
    let (error, hint) = told(1, &["train", "lenet5", "--data", text(&nowhere)]);
    assert!(error.ends_with("nowhere is not there"), "{error}");
    assert!(hint.contains("kiln data fetch mnist"), "{hint}");
    let (error, hint) = told(1, &["train", "lenet5", "--data", text(folder.path())]);
    assert!(error.starts_with("no train-images-idx3-ubyte[.gz] in "), "{error}");
    assert!(hint.contains("kiln data fetch mnist"), "{hint}");
    let (error, hint) = refused(&["train", "lenet5", "--dataset", "cifar10"]);
    assert_eq!(error, "dataset `cifar10` has no embedded sample");
    assert!(hint.contains("--data"), "{hint}");
}

#[test]
fn a_missing_verb_is_a_mistake_with_the_verbs_as_its_hint() {
    for (arguments, verb) in [(&[][..], "train"), (&["data"], "fetch")] {
        let (error, hint) = refused(arguments);
        assert!(error.ends_with("needs a verb"), "{error}");
        assert!(hint.contains(verb), "{hint}");
    }
}

#[test]
fn images_that_cannot_fit_are_refused_before_a_measurement_or_prediction() {
    let folder = tempfile::tempdir().unwrap();
    let digit = crate::digits().join("test/7");
    let image = fs::read_dir(digit).unwrap().flatten().next().unwrap().path();
    let weights = folder.path().join("w.safetensors");
    let network = Zoo.build("darknet-tiny", &Options::new(), &Device::default()).unwrap();
    weights::save(&network, &weights).unwrap();
    let large = ["--set", "preprocess.height=8192", "--set", "preprocess.width=8192"];
    let call =
        ["predict", "darknet-tiny", "--weights", text(&weights), "--set", "preprocess.resize=0"];
    for number in 0..1024 {
        fs::copy(&image, folder.path().join(format!("{number}.png"))).unwrap();
    }
    let files = [text(folder.path())];
    let set = ["--set", "batch_size=1024"];
    let all: Vec<&str> = call.into_iter().chain(large).chain(set).chain(files).collect();
    let (error, hint) = refused(&all);
    assert!(error.contains("of memory, and"), "{error}");
    assert!(hint.contains("batch_size"), "{hint}");
}
