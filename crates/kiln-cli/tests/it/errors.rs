//! Wrong use and broken files end in one line that helps, never in a panic.

use std::fs;

use crate::{json, keys, kiln, short_run, text};

/// Runs `kiln` and returns its `error` after checking exit status, streams and shape.
fn error(status: i32, arguments: &[&str]) -> String {
    let object = json(status, arguments.iter().copied());
    assert_eq!(keys(&object), ["error", "hint"]);

    let output = kiln(arguments.iter().copied()).output().unwrap();
    let shown = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(status), "{shown}");
    assert!(output.stdout.is_empty(), "errors go to standard error");
    assert!(shown.starts_with("error: "), "{shown}");
    assert!(shown.lines().count() <= 2, "an error and a hint: {shown}");
    assert!(!shown.contains("panicked"), "{shown}");
    object["error"].as_str().unwrap().to_owned()
}

#[test]
fn every_unknown_name_is_answered_by_the_nearest_known_one() {
    for (arguments, nearest) in [
        (&["train", "lenet6"][..], "lenet5"),
        (&["train", "lenet5", "--dataset", "mnits"], "mnist"),
        (&["train", "lenet5", "--set", "optimizer.learning_rat=1"], "optimizer.learning_rate"),
        (&["train", "lenet5", "--set", "optimizer.lr=1"], "optimizer.learning_rate"),
        (&["train", "lenet5", "--set", "optimizer.name=sgdd"], "sgd"),
        (&["train", "lenet5", "--set", "epoch=1"], "epochs"),
        (&["train", "lenet5", "--eposh", "3"], "--epochs"),
        (&["train", "lenet5", "--device", "wgpuu"], "wgpu"),
        (&["trian", "lenet5"], "train"),
        (&["summary", "lenet"], "lenet5"),
        (&["summary", "lenet5", "--set", "num_class=3"], "num_classes"),
        (&["bench", "lenet55"], "lenet5"),
        (&["eval", "lenet_5"], "lenet5"),
        (&["data", "check", "mnsit"], "mnist"),
        (&["data", "previw", "mnist"], "preview"),
    ] {
        let error = error(2, arguments);
        assert!(error.ends_with(&format!("; did you mean `{nearest}`?")), "{arguments:?}: {error}");
    }
}

#[test]
fn an_option_of_the_model_is_named_by_its_path_in_the_recipe() {
    let out = tempfile::tempdir().unwrap();
    let set = ["--set", "options.hidden=-1", "--out", text(out.path())];
    let in_training = error(2, &[&["train", "lenet5"][..], &set].concat());
    assert!(in_training.starts_with("`options.hidden`: "), "{in_training}");

    let alone = error(2, &["summary", "lenet5", "--set", "hidden=-1"]);
    assert!(alone.starts_with("`hidden`: "), "{alone}");
}

#[test]
fn what_cannot_be_done_is_wrong_use() {
    for arguments in [
        &["train"][..],
        &["train", "lenet5", "--epochs", "0"],
        &["train", "lenet5", "--set", "epochs"],
        &["train", "lenet5", "--set", "epochs=many"],
        &["train", "lenet5", "--weights", "pretrained"],
        &["summary", "lenet5", "--input", "28x28"],
        &["summary", "lenet5", "--input", "3x28x28"],
        &["summary", "lenet5", "--input", "1x9x9"],
        &["bench", "lenet5", "--layers", "--mode", "train"],
        &["bench", "lenet5", "--exact", "--mode", "train"],
        &["predict", "lenet5", "digit.png"],
        &["forward", "lenet5", "--input", "x", "--output", "y"],
        &["--threads", "0", "models"],
    ] {
        error(2, arguments);
    }
}

#[test]
fn files_that_are_not_there_are_named() {
    let run = short_run();
    let run = text(&run);
    for arguments in [
        &["eval", "runs/nowhere"][..],
        &["predict", "runs/nowhere", "digit.png"],
        &["predict", run, "nowhere/*.png"],
        &["eval", "lenet5", "--weights", "nowhere.safetensors"],
        &["eval", run, "--data", "nowhere"],
        &["forward", run, "--input", "nowhere.safetensors", "--output", "y.safetensors"],
    ] {
        let output = kiln(arguments.iter().copied()).output().unwrap();
        let shown = String::from_utf8(output.stderr).unwrap();
        assert!(matches!(output.status.code(), Some(1 | 2)), "{arguments:?}");
        assert!(shown.contains("nowhere"), "{arguments:?}: {shown}");
    }
}

#[test]
fn broken_weights_recipes_and_checkpoints_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("weights.safetensors"), b"\xff\xff\xff\xff\xff\xff\xff\x7f{}").unwrap();
    fs::write(path("weights.pt"), b"not a pickle").unwrap();
    fs::write(path("recipe.toml"), "model = \"lenet5\"\nepochs = [").unwrap();
    let best = path("best");
    fs::create_dir(&best).unwrap();
    for file in fs::read_dir(short_run().join("checkpoints/best")).unwrap().flatten() {
        let mut bytes = fs::read(file.path()).unwrap();
        if file.file_name() == "model.safetensors" {
            bytes.truncate(bytes.len() / 2);
        }
        fs::write(best.join(file.file_name()), bytes).unwrap();
    }

    for name in ["weights.safetensors", "weights.pt"] {
        let error = error(1, &["eval", "lenet5", "--weights", text(&path(name))]);
        assert!(error.contains(name), "{error}");
    }
    assert!(error(2, &["train", text(&path("recipe.toml"))]).contains("recipe.toml"));
    let error = error(1, &["eval", text(&best)]);
    assert!(error.contains("model.safetensors is damaged"), "{error}");
}

#[test]
fn a_device_that_is_not_built_in_names_the_flag_that_builds_it() {
    if cfg!(feature = "cuda") {
        return;
    }
    let object = json(2, ["train", "lenet5", "--device", "cuda"]);
    let hint = object["hint"].as_str().unwrap();
    assert!(hint.contains("--features cuda"), "{hint}");
}

#[test]
fn a_run_folder_is_never_overwritten() {
    let error = error(2, &["train", "lenet5", "--epochs", "1", "--out", text(&short_run())]);
    assert!(error.contains("already holds a run"), "{error}");
}
