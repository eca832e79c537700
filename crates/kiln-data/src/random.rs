//! The random numbers of the loader.
//!
//! A stream is started from the numbers that name its purpose, such as (seed, epoch, index), and from nothing else: no
//! thread, no order and no clock. So a run can be repeated, resumed in the middle of an epoch, and read by any number
//! of workers. The generator is SplitMix64 (Steele, Lea, Flood. *Fast Splittable Pseudorandom Number Generators.*
//! OOPSLA 2014), whose state is one number; its sequence is part of what a seed means and will not change.

/// A stream of random numbers.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The stream named by `key`; every number of it, and their order, matters.
    pub fn new(key: &[u64]) -> Self {
        let start = Self(0x6B69_6C6E_2064_6174); // an arbitrary constant, so that an empty key is a key too
        key.iter().fold(start, |state, part| Self(mix(state.0.rotate_left(5) ^ mix(*part))))
    }

    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GAMMA);
        finish(self.0)
    }

    /// A number in `0 ≤ x < 1`, with 24 random bits, which is all an `f32` holds.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1_u32 << 24) as f32
    }

    /// A number in `low ≤ x ≤ high`.
    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// A whole number below `limit`, all equally likely.
    ///
    /// # Panics
    ///
    /// Panics if `limit` is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        assert!(limit > 0, "no number is below 0");
        let limit = limit as u64;
        let surplus = limit.wrapping_neg() % limit; // 2⁶⁴ mod limit: results that would favour small numbers
        loop {
            let product = u128::from(self.bits()) * u128::from(limit);
            if product as u64 >= surplus {
                return (product >> 64) as usize;
            }
        }
    }

    /// A number of the standard normal distribution (Box and Muller).
    pub fn normal(&mut self) -> f32 {
        let (distance, angle) = (1.0 - f64::from(self.unit()), f64::from(self.unit()));
        ((-2.0 * distance.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()) as f32
    }

    /// A number of the distribution Beta(`alpha`, `alpha`), between 0 and 1. `alpha` is above 0.
    pub fn beta(&mut self, alpha: f32) -> f32 {
        let [left, right] = [0; 2].map(|_| self.log_gamma(f64::from(alpha)));
        (1.0 / (1.0 + (right - left).exp())) as f32
    }

    /// The logarithm of a number of the distribution Gamma(`shape`, 1), which for small shapes is too near 0 for any
    /// number (Marsaglia and Tsang. *A Simple Method for Generating Gamma Variables.* ACM TOMS 2000).
    fn log_gamma(&mut self, shape: f64) -> f64 {
        // Gamma(shape) = Gamma(shape + 1) · unit^(1 / shape).
        let power = (1.0 - f64::from(self.unit())).ln() / shape;
        let d = shape + 1.0 - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = f64::from(self.normal());
            let v = (1.0 + c * x).powi(3);
            let unit = 1.0 - f64::from(self.unit());
            if v > 0.0 && unit.ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return (d * v).ln() + power;
            }
        }
    }

    /// Puts `items` in random order, all orders equally likely (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end + 1));
        }
    }
}

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

fn mix(x: u64) -> u64 {
    finish(x.wrapping_add(GAMMA))
}

/// The output function of SplitMix64.
fn finish(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_splitmix64() {
        // The published first outputs for state 0.
        let mut random = Random(0);
        assert_eq!(random.bits(), 0xE220_A839_7B1D_CDAF);
        assert_eq!(random.bits(), 0x6E78_9E6A_A1B9_65F4);
        assert_eq!(random.bits(), 0x06C4_5D18_8009_454F);
    }

    #[test]
    fn every_part_of_a_key_and_their_order_matters() {
        let keys: [&[u64]; 7] = [&[], &[0], &[0, 0], &[1, 0], &[0, 1], &[1, 2, 3], &[3, 2, 1]];
        let mut first: Vec<u64> = keys.iter().map(|key| Random::new(key).bits()).collect();
        assert_eq!(first[5], Random::new(&[1, 2, 3]).bits());
        first.sort_unstable();
        first.dedup();
        assert_eq!(first.len(), keys.len());
    }

    #[test]
    fn numbers_fill_their_range_evenly() {
        let mut random = Random::new(&[7]);
        let mut counts = [0; 10];
        for _ in 0..100_000 {
            counts[random.below(10)] += 1;
        }
        assert!(counts.iter().all(|count| (9_600..10_400).contains(count)), "{counts:?}");

        let numbers: Vec<f32> = (0..100_000).map(|_| random.between(-2.0, 4.0)).collect();
        assert!(numbers.iter().all(|x| (-2.0..=4.0).contains(x)));
        let mean = numbers.iter().sum::<f32>() / numbers.len() as f32;
        assert!((mean - 1.0).abs() < 0.03, "{mean}");
    }

    #[test]
    fn normal_and_beta_numbers_have_the_moments_of_their_distributions() {
        let mut random = Random::new(&[11]);
        let count = 100_000;
        let moments = |numbers: &[f32]| {
            let mean = numbers.iter().map(|&x| f64::from(x)).sum::<f64>() / count as f64;
            let squares = numbers.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>();
            (mean, squares / count as f64)
        };
        let numbers: Vec<f32> = (0..count).map(|_| random.normal()).collect();
        let (mean, variance) = moments(&numbers);
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
        for alpha in [0.01_f32, 0.2, 1.0, 4.0] {
            let numbers: Vec<f32> = (0..count).map(|_| random.beta(alpha)).collect();
            assert!(numbers.iter().all(|x| (0.0..=1.0).contains(x)));
            let (mean, variance) = moments(&numbers);
            let expected = 1.0 / (4.0 * (2.0 * f64::from(alpha) + 1.0));
            assert!((mean - 0.5).abs() < 0.01, "{alpha}: {mean}");
            assert!((variance / expected - 1.0).abs() < 0.03, "{alpha}: {variance} {expected}");
        }
    }

    #[test]
    fn a_shuffle_keeps_every_item_and_moves_most() {
        let mut items: Vec<usize> = (0..1000).collect();
        Random::new(&[1]).shuffle(&mut items);
        assert!(items.iter().enumerate().filter(|(at, item)| at == *item).count() < 10);
        items.sort_unstable();
        assert_eq!(items, (0..1000).collect::<Vec<_>>());
    }
}
