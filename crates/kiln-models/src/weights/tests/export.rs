//! Weights written for PyTorch.

use super::*;
use crate::darknet::{self, Darknet, DarknetConfig};

fn small_darknet() -> DarknetConfig {
    DarknetConfig::new(vec![vec![4], vec![6, 3, 6], vec![8]]).with_num_classes(5)
}

/// A tiny Darknet with the golden weights, which has norms, and the golden file's own tensors.
fn darknet() -> (Darknet, BTreeMap<String, TensorData>) {
    let file = Golden::open("darknet").path();
    let (model, _) = load(small_darknet().init(&device()), &file, darknet::KEYS).unwrap();
    let mut tensors = read_tensors(&file).unwrap();
    tensors.retain(|name, _| name != "input" && name != "output");
    (model, tensors)
}

#[test]
fn an_export_has_the_names_and_values_that_pytorch_had_and_a_counter_for_each_norm() {
    let (_folder, file) = scratch("darknet.safetensors");
    let (model, expected) = darknet();

    let count = export(&model, &file, darknet::KEYS).unwrap();

    let mut written = read_tensors(&file).unwrap();
    assert_eq!(written.len(), count);
    for number in 1..=5 {
        let counter = written.remove(&format!("bn{number}.num_batches_tracked")).unwrap();
        assert_eq!((counter.dtype(), counter.shape().num_dims()), (DType::I64, 0));
    }
    assert_eq!(written, expected);
}

#[test]
fn dense_weights_are_transposed_in_an_export() {
    let golden = Golden::open("lenet5");
    let (model, _) = load(tiny(4), &golden.path(), KEYS).unwrap();
    let (_folder, file) = scratch("lenet5.safetensors");

    export(&model, &file, KEYS).unwrap();

    let mut expected = read_tensors(&golden.path()).unwrap();
    expected.retain(|name, _| name != "input" && name != "output");
    assert_eq!(read_tensors(&file).unwrap(), expected);
}

#[test]
fn an_export_is_read_back_bit_for_bit() {
    for ending in ["pth", "pt", "safetensors"] {
        let (_folder, file) = scratch(&format!("model.{ending}"));
        let (model, _) = darknet();

        export(&model, &file, darknet::KEYS).unwrap();
        let again = load_exact(small_darknet().init(&device()), &file, darknet::KEYS).unwrap();

        assert_eq!(to_bytes(&again), to_bytes(&model), "{ending}");
    }
}

#[test]
fn equal_weights_are_exported_as_equal_bytes_aligned_for_mapping() {
    let (folder, file) = scratch("a.pth");
    let other = folder.path().join("b.pth");
    let (model, tensors) = darknet();

    export(&model, &file, darknet::KEYS).unwrap();
    export(&darknet().0, &other, darknet::KEYS).unwrap();

    let bytes = fs::read(&file).unwrap();
    assert_eq!(bytes, fs::read(&other).unwrap());
    let weight = tensors["conv1.weight"].as_bytes();
    let place = bytes.windows(weight.len()).position(|window| window == weight).unwrap();
    assert_eq!(place % 64, 0);
}

#[test]
fn an_ending_that_pytorch_does_not_know_is_refused() {
    let (folder, file) = scratch("model.onnx");

    let message = export(&tiny(4), &file, KEYS).unwrap_err().to_string();

    assert!(message.contains("model.onnx") && message.contains(".safetensors, .pth"), "{message}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
