//! The confusion matrix of a classifier, and the rates that follow from it.

use serde::{Deserialize, Serialize};

/// Counts of truth (rows) against prediction (columns).
///
/// A sample for which nothing was predicted (every score NaN) has no column: it is kept apart per true class, and
/// counts against recall and accuracy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    classes: usize,
    /// Row-major `[truth, prediction]`.
    counts: Vec<u64>,
    /// Samples of each true class without a prediction.
    undecided: Vec<u64>,
}

impl Confusion {
    /// An empty matrix of `classes` × `classes`.
    pub fn new(classes: usize) -> Self {
        Self { classes, counts: vec![0; classes * classes], undecided: vec![0; classes] }
    }

    /// Counts one sample.
    ///
    /// # Panics
    ///
    /// Panics if `truth` or `prediction` is not below the number of classes.
    pub fn record(&mut self, truth: usize, prediction: Option<usize>) {
        assert!(truth < self.classes, "true class {truth} of {} classes", self.classes);
        match prediction {
            Some(class) => {
                assert!(class < self.classes, "predicted class {class} of {}", self.classes);
                self.counts[truth * self.classes + class] += 1;
            }
            None => self.undecided[truth] += 1,
        }
    }

    /// Adds the counts of `other`.
    ///
    /// # Panics
    ///
    /// Panics if the numbers of classes differ.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!(self.classes, other.classes, "matrices of different classes cannot be added");
        self.counts.iter_mut().zip(&other.counts).for_each(|(a, b)| *a += b);
        self.undecided.iter_mut().zip(&other.undecided).for_each(|(a, b)| *a += b);
    }

    /// How many classes there are.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Samples of class `truth` that were predicted as `prediction`.
    ///
    /// # Panics
    ///
    /// Panics if either is not below the number of classes.
    pub fn count(&self, truth: usize, prediction: usize) -> u64 {
        assert!(prediction < self.classes, "predicted class {prediction} of {}", self.classes);
        self.row(truth)[prediction]
    }

    /// Predictions of the samples whose class is `truth`.
    ///
    /// # Panics
    ///
    /// Panics if `truth` is not below the number of classes.
    pub fn row(&self, truth: usize) -> &[u64] {
        assert!(truth < self.classes, "true class {truth} of {} classes", self.classes);
        &self.counts[truth * self.classes..][..self.classes]
    }

    /// All counts, row-major `[truth, prediction]`.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Samples of class `truth` for which nothing was predicted.
    pub fn undecided(&self, truth: usize) -> u64 {
        self.undecided[truth]
    }

    /// Samples of class `truth`.
    pub fn support(&self, truth: usize) -> u64 {
        self.row(truth).iter().sum::<u64>() + self.undecided[truth]
    }

    /// All samples.
    pub fn total(&self) -> u64 {
        self.counts.iter().chain(&self.undecided).sum()
    }

    /// Samples predicted as what they are.
    pub fn right(&self) -> u64 {
        (0..self.classes).map(|class| self.count(class, class)).sum()
    }

    /// Right predictions over all samples; 0 if there are none.
    pub fn accuracy(&self) -> f64 {
        fraction(self.right(), self.total())
    }

    /// Of the predictions of `class`, how many were right; 0 if it was never predicted.
    pub fn precision(&self, class: usize) -> f64 {
        let predicted = (0..self.classes).map(|truth| self.count(truth, class)).sum();
        fraction(self.count(class, class), predicted)
    }

    /// Of the samples of `class`, how many were found; 0 if there are none.
    pub fn recall(&self, class: usize) -> f64 {
        fraction(self.count(class, class), self.support(class))
    }

    /// The harmonic mean of precision and recall; 0 if both are.
    pub fn f1(&self, class: usize) -> f64 {
        let (precision, recall) = (self.precision(class), self.recall(class));
        let sum = precision + recall;
        if sum > 0.0 { 2.0 * precision * recall / sum } else { 0.0 }
    }

    /// The most frequent mistakes, `(truth, prediction, count)`, most frequent first, at most `limit` of them.
    pub fn mistakes(&self, limit: usize) -> Vec<(usize, usize, u64)> {
        let cells = self.counts.iter().enumerate();
        let mut mistakes: Vec<_> = cells
            .map(|(at, &count)| (at / self.classes, at % self.classes, count))
            .filter(|&(truth, prediction, count)| truth != prediction && count > 0)
            .collect();
        mistakes.sort_by_key(|&(truth, prediction, count)| {
            (std::cmp::Reverse(count), truth, prediction)
        });
        mistakes.truncate(limit);
        mistakes
    }
}

