//! `kiln bench`.

use crate::{json, keys};

#[test]
fn speed_is_told_with_the_stable_keys() {
    let stable = [
        "batch",
        "device",
        "images_per_second",
        "input",
        "median_ms",
        "mode",
        "model",
        "peak_memory_bytes",
        "runs",
    ];
    for mode in ["infer", "train"] {
        let object = json(0, ["bench", "lenet5", "--batch", "4", "--runs", "2", "--mode", mode]);
        assert_eq!(keys(&object), stable);
        assert_eq!(object["mode"], mode);
        let milliseconds = object["median_ms"].as_f64().unwrap();
        let rate = object["images_per_second"].as_f64().unwrap();
        assert!((rate - 4e3 / milliseconds).abs() < 1e-6 * rate);
        if cfg!(target_os = "linux") {
            assert!(object["peak_memory_bytes"].as_u64().unwrap() > 1 << 20);
        }
    }
}

#[test]
fn layers_are_timed_one_by_one() {
    let object = json(0, ["bench", "lenet5", "--runs", "2", "--layers"]);
    let summary = json(0, ["summary", "lenet5"]);
    let (timed, listed) = (object["layers"].as_array(), summary["layers"].as_array());
    let names = |layers: Option<&Vec<serde_json::Value>>| {
        layers.unwrap().iter().map(|layer| layer["name"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(timed), names(listed));
    assert!(timed.unwrap().iter().any(|layer| layer["median_ms"].as_f64().unwrap() > 0.0));
}

#[test]
fn each_convolution_shows_its_algorithm_and_its_share_of_the_peak() {
    let arguments = ["bench", "alexnet", "--runs", "1", "--layers", "--exact"];
    let object = json(0, arguments);
    let layers = object["layers"].as_array().unwrap();
    let named = |name: &str| layers.iter().find(|layer| layer["name"] == name).unwrap();
    let of = |kind: &str| layers.iter().filter(|layer| layer["kind"] == kind).collect::<Vec<_>>();

    let peak = object["peak_gflops"].as_f64().unwrap();
    assert!(peak > 0.0);
    for layer in of("conv").into_iter().chain(of("dense")) {
        let speed = layer["gflops"].as_f64().unwrap();
        assert!((layer["of_peak"].as_f64().unwrap() - speed / peak).abs() < 1e-9, "{layer}");
        assert!(layer["algorithm"].is_string(), "{layer}");
        assert_ne!(layer["algorithm"], "Winograd 4×4", "--exact turns it off");
    }
    let first = of("conv")[0];
    assert_eq!(first["window"]["kernel"], serde_json::json!([11, 11]));
    assert_eq!(first["window"]["channels"], 3);
    assert!(named(of("max_pool")[0]["name"].as_str().unwrap())["algorithm"].is_null());
    assert!(object["winograd"]["score_difference"].as_f64().unwrap() < 1e-4);
    assert!(object["winograd"]["median_ms"].as_f64().unwrap() > 0.0);
}

#[test]
fn what_cannot_fit_into_memory_is_refused_before_it_is_allocated() {
    let most = usize::MAX.to_string();
    let side = format!("3x{most}x{most}");
    for (arguments, remedy) in [
        (&["bench", "lenet5", "--batch", "1000000000"][..], "--batch"),
        (&["bench", "lenet5", "--batch", &most], "--batch"),
        (&["bench", "lenet5", "--batch", &most, "--mode", "train"], "--batch"),
        (&["bench", "resnet18", "--input", "3x1000000x1000000"], "--input"),
        (&["bench", "resnet18", "--input", &side], "--input"),
        (&["summary", "resnet18", "--input", "3x1000000x1000000"], "--input"),
    ] {
        let object = json(2, arguments.iter().copied());
        let error = object["error"].as_str().unwrap();
        assert!(error.contains("needs at least") && error.contains("are free"), "{error}");
        assert!(object["hint"].as_str().unwrap().contains(remedy), "{object}");
    }
}

/// The maps of a network, not its images, are what doesn't fit.
#[cfg(target_os = "linux")]
#[test]
fn a_batch_whose_layers_do_not_fit_is_refused_though_its_images_do() {
    let bench = |batch: &str| {
        let kiln = env!("CARGO_BIN_EXE_kiln");
        let call =
            format!("ulimit -v 3000000; {kiln} bench vgg16 --batch {batch} --set hidden=8 --json");
        std::process::Command::new("sh").args(["-c", &call]).output().unwrap()
    };
    // 120 MB of images, 5 GB of the first two maps.
    let output = bench("200");
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("vgg16 with 200 images of 3×224×224 needs at least 5.0 GiB"), "{text}");
}
