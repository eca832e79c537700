//! One row of scores: the best class, the rank of a class, confidences.
//!
//! A score of NaN says nothing, so it is never better than another: NaN ranks below every number, minus infinity
//! included. Among equal scores the class with the lower number comes first, so that a result depends on nothing else.

use std::cmp::Ordering;

/// The class with the highest score, the first of them if several are equal.
///
/// `None` if no score is a number: a row of NaN predicts nothing.
pub fn best(scores: &[f32]) -> Option<usize> {
    let mut best: Option<(usize, f32)> = None;
    for (class, &score) in scores.iter().enumerate() {
        if !score.is_nan() && best.is_none_or(|(_, highest)| score > highest) {
            best = Some((class, score));
        }
    }
    best.map(|(class, _)| class)
}

/// How many classes come before `target`: 0 if it is the [`best`] one.
///
/// `None` if the score of `target` is NaN or `target` is not a class: then no rank counts as right.
pub fn rank(scores: &[f32], target: usize) -> Option<usize> {
    let own = *scores.get(target)?;
    if own.is_nan() {
        return None;
    }
    let ahead = |class: usize, score: f32| score > own || (score == own && class < target);
    Some(scores.iter().enumerate().filter(|&(class, &score)| ahead(class, score)).count())
}

/// The classes, best first; NaN last; equal scores by class number.
pub fn ranking(scores: &[f32]) -> Vec<usize> {
    let mut classes: Vec<usize> = (0..scores.len()).collect();
    classes.sort_by(|&a, &b| match (scores[a].is_nan(), scores[b].is_nan()) {
        (false, false) => scores[b].partial_cmp(&scores[a]).unwrap_or(Ordering::Equal),
        (a_is_nan, b_is_nan) => a_is_nan.cmp(&b_is_nan),
    });
    classes
}

/// Confidences: `exp(sᵢ) / Σ exp(sⱼ)`, without overflow for any finite scores.
///
/// A NaN has confidence 0; classes at plus infinity share 1. The sum is 1 unless no score says anything (all are NaN or
/// minus infinity): then every confidence is 0.
pub fn softmax(scores: &[f32]) -> Vec<f64> {
    let highest = scores.iter().copied().filter(|s| !s.is_nan()).fold(f32::NEG_INFINITY, f32::max);
    let weight = |score: f32| match score {
        s if s.is_nan() || s == f32::NEG_INFINITY => 0.0,
        s if s == highest => 1.0, // also where both are infinite, and their difference is NaN
        s => (f64::from(s) - f64::from(highest)).exp(),
    };
    let mut confidences: Vec<f64> = scores.iter().copied().map(weight).collect();
    let sum: f64 = confidences.iter().sum();
    if sum > 0.0 {
        confidences.iter_mut().for_each(|confidence| *confidence /= sum);
    }
    confidences
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAN: f32 = f32::NAN;

    #[test]
    fn the_first_of_equal_scores_is_best() {
        assert_eq!(best(&[1.0, 3.0, 3.0]), Some(1));
        assert_eq!(rank(&[1.0, 3.0, 3.0], 1), Some(0));
        assert_eq!(rank(&[1.0, 3.0, 3.0], 2), Some(1));
        assert_eq!(ranking(&[1.0, 3.0, 3.0]), [1, 2, 0]);
    }

    #[test]
    fn nan_never_wins() {
        assert_eq!(best(&[NAN, f32::NEG_INFINITY]), Some(1));
        assert_eq!(best(&[NAN, NAN]), None);
        assert_eq!(best(&[]), None);
        assert_eq!(rank(&[NAN, -5.0], 0), None);
        assert_eq!(rank(&[NAN, -5.0], 1), Some(0));
        assert_eq!(rank(&[0.0], 1), None);
        assert_eq!(ranking(&[NAN, -1.0, NAN, 2.0]), [3, 1, 0, 2]);
    }

    #[test]
    fn softmax_equals_the_formula() {
        let confidences = softmax(&[0.0, 1.0, 2.0]);
        let expected = [0.090_030_573_170_380_46, 0.244_728_471_054_797_6, 0.665_240_955_774_821_9];
        for (actual, expected) in confidences.iter().zip(expected) {
            assert!((actual - expected).abs() < 1e-12, "{actual} {expected}");
        }
    }

    #[test]
    fn softmax_of_odd_scores_is_defined() {
        assert_eq!(softmax(&[f32::MAX, -f32::MAX]), [1.0, 0.0]);
        assert_eq!(softmax(&[f32::INFINITY, 0.0, f32::INFINITY]), [0.5, 0.0, 0.5]);
        assert_eq!(softmax(&[f32::NEG_INFINITY, NAN]), [0.0, 0.0]);
        assert_eq!(softmax(&[NAN, 1.0]), [0.0, 1.0]);
        assert!(softmax(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn rank_agrees_with_ranking(scores in prop::collection::vec(-3_i8..3, 1..12)) {
            let scores: Vec<f32> = scores.into_iter().map(f32::from).collect();
            let order = ranking(&scores);
            prop_assert_eq!(best(&scores), Some(order[0]));
            for (place, &class) in order.iter().enumerate() {
                prop_assert_eq!(rank(&scores, class), Some(place));
            }
        }

        #[test]
        fn softmax_sums_to_one_and_ignores_a_shift(
            scores in prop::collection::vec(-50.0_f32..50.0, 1..12),
            shift in -10_i8..10,
        ) {
            let confidences = softmax(&scores);
            prop_assert!((confidences.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            let shifted: Vec<f32> = scores.iter().map(|s| s + f32::from(shift)).collect();
            for (a, b) in confidences.iter().zip(softmax(&shifted)) {
                prop_assert!((a - b).abs() < 1e-5);
            }
        }
    }
}
