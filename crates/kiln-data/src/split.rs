//! A part of a data set, one with other numbers for its classes, and the split of one into two.

use std::collections::HashMap;
use std::sync::Arc;

use crate::{Dataset, Error, Random, Sample};

/// Some samples of another data set, in the given order.
#[derive(Clone)]
pub struct Subset {
    whole: Arc<dyn Dataset>,
    indices: Vec<usize>,
}

impl Subset {
    /// The samples of `whole` at `indices`.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] if an index is not below the length of `whole`.
    pub fn new(whole: Arc<dyn Dataset>, indices: Vec<usize>) -> Result<Self, Error> {
        let length = whole.len();
        match indices.iter().find(|&&index| index >= length) {
            Some(index) => {
                Err(Error::setting("indices", format!("no sample {index} among {length} samples")))
            }
            None => Ok(Self { whole, indices }),
        }
    }

    /// Where each sample lies in the whole data set.
    pub fn indices(&self) -> &[usize] {
        &self.indices
    }
}

impl Dataset for Subset {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn sample(&self, index: usize) -> Result<Sample, Error> {
        self.whole.sample(self.indices[index])
    }

    fn name(&self, index: usize) -> String {
        self.whole.name(self.indices[index])
    }

    fn label(&self, index: usize) -> usize {
        self.whole.label(self.indices[index])
    }

    fn shards(&self) -> Vec<usize> {
        let whole = self.whole.shards();
        if whole.is_empty() || !self.indices.is_sorted() {
            return Vec::new();
        }
        let mut end = 0;
        let below = |end: usize| self.indices.partition_point(|&index| index < end);
        let shards = whole.iter().map(|length| {
            let start = below(end);
            end += length;
            below(end) - start
        });
        shards.collect()
    }
}

/// Another data set with other numbers for its classes.
pub struct Relabelled {
    whole: Arc<dyn Dataset>,
    /// The new number of each old one.
    labels: Vec<usize>,
}

impl Relabelled {
    /// The samples of `whole`, whose classes are called `names`, with the numbers that those names have in `known`; none
    /// if a name isn't there.
    pub fn by_name(whole: Arc<dyn Dataset>, names: &[String], known: &[String]) -> Option<Self> {
        let numbers: HashMap<&str, usize> =
            known.iter().enumerate().map(|(number, name)| (name.as_str(), number)).collect();
        let labels = names.iter().map(|name| numbers.get(name.as_str()).copied());
        Some(Self { labels: labels.collect::<Option<_>>()?, whole })
    }
}

impl Dataset for Relabelled {
    fn len(&self) -> usize {
        self.whole.len()
    }

    fn sample(&self, index: usize) -> Result<Sample, Error> {
        let sample = self.whole.sample(index)?;
        match self.labels.get(sample.label) {
            Some(&label) => Ok(Sample { label, ..sample }),
            None => {
                Err(Error::sample(self.name(index), format!("label {} has no name", sample.label)))
            }
        }
    }

    fn name(&self, index: usize) -> String {
        self.whole.name(index)
    }

    fn label(&self, index: usize) -> usize {
        let label = self.whole.label(index);
        self.labels.get(label).copied().unwrap_or(label)
    }

    fn shards(&self) -> Vec<usize> {
        self.whole.shards()
    }
}

