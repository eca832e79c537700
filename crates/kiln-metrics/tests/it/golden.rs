//! Against the programs that everybody measures with; `cargo xtask golden boxes` and so on write the files anew.

use std::fs;

use kiln_metrics::{
    BoundingBox, CocoConfig, Detection, Detections, Segmentation, Truth, suppress, suppress_grouped,
};
use serde_json::Value;

type Measure = fn(BoundingBox, BoundingBox) -> f64;

fn golden(name: &str) -> Value {
    let text = fs::read_to_string(format!("golden/{name}.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn boxes(value: &Value) -> Vec<BoundingBox> {
    let corners = value.as_array().unwrap().iter().map(|row| numbers(row).try_into().unwrap());
    corners.map(BoundingBox::from_corners).collect()
}

#[test]
fn overlaps_equal_those_of_torchvision() {
    let golden = golden("boxes");
    let (a, b) = (boxes(&golden["pairs"][0]), boxes(&golden["pairs"][1]));
    let measures: [(&str, Measure); 4] = [
        ("iou", BoundingBox::iou),
        ("giou", BoundingBox::giou),
        ("diou", BoundingBox::diou),
        ("ciou", BoundingBox::ciou),
    ];
    for (name, measure) in measures {
        let expected = numbers(&golden["overlaps"][name]);
        assert!(expected.len() == a.len() && a.len() == b.len());
        for ((a, b), expected) in a.iter().zip(&b).zip(expected) {
            // torchvision adds 1e-7 to what it divides by.
            assert!((measure(*a, *b) - expected).abs() < 1e-6, "{name} of {a:?} and {b:?}");
        }
    }
}

#[test]
fn suppression_keeps_what_torchvision_keeps() {
    let golden = golden("boxes");
    let boxes = boxes(&golden["boxes"]);
    let scores: Vec<f32> = numbers(&golden["scores"]).into_iter().map(|x| x as f32).collect();
    let classes: Vec<usize> = numbers(&golden["classes"]).into_iter().map(|x| x as usize).collect();
    let kept = golden["kept"].as_object().unwrap();
    assert_eq!(kept.len(), 4);
    for (iou, kept) in kept {
        let iou: f32 = iou.parse().unwrap();
        let indices = |value| numbers(value).into_iter().map(|x| x as usize).collect::<Vec<_>>();
        assert_eq!(suppress(&boxes, &scores, iou), indices(&kept["all"]), "{iou}");
        let by_class = suppress_grouped(&boxes, &scores, &classes, iou);
        assert_eq!(by_class, indices(&kept["by_class"]), "{iou}");
    }
}

#[test]
fn every_figure_of_coco_is_that_of_pycocotools() {
    let golden = golden("coco");
    let rows = |name: &str| golden[name].as_array().unwrap().iter().map(numbers);
    let mut images: Vec<(Vec<Truth>, Vec<Detection>)> = vec![Default::default(); 20];
    let bounds = |row: &[f64]| BoundingBox::from_origin(row.try_into().unwrap());
    for row in rows("truth") {
        let truth = Truth::new(row[1] as usize, bounds(&row[4..]));
        let truth = Truth { crowd: row[2] == 1.0, area: Some(row[3]), ..truth };
        images[row[0] as usize - 1].0.push(truth);
    }
    for row in rows("found") {
        let (class, score) = (row[1] as usize, row[2]);
        let found = Detection { class, score, bounds: bounds(&row[3..]) };
        images[row[0] as usize - 1].1.push(found);
    }
    let mut all = Detections::new(4);
    images.into_iter().for_each(|(truths, found)| all.record(truths, found));

    let coco = all.coco(CocoConfig::default());

    let close = |found: Option<f64>, expected: &Value, what: &str| {
        let equal = match (found, expected.as_f64()) {
            (Some(found), Some(expected)) => (found - expected).abs() < 1e-9,
            (found, expected) => found == expected,
        };
        assert!(equal, "{what}: {found:?} and not {expected}");
    };
    for (at, figure) in coco.figures().into_iter().enumerate() {
        close(figure, &golden["figures"][at], &format!("figure {at}"));
    }
    for class in 0..4 {
        close(coco.class_ap(class), &golden["by_class"][class], &format!("class {class}"));
    }
    let curve = coco.class_curve(0, 0.5).unwrap();
    for (at, precision) in curve.iter().enumerate() {
        close(Some(*precision), &golden["curve50"][at], &format!("recall {at} %"));
    }
}

#[test]
fn measures_of_pixels_equal_those_of_torchvisions_reference() {
    let golden = golden("segmentation");
    let images = |name: &str| -> Vec<Vec<u8>> {
        let rows = golden[name].as_array().unwrap().iter();
        rows.map(|row| numbers(row).into_iter().map(|class| class as u8).collect()).collect()
    };
    let mut seen = Segmentation::new(5);
    for (truth, predicted) in images("truth").iter().zip(images("predicted")) {
        seen.record(truth, &predicted, Some(255));
    }

    let close = |found: f64, expected: &Value, what: &str| {
        assert!((found - expected.as_f64().unwrap()).abs() < 1e-12, "{what}: {found}, {expected}");
    };
    close(seen.pixel_accuracy(), &golden["pixel_accuracy"], "pixel accuracy");
    close(seen.mean_accuracy(), &golden["mean_accuracy"], "mean accuracy");
    close(seen.mean_iou(), &golden["mean_iou"], "mean IoU");
    close(seen.weighted_iou(), &golden["weighted_iou"], "weighted IoU");
    for class in 0..5 {
        close(seen.accuracy(class).unwrap(), &golden["accuracy"][class], "accuracy");
        close(seen.iou(class).unwrap(), &golden["iou"][class], "IoU");
    }
    assert!(seen.ignored() > 50);
}
