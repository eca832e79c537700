//! `kiln forward`: tensors in and out.

use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use crate::{json, short_run, text};

fn write(path: &Path, name: &str, shape: &[usize], values: &[f32]) {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let tensor = TensorView::new(Dtype::F32, shape.to_vec(), &bytes).unwrap();
    fs::write(path, safetensors::serialize([(name, tensor)], None).unwrap()).unwrap();
}

#[test]
fn the_output_holds_a_row_of_scores_per_image_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let [x, y, z] = ["x", "y", "z"].map(|name| folder.path().join(format!("{name}.safetensors")));
    let values: Vec<f32> = (0..2 * 784).map(|at| (at as f32 * 0.1).sin()).collect();
    write(&x, "input", &[2, 1, 28, 28], &values);
    let weights = short_run().join("checkpoints/best/model.safetensors");

    let object = json(
        0,
        [
            "forward",
            "lenet5",
            "--weights",
            text(&weights),
            "--input",
            text(&x),
            "--output",
            text(&y),
        ],
    );
    assert_eq!(object["output"], serde_json::json!([2, 10]));
    let bytes = fs::read(&y).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.names(), ["output"]);
    let tensor = file.tensor("output").unwrap();
    assert_eq!((tensor.dtype(), tensor.shape()), (Dtype::F32, [2, 10].as_slice()));

    // The checkpoint is the same network.
    json(0, ["forward", text(&short_run()), "--input", text(&x), "--output", text(&z)]);
    assert_eq!(fs::read(&z).unwrap(), bytes);
}

#[test]
fn an_input_that_does_not_fit_is_refused_with_what_was_found() {
    let folder = tempfile::tempdir().unwrap();
    let x = folder.path().join("x.safetensors");
    let y = folder.path().join("y.safetensors");
    let error = |status| {
        let object = json(
            status,
            ["forward", text(&short_run()), "--input", text(&x), "--output", text(&y)],
        );
        object["error"].as_str().unwrap().to_owned()
    };

    write(&x, "images", &[1, 1, 28, 28], &[0.0; 784]);
    assert!(error(1).ends_with("no tensor `input`, but: images"));
    let image = [0.0_f32; 784].map(f32::to_le_bytes).concat();
    let double = [0.0_f64; 784].map(f64::to_le_bytes).concat();
    let tensor = |kind, bytes| TensorView::new(kind, vec![1, 1, 28, 28], bytes).unwrap();
    let single = tensor(Dtype::F32, &image);
    let save = |tensors: Vec<(&str, TensorView<'_>)>| {
        fs::write(&x, safetensors::serialize(tensors, None).unwrap()).unwrap();
    };
    save(vec![("input", single.clone()), ("labels", single)]);
    assert!(error(1).ends_with("other tensors beside `input`: labels"));
    save(vec![("input", tensor(Dtype::F64, &double))]);
    assert!(error(1).ends_with("`input` holds f64, not f32"));
    write(&x, "input", &[1, 784], &[0.0; 784]);
    assert!(error(1).ends_with("`input` has shape [1, 784]"));
    write(&x, "input", &[1, 3, 28, 28], &[0.0; 3 * 784]);
    assert!(error(2).ends_with("takes images of 1 channel, not of 3×28×28"));
    fs::write(&x, b"broken").unwrap();
    assert!(error(1).contains("x.safetensors"));
    assert!(!y.exists());
}

/// A VGG-16 whose first dense layer is three quarters of its file, as in the full one.
#[cfg(target_os = "linux")]
#[test]
fn a_file_is_loaded_without_a_second_copy_and_run_once_without_another() {
    use kiln::models::{Registry, Zoo, weights};

    let folder = tempfile::tempdir().unwrap();
    let [x, y] = ["x", "y"].map(|name| folder.path().join(format!("{name}.safetensors")));
    write(&x, "input", &[1, 3, 32, 32], &[0.5; 3 * 32 * 32]);
    let set = serde_json::json!({ "width": 16, "hidden": 4096, "num_classes": 10 });
    let options = set.as_object().unwrap();
    let network = Zoo.build("vgg16", options, &kiln::burn::tensor::Device::default()).unwrap();
    for ending in ["safetensors", "pth"] {
        let file = folder.path().join(format!("vgg16.{ending}"));
        weights::export(&network, &file, Zoo.keys("vgg16", options).unwrap()).unwrap();
        let length = fs::metadata(&file).unwrap().len();
        assert!(length > 100 << 20, "{length}: too small to tell a copy from the program itself");

        let files = ["--weights", text(&file), "--input", text(&x), "--output", text(&y)];
        let force = ["--force"];
        let set = ["--set", "width=16", "--set", "hidden=4096", "--set", "num_classes=10"];
        let object = json(0, ["forward", "vgg16"].into_iter().chain(files).chain(set).chain(force));

        let peak = |key: &str| object[key].as_u64().unwrap() as f64 / length as f64;
        let peaks = ["loaded_memory_bytes", "peak_memory_bytes"].map(peak);
        assert!(peaks[0] < 1.3, "{ending}: {} times the file", peaks[0]);
        assert!(peaks[1] < 1.4, "{ending}: {} times the file with a forward pass", peaks[1]);
    }
}
