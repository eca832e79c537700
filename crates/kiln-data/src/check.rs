//! Reads every sample of a data set and says what is there: counts, sizes, unreadable samples, duplicates.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::{Dataset, Error, Pixels, Skipped, Splits};

/// What a data set was found to hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Its name.
    pub name: String,
    /// Where it was read from.
    pub source: String,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Each split.
    pub splits: Vec<SplitReport>,
    /// Samples of different splits with the same pixels, such as a test image that is also learned from.
    pub duplicates: Vec<Duplicate>,
}

/// What a split was found to hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SplitReport {
    /// `train`, `validation` or `test`.
    pub name: String,
    /// All samples, those that cannot be read included.
    pub samples: usize,
    /// Samples of each class, by number.
    pub per_class: Vec<usize>,
    /// Samples of each size, such as `28×28×1` (width, height, channels).
    pub sizes: BTreeMap<String, usize>,
    /// Samples that cannot be used, and why.
    pub unreadable: Vec<Skipped>,
    /// Samples with the same pixels as an earlier one of this split.
    pub repeated: usize,
}

/// Two samples with the same pixels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Duplicate {
    /// The one in the earlier split.
    pub first: String,
    /// The one in the later split.
    pub second: String,
    /// Whether their labels agree.
    pub same_label: bool,
}

impl Report {
    /// Whether no split is empty, every sample can be read and none is in two splits.
    pub fn is_clean(&self) -> bool {
        self.duplicates.is_empty()
            && self.splits.iter().all(|split| split.unreadable.is_empty() && split.samples > 0)
    }
}

/// Reads every sample of `splits`; `progress` hears how many of how many are done.
pub fn check(splits: &Splits, progress: &mut dyn FnMut(usize, usize)) -> Report {
    let parts: Vec<_> = splits.parts().collect();
    let total = parts.iter().map(|(_, dataset)| dataset.len()).sum();
    let mut done = 0;
    // The first sample with each hash: which split, which sample, which label.
    let mut known: HashMap<[u8; 32], (usize, usize, usize)> = HashMap::new();
    let mut duplicates = Vec::new();

    let reports = parts.iter().enumerate().map(|(part, (name, dataset))| {
        let mut report = SplitReport::new(name, dataset.len(), splits.classes.len());
        for index in 0..dataset.len() {
            let checked = report.add(&***dataset, index);
            done += 1;
            progress(done, total);
            let Some((hash, label)) = checked else { continue };
            match known.get(&hash) {
                None => {
                    known.insert(hash, (part, index, label));
                }
                Some(&(first, _, _)) if first == part => report.repeated += 1,
                Some(&(first, at, other)) => duplicates.push(Duplicate {
                    first: parts[first].1.name(at),
                    second: dataset.name(index),
                    same_label: label == other,
                }),
            }
        }
        report
    });
    let reports = reports.collect();
    let (name, source, classes) =
        (splits.name.clone(), splits.source.clone(), splits.classes.clone());
    Report { name, source, classes, splits: reports, duplicates }
}

impl SplitReport {
    fn new(name: &str, samples: usize, classes: usize) -> Self {
        Self {
            name: name.into(),
            samples,
            per_class: vec![0; classes],
            sizes: BTreeMap::new(),
            unreadable: Vec::new(),
            repeated: 0,
        }
    }

    /// Reads one sample; its hash and label, if it can be used.
    fn add(&mut self, dataset: &dyn Dataset, index: usize) -> Option<([u8; 32], usize)> {
        let classes = self.per_class.len();
        let checked = dataset.sample(index).and_then(|sample| {
            let refuse = |reason| Err(Error::sample(dataset.name(index), reason));
            match sample.pixels.fault() {
                Some(fault) => refuse(fault),
                None if sample.label >= classes => {
                    refuse(format!("label {} is no class of {classes}", sample.label))
                }
                None => Ok(sample),
            }
        });
        match checked {
            Ok(sample) => {
                let Pixels { width, height, channels, .. } = sample.pixels;
                *self.sizes.entry(format!("{width}×{height}×{channels}")).or_default() += 1;
                self.per_class[sample.label] += 1;
                Some((hash(&sample.pixels), sample.label))
            }
            Err(error) => {
                let (name, reason) = (dataset.name(index), error.to_string());
                self.unreadable.push(Skipped { name, reason });
                None
            }
        }
    }
}

fn hash(pixels: &Pixels) -> [u8; 32] {
    let mut hash = Sha256::new();
    for side in [pixels.width, pixels.height, pixels.channels] {
        hash.update((side as u64).to_le_bytes());
    }
    hash.update(&pixels.data);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Preprocess, Sample, open};
    use std::sync::Arc;

    /// One grey pixel per sample: its value and its label; `None` cannot be read.
    struct Toy(&'static str, Vec<Option<(u8, usize)>>);

    impl Dataset for Toy {
        fn len(&self) -> usize {
            self.1.len()
        }
        fn sample(&self, index: usize) -> Result<Sample, Error> {
            let (value, label) =
                self.1[index].ok_or_else(|| Error::sample(self.name(index), "gone"))?;
            Ok(Sample { pixels: Pixels::new(1, 1, 1, vec![value])?, label })
        }
        fn name(&self, index: usize) -> String {
            format!("{}/{index}", self.0)
        }
        fn label(&self, index: usize) -> usize {
            self.1[index].map_or(0, |(_, label)| label)
        }
    }

    #[test]
    fn finds_what_is_unreadable_mislabelled_and_in_two_splits() {
        let splits = Splits {
            name: "toy".into(),
            classes: vec!["a".into(), "b".into()],
            train: Arc::new(Toy(
                "train",
                vec![Some((1, 0)), Some((2, 1)), Some((1, 0)), None, Some((9, 2))],
            )),
            validation: None,
            test: Arc::new(Toy("test", vec![Some((2, 0)), Some((3, 1))])),
            source: "here".into(),
            preprocess: Preprocess::plain(1, 1, 1),
        };
        let mut last = (0, 0);
        let report = check(&splits, &mut |done, total| last = (done, total));

        assert_eq!(last, (7, 7));
        let [train, test] = &report.splits[..] else { panic!("two splits") };
        assert_eq!((train.samples, &train.per_class, train.repeated), (5, &vec![2, 1], 1));
        assert_eq!(train.sizes, BTreeMap::from([("1×1×1".into(), 3)]));
        let unreadable: Vec<_> =
            train.unreadable.iter().map(|skipped| skipped.reason.as_str()).collect();
        assert_eq!(
            unreadable,
            ["sample train/3: gone", "sample train/4: label 2 is no class of 2"]
        );
        assert_eq!((test.samples, &test.per_class, test.repeated), (2, &vec![1, 1], 0));
        let twins =
            Duplicate { first: "train/1".into(), second: "test/0".into(), same_label: false };
        assert_eq!(report.duplicates, [twins]);
        assert!(!report.is_clean());
    }

    #[test]
    fn the_embedded_digits_are_clean() {
        let report = check(&open("mnist", None).unwrap(), &mut |_, _| ());
        assert!(report.is_clean(), "{:?}", report.duplicates);
        assert_eq!(report.splits[0].sizes, BTreeMap::from([("28×28×1".into(), 8500)]));
        assert_eq!(report.splits.iter().map(|split| split.repeated).sum::<usize>(), 0);
    }
}
