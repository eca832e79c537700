//! Top-1, top-5, mean loss and calibration of a classifier, gathered batch by batch.

use crate::{Calibration, Confusion, Separation, best, rank, softmax};

/// Results of a classifier over the batches recorded so far.
///
/// A NaN score is below every number; a sample whose true class scored NaN counts as wrong, in top-1 and top-5.
#[derive(Debug, Clone, PartialEq)]
pub struct Classification {
    confusion: Confusion,
    top1: u64,
    top5: u64,
    loss_sum: f64,
    calibration: Calibration,
    /// Of two classes, the confidence in the second one of each sample, and whether it is of it.
    second: Vec<(f64, bool)>,
}

impl Classification {
    /// Nothing recorded yet, for scores over `classes` classes.
    pub fn new(classes: usize) -> Self {
        Self {
            confusion: Confusion::new(classes),
            top1: 0,
            top5: 0,
            loss_sum: 0.0,
            calibration: Calibration::default(),
            second: Vec::new(),
        }
    }

    /// Adds one batch: `scores` is row-major `[samples, classes]`, `targets` the true classes, `loss_sum` the SUM of
    /// the samples' losses (mean loss × samples).
    ///
    /// # Panics
    ///
    /// Panics if `scores` does not hold one row per target, or a target is not a class.
    pub fn record(&mut self, scores: &[f32], targets: &[usize], loss_sum: f64) {
        let classes = self.confusion.classes();
        assert_eq!(scores.len(), targets.len() * classes, "one row of {classes} scores per target");
        for (row, &target) in scores.chunks_exact(classes.max(1)).zip(targets) {
            let predicted = best(row);
            self.confusion.record(target, predicted);
            let confidences = softmax(row);
            let sureness = predicted.map_or(0.0, |class| confidences[class]);
            self.calibration.record(sureness, predicted == Some(target));
            if classes == 2 {
                self.second.push((confidences[1], target == 1));
            }
            let rank = rank(row, target);
            self.top1 += u64::from(rank.is_some_and(|rank| rank < 1));
            self.top5 += u64::from(rank.is_some_and(|rank| rank < 5));
        }
        self.loss_sum += loss_sum;
    }

    /// Adds what `other` recorded.
    ///
    /// # Panics
    ///
    /// Panics if the numbers of classes differ.
    pub fn merge(&mut self, other: &Self) {
        self.confusion.merge(&other.confusion);
        self.top1 += other.top1;
        self.top5 += other.top5;
        self.loss_sum += other.loss_sum;
        self.calibration.merge(&other.calibration);
        self.second.extend_from_slice(&other.second);
    }

    /// How many samples were recorded.
    pub fn samples(&self) -> usize {
        self.confusion.total() as usize
    }

    /// The fraction of samples whose best class is the true one; 0 without samples.
    pub fn top1(&self) -> f64 {
        self.per_sample(self.top1 as f64)
    }

    /// The fraction of samples whose true class is among the five best; 0 without samples.
    ///
    /// With five classes or fewer it is 1, except for NaN scores.
    pub fn top5(&self) -> f64 {
        self.per_sample(self.top5 as f64)
    }

    /// The mean loss of a sample, NaN if a batch's was; 0 without samples.
    pub fn loss(&self) -> f64 {
        self.per_sample(self.loss_sum)
    }

    /// Whether the classifier is right as often as it is sure, by the softmax of its scores.
    pub fn calibration(&self) -> &Calibration {
        &self.calibration
    }

    /// How the confidence in the second of two classes tells them apart; `None` for another number of classes, or if
    /// samples of only one were recorded.
    pub fn separation(&self) -> Option<Separation> {
        let (scores, second): (Vec<f64>, Vec<bool>) = self.second.iter().copied().unzip();
        Separation::of(&scores, &second)
    }

    /// Truth against prediction.
    pub fn confusion(&self) -> &Confusion {
        &self.confusion
    }

    fn per_sample(&self, sum: f64) -> f64 {
        if self.samples() == 0 { 0.0 } else { sum / self.samples() as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn counts_top_one_and_top_five() {
        // Class 0 is best, then 1, 2 …: target k has rank k.
        let row = [7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0];
        let mut seen = Classification::new(7);
        for target in 0..7 {
            seen.record(&row, &[target], 1.0);
        }
        assert_eq!((seen.top1(), seen.top5()), (1.0 / 7.0, 5.0 / 7.0));
        assert_eq!(seen.loss(), 1.0);
    }

    #[test]
    fn a_nan_score_counts_as_wrong() {
        let mut seen = Classification::new(2);
        seen.record(&[f32::NAN, 0.0, f32::NAN, f32::NAN], &[0, 1], f64::NAN);
        assert_eq!((seen.samples(), seen.top1(), seen.top5()), (2, 0.0, 0.0));
        assert_eq!((seen.confusion().count(0, 1), seen.confusion().undecided(1)), (1, 1));
        assert!(seen.loss().is_nan());
    }

    #[test]
    fn nothing_recorded_gives_zeros() {
        let seen = Classification::new(10);
        assert_eq!((seen.samples(), seen.top1(), seen.top5(), seen.loss()), (0, 0.0, 0.0, 0.0));
    }

    #[test]
    fn two_classes_have_curves_and_others_none() {
        let mut seen = Classification::new(2);
        seen.record(&[0.0, 2.0, 3.0, 0.0, 0.0, 1.0], &[1, 0, 0], 0.0);
        assert_eq!(seen.separation().unwrap().roc_auc(), 1.0);
        assert_eq!(Classification::new(2).separation(), None);
        let mut three = Classification::new(3);
        three.record(&[0.0; 6], &[0, 1], 0.0);
        assert_eq!(three.separation(), None);
        // Sure by a third, and right once of two.
        assert!((three.calibration().error() - (0.5 - 1.0 / 3.0)).abs() < 1e-12);
    }

    #[test]
    #[should_panic(expected = "one row of 3 scores per target")]
    fn a_missing_row_is_refused() {
        Classification::new(3).record(&[0.0; 3], &[0, 1], 0.0);
    }

    proptest! {
        #[test]
        fn batches_do_not_matter_and_top_one_is_the_accuracy(
            samples in prop::collection::vec((prop::array::uniform3(-9.0_f32..9.0), 0..3_usize), 1..30),
            cut in 0..30_usize,
        ) {
            let whole = gather(&samples);
            let (left, right) = samples.split_at(cut.min(samples.len()));
            let mut merged = gather(left);
            merged.merge(&gather(right));
            prop_assert_eq!(merged.confusion(), whole.confusion());
            let numbers = |seen: &Classification| [seen.top1(), seen.top5(), seen.loss()];
            prop_assert_eq!(numbers(&merged), numbers(&whole));
            // Sums of confidences round in another order.
            let errors = [&merged, &whole].map(|seen| seen.calibration().error());
            prop_assert!((errors[0] - errors[1]).abs() < 1e-12);
            prop_assert_eq!(whole.top1(), whole.confusion().accuracy());
            prop_assert_eq!(whole.top5(), 1.0);
        }
    }

    fn gather(samples: &[([f32; 3], usize)]) -> Classification {
        let mut seen = Classification::new(3);
        let scores: Vec<f32> = samples.iter().flat_map(|(row, _)| *row).collect();
        let targets: Vec<usize> = samples.iter().map(|&(_, target)| target).collect();
        seen.record(&scores, &targets, 2.0 * targets.len() as f64);
        seen
    }
}
