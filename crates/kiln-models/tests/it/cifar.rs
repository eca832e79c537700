//! ResNet-20 and ResNet-56 with the weights that akamaster trained on CIFAR-10.

use burn::prelude::*;
use kiln_models::resnet_cifar::{CifarResNetConfig, KEYS};
use kiln_models::{Classifier, weights};
use kiln_testkit::{device, largest_difference};

use crate::real;

/// Checks the scores of the network in `file` against those that PyTorch gave.
fn check(depth: usize, file: &str) {
    let Some(folder) = real() else { return };
    let reference = folder.join("reference/cifar10_resnet.safetensors");
    let reference = weights::read_tensors(&reference).unwrap();
    let model = CifarResNetConfig::resnet(depth).init(&device());

    let file = folder.join("cifar10_resnet").join(file);
    let model = weights::load_exact(model, &file, KEYS).unwrap();
    let tensor = |name: &str| reference[name].clone();

    let scores = model.forward(Tensor::from_data(tensor("input"), &device()));
    let expected = Tensor::from_data(tensor(&format!("resnet{depth}.logits")), &device());
    let difference = largest_difference(scores, expected);
    assert!(difference <= 1e-4, "off by {difference:e}"); // a NaN fails
}

#[test]
fn real_resnet20_gives_the_reference_scores() {
    check(20, "resnet20-12fca82f.th");
}

#[test]
fn real_resnet56_gives_the_reference_scores() {
    check(56, "resnet56-4bfd9763.th");
}
