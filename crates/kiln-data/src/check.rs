//! Reads every sample of a data set and says what is there: counts, sizes, unreadable samples, duplicates.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZero;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, available_parallelism};

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::epoch::panic_message;
use crate::{Dataset, Error, Pixels, Sample, SceneSplits, Scenes, Skipped, Splits};

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
    /// Objects marked in them, where those are what has a class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objects: Option<usize>,
    /// Samples of each class, by number, or objects.
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
    let Splits { name, source, classes, .. } = splits;
    let head = [name, source];
    survey(head, classes, splits.parts().map(|(name, part)| (name, Images(&**part))), progress)
}

/// Reads every scene of `splits`; `progress` hears how many of how many are done.
pub fn check_scenes(splits: &SceneSplits, progress: &mut dyn FnMut(usize, usize)) -> Report {
    let SceneSplits { name, source, classes, .. } = splits;
    let head = [name, source];
    survey(head, classes, splits.parts().map(|(name, part)| (name, Marked(&**part))), progress)
}

/// A part of a data set, as far as a check knows it.
trait Part: Sync {
    /// Whether an image holds several objects.
    const OBJECTS: bool;
    fn len(&self) -> usize;
    fn name(&self, index: usize) -> String;
    /// An image and the classes of what is in it.
    fn read(&self, index: usize) -> Result<(Pixels, Vec<usize>), Error>;
}

struct Images<'a>(&'a dyn Dataset);

impl Part for Images<'_> {
    const OBJECTS: bool = false;
    fn len(&self) -> usize {
        self.0.len()
    }
    fn name(&self, index: usize) -> String {
        self.0.name(index)
    }
    fn read(&self, index: usize) -> Result<(Pixels, Vec<usize>), Error> {
        let Sample { pixels, label } = self.0.sample(index)?;
        pixels.fault().map_or(Ok(()), |fault| Err(Error::sample(self.name(index), fault)))?;
        Ok((pixels, vec![label]))
    }
}

struct Marked<'a>(&'a dyn Scenes);

impl Part for Marked<'_> {
    const OBJECTS: bool = true;
    fn len(&self) -> usize {
        self.0.len()
    }
    fn name(&self, index: usize) -> String {
        self.0.name(index)
    }
    fn read(&self, index: usize) -> Result<(Pixels, Vec<usize>), Error> {
        let scene = self.0.scene(index)?;
        scene.fault().map_or(Ok(()), |fault| Err(Error::sample(self.name(index), fault)))?;
        let labels = scene.objects.iter().map(|object| object.label).collect();
        Ok((scene.pixels, labels))
    }
}

/// What is kept of an image that was read.
struct Seen {
    size: String,
    hash: [u8; 32],
    labels: Vec<usize>,
}

/// Images that are read before what was found is looked at; no more than one for each thread is in memory.
const BLOCK: usize = 64;

fn survey<'a, P: Part>(
    [name, source]: [&String; 2],
    classes: &[String],
    parts: impl Iterator<Item = (&'a str, P)>,
    progress: &mut dyn FnMut(usize, usize),
) -> Report {
    let parts: Vec<(&str, P)> = parts.collect();
    let total = parts.iter().map(|(_, part)| part.len()).sum();
    let mut done = 0;
    // The first sample with each hash: which split, which sample, which classes.
    let mut known: HashMap<[u8; 32], (usize, usize, Vec<usize>)> = HashMap::new();
    let mut duplicates = Vec::new();
    let mut splits = Vec::with_capacity(parts.len());
    for (number, (split, part)) in parts.iter().enumerate() {
        let mut report = SplitReport {
            name: (*split).into(),
            samples: part.len(),
            objects: P::OBJECTS.then_some(0),
            per_class: vec![0; classes.len()],
            sizes: BTreeMap::new(),
            unreadable: Vec::new(),
            repeated: 0,
        };
        for start in (0..part.len()).step_by(BLOCK) {
            let block = start..part.len().min(start + BLOCK);
            for (index, seen) in block.clone().zip(read_block(part, block, classes.len())) {
                done += 1;
                progress(done, total);
                let Some(Seen { hash, labels, .. }) = report.add(seen) else { continue };
                match known.get(&hash) {
                    None => {
                        known.insert(hash, (number, index, labels));
                    }
                    Some((first, ..)) if *first == number => report.repeated += 1,
                    Some((first, at, others)) => duplicates.push(Duplicate {
                        first: parts[*first].1.name(*at),
                        second: part.name(index),
                        same_label: labels == *others,
                    }),
                }
            }
        }
        splits.push(report);
    }
    let (name, source, classes) = (name.clone(), source.clone(), classes.to_vec());
    Report { name, source, classes, splits, duplicates }
}

