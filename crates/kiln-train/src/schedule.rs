//! Learning-rate schedules: pure functions of the optimizer step and of the finished epochs, so that a resumed run
//! cannot drift.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::recipe::{MOST_EPOCHS, within};

/// A milestone that raises the rate more than this is a slip of the finger.
const LARGEST_GAMMA: f64 = 10.0;
/// No rate starts or ends so much below its peak.
const LARGEST_DIVISOR: f64 = 1e12;

/// How the learning rate moves over a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Shape of the curve after the warm-up.
    pub name: Curve,
    /// Epochs over which the rate rises linearly from 0 (fractions allowed).
    pub warmup_epochs: f64,
    /// `cosine`: the rate at the end, as a fraction of the peak.
    pub final_fraction: f64,
    /// `step`: epochs, counted from the start, after each of which the rate is multiplied by `gamma`.
    pub step_epochs: f64,
    /// `multi-step`: epochs after which the rate is multiplied by `gamma`.
    pub milestones: Vec<f64>,
    /// `step`, `multi-step`, `plateau`: the factor of each time; `exponential`: that of each epoch.
    pub gamma: f64,
    /// `poly`: the exponent.
    pub power: f64,
    /// `one-cycle`: the fraction of the run in which the rate rises.
    pub rise_fraction: f64,
    /// `one-cycle`: how many times smaller than the peak the first rate is.
    pub start_divisor: f64,
    /// `one-cycle`: how many times smaller than the first rate the last one is.
    pub end_divisor: f64,
    /// `plateau`: epochs without a better validation loss that are borne before the rate falls.
    pub patience: usize,
    /// `plateau`: how much smaller, as a fraction, a loss must be to count as better.
    pub threshold: f64,
    /// `plateau`: below this fraction of the peak the rate doesn't fall.
    pub least_fraction: f64,
}

/// Shape of a [`Schedule`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Curve {
    /// The peak rate throughout.
    Constant,
    /// Half a cosine from the peak to `final_fraction` (Loshchilov, Hutter, *SGDR*, ICLR 2017).
    Cosine,
    /// Multiplied by `gamma` every `step_epochs`, as PyTorch's `StepLR`.
    Step,
    /// Multiplied by `gamma` at each milestone, as PyTorch's `MultiStepLR`.
    MultiStep,
    /// `(1 - progress)^power`, as PyTorch's `PolynomialLR`.
    Poly,
    /// `gamma^epochs`, as PyTorch's `ExponentialLR`, but with each step.
    Exponential,
    /// Up to the peak and down again along cosines, as PyTorch's `OneCycleLR`; momentum stays as it is (Smith, Topin,
    /// *Super-Convergence*, 2018).
    OneCycle,
    /// Multiplied by `gamma` where the validation loss stops falling, as PyTorch's `ReduceLROnPlateau`.
    Plateau,
}

impl Default for Schedule {
    fn default() -> Self {
        Schedule {
            name: Curve::Cosine,
            warmup_epochs: 0.0,
            final_fraction: 0.0,
            step_epochs: 30.0,
            milestones: Vec::new(),
            gamma: 0.1,
            power: 1.0,
            rise_fraction: 0.3,
            start_divisor: 25.0,
            end_divisor: 1e4,
            patience: 10,
            threshold: 1e-4,
            least_fraction: 0.0,
        }
    }
}