/// Splits `dataset` at random into the rest and `fraction` of it, for training and validation: `(rest, part)`.
///
/// The split depends on the seed and the number of samples only; both parts keep the original order. The part holds
/// `fraction · samples`, rounded, and at least one sample each way if the fraction is neither 0 nor 1 and there are two.
///
/// # Errors
///
/// [`Error::Setting`] if `fraction` is not between 0 and 1.
pub fn split_off(
    dataset: Arc<dyn Dataset>,
    fraction: f64,
    seed: u64,
) -> Result<[Arc<dyn Dataset>; 2], Error> {
    if !(0.0..=1.0).contains(&fraction) {
        return Err(Error::setting(
            "validation",
            format!("{fraction} is no fraction between 0 and 1"),
        ));
    }
    let length = dataset.len();
    let mut count = (fraction * length as f64).round() as usize;
    if fraction > 0.0 && fraction < 1.0 && length >= 2 {
        count = count.clamp(1, length - 1);
    }

    let mut order: Vec<usize> = (0..length).collect();
    Random::new(&[SPLIT, seed]).shuffle(&mut order);
    let mut rest = order.split_off(count);
    rest.sort_unstable();
    order.sort_unstable();
    let whole = &dataset;
    Ok([rest, order].map(|indices| -> Arc<dyn Dataset> {
        Arc::new(Subset { whole: Arc::clone(whole), indices })
    }))
}

/// Keeps the stream of a split apart from the streams of an epoch with the same seed.
const SPLIT: u64 = 0x53_504C_4954;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pixels;
    use proptest::prelude::*;

    struct Numbers(usize);

    impl Dataset for Numbers {
        fn len(&self) -> usize {
            self.0
        }
        fn sample(&self, index: usize) -> Result<Sample, Error> {
            Ok(Sample { pixels: Pixels::black(1, 1, 1), label: index })
        }
        fn name(&self, index: usize) -> String {
            format!("number {index}")
        }
        fn label(&self, index: usize) -> usize {
            index
        }
    }

    fn labels(dataset: &dyn Dataset) -> Vec<usize> {
        (0..dataset.len()).map(|index| dataset.label(index)).collect()
    }

    #[test]
    fn a_subset_renumbers_samples_names_and_labels() {
        let part = Subset::new(Arc::new(Numbers(9)), vec![7, 2]).unwrap();
        assert_eq!((part.len(), part.name(0), part.label(1)), (2, "number 7".into(), 2));
        assert_eq!(part.sample(0).unwrap().label, 7);
        let error = Subset::new(Arc::new(Numbers(9)), vec![9]).err().unwrap().to_string();
        assert_eq!(error, "indices: no sample 9 among 9 samples");
    }

    #[test]
    fn classes_are_found_again_by_their_names() {
        let names = |text: &str| text.chars().map(String::from).collect::<Vec<_>>();
        let by_name = |from: &str, to: &str| {
            Relabelled::by_name(Arc::new(Numbers(3)), &names(from), &names(to))
        };
        let part = by_name("abc", "dcba").unwrap();
        assert_eq!(labels(&part), [3, 2, 1]);
        assert_eq!((part.sample(0).unwrap().label, part.name(2)), (3, "number 2".into()));
        assert!(by_name("abx", "abc").is_none());
        assert!(by_name("ab", "ab").unwrap().sample(2).is_err(), "a label that has no name");
    }

    #[test]
    fn another_seed_gives_another_split() {
        let split = |seed| labels(&*split_off(Arc::new(Numbers(100)), 0.2, seed).unwrap()[1]);
        assert_eq!(split(1), split(1));
        assert_ne!(split(1), split(2));
        assert_eq!(split(1).len(), 20);
    }

    #[test]
    fn a_fraction_outside_0_to_1_is_refused() {
        for fraction in [-0.1, 1.1, f64::NAN] {
            assert!(split_off(Arc::new(Numbers(9)), fraction, 0).is_err());
        }
    }

    proptest! {
        #[test]
        fn the_two_parts_make_the_whole(length in 0..200_usize, fraction in 0.0..=1.0, seed: u64) {
            let [rest, part] = split_off(Arc::new(Numbers(length)), fraction, seed).unwrap();
            let (rest, part) = (labels(&*rest), labels(&*part));
            prop_assert!(rest.is_sorted() && part.is_sorted());
            prop_assert!((part.len() as f64 - fraction * length as f64).abs() <= 1.0);
            let mut all = [rest, part].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..length).collect::<Vec<_>>());
        }
    }
}
