//! Learning-rate schedules: pure functions of the optimizer step, so that a resumed run cannot drift.

use serde::{Deserialize, Serialize};

use crate::recipe::{MOST_EPOCHS, within};

/// A milestone that raises the rate more than this is a slip of the finger.
const LARGEST_GAMMA: f64 = 10.0;

/// How the learning rate moves over a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Shape of the curve after the warm-up.
    pub name: Curve,
    /// Epochs over which the rate rises linearly from 0 (fractions allowed).
    pub warmup_epochs: f64,
    /// `cosine`: the rate at the end, as a fraction of the peak.
    pub final_fraction: f64,
    /// `step`: epochs after which the rate is multiplied by `gamma`.
    pub milestones: Vec<f64>,
    /// `step`: the factor of each milestone.
    pub gamma: f64,
}

/// Shape of a [`Schedule`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Curve {
    /// The peak rate throughout.
    Constant,
    /// Half a cosine from the peak to `final_fraction` (Loshchilov, Hutter, *SGDR*, ICLR 2017).
    Cosine,
    /// Multiplied by `gamma` at each milestone.
    Step,
}

impl Default for Schedule {
    fn default() -> Self {
        Schedule {
            name: Curve::Cosine,
            warmup_epochs: 0.0,
            final_fraction: 0.0,
            milestones: Vec::new(),
            gamma: 0.1,
        }
    }
}

impl Schedule {
    /// The factor on the peak learning rate at optimizer step `step` (from 0) of a run of
    /// `epochs` epochs with `steps_per_epoch` steps each.
    pub fn factor(&self, step: u64, steps_per_epoch: usize, epochs: usize) -> f64 {
        let per_epoch = steps_per_epoch.max(1) as f64;
        let (step, total) = (step as f64, per_epoch * epochs as f64);
        let warmup = (self.warmup_epochs * per_epoch).min(total);
        if step < warmup {
            return (step + 1.0) / (warmup + 1.0);
        }

        match self.name {
            Curve::Constant => 1.0,
            Curve::Cosine => {
                let progress = ((step - warmup) / (total - warmup).max(1.0)).min(1.0);
                let cosine = 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
                self.final_fraction + (1.0 - self.final_fraction) * cosine
            }
            Curve::Step => {
                let epoch = step / per_epoch;
                let passed = self.milestones.iter().filter(|&&at| epoch >= at).count();
                self.gamma.powi(passed as i32)
            }
        }
    }

    /// Says which value cannot be used, if one cannot.
    pub(crate) fn check(&self) -> Result<(), String> {
        let epochs = MOST_EPOCHS as f64;
        within("schedule.warmup_epochs", self.warmup_epochs, 0.0, epochs)?;
        within("schedule.final_fraction", self.final_fraction, 0.0, 1.0)?;
        within("schedule.gamma", self.gamma, 0.0, LARGEST_GAMMA)?;
        self.milestones.iter().try_for_each(|&at| within("schedule.milestones", at, 0.0, epochs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosine_falls_from_the_peak_to_the_final_fraction() {
        let schedule = Schedule { final_fraction: 0.1, ..Schedule::default() };
        assert_eq!(schedule.factor(0, 10, 4), 1.0);
        assert!((schedule.factor(20, 10, 4) - 0.55).abs() < 1e-12);
        assert!((schedule.factor(40, 10, 4) - 0.1).abs() < 1e-12);
    }

    #[test]
    fn warmup_rises_linearly_and_meets_the_curve() {
        let schedule = Schedule { warmup_epochs: 1.0, ..Schedule::default() };
        let rates: Vec<f64> = (0..5).map(|step| schedule.factor(step, 4, 2)).collect();
        assert_eq!(rates, [0.2, 0.4, 0.6, 0.8, 1.0]);
    }

    #[test]
    fn step_multiplies_at_each_milestone() {
        let schedule =
            Schedule { name: Curve::Step, milestones: vec![1.0, 2.0], ..Schedule::default() };
        let rates: Vec<f64> = [0, 9, 10, 20].map(|step| schedule.factor(step, 10, 3)).to_vec();
        assert_eq!(rates, [1.0, 1.0, 0.1, 0.1 * 0.1]);
    }

    #[test]
    fn a_run_shorter_than_its_warmup_stays_finite() {
        let schedule = Schedule { warmup_epochs: 9.0, ..Schedule::default() };
        assert!((0..10).all(|step| schedule.factor(step, 5, 1).is_finite()));
        assert!(schedule.factor(0, 0, 0).is_finite());
    }
}
