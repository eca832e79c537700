//! Mean and standard deviation over repeated runs.

use serde::{Deserialize, Serialize};

/// Mean and sample standard deviation of a few numbers, such as the accuracy over seeds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The arithmetic mean; 0 of nothing.
    pub mean: f64,
    /// The standard deviation with n − 1 in the denominator; 0 for fewer than two numbers.
    pub std: f64,
}

impl Spread {
    /// Mean and deviation of `values`; NaN if one of them is.
    pub fn of(values: &[f64]) -> Self {
        if values.is_empty() {
            return Self { mean: 0.0, std: 0.0 };
        }
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let std = if values.len() < 2 { 0.0 } else { (squares / (values.len() - 1) as f64).sqrt() };
        Self { mean, std }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divides_by_one_less_than_the_count() {
        // Squared differences from 5: 9, 1, 1, 1, 0, 0, 4, 16: 32 over 7.
        let spread = Spread::of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]);
        assert_eq!(spread.mean, 5.0);
        assert!((spread.std - (32.0_f64 / 7.0).sqrt()).abs() < 1e-15);
    }

    #[test]
    fn one_number_has_no_spread_and_none_has_no_mean() {
        assert_eq!(Spread::of(&[0.99]), Spread { mean: 0.99, std: 0.0 });
        assert_eq!(Spread::of(&[]), Spread { mean: 0.0, std: 0.0 });
    }

    #[test]
    fn nan_is_not_hidden() {
        assert!(Spread::of(&[1.0, f64::NAN]).mean.is_nan());
    }
}
