//! Measures of a class for every pixel: how many are right, and how well regions overlap.
//!
//! Long, Shelhamer, Darrell. *Fully Convolutional Networks for Semantic Segmentation.* CVPR 2015, §5 (the four
//! measures). <https://arxiv.org/abs/1411.4038>

use serde::{Deserialize, Serialize};

use crate::Confusion;

/// What a network said of the pixels of a data set. Pixels are counted, and nothing is divided before all are there: the
/// order of the images and how they were gathered change no bit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segmentation {
    pixels: Confusion,
    ignored: u64,
}

impl Segmentation {
    /// No pixel yet, of `classes` classes.
    pub fn new(classes: usize) -> Self {
        Self { pixels: Confusion::new(classes), ignored: 0 }
    }

    /// Counts the pixels of an image. Those whose true class is `ignore` count for nothing.
    ///
    /// # Panics
    ///
    /// Panics if there are more pixels of the one than of the other, or a class is not below the number of classes.
    pub fn record(&mut self, truth: &[u8], predicted: &[u8], ignore: Option<u8>) {
        assert_eq!(truth.len(), predicted.len(), "a prediction for each pixel");
        for (&truth, &predicted) in truth.iter().zip(predicted) {
            if Some(truth) == ignore {
                self.ignored += 1;
            } else {
                self.pixels.record(truth.into(), Some(predicted.into()));
            }
        }
    }

    /// Adds the pixels of `other`.
    ///
    /// # Panics
    ///
    /// Panics if the numbers of classes differ.
    pub fn merge(&mut self, other: &Self) {
        self.pixels.merge(&other.pixels);
        self.ignored += other.ignored;
    }

    /// The pixels by true and predicted class.
    pub fn confusion(&self) -> &Confusion {
        &self.pixels
    }

    /// Pixels that counted for nothing.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// Right pixels over all pixels; 0 if there are none.
    pub fn pixel_accuracy(&self) -> f64 {
        self.pixels.accuracy()
    }

    /// Right pixels of a class over all that are of it; nothing for a class without pixels.
    ///
    /// # Panics
    ///
    /// Panics if `class` is not below the number of classes.
    pub fn accuracy(&self, class: usize) -> Option<f64> {
        (self.pixels.support(class) > 0).then(|| self.pixels.recall(class))
    }

    /// Right pixels of a class over those that are of it, are said to be, or both (intersection over union); nothing for a
    /// class that is neither there nor said to be.
    ///
    /// # Panics
    ///
    /// Panics if `class` is not below the number of classes.
    pub fn iou(&self, class: usize) -> Option<f64> {
        let right = self.pixels.count(class, class);
        let predicted: u64 = self.classes().map(|truth| self.pixels.count(truth, class)).sum();
        let union = self.pixels.support(class) + predicted - right;
        (union > 0).then(|| right as f64 / union as f64)
    }

    /// The mean of [`accuracy`](Self::accuracy) over the classes that have one; 0 if none has.
    pub fn mean_accuracy(&self) -> f64 {
        mean(self.classes().filter_map(|class| self.accuracy(class)))
    }

    /// The mean of [`iou`](Self::iou) over the classes that have one; 0 if none has.
    pub fn mean_iou(&self) -> f64 {
        mean(self.classes().filter_map(|class| self.iou(class)))
    }

    /// The mean of [`iou`](Self::iou), where each class counts as much as it has pixels; 0 if there are none.
    pub fn weighted_iou(&self) -> f64 {
        let total = self.pixels.total();
        if total == 0 {
            return 0.0;
        }
        let weighed = |class| Some(self.pixels.support(class) as f64 * self.iou(class)?);
        self.classes().filter_map(weighed).sum::<f64>() / total as f64
    }

    fn classes(&self) -> std::ops::Range<usize> {
        0..self.pixels.classes()
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    if count == 0 { 0.0 } else { sum / f64::from(count) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(truth: &[u8], predicted: &[u8]) -> Segmentation {
        let mut seen = Segmentation::new(4);
        seen.record(truth, predicted, Some(255));
        seen
    }

    #[test]
    fn measures_equal_the_ones_worked_by_hand() {
        let seen = of(&[0, 0, 0, 1, 1, 255, 255, 2], &[0, 0, 1, 1, 1, 0, 3, 0]);

        assert_eq!(seen.pixel_accuracy(), 4.0 / 6.0);
        let accuracies = [0, 1, 2, 3].map(|class| seen.accuracy(class));
        assert_eq!(accuracies, [Some(2.0 / 3.0), Some(1.0), Some(0.0), None]);
        let overlaps = [0, 1, 2, 3].map(|class| seen.iou(class));
        assert_eq!(overlaps, [Some(0.5), Some(2.0 / 3.0), Some(0.0), None]);
        assert!((seen.mean_accuracy() - 5.0 / 9.0).abs() < 1e-15);
        assert!((seen.mean_iou() - 7.0 / 18.0).abs() < 1e-15);
        assert!((seen.weighted_iou() - (1.5 + 4.0 / 3.0) / 6.0).abs() < 1e-15);
        assert_eq!((seen.ignored(), seen.confusion().total()), (2, 6));
    }

    #[test]
    fn a_class_that_is_only_said_to_be_there_has_an_overlap_of_zero() {
        let seen = of(&[0, 0], &[0, 3]);

        assert_eq!((seen.iou(3), seen.accuracy(3), seen.mean_iou()), (Some(0.0), None, 0.25));
    }

    #[test]
    fn nothing_but_what_is_ignored_gives_zeros_and_not_nan() {
        let seen = of(&[255; 5], &[1; 5]);

        let measures =
            [seen.pixel_accuracy(), seen.mean_accuracy(), seen.mean_iou(), seen.weighted_iou()];
        assert_eq!(measures, [0.0; 4]);
    }

    #[test]
    #[should_panic(expected = "true class 4 of 4 classes")]
    fn a_class_that_is_neither_known_nor_ignored_is_refused() {
        of(&[4], &[0]);
    }

    proptest! {
        #[test]
        fn parts_in_any_order_equal_the_whole_bit_for_bit(
            pixels in prop::collection::vec((prop_oneof![4 => 0..4_u8, 1 => Just(255)], 0..4_u8), 0..200),
            cut in 0..200_usize,
        ) {
            let gather = |pixels: &[(u8, u8)]| {
                let (truth, predicted): (Vec<u8>, Vec<u8>) = pixels.iter().copied().unzip();
                of(&truth, &predicted)
            };
            let (left, right) = pixels.split_at(cut.min(pixels.len()));
            let mut merged = gather(right);
            merged.merge(&gather(left));
            let whole = gather(&pixels);
            prop_assert_eq!(&merged, &whole);
            for measure in
                [Segmentation::mean_iou, Segmentation::weighted_iou, Segmentation::mean_accuracy]
            {
                prop_assert_eq!(measure(&merged).to_bits(), measure(&whole).to_bits());
                prop_assert!((0.0..=1.0).contains(&measure(&whole)));
            }
        }
    }
}
