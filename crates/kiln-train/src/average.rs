//! The moving average of a network's weights, which often predicts better than the weights themselves.
//!
//! Polyak, Juditsky. *Acceleration of Stochastic Approximation by Averaging.* SIAM J. Control and Optimization 30(4), 1992.
//! Tarvainen, Valpola. *Mean teachers are better role models.* NeurIPS 2017 (the exponential one).

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::prelude::*;
use burn::tensor::container::TensorContainer;
use serde::{Deserialize, Serialize};

use crate::recipe::within;

/// The exponential moving average of parameters and running statistics.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ema {
    /// How much of the average stays in each step; 0 keeps none. In the first steps less stays, `(1 + n) / (10 + n)` in
    /// step n, so that the first weights are soon forgotten.
    pub decay: f64,
}

impl Ema {
    /// Whether there is an average.
    pub(crate) fn is_on(&self) -> bool {
        self.decay > 0.0
    }

    /// How much of the average stays in optimizer step `step`, counted from 0.
    fn stays(&self, step: u64) -> f64 {
        let step = step as f64;
        self.decay.min((1.0 + step) / (10.0 + step))
    }

    /// `average` a step further towards `network`, whose optimizer step `step`, from 0, is done.
    pub(crate) fn follow<N: Module>(&self, average: N, network: &N, step: u64) -> N {
        let mut now = Values(TensorContainer::new());
        // The copy for inference has the statistics of the last batch in it.
        network.valid().visit(&mut now);
        average.map(&mut Blend { now: now.0, place: 0, stays: self.stays(step) })
    }

    /// Says which value cannot be used, if one cannot.
    pub(crate) fn check(&self) -> Result<(), String> {
        within("ema.decay", self.decay, 0.0, 1.0 - f64::EPSILON)
    }
}

/// The values of a network's float tensors by their place in module order. Running statistics keep identities of their own,
/// which are others in every process.
struct Values(TensorContainer<usize>);

impl ModuleVisitor for Values {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.register(self.0.len(), param.val());
    }
}

struct Blend {
    now: TensorContainer<usize>,
    /// Of the tensor that comes next.
    place: usize,
    stays: f64,
}

impl ModuleMapper for Blend {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, average, mapper) = param.consume();
        let now = self.now.remove::<Tensor<D>>(&self.place);
        self.place += 1;
        let now = now.expect("the average is of the same network");
        let blended = average * self.stays + now * (1.0 - self.stays);
        Param::from_mapped_value(id, blended, mapper)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_layers::{ConvBlock, ConvBlockConfig};
    use kiln_models::weights::to_bytes;
    use kiln_testkit::{assert_close, device, noise};

    fn block() -> ConvBlock {
        let training = device().autodiff();
        training.seed(2);
        crate::identity::by_path(ConvBlockConfig::new([2, 3], 3).init(&training))
    }

    #[test]
    fn the_average_is_the_formula_of_weights_and_statistics() {
        let ema = Ema { decay: 0.75 };
        let network = block();
        let average = network.valid();
        let old = average.conv.weight.val();
        let x = noise::<4>([4, 2, 5, 5], 1, &device().autodiff());
        network.forward(x); // gives the norm statistics of its own
        let mut later = network.clone();
        later.conv.weight = later.conv.weight.map(|weight| weight + 1.0);

        let after = ema.follow(average.clone(), &later, 1000);

        assert_close(after.conv.weight.val(), old + 0.25);
        let [mean, now] =
            [&after, &later.valid()].map(|it| it.norm.as_ref().unwrap().running_mean.value());
        assert_close(mean, now * 0.25); // it was 0
        // What it averages is left alone.
        assert_close(later.valid().conv.weight.val(), network.valid().conv.weight.val() + 1.0);
    }

    #[test]
    fn the_first_weights_are_soon_forgotten() {
        let ema = Ema { decay: 0.999 };
        assert_eq!(ema.stays(0), 0.1);
        assert_eq!(ema.stays(90), 0.91);
        assert_eq!(ema.stays(1_000_000), 0.999);
    }

    #[test]
    fn a_network_that_stands_still_is_its_own_average() {
        let network = block();
        let average = network.valid();
        let after = (0..20)
            .fold(average, |average, step| Ema { decay: 0.5 }.follow(average, &network, step));
        assert_eq!(to_bytes(&after).len(), to_bytes(&network).len());
        assert_close(after.conv.weight.val(), network.valid().conv.weight.val());
    }
}
