//! yolo-fastest from darknet's own files, against the maps and boxes that another program computed from them.

use std::path::Path;

use burn::prelude::*;
use kiln_metrics::{BoundingBox, suppress_grouped};
use kiln_models::darknet_cfg::{CfgNetwork, DarknetCfg};
use kiln_models::weights::{darknet, read_tensors};
use kiln_models::yolo::Candidate;
use kiln_testkit::device;

use crate::real;

fn network(weights: &Path) -> (CfgNetwork, darknet::Read) {
    let folder = weights.join("yolo_fastest");
    let cfg = DarknetCfg::open(&folder.join("yolo-fastest-1.1.cfg")).unwrap();
    darknet::load(cfg.init(&device()), &folder.join("yolo-fastest-1.1.weights")).unwrap()
}

#[test]
fn real_yolo_fastest_gives_the_maps_and_boxes_of_another_program() {
    let Some(weights) = real() else { return };
    let (network, read) = network(&weights);
    assert_eq!((read.layers, read.of, network.input()), (84, 84, [3, 320, 320]));
    let mut reference =
        read_tensors(&weights.join("reference/yolo-fastest-1.1.safetensors")).unwrap();
    let mut tensor =
        |name: &str| Tensor::<4>::from_data(reference.remove(name).unwrap(), &device());
    let (input, expected) = (tensor("input"), [tensor("head0"), tensor("head1")]);

    let maps = network.forward(input);

    assert_eq!(maps.len(), 2);
    for (map, expected) in maps.iter().zip(expected) {
        let off = (map.clone() - expected).abs().max().into_scalar::<f32>();
        assert!(off <= 1e-3, "off by {off:e}");
    }
    let heads = network.heads().iter().zip(maps);
    let found: Vec<Candidate> =
        heads.flat_map(|(head, map)| head.candidates(map, 0.25).remove(0)).collect();
    let boxes: Vec<_> =
        found.iter().map(|one| BoundingBox::from_corners(one.bounds.map(f64::from))).collect();
    let scores: Vec<f32> = found.iter().map(|one| one.score).collect();
    let classes: Vec<usize> = found.iter().map(|one| one.class).collect();
    let kept = suppress_grouped(&boxes, &scores, &classes, 0.45);
    let expected: Vec<f32> = reference["detections_xywh_score_class"].iter::<f32>().collect();
    let (expected, _) = expected.as_chunks::<6>();
    assert_eq!(kept.len(), expected.len());
    for (&at, expected) in kept.iter().zip(expected) {
        let [x, y, w, h] = boxes[at].to_centre().map(|side| side as f32);
        let one = [x, y, w, h, scores[at], classes[at] as f32];
        let close = one.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-3);
        assert!(close, "{one:?} and not {expected:?}");
    }
}

#[test]
fn real_yolo_fastest_is_written_back_byte_for_byte() {
    let Some(weights) = real() else { return };
    let (network, read) = network(&weights);
    let file = weights.join("yolo_fastest/yolo-fastest-1.1.weights");

    assert!(darknet::to_bytes(&network, read.header) == std::fs::read(file).unwrap());
}