impl Schedule {
    /// The factor on the peak learning rate at optimizer step `step` (from 0) of a run of `epochs` epochs with
    /// `steps_per_epoch` steps each, whose finished epochs had the validation losses `losses`.
    pub fn factor(&self, step: u64, steps_per_epoch: usize, epochs: usize, losses: &[f64]) -> f64 {
        let per_epoch = steps_per_epoch.max(1) as f64;
        let (step, total) = (step as f64, per_epoch * epochs as f64);
        let warmup = (self.warmup_epochs * per_epoch).min(total);
        if step < warmup {
            return (step + 1.0) / (warmup + 1.0);
        }
        let progress = ((step - warmup) / (total - warmup).max(1.0)).min(1.0);
        let epoch = step / per_epoch;

        match self.name {
            Curve::Constant => 1.0,
            Curve::Cosine => cosine(1.0, self.final_fraction, progress),
            Curve::Step => self.gamma.powf((epoch / self.step_epochs).floor()),
            Curve::MultiStep => {
                let passed = self.milestones.iter().filter(|&&at| epoch >= at).count();
                self.gamma.powi(passed as i32)
            }
            Curve::Poly => (1.0 - progress).powf(self.power),
            Curve::Exponential => self.gamma.powf(epoch),
            Curve::OneCycle => {
                let first = 1.0 / self.start_divisor;
                // The last step of each half, counted from 0.
                let top = self.rise_fraction * total - 1.0;
                if step <= top {
                    cosine(first, 1.0, step / top.max(1.0))
                } else {
                    let fall = (total - 1.0 - top).max(1.0);
                    cosine(1.0, first / self.end_divisor, ((step - top) / fall).min(1.0))
                }
            }
            Curve::Plateau => self.plateau(losses),
        }
    }

    /// The factor after epochs with these validation losses.
    fn plateau(&self, losses: &[f64]) -> f64 {
        let (mut factor, mut best, mut worse) = (1.0, f64::INFINITY, 0);
        for &loss in losses {
            if loss < best * (1.0 - self.threshold) {
                (best, worse) = (loss, 0);
            } else {
                worse += 1;
            }
            if worse > self.patience {
                factor = f64::max(factor * self.gamma, self.least_fraction);
                worse = 0;
            }
        }
        factor
    }

    /// Says which value cannot be used, if one cannot.
    pub(crate) fn check(&self) -> Result<(), String> {
        let epochs = MOST_EPOCHS as f64;
        within("schedule.warmup_epochs", self.warmup_epochs, 0.0, epochs)?;
        within("schedule.final_fraction", self.final_fraction, 0.0, 1.0)?;
        within("schedule.gamma", self.gamma, 0.0, LARGEST_GAMMA)?;
        within("schedule.power", self.power, 0.0, 100.0)?;
        within("schedule.rise_fraction", self.rise_fraction, 0.0, 1.0)?;
        within("schedule.start_divisor", self.start_divisor, 1.0, LARGEST_DIVISOR)?;
        within("schedule.end_divisor", self.end_divisor, 1.0, LARGEST_DIVISOR)?;
        within("schedule.patience", self.patience as f64, 0.0, epochs)?;
        within("schedule.threshold", self.threshold, 0.0, 1.0)?;
        within("schedule.least_fraction", self.least_fraction, 0.0, 1.0)?;
        within("schedule.step_epochs", self.step_epochs, 1e-3, epochs)?;
        self.milestones
            .iter()
            .try_for_each(|&at| within("schedule.milestones", at, 0.0, epochs))?;
        match self.name {
            Curve::MultiStep if self.milestones.is_empty() => {
                Err("schedule.name is multi-step, which needs schedule.milestones".into())
            }
            Curve::OneCycle if self.warmup_epochs > 0.0 => {
                Err("one-cycle has a rise of its own; set schedule.warmup_epochs to 0".into())
            }
            _ => Ok(()),
        }
    }
}

