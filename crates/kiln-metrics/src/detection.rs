//! What a detector finds against what is there.
//!
//! [`Detections`] gathers the boxes of images; [`voc`](Detections::voc) and [`coco`](Detections::coco) measure them as
//! the two benchmarks do, and [`confusion`](Detections::confusion) counts which class is taken for which.
//!
//! A measure that has no value is `None` and never NaN: the average precision of a class that no image shows. A class that
//! images show and nothing was found of has 0.

mod coco;
mod confusion;
mod voc;

use serde::{Deserialize, Serialize};

use crate::BoundingBox;
pub use coco::{Coco, CocoConfig, Size};
pub use voc::{Points, Voc, VocClass, VocConfig};

/// An object that an image shows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// Its class.
    pub class: usize,
    /// Where it is.
    pub bounds: BoundingBox,
    /// Whether finding it, or not, shall not count: VOC's `difficult`.
    pub ignored: bool,
    /// Whether it is a crowd, which any number of boxes may lie in without counting: COCO's `iscrowd`.
    pub crowd: bool,
    /// Its area in pixels, if that isn't the box's: COCO measures the outline.
    pub area: Option<f64>,
}

/// A box that a detector found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// Its class.
    pub class: usize,
    /// The larger, the surer.
    pub score: f64,
    /// Where it is.
    pub bounds: BoundingBox,
}

/// The truth and the detections of images.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Detections {
    classes: usize,
    images: Vec<(Vec<Truth>, Vec<Detection>)>,
}

impl Truth {
    /// An object that counts.
    pub fn new(class: usize, bounds: BoundingBox) -> Self {
        Self { class, bounds, ignored: false, crowd: false, area: None }
    }
}

impl Detections {
    /// No images yet, of so many classes.
    pub fn new(classes: usize) -> Self {
        Self { classes, images: Vec::new() }
    }

    /// Adds an image. Detections whose score or box is not a number can't be ranked and are left out.
    ///
    /// # Panics
    ///
    /// Panics if a class is not below the number of classes.
    pub fn record(&mut self, truths: Vec<Truth>, mut detections: Vec<Detection>) {
        let classes = truths.iter().map(|t| t.class).chain(detections.iter().map(|d| d.class));
        for class in classes {
            assert!(class < self.classes, "class {class} of {} classes", self.classes);
        }
        detections.retain(|d| d.score.is_finite() && d.bounds.is_finite());
        self.images.push((truths, detections));
    }

    /// How many classes there are.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// How many images were recorded.
    pub fn images(&self) -> usize {
        self.images.len()
    }

    /// The truth and the detections of one class, image by image, the detections best first.
    fn of_class(&self, class: usize) -> Vec<(Vec<&Truth>, Vec<&Detection>)> {
        let images = self.images.iter().map(|(truths, detections)| {
            let truths = truths.iter().filter(|truth| truth.class == class).collect();
            let mut detections: Vec<_> = detections.iter().filter(|d| d.class == class).collect();
            detections.sort_by(|a, b| b.score.total_cmp(&a.score));
            (truths, detections)
        });
        images.collect()
    }
}

/// One point of a precision-recall curve: what a detector reaches that keeps the boxes of at least this score.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The least score that is kept.
    pub score: f64,
    /// Part of the objects that is found.
    pub recall: f64,
    /// Part of the boxes that is right.
    pub precision: f64,
}

/// The mean of what has a value.
fn mean(values: impl IntoIterator<Item = Option<f64>>) -> Option<f64> {
    let (sum, count) = values
        .into_iter()
        .flatten()
        .fold((0.0, 0_usize), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}
