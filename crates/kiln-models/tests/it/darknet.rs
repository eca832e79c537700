//! Darknet's tiny classifier with the weights that its authors trained on ImageNet.

use crate::assert_reproduces;

#[test]
fn real_darknet_tiny_gives_the_scores_of_another_program() {
    let file = "darknet_tiny_imagenet/darknet_tiny_imagenet.safetensors";
    assert_reproduces("darknet-tiny", file, "darknet_tiny.safetensors");
}
