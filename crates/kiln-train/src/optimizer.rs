//! Optimizers by name, every constant with PyTorch's meaning and default.

use burn::module::{Module, ParamGroup};
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamConfig, AdamWConfig, ModuleOptimizer, RmsPropConfig, SgdConfig};
use kiln_models::parameters;
use serde::{Deserialize, Serialize};

use crate::recipe::within;

/// Largest learning rate and weight decay; nothing learns near them.
const LARGEST: f64 = 1000.0;

/// A larger limit clips nothing that can still be learned from.
const LARGEST_CLIP: f64 = 1e6;

/// Which optimizer trains, and its constants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Optimizer {
    /// The algorithm.
    pub name: Algorithm,
    /// Peak learning rate; the schedule scales it.
    pub learning_rate: f64,
    /// `sgd`, `rmsprop`: momentum; 0 turns it off.
    pub momentum: f64,
    /// `sgd`: how much less of a gradient goes into the momentum.
    pub dampening: f64,
    /// `sgd`: Nesterov's momentum.
    pub nesterov: bool,
    /// `adam`, `adamw`: decay rates of the two moments.
    pub betas: [f64; 2],
    /// `adam`, `adamw`: divides by the largest second moment so far (Reddi et al., *On the
    /// Convergence of Adam and Beyond*, ICLR 2018).
    pub amsgrad: bool,
    /// `rmsprop`: decay rate of the mean square.
    pub alpha: f64,
    /// `rmsprop`: divides by the deviation, not by the root of the mean square.
    pub centered: bool,
    /// `adam`, `adamw`, `rmsprop`: added to the denominator.
    pub epsilon: f64,
    /// Weight decay of weights (tensors of rank 2 and more): decoupled for `adamw`, L2 for the
    /// others. Norms, biases and other per-channel numbers are left alone.
    pub weight_decay: f64,
    /// Whether norms, biases and the like are decayed too, as PyTorch's optimizers do by themselves.
    pub decay_all: bool,
    /// Scales the gradients down so that their norm, over all parameters together, is no larger; 0
    /// turns it off.
    pub clip_norm: f64,
    /// Brings each number of the gradients to no more than this, whatever its sign; 0 turns it off.
    pub clip_value: f64,
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
    /// Hinton. *Neural Networks for Machine Learning*, lecture 6e, 2012.
    RmsProp,
}

impl Default for Optimizer {
    fn default() -> Self {
        Optimizer {
            name: Algorithm::Sgd,
            learning_rate: 0.05,
            momentum: 0.9,
            dampening: 0.0,
            nesterov: false,
            betas: [0.9, 0.999],
            amsgrad: false,
            alpha: 0.99,
            centered: false,
            epsilon: 1e-8,
            weight_decay: 0.0,
            decay_all: false,
            clip_norm: 0.0,
            clip_value: 0.0,
        }
    }
}

impl Optimizer {
    /// The optimizer for `model`'s parameters.
    pub(crate) fn init<M: Module>(&self, model: &M) -> ModuleOptimizer {
        let decayed = parameters(model)
            .into_iter()
            .filter(|parameter| {
                parameter.trainable && (self.decay_all || parameter.shape.len() > 1)
            })
            .map(|parameter| parameter.id)
            .collect();
        let decayed = ParamGroup::from_ids(decayed);

        match self.name {
            Algorithm::Sgd => {
                let plain = SgdConfig::new().with_momentum((self.momentum > 0.0).then(|| {
                    MomentumConfig::new()
                        .with_momentum(self.momentum)
                        .with_dampening(self.dampening)
                        .with_nesterov(self.nesterov)
                }));
                let decay = plain.clone().with_weight_decay(self.l2());
                plain.init().with_group(decayed, decay.build(), None)
            }
            Algorithm::Adam => {
                let plain = AdamConfig::new()
                    .with_beta_1(self.betas[0] as f32)
                    .with_beta_2(self.betas[1] as f32)
                    .with_amsgrad(self.amsgrad)
                    .with_epsilon(self.epsilon as f32);
                let decay = plain.clone().with_weight_decay(self.l2());
                plain.init().with_group(decayed, decay.build(), None)
            }
            Algorithm::AdamW => {
                let plain = AdamWConfig::new()
                    .with_beta_1(self.betas[0] as f32)
                    .with_beta_2(self.betas[1] as f32)
                    .with_amsgrad(self.amsgrad)
                    .with_epsilon(self.epsilon as f32)
                    .with_weight_decay(0.0);
                let decay = plain.clone().with_weight_decay(self.weight_decay as f32);
                plain.init().with_group(decayed, decay.build(), None)
            }
            Algorithm::RmsProp => {
                let plain = RmsPropConfig::new()
                    .with_alpha(self.alpha as f32)
                    .with_momentum(self.momentum as f32)
                    .with_centered(self.centered)
                    .with_epsilon(self.epsilon as f32);
                let decay = plain.clone().with_weight_decay(self.l2());
                plain.init().with_group(decayed, decay.build(), None)
            }
        }
    }

