//! Weights that others trained, measured on complete data: they must be as good here as they are elsewhere.

use burn::prelude::*;
use kiln_models::{Options, Zoo};
use kiln_testkit::real_data;
use kiln_train::{Silent, Subject, Weights, evaluate};

/// Checks that `name` with the weights of `file` names so many of MNIST's 10,000 test digits right.
fn assert_right(name: &str, file: &str, right: u64) {
    let (Some(weights), Some(digits)) = (real_data("weights/lenet"), real_data("mnist")) else {
        return;
    };
    let subject = Subject::Model {
        name: name.to_owned(),
        options: Options::new(),
        preprocess: Options::new(),
        class_order: None,
        weights: Weights::File(weights.join(file)),
    };
    let device = Device::default();

    let found = evaluate(&Zoo, &subject, Some(&digits), "test", &device, &mut Silent).unwrap();

    assert_eq!((found.samples, found.skipped), (10_000, 0));
    assert_eq!(found.confusion.right(), right, "{} %", found.top1 * 100.0);
}

#[test]
fn real_lenet_caffe_is_right_on_as_many_digits_as_elsewhere() {
    assert_right("lenet-caffe", "caffe_lenet.safetensors", 9_914);
}

#[test]
fn real_lenet5_tanh_is_right_on_as_many_digits_as_elsewhere() {
    assert_right("lenet5-tanh", "ghost9933_lenet5_tanh_avg32.pth", 9_855);
}
