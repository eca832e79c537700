//! Calibration: whether a classifier is right as often as it is sure.
//!
//! Guo, Pleiss, Sun, Weinberger. *On Calibration of Modern Neural Networks.* ICML 2017.
//! <https://arxiv.org/abs/1706.04599>

use serde::{Deserialize, Serialize};

/// Bins of equal width that most papers sort confidences into.
const BINS: usize = 15;

/// Confidences of predictions, sorted into bins of equal width.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    bins: Vec<Bin>,
}

/// Predictions of about the same confidence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// How many there are.
    pub samples: u64,
    /// How many of them are right.
    pub right: u64,
    /// The sum of their confidences.
    pub confidence: f64,
}

impl Default for Calibration {
    fn default() -> Self {
        Calibration::new(BINS)
    }
}

impl Calibration {
    /// Nothing recorded yet, in so many bins of equal width.
    ///
    /// # Panics
    ///
    /// Panics if there are no bins.
    pub fn new(bins: usize) -> Self {
        assert!(bins > 0, "a calibration needs bins");
        Self { bins: vec![Bin::default(); bins] }
    }

    /// Adds a prediction of the given confidence, from 0 to 1. A bin takes in its upper end and not its lower one, save the
    /// first; a confidence that is no number counts as 0.
    pub fn record(&mut self, confidence: f64, right: bool) {
        let confidence = if confidence.is_nan() { 0.0 } else { confidence.clamp(0.0, 1.0) };
        let place = (confidence * self.bins.len() as f64).ceil() as usize;
        let bin = &mut self.bins[place.max(1) - 1];
        bin.samples += 1;
        bin.right += u64::from(right);
        bin.confidence += confidence;
    }

    /// Adds what `other` recorded.
    ///
    /// # Panics
    ///
    /// Panics if the numbers of bins differ.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!(self.bins.len(), other.bins.len(), "different bins cannot be added");
        for (bin, other) in self.bins.iter_mut().zip(&other.bins) {
            bin.samples += other.samples;
            bin.right += other.right;
            bin.confidence += other.confidence;
        }
    }

    /// The bins, from the least confidence to the greatest.
    pub fn bins(&self) -> &[Bin] {
        &self.bins
    }

    /// The expected calibration error (eq. 3): how far accuracy and confidence are apart in a bin, averaged over all
    /// predictions; 0 without any.
    pub fn error(&self) -> f64 {
        let samples: u64 = self.bins.iter().map(|bin| bin.samples).sum();
        if samples == 0 {
            return 0.0;
        }
        // n/N · |right/n - confidence/n|
        self.gaps().sum::<f64>() / samples as f64
    }

    /// The maximum calibration error (eq. 5): the largest distance of a bin; 0 without any prediction.
    pub fn largest_error(&self) -> f64 {
        let samples = self.bins.iter().map(|bin| bin.samples as f64);
        self.gaps()
            .zip(samples)
            .filter(|(_, n)| *n > 0.0)
            .map(|(gap, n)| gap / n)
            .fold(0.0, f64::max)
    }

    /// Of each bin, how far the right ones and the sum of confidences are apart.
    fn gaps(&self) -> impl Iterator<Item = f64> {
        self.bins.iter().map(|bin| (bin.right as f64 - bin.confidence).abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(bins: usize, predictions: &[(f64, bool)]) -> Calibration {
        let mut seen = Calibration::new(bins);
        predictions.iter().for_each(|&(confidence, right)| seen.record(confidence, right));
        seen
    }

    #[test]
    fn the_error_equals_the_one_worked_by_hand() {
        // Five bins. (0.4, 0.6]: .55 right, .45 wrong, so 1/2 against .5: no gap.
        // (0.6, 0.8]: .7 wrong, .75 right, .8 right: 2/3 against .75, a gap of 1/12.
        // (0.8, 1]: .9, .95, 1 right, .85 wrong, .9 right: 4/5 against .92, a gap of .12.
        let predictions = [
            (0.55, true),
            (0.45, false),
            (0.7, false),
            (0.75, true),
            (0.8, true),
            (0.9, true),
            (0.95, true),
            (1.0, true),
            (0.85, false),
            (0.9, true),
        ];
        let seen = of(5, &predictions);
        assert_eq!(seen.bins().iter().map(|bin| bin.samples).collect::<Vec<_>>(), [0, 0, 2, 3, 5]);
        // 2/10 · 0 + 3/10 · 1/12 + 5/10 · .12
        assert!((seen.error() - 0.085).abs() < 1e-12, "{}", seen.error());
        assert!((seen.largest_error() - 0.12).abs() < 1e-12);
    }

    #[test]
    fn one_who_is_always_sure_errs_as_often_as_wrong() {
        let seen = of(15, &[(1.0, true), (1.0, false), (1.0, true), (1.0, true)]);
        assert_eq!(seen.error(), 0.25);
    }

    #[test]
    fn nothing_recorded_is_no_error_and_odd_confidences_have_a_place() {
        assert_eq!(Calibration::default().error(), 0.0);
        assert_eq!(Calibration::default().largest_error(), 0.0);
        let seen = of(2, &[(f64::NAN, false), (0.0, false), (2.0, true), (0.5, true)]);
        assert_eq!((seen.bins()[0].samples, seen.bins()[1].samples), (3, 1));
    }

    proptest! {
        #[test]
        fn parts_merge_into_the_whole_and_errors_are_fractions(
            predictions in prop::collection::vec((0.0_f64..=1.0, any::<bool>()), 1..40),
            cut in 0..40_usize,
        ) {
            let whole = of(10, &predictions);
            let (left, right) = predictions.split_at(cut.min(predictions.len()));
            let mut merged = of(10, left);
            merged.merge(&of(10, right));
            prop_assert!((merged.error() - whole.error()).abs() < 1e-12);
            prop_assert!((0.0..=1.0).contains(&whole.error()));
            prop_assert!(whole.error() <= whole.largest_error() + 1e-12);
        }
    }
}