/// From `from` to `to` along half a cosine.
fn cosine(from: f64, to: f64, progress: f64) -> f64 {
    to + (from - to) * (0.5 * (1.0 + (PI * progress).cos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: Curve) -> Schedule {
        Schedule { name, ..Schedule::default() }
    }

    fn factors(schedule: &Schedule, steps: &[u64], per_epoch: usize, epochs: usize) -> Vec<f64> {
        steps.iter().map(|&step| schedule.factor(step, per_epoch, epochs, &[])).collect()
    }

    #[track_caller]
    fn assert_close(actual: &[f64], expected: &[f64]) {
        assert_eq!(actual.len(), expected.len());
        for (actual, expected) in actual.iter().zip(expected) {
            assert!((actual - expected).abs() < 1e-12, "{actual} is not {expected}");
        }
    }

    #[test]
    fn cosine_falls_from_the_peak_to_the_final_fraction() {
        let schedule = Schedule { final_fraction: 0.1, ..Schedule::default() };
        assert_close(&factors(&schedule, &[0, 20, 40], 10, 4), &[1.0, 0.55, 0.1]);
    }

    #[test]
    fn warmup_rises_linearly_and_meets_the_curve() {
        let schedule = Schedule { warmup_epochs: 1.0, ..Schedule::default() };
        assert_eq!(factors(&schedule, &[0, 1, 2, 3, 4], 4, 2), [0.2, 0.4, 0.6, 0.8, 1.0]);
    }

    #[test]
    fn steps_multiply_every_so_many_epochs_and_milestones_where_they_stand() {
        let schedule = Schedule { step_epochs: 2.0, ..named(Curve::Step) };
        let expected = [1.0, 1.0, 0.1, 0.1, 0.01];
        assert_close(&factors(&schedule, &[0, 19, 20, 39, 40], 10, 6), &expected);
        let schedule = Schedule { milestones: vec![1.0, 2.0], ..named(Curve::MultiStep) };
        assert_close(&factors(&schedule, &[0, 9, 10, 20], 10, 3), &[1.0, 1.0, 0.1, 0.01]);
    }

    #[test]
    fn the_other_curves_are_pytorchs() {
        // PolynomialLR(total_iters=40, power=2), ExponentialLR(gamma=.5).
        let schedule = Schedule { power: 2.0, ..named(Curve::Poly) };
        assert_close(&factors(&schedule, &[0, 10, 20, 40], 10, 4), &[1.0, 0.5625, 0.25, 0.0]);
        let schedule = Schedule { gamma: 0.5, ..named(Curve::Exponential) };
        assert_close(&factors(&schedule, &[0, 10, 20], 10, 4), &[1.0, 0.5, 0.25]);
        // OneCycleLR(max_lr=1, total_steps=10).get_last_lr() after so many steps.
        let expected = [
            0.04,
            0.52,
            1.0,
            0.950_484_632_013_473_7,
            0.811_745_653_949_763_1,
            0.611_262_021_936_289_3,
            0.388_741_978_063_710_75,
            0.188_258_346_050_236_97,
            0.049_519_367_986_526_286,
            4e-6,
        ];
        let steps: Vec<u64> = (0..10).collect();
        assert_close(&factors(&named(Curve::OneCycle), &steps, 5, 2), &expected);
    }

    #[test]
    fn a_plateau_lowers_the_rate_once_its_patience_is_over() {
        let schedule = Schedule { patience: 1, gamma: 0.5, ..named(Curve::Plateau) };
        let after = |losses: &[f64]| schedule.factor(99, 10, 20, losses);
        // ReduceLROnPlateau(factor=.5, patience=1) after the same losses.
        let losses = [3.0, 2.0, 2.0, 1.9999, 1.0, 1.5, 1.5, 1.5, f64::NAN, 0.5];
        let expected = [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125];
        for (epochs, expected) in expected.into_iter().enumerate() {
            assert_eq!(after(&losses[..=epochs]), expected, "{epochs}");
        }
        let least = Schedule { least_fraction: 0.4, ..schedule };
        assert_eq!(least.factor(0, 10, 20, &losses), 0.4);
    }

    #[test]
    fn a_run_shorter_than_its_warmup_stays_finite() {
        let all = [
            Curve::Constant,
            Curve::Cosine,
            Curve::Step,
            Curve::MultiStep,
            Curve::Poly,
            Curve::Exponential,
            Curve::OneCycle,
            Curve::Plateau,
        ];
        for name in all {
            let schedule = Schedule { warmup_epochs: 9.0, ..named(name) };
            assert!((0..10).all(|step| schedule.factor(step, 5, 1, &[]).is_finite()), "{name:?}");
            for steps in [[0, 0], [1, 1], [1, 2], [2, 1]] {
                let schedule = named(name);
                let factor = schedule.factor(0, steps[0], steps[1], &[]);
                assert!(factor.is_finite() && (0.0..=1.0).contains(&factor), "{name:?} {factor}");
            }
        }
    }
}
