//! Optimizers by name, every constant with PyTorch's meaning and default.

use burn::module::{Module, ParamGroup};
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamConfig, AdamWConfig, ModuleOptimizer, SgdConfig};
use kiln_models::parameters;
use serde::{Deserialize, Serialize};

use crate::recipe::within;

/// Largest learning rate and weight decay; nothing learns near them.
const LARGEST: f64 = 1000.0;

/// Which optimizer trains, and its constants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Optimizer {
    /// The algorithm.
    pub name: Algorithm,
    /// Peak learning rate; the schedule scales it.
    pub learning_rate: f64,
    /// `sgd`: momentum; 0 turns it off.
    pub momentum: f64,
    /// `sgd`: Nesterov's momentum.
    pub nesterov: bool,
    /// `adam`, `adamw`: decay rates of the two moments.
    pub betas: [f64; 2],
    /// `adam`, `adamw`: added to the denominator.
    pub epsilon: f64,
    /// Weight decay of weights (tensors of rank 2 and more): L2 for `sgd` and `adam`, decoupled
    /// for `adamw`. Norms, biases and other per-channel numbers are never decayed.
    pub weight_decay: f64,
}

/// Name of an [`Optimizer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// Stochastic gradient descent with momentum.
    Sgd,
    /// Kingma, Ba. *Adam.* ICLR 2015.
    Adam,
    /// Loshchilov, Hutter. *Decoupled Weight Decay Regularization.* ICLR 2019.
    AdamW,
}

impl Default for Optimizer {
    fn default() -> Self {
        Optimizer {
            name: Algorithm::Sgd,
            learning_rate: 0.05,
            momentum: 0.9,
            nesterov: false,
            betas: [0.9, 0.999],
            epsilon: 1e-8,
            weight_decay: 0.0,
        }
    }
}

impl Optimizer {
    /// The optimizer for `model`'s parameters.
    pub(crate) fn init<M: Module>(&self, model: &M) -> ModuleOptimizer {
        let decayed = parameters(model)
            .into_iter()
            .filter(|parameter| parameter.trainable && parameter.shape.len() > 1)
            .map(|parameter| parameter.id)
            .collect();
        let decayed = ParamGroup::from_ids(decayed);

        match self.name {
            Algorithm::Sgd => {
                let plain = SgdConfig::new().with_momentum((self.momentum > 0.0).then(|| {
                    MomentumConfig::new()
                        .with_momentum(self.momentum)
                        .with_dampening(0.0)
                        .with_nesterov(self.nesterov)
                }));
                let decay = plain.clone().with_weight_decay(self.l2());
                plain.init().with_group(decayed, decay.build(), None)
            }
            Algorithm::Adam => {
                let plain = AdamConfig::new()
                    .with_beta_1(self.betas[0] as f32)
                    .with_beta_2(self.betas[1] as f32)
                    .with_epsilon(self.epsilon as f32);
                let decay = plain.clone().with_weight_decay(self.l2());
                plain.init().with_group(decayed, decay.build(), None)
            }
            Algorithm::AdamW => {
                let plain = AdamWConfig::new()
                    .with_beta_1(self.betas[0] as f32)
                    .with_beta_2(self.betas[1] as f32)
                    .with_epsilon(self.epsilon as f32)
                    .with_weight_decay(0.0);
                let decay = plain.clone().with_weight_decay(self.weight_decay as f32);
                plain.init().with_group(decayed, decay.build(), None)
            }
        }
    }

    /// Numbers that the optimizer keeps for each parameter.
    pub(crate) fn moments(&self) -> usize {
        match self.name {
            Algorithm::Sgd => usize::from(self.momentum > 0.0),
            Algorithm::Adam | Algorithm::AdamW => 2,
        }
    }

    fn l2(&self) -> Option<WeightDecayConfig> {
        (self.weight_decay > 0.0).then(|| WeightDecayConfig::new(self.weight_decay as f32))
    }

    /// Says which value cannot be used, if one cannot.
    pub(crate) fn check(&self) -> Result<(), String> {
        within("optimizer.learning_rate", self.learning_rate, 0.0, LARGEST)?;
        within("optimizer.weight_decay", self.weight_decay, 0.0, LARGEST)?;
        within("optimizer.epsilon", self.epsilon, 0.0, 1.0)?;
        for (key, value) in
            [("momentum", self.momentum), ("betas", self.betas[0]), ("betas", self.betas[1])]
        {
            if !(0.0..1.0).contains(&value) {
                return Err(format!("optimizer.{key} must lie in [0, 1), found {value:?}"));
            }
        }
        Ok(())
    }
}