    /// Numbers that the optimizer keeps for each parameter.
    pub(crate) fn moments(&self) -> usize {
        match self.name {
            Algorithm::Sgd => usize::from(self.momentum > 0.0),
            Algorithm::Adam | Algorithm::AdamW => 2 + usize::from(self.amsgrad),
            // burn keeps what it divides by beside the mean square.
            Algorithm::RmsProp => 2 + usize::from(self.momentum > 0.0) + usize::from(self.centered),
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
        within("optimizer.dampening", self.dampening, 0.0, 1.0)?;
        within("optimizer.clip_norm", self.clip_norm, 0.0, LARGEST_CLIP)?;
        within("optimizer.clip_value", self.clip_value, 0.0, LARGEST_CLIP)?;
        for (key, value) in [
            ("momentum", self.momentum),
            ("betas", self.betas[0]),
            ("betas", self.betas[1]),
            ("alpha", self.alpha),
        ] {
            if !(0.0..1.0).contains(&value) {
                return Err(format!("optimizer.{key} must lie in [0, 1), found {value:?}"));
            }
        }
        if self.nesterov && (self.momentum == 0.0 || self.dampening > 0.0) {
            return Err("optimizer.nesterov needs momentum above 0 and dampening of 0".into());
        }
        if self.clip_norm > 0.0 && self.clip_value > 0.0 {
            return Err("set optimizer.clip_norm or optimizer.clip_value, not both".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::Param;
    use burn::optim::GradientsParams;
    use burn::prelude::*;
    use kiln_testkit::{Golden, device, largest_difference};

    /// The network of the golden file.
    #[derive(Module, Debug)]
    struct Net {
        weight: Param<Tensor<2>>,
        bias: Param<Tensor<1>>,
    }

    /// Ten steps as `xtask/golden/optimizers.py` takes them, compared with where they led there.
    fn assert_ten_steps(case: &str, optimizer: &Optimizer) {
        optimizer.check().unwrap();
        let golden = Golden::open("optimizers");
        let device = device().autodiff();
        let mut net = Net {
            weight: Param::from_tensor(Tensor::zeros([5, 4], &device)),
            bias: Param::from_tensor(Tensor::zeros([4], &device)),
        };
        net = golden.load(net);
        let (x, y) = (golden.tensor::<3>("x"), golden.tensor::<3>("y"));
        let mut steps = optimizer.init(&net);
        for step in 0..10 {
            let of = |all: &Tensor<3>| {
                Tensor::from_inner(all.clone().narrow(0, step, 1).squeeze_dim::<2>(0))
            };
            let hidden = of(&x).matmul(net.weight.val()) + net.bias.val().unsqueeze();
            let loss = (hidden.tanh() - of(&y)).square().mean();
            let gradients = GradientsParams::from_grads(loss.backward(), &net);
            let gradients = optimizer.clip(&net, gradients).unwrap();
            net = steps.step(optimizer.learning_rate, net, gradients);
        }
        let off = [
            largest_difference(net.weight.val().inner(), golden.tensor(&format!("{case}_weight"))),
            largest_difference(net.bias.val().inner(), golden.tensor(&format!("{case}_bias"))),
        ];
        assert!(off.iter().all(|&off| off <= 1e-5), "{case} is off by {off:?}");
    }

    fn with(name: Algorithm, learning_rate: f64) -> Optimizer {
        Optimizer { name, learning_rate, weight_decay: 0.05, ..Optimizer::default() }
    }

    #[test]
    fn ten_steps_of_sgd_end_where_pytorchs_do() {
        let sgd = with(Algorithm::Sgd, 0.1);
        assert_ten_steps("sgd", &sgd);
        assert_ten_steps("nesterov", &Optimizer { nesterov: true, ..sgd.clone() });
        assert_ten_steps("dampening", &Optimizer { dampening: 0.3, ..sgd.clone() });
        assert_ten_steps("plain", &Optimizer { momentum: 0.0, ..sgd.clone() });
        assert_ten_steps("all", &Optimizer { decay_all: true, ..sgd.clone() });
        assert_ten_steps("norm", &Optimizer { clip_norm: 0.2, ..sgd.clone() });
        assert_ten_steps("value", &Optimizer { clip_value: 0.05, ..sgd });
    }

    #[test]
    fn ten_steps_of_adam_end_where_pytorchs_do() {
        let adam = with(Algorithm::Adam, 0.01);
        assert_ten_steps("adam", &adam);
        assert_ten_steps("amsgrad", &Optimizer { betas: [0.8, 0.9], amsgrad: true, ..adam });
        assert_ten_steps("adamw", &with(Algorithm::AdamW, 0.01));
    }

    #[test]
    fn ten_steps_of_rmsprop_end_where_pytorchs_do() {
        let rmsprop = with(Algorithm::RmsProp, 0.01);
        assert_ten_steps("rmsprop", &rmsprop);
        let centered = Optimizer { alpha: 0.9, centered: true, momentum: 0.0, ..rmsprop };
        assert_ten_steps("centered", &centered);
    }

    #[test]
    fn constants_that_contradict_each_other_are_refused() {
        let both = Optimizer { clip_norm: 1.0, clip_value: 1.0, ..Optimizer::default() };
        assert!(both.check().unwrap_err().contains("not both"));
        let idle = Optimizer { nesterov: true, momentum: 0.0, ..Optimizer::default() };
        assert!(idle.check().unwrap_err().contains("nesterov"));
    }
}