fn fraction(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Three classes: truth 0 → [2, 1, 0], truth 1 → [0, 3, 0], truth 2 → [1, 0, 0] and one undecided.
    fn matrix() -> Confusion {
        let mut matrix = Confusion::new(3);
        for (truth, prediction) in
            [(0, 0), (0, 0), (0, 1), (1, 1), (1, 1), (1, 1), (2, 0)].map(|(t, p)| (t, Some(p)))
        {
            matrix.record(truth, prediction);
        }
        matrix.record(2, None);
        matrix
    }

    #[test]
    fn rows_are_truth_and_columns_predictions() {
        let matrix = matrix();
        assert_eq!(matrix.row(0), [2, 1, 0]);
        assert_eq!(matrix.count(2, 0), 1);
        assert_eq!(matrix.counts(), [2, 1, 0, 0, 3, 0, 1, 0, 0]);
        assert_eq!((matrix.support(2), matrix.undecided(2), matrix.total()), (2, 1, 8));
    }

    #[test]
    fn rates_equal_the_ones_worked_by_hand() {
        let matrix = matrix();
        assert_eq!(matrix.accuracy(), 5.0 / 8.0);
        assert_eq!((matrix.precision(0), matrix.recall(0)), (2.0 / 3.0, 2.0 / 3.0));
        assert_eq!((matrix.precision(1), matrix.recall(1)), (0.75, 1.0));
        assert!((matrix.f1(1) - 6.0 / 7.0).abs() < 1e-15);
        assert_eq!((matrix.precision(2), matrix.recall(2), matrix.f1(2)), (0.0, 0.0, 0.0));
    }

    #[test]
    fn nothing_recorded_gives_zeros_and_not_nan() {
        let empty = Confusion::new(2);
        assert_eq!((empty.total(), empty.accuracy(), empty.f1(1)), (0, 0.0, 0.0));
        assert!(empty.mistakes(5).is_empty());
    }

    #[test]
    fn mistakes_come_most_frequent_first_and_then_by_class() {
        let mut matrix = matrix();
        matrix.record(1, Some(2));
        matrix.record(1, Some(2));
        assert_eq!(matrix.mistakes(2), [(1, 2, 2), (0, 1, 1)]);
    }

    #[test]
    #[should_panic(expected = "predicted class 3 of 3")]
    fn a_class_that_does_not_exist_is_refused() {
        Confusion::new(3).record(0, Some(3));
    }

    proptest! {
        #[test]
        fn merging_parts_equals_recording_all(
            samples in prop::collection::vec((0..4_usize, prop::option::of(0..4_usize)), 0..60),
            cut in 0..60_usize,
        ) {
            let whole = gather(&samples);
            let (left, right) = samples.split_at(cut.min(samples.len()));
            let mut merged = gather(left);
            merged.merge(&gather(right));
            prop_assert_eq!(&merged, &whole);
            prop_assert_eq!(whole.total(), samples.len() as u64);
            let wrong: u64 = whole.mistakes(usize::MAX).iter().map(|&(_, _, count)| count).sum();
            let undecided: u64 = (0..4).map(|class| whole.undecided(class)).sum();
            prop_assert_eq!(whole.right() + wrong + undecided, whole.total());
        }
    }

    fn gather(samples: &[(usize, Option<usize>)]) -> Confusion {
        let mut matrix = Confusion::new(4);
        samples.iter().for_each(|&(truth, prediction)| matrix.record(truth, prediction));
        matrix
    }
}
