//! Which samples an epoch holds, and in which order.

use std::collections::HashMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::{Dataset, Error, LoaderConfig, Random};

/// Which samples an epoch holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// Each once.
    #[default]
    Once,
    /// As many as there are, drawn so that all classes come equally often: some samples several times, others not at all.
    Balanced,
}

/// The samples of an epoch, in order.
pub(crate) struct Order {
    indices: Vec<usize>,
    /// How often each came before, where one may come again.
    repeats: Vec<u32>,
}

/// How likely each sample is to be drawn.
#[derive(Debug, Clone)]
pub(crate) struct Weights {
    /// The sums of the weights up to each sample.
    sums: Vec<f64>,
}

/// The stream of a seed from which an order is drawn.
const ORDER: u64 = 0x4F_5244_4552;

impl Weights {
    /// Of so many samples, each drawn in proportion to its weight.
    pub fn new(weights: &[f64]) -> Result<Self, Error> {
        let fault = |reason: String| Err(Error::setting("weights", reason));
        if let Some(weight) = weights.iter().find(|weight| !(weight.is_finite() && **weight >= 0.0))
        {
            return fault(format!("{weight}; 0 and more are possible"));
        }
        let mut sum = 0.0;
        let sums: Vec<f64> = weights
            .iter()
            .map(|weight| {
                sum += weight;
                sum
            })
            .collect();
        let possible = sum > 0.0 && sum.is_finite();
        if !(possible || weights.is_empty()) {
            return fault(format!("their sum is {sum}; more than 0 is needed"));
        }
        Ok(Self { sums })
    }

    /// Weights that make all classes equally likely.
    pub fn balanced(dataset: &dyn Dataset) -> Result<Self, Error> {
        let mut counts = HashMap::new();
        let labels: Vec<usize> = (0..dataset.len()).map(|index| dataset.label(index)).collect();
        labels.iter().for_each(|label| *counts.entry(*label).or_insert(0_usize) += 1);
        let weights: Vec<f64> = labels.iter().map(|label| 1.0 / counts[label] as f64).collect();
        Self::new(&weights)
    }

    pub fn len(&self) -> usize {
        self.sums.len()
    }

    fn draw(&self, random: &mut Random) -> usize {
        let sum = self.sums.last().copied().unwrap_or_default();
        // 53 random bits are all that an f64 below 1 holds.
        let at = (random.bits() >> 11) as f64 / (1_u64 << 53) as f64 * sum;
        let index = self.sums.partition_point(|sum| *sum <= at);
        // A product may be rounded up to the sum itself: then the last sample with a weight is meant.
        if index < self.len() { index } else { self.sums.partition_point(|other| *other < sum) }
    }
}

impl Order {
    /// That of an epoch.
    pub fn of(
        dataset: &dyn Dataset,
        config: &LoaderConfig,
        weights: Option<&Weights>,
        epoch: u64,
    ) -> Self {
        let mut random = Random::new(&[ORDER, config.seed, epoch]);
        if let Some(weights) = weights {
            return Self::drawn(weights, &mut random);
        }
        let mut indices: Vec<usize> = (0..dataset.len()).collect();
        if config.shuffle {
            let shards = dataset.shards();
            match shards.iter().sum::<usize>() == indices.len() && !shards.is_empty() {
                true => indices = buffered(&shards, config.shuffle_buffer, &mut random),
                false => random.shuffle(&mut indices),
            }
        }
        Self { indices, repeats: Vec::new() }
    }

    fn drawn(weights: &Weights, random: &mut Random) -> Self {
        let mut times = HashMap::new();
        let draws = (0..weights.len()).map(|_| {
            let index = weights.draw(random);
            let times = times.entry(index).or_insert(0);
            *times += 1;
            (index, *times - 1)
        });
        let (indices, repeats) = draws.unzip();
        Self { indices, repeats }
    }

    /// The samples at some places, and how often each came before.
    pub fn at(&self, places: Range<usize>) -> impl ExactSizeIterator<Item = (usize, u32)> {
        let end = places.end.min(self.indices.len());
        let repeat = |place: usize| self.repeats.get(place).copied().unwrap_or_default();
        (places.start.min(end)..end).map(move |place| (self.indices[place], repeat(place)))
    }
}

/// The samples of all shards, which are taken in random order and each from its start, through a buffer of `size` from
/// which the next one is picked at random.
fn buffered(shards: &[usize], size: usize, random: &mut Random) -> Vec<usize> {
    let mut end = 0;
    let mut ranges: Vec<_> = shards
        .iter()
        .map(|length| {
            end += length;
            end - length..end
        })
        .collect();
    random.shuffle(&mut ranges);
    let mut stream = ranges.into_iter().flatten();
    let mut buffer: Vec<usize> = stream.by_ref().take(size.max(1)).collect();
    let mut order = Vec::with_capacity(end);
    while !buffer.is_empty() {
        let at = random.below(buffer.len());
        order.push(match stream.next() {
            Some(next) => std::mem::replace(&mut buffer[at], next),
            None => buffer.swap_remove(at),
        });
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_drawn_as_often_as_their_weights_say() {
        let weights = [0.0, 1.0, 3.0, 0.0, 6.0, 0.0];
        let weights = Weights::new(&weights.repeat(1000)).unwrap();
        let order = Order::drawn(&weights, &mut Random::new(&[1]));
        let mut counts = [0_usize; 6];
        order.indices.iter().for_each(|index| counts[index % 6] += 1);
        let share = |at: usize| counts[at] as f64 / 6000.0;
        assert_eq!([counts[0], counts[3], counts[5]], [0; 3]);
        for (at, expected) in [(1, 0.1), (2, 0.3), (4, 0.6)] {
            assert!((share(at) - expected).abs() < 0.02, "{counts:?}");
        }
        // A sample that comes again is told from the first time.
        let again = (0..6000).filter(|place| order.repeats[*place] > 0).count();
        let mut distinct = order.indices.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(again, 6000 - distinct.len());
        assert!(again > 1000, "{again}");
    }

    #[test]
    fn weights_without_a_meaning_are_refused() {
        for weights in
            [&[1.0, -1.0][..], &[f64::NAN], &[0.0, 0.0], &[f64::INFINITY], &[f64::MAX; 2]]
        {
            let message = Weights::new(weights).unwrap_err().to_string();
            assert!(message.starts_with("weights: "), "{message}");
        }
        assert_eq!(Weights::new(&[]).unwrap().len(), 0);
    }
}
