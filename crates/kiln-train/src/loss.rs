//! The objective of a run by name.

use kiln_models::{Criterion, Objective};
use serde::{Deserialize, Serialize};

use crate::recipe::within;

/// A larger weight or exponent is a slip of the finger.
const LARGEST: f64 = 1e6;

/// The objective of a classification run. Validation and test always report the plain cross entropy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    /// What makes a loss of scores and classes.
    pub name: LossName,
    /// Label smoothing, from 0 to 1.
    pub smoothing: f32,
    /// Weight of each class, in their order; empty: 1 for all.
    pub class_weights: Vec<f32>,
    /// `focal`: how much less what is already sure counts.
    pub gamma: f32,
    /// Weight of each auxiliary head of a network that has some; absent: what its paper takes.
    pub aux_weight: Option<f32>,
}

/// Name of a [`Loss`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossName {
    /// Cross entropy with the softmax of the scores.
    #[default]
    CrossEntropy,
    /// Binary cross entropy of each class's sigmoid, averaged over the classes.
    Binary,
    /// Cross entropy that counts what is already sure less (Lin et al., ICCV 2017).
    Focal,
}

impl Default for Loss {
    fn default() -> Self {
        Loss {
            name: LossName::CrossEntropy,
            smoothing: 0.0,
            class_weights: Vec::new(),
            gamma: 2.0,
            aux_weight: None,
        }
    }
}

impl Loss {
    /// What the network is told to minimize.
    pub(crate) fn objective(&self) -> Objective {
        Objective {
            criterion: match self.name {
                LossName::CrossEntropy => Criterion::CrossEntropy,
                LossName::Binary => Criterion::Binary,
                LossName::Focal => Criterion::Focal,
            },
            smoothing: self.smoothing,
            class_weights: self.class_weights.clone(),
            gamma: self.gamma,
            aux_weight: self.aux_weight,
        }
    }

    /// Says which value cannot be used, if one cannot.
    pub(crate) fn check(&self) -> Result<(), String> {
        if !(0.0..1.0).contains(&self.smoothing) {
            return Err(format!("loss.smoothing must lie in [0, 1), found {}", self.smoothing));
        }
        if let Some(weight) = self
            .class_weights
            .iter()
            .find(|weight| !(0.0..=LARGEST as f32).contains(*weight) || **weight == 0.0)
        {
            return Err(format!("loss.class_weights must lie in (0, {LARGEST}], found {weight:?}"));
        }
        within("loss.gamma", self.gamma.into(), 0.0, LARGEST)?;
        within("loss.aux_weight", self.aux_weight.unwrap_or(0.0).into(), 0.0, LARGEST)
    }

    /// Says that there are not as many weights as `classes`, if that is so.
    pub(crate) fn check_classes(&self, classes: usize) -> Result<(), String> {
        match self.class_weights.len() {
            0 => Ok(()),
            weights if weights == classes => Ok(()),
            weights => Err(format!(
                "loss.class_weights has {weights} values, and the data set {classes} classes; \
                 give each class one, in the order of the classes, or leave it empty"
            )),
        }
    }
}
