//! Tests on real weights, which are not part of the repository; see [`real_data`].

mod cifar;
mod darknet;
mod yolo_fastest;

use std::path::PathBuf;

use burn::prelude::*;
use kiln_models::weights::{load_exact, read_tensors};
use kiln_models::{Classifier, Options, Registry, Zoo};
use kiln_testkit::{device, largest_difference, real_data};

/// The folder `weights` of the real data, if it is there.
fn real() -> Option<PathBuf> {
    real_data("weights")
}

/// Checks that network `name` with the weights of `file` gives the scores of `reference`, which another program computed
/// from the same weights.
fn assert_reproduces(name: &str, file: &str, reference: &str) {
    let Some(folder) = real() else { return };
    let network = Zoo.build(name, &Options::new(), &device()).unwrap();
    let network =
        load_exact(network, &folder.join(file), Zoo.keys(name, &Options::new()).unwrap()).unwrap();
    let mut reference = read_tensors(&folder.join("reference").join(reference)).unwrap();
    let mut tensor = |name: &str| reference.remove(name).unwrap();
    let input = Tensor::<4>::from_data(tensor("input"), &device());
    let expected = Tensor::<2>::from_data(tensor("logits"), &device());

    let difference = largest_difference(network.forward(input), expected);

    // Written so that a NaN fails.
    let close = difference <= 1e-4;
    assert!(close, "{name} is off by {difference:e}");
}

#[test]
fn real_lenet_caffe_gives_the_scores_of_another_program() {
    assert_reproduces("lenet-caffe", "lenet/caffe_lenet.safetensors", "caffe_lenet.safetensors");
}

#[test]
fn real_lenet5_tanh_gives_the_scores_of_another_program() {
    let file = "lenet/ghost9933_lenet5_tanh_avg32.pth";
    assert_reproduces("lenet5-tanh", file, "ghost9933_lenet5.safetensors");
}