/// Reads images on every core; what is found has their order.
fn read_block<P: Part>(
    part: &P,
    block: Range<usize>,
    classes: usize,
) -> Vec<Result<Seen, Skipped>> {
    let next = AtomicUsize::new(block.start);
    let workers = available_parallelism().map_or(1, NonZero::get).min(block.len());
    let work = || {
        let mut found = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= block.end {
                return found;
            }
            found.push((index, look(part, index, classes)));
        }
    };
    let mut found: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    found.sort_unstable_by_key(|(index, _)| *index);
    found.into_iter().map(|(_, seen)| seen).collect()
}

/// Reads one image.
fn look<P: Part>(part: &P, index: usize, classes: usize) -> Result<Seen, Skipped> {
    let read = || {
        let (pixels, labels) = part.read(index).map_err(|error| error.to_string())?;
        if let Some(label) = labels.iter().find(|label| **label >= classes) {
            let reason = format!("label {label} is no class of {classes}");
            return Err(Error::sample(part.name(index), reason).to_string());
        }
        let Pixels { width, height, channels, .. } = pixels;
        let size = format!("{width}×{height}×{channels}");
        Ok(Seen { size, hash: hash(&pixels), labels })
    };
    let seen = catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| {
        let (name, message) = (part.name(index), panic_message(&*panic));
        Err(Error::Panicked { name, message }.to_string())
    });
    seen.map_err(|reason| Skipped { name: part.name(index), reason })
}

impl SplitReport {
    /// Counts one image, and gives it back if it can be used.
    fn add(&mut self, seen: Result<Seen, Skipped>) -> Option<Seen> {
        match seen {
            Ok(seen) => {
                *self.sizes.entry(seen.size.clone()).or_default() += 1;
                seen.labels.iter().for_each(|&label| self.per_class[label] += 1);
                if let Some(objects) = &mut self.objects {
                    *objects += seen.labels.len();
                }
                Some(seen)
            }
            Err(skipped) => {
                self.unreadable.push(skipped);
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
    use crate::{Preprocess, open, open_scenes};
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
    fn objects_are_counted_where_they_have_the_classes() {
        let scenes = open_scenes("digit-scenes").unwrap();
        let part = |part| crate::DigitScenes::new(part, 70, 0).unwrap();
        let scenes = SceneSplits {
            train: Arc::new(part(crate::scenes::Part::Train)),
            validation: None,
            test: Arc::new(part(crate::scenes::Part::Test)),
            ..scenes
        };
        let report = check_scenes(&scenes, &mut |_, _| ());
        assert!(report.is_clean(), "{report:?}");
        for split in &report.splits {
            let objects = split.objects.unwrap();
            assert!((8 * 70..=14 * 70).contains(&objects), "{objects}");
            assert_eq!(split.per_class.iter().sum::<usize>(), objects);
            assert_eq!(split.sizes, BTreeMap::from([("192×192×3".into(), 70)]));
        }
    }

    #[test]
    fn a_reader_that_panics_is_one_sample_that_cannot_be_read() {
        struct Cursed;
        impl Dataset for Cursed {
            fn len(&self) -> usize {
                200
            }
            fn sample(&self, index: usize) -> Result<Sample, Error> {
                assert_ne!(index, 150, "it is cursed");
                Ok(Sample { pixels: Pixels::new(1, 1, 1, vec![index as u8])?, label: 0 })
            }
            fn name(&self, index: usize) -> String {
                format!("cursed/{index}")
            }
            fn label(&self, _: usize) -> usize {
                0
            }
        }
        let digits = open("mnist", None).unwrap();
        let report = check(&Splits { train: Arc::new(Cursed), ..digits }, &mut |_, _| ());
        let [Skipped { name, reason }] = &report.splits[0].unreadable[..] else { panic!("one") };
        assert!(name == "cursed/150" && reason.contains("cursed/150"), "{name}: {reason}");
        assert_eq!(report.splits[0].per_class[0], 199);
    }

    #[test]
    fn the_embedded_digits_are_clean() {
        let report = check(&open("mnist", None).unwrap(), &mut |_, _| ());
        assert!(report.is_clean(), "{:?}", report.duplicates);
        assert_eq!(report.splits[0].sizes, BTreeMap::from([("28×28×1".into(), 8500)]));
        assert_eq!(report.splits.iter().map(|split| split.repeated).sum::<usize>(), 0);
    }
}
