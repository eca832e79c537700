//! Tests on real weights, which are not part of the repository. They look for them in `$KILN_REAL_DATA`, or else beside
//! the repository in `../shared/data`, and say "skipped: no real data" where they are not.

mod cifar;
mod darknet;

use std::path::{Path, PathBuf};

use burn::prelude::*;
use kiln_models::weights::{load_exact, read_tensors};
use kiln_models::{Classifier, Options, Registry, Zoo};
use kiln_testkit::{device, largest_difference};

/// The folder `weights` of the real data, if it is there.
fn real() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let root = std::env::var_os("KILN_REAL_DATA").map_or_else(beside, PathBuf::from);
    let folder = root.join("weights");
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no real data");
    None
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
