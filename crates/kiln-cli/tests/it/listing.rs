//! Verbs that only tell: models, summary, devices, completions, help.

use serde_json::json as value;

use crate::{json, keys, kiln};

#[test]
fn models_are_listed_with_their_stable_keys() {
    let object = json(0, ["models"]);
    let lenet = &object["models"][0];
    assert_eq!(keys(&object), ["models"]);
    assert_eq!(
        keys(lenet),
        ["dataset", "features", "input", "name", "parameters", "summary", "task"]
    );
    assert_eq!(
        (&lenet["name"], &lenet["task"], &lenet["parameters"]),
        (&value!("lenet5"), &value!("classification"), &value!(61_750))
    );
    assert_eq!(json(0, ["models", "resnet-9000"])["models"], value!([]));
    assert_eq!(json(0, ["models", "XCEPTION"])["models"].as_array().unwrap().len(), 1);
}

#[test]
fn the_summary_adds_up() {
    let object = json(0, ["summary", "lenet5"]);
    assert_eq!(keys(&object), ["depth", "input", "layers", "macs", "model", "parameters"]);
    assert_eq!(object["parameters"], 61_750);
    assert_eq!(object["depth"], 5);
    let layers = object["layers"].as_array().unwrap();
    assert_eq!(keys(&layers[0]), ["kind", "macs", "name", "output", "parameters"]);
    for key in ["parameters", "macs"] {
        let sum: u64 = layers.iter().map(|layer| layer[key].as_u64().unwrap()).sum();
        assert_eq!(object[key], sum, "{key}");
    }

    let wide = json(0, ["summary", "lenet5", "--set", "num_classes=100"]);
    assert_eq!(wide["parameters"], 61_750 + 90 * 85);
}

#[test]
fn detectors_are_listed_and_summed_up_as_classifiers_are() {
    let object = json(0, ["models", "yolov3"]);
    let listed = object["models"].as_array().unwrap();
    let yolov3 = listed.iter().find(|model| model["name"] == "yolov3").unwrap();
    assert_eq!(
        (&yolov3["task"], &yolov3["parameters"]),
        (&value!("detection"), &value!(61_949_149))
    );
    assert_eq!(keys(yolov3), keys(&json(0, ["models", "cnn"])["models"][0]));

    let object = json(0, ["summary", "yolov3-tiny", "--input", "3x64x96"]);
    assert_eq!(object["parameters"], 8_852_366);
    let layers = object["layers"].as_array().unwrap();
    let outputs: Vec<_> = layers.iter().filter(|layer| layer["output"][0] == 255).collect();
    assert_eq!(outputs[0]["output"], value!([255, 2, 3]));
    assert_eq!(outputs[1]["output"], value!([255, 4, 6]));
    json(2, ["summary", "yolov3-tiny", "--input", "3x64x90"]);
    json(2, ["summary", "yolov3-tiny", "--input", "3x1048576x1048576"]);
}

#[test]
fn the_summary_fits_eighty_columns() {
    let output = kiln(["summary", "lenet5"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("61,750"), "{text}");
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
        assert!(!line.contains('\x1b'), "no colour when piped: {line}");
    }
}

#[test]
fn devices_tell_which_one_auto_takes() {
    let object = json(0, ["devices"]);
    assert_eq!(keys(&object), ["auto", "devices"]);
    let devices = object["devices"].as_array().unwrap();
    let auto = devices.iter().find(|device| device["name"] == object["auto"]).unwrap();
    assert_eq!((&auto["compiled"], &auto["available"]), (&value!(true), &value!(true)));
    assert!(devices.iter().all(|device| {
        device["available"] == true || device["remedy"].as_str().is_some_and(|it| !it.is_empty())
    }));
}

#[test]
fn completions_are_written_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = kiln(["completions", shell]).output().unwrap();
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success());
        assert!(script.contains("kiln") && script.contains("resume"), "{shell}");
    }
}

#[test]
fn every_verb_has_help_with_examples() {
    let verbs = [
        "train",
        "eval",
        "compare",
        "predict",
        "forward",
        "summary",
        "models",
        "data",
        "devices",
        "bench",
        "completions",
    ];
    for verb in verbs {
        let output = kiln([verb, "--help"]).output().unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{verb}");
        assert!(help.contains("Examples:") && help.contains(&format!("kiln {verb}")), "{help}");
        assert!(!help.contains('\x1b'), "no colour when piped");
    }
    assert!(kiln(["--version"]).output().unwrap().stdout.starts_with(b"kiln "));
}
