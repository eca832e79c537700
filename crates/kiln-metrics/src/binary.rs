//! Two classes, told apart by one score: the curves over all thresholds, and the areas below them.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// What a threshold gives: a sample whose score is no less counts as positive.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Operating {
    /// The threshold; infinite at the point where nothing is positive.
    pub threshold: f64,
    /// Of the positive samples, how many are found: recall.
    pub true_rate: f64,
    /// Of the negative samples, how many are taken for positive.
    pub false_rate: f64,
    /// Of the samples taken for positive, how many are; 1 where there are none.
    pub precision: f64,
}

/// How a score tells two classes apart, at every threshold that matters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Separation {
    points: Vec<Operating>,
}

impl Separation {
    /// The curve of `scores`, whose samples are `positive` or not. Equal scores are one threshold, and NaN is below every
    /// number.
    ///
    /// `None` unless there are samples of both classes: no rate would be true of nothing.
    ///
    /// # Panics
    ///
    /// Panics unless there is one score per sample.
    pub fn of(scores: &[f64], positive: &[bool]) -> Option<Self> {
        assert_eq!(scores.len(), positive.len(), "one score per sample");
        let all = positive.iter().filter(|&&it| it).count() as f64;
        let none = positive.len() as f64 - all;
        if all == 0.0 || none == 0.0 {
            return None;
        }
        let known = |score: f64| if score.is_nan() { f64::NEG_INFINITY } else { score };
        let mut samples: Vec<(f64, bool)> =
            scores.iter().zip(positive).map(|(&score, &it)| (known(score), it)).collect();
        samples.sort_by(|a, b| b.0.partial_cmp(&a.0).unwrap_or(Ordering::Equal));

        let (mut right, mut wrong) = (0.0, 0.0);
        let start =
            Operating { threshold: f64::INFINITY, true_rate: 0.0, false_rate: 0.0, precision: 1.0 };
        let mut points = vec![start];
        for equal in samples.chunk_by(|a, b| a.0 == b.0) {
            let found = equal.iter().filter(|&&(_, it)| it).count() as f64;
            right += found;
            wrong += equal.len() as f64 - found;
            points.push(Operating {
                threshold: equal[0].0,
                true_rate: right / all,
                false_rate: wrong / none,
                precision: right / (right + wrong),
            });
        }
        Some(Self { points })
    }

    /// The points, from the highest threshold to the lowest.
    pub fn points(&self) -> &[Operating] {
        &self.points
    }

    /// The area below the receiver operating characteristic, by trapezoids: how likely a positive sample has a higher score
    /// than a negative one, where equal scores count half.
    pub fn roc_auc(&self) -> f64 {
        let pairs = self.points.windows(2);
        pairs
            .map(|pair| {
                (pair[1].false_rate - pair[0].false_rate) * (pair[0].true_rate + pair[1].true_rate)
                    / 2.0
            })
            .sum()
    }

    /// The average precision: that of each threshold, weighted by what recall it adds. No trapezoids, which would promise
    /// too much.
    pub fn average_precision(&self) -> f64 {
        self.points
            .windows(2)
            .map(|pair| (pair[1].true_rate - pair[0].true_rate) * pair[1].precision)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn curves_and_areas_equal_scikit_learns() {
        // sklearn 1.9.1: roc_curve(y, s, drop_intermediate=False), precision_recall_curve(y, s) from its end,
        // roc_auc_score(y, s), average_precision_score(y, s)
        let scores = [0.1, 0.4, 0.35, 0.8, 0.8, 0.65, 0.2, 0.9, 0.55, 0.4, 0.4, 0.7, 0.05, 0.6];
        let positive = [0, 0, 1, 1, 0, 1, 0, 1, 1, 1, 0, 0, 0, 1].map(|it| it == 1);
        let thresholds = [f64::INFINITY, 0.9, 0.8, 0.7, 0.65, 0.6, 0.55, 0.4, 0.35, 0.2, 0.1, 0.05];
        let sevenths = |of: [f64; 12]| of.map(|part| part / 7.0);
        let found = sevenths([0.0, 1.0, 2.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 7.0, 7.0, 7.0]);
        let wrong = sevenths([0.0, 0.0, 1.0, 2.0, 2.0, 2.0, 2.0, 4.0, 4.0, 5.0, 6.0, 7.0]);
        let precisions = [
            1.0,
            1.0,
            0.666_666_666_666_666_6,
            0.5,
            0.6,
            0.666_666_666_666_666_6,
            0.714_285_714_285_714_3,
            0.6,
            0.636_363_636_363_636_4,
            0.583_333_333_333_333_4,
            0.538_461_538_461_538_4,
            0.5,
        ];
        let curve = Separation::of(&scores, &positive).unwrap();

        assert_eq!(curve.points().len(), thresholds.len());
        for (index, point) in curve.points().iter().enumerate() {
            assert_eq!(point.threshold, thresholds[index]);
            let off = [
                point.true_rate - found[index],
                point.false_rate - wrong[index],
                point.precision - precisions[index],
            ];
            assert!(off.iter().all(|off| off.abs() < 1e-12), "{point:?}");
        }
        assert!((curve.roc_auc() - 0.724_489_795_918_367_4).abs() < 1e-12);
        assert!((curve.average_precision() - 0.697_711_811_997_526_3).abs() < 1e-12);
    }

    #[test]
    fn a_perfect_score_has_areas_of_one_and_a_constant_one_half() {
        let perfect = Separation::of(&[0.9, 0.8, 0.2, 0.1], &[true, true, false, false]).unwrap();
        assert_eq!((perfect.roc_auc(), perfect.average_precision()), (1.0, 1.0));
        let constant = Separation::of(&[0.5; 4], &[true, false, false, false]).unwrap();
        assert_eq!((constant.roc_auc(), constant.average_precision()), (0.5, 0.25));
        assert_eq!(constant.points().len(), 2);
    }

    #[test]
    fn one_class_alone_has_no_curve_and_nan_comes_last() {
        assert_eq!(Separation::of(&[0.1, 0.2], &[true, true]), None);
        assert_eq!(Separation::of(&[], &[]), None);
        let odd = Separation::of(&[f64::NAN, 0.0], &[true, false]).unwrap();
        assert_eq!(odd.roc_auc(), 0.0);
    }

    proptest! {
        #[test]
        fn the_area_is_how_often_a_positive_sample_scores_higher(
            samples in prop::collection::vec((0..6_u8, any::<bool>()), 2..30),
        ) {
            let scores: Vec<f64> = samples.iter().map(|&(score, _)| f64::from(score)).collect();
            let positive: Vec<bool> = samples.iter().map(|&(_, it)| it).collect();
            let Some(curve) = Separation::of(&scores, &positive) else { return Ok(()) };
            let (mut higher, mut pairs) = (0.0, 0.0);
            for (&a, _) in scores.iter().zip(&positive).filter(|(_, it)| **it) {
                for (&b, _) in scores.iter().zip(&positive).filter(|(_, it)| !**it) {
                    pairs += 1.0;
                    higher += if a > b { 1.0 } else if a == b { 0.5 } else { 0.0 };
                }
            }
            prop_assert!((curve.roc_auc() - higher / pairs).abs() < 1e-12);
        }
    }
}
