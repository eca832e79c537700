//! Batches from worker threads, in an order that does not depend on the threads.
//!
//! The order of an epoch is drawn from (seed, epoch), the changes of a sample from (seed, epoch, its index), so an
//! epoch is the same with any number of workers and can be entered at any batch. Workers may run ahead of the reader by
//! [`LoaderConfig::prefetch`] batches (or one each, if there are more workers), which bounds memory.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::epoch::panic_message;
use crate::order::{Order, Weights};
use crate::transform::{Augment, Mixing, Scene, mixed};
use crate::{
    Batch, Batches, Dataset, Error, LoaderConfig, Policy, Preprocess, Random, Sample, Sampling,
    Skipped,
};

/// Turns a data set into batches, epoch by epoch.
#[derive(Clone)]
pub struct Loader(Arc<Work>);

/// What every epoch and every worker needs.
pub(crate) struct Work {
    pub dataset: Arc<dyn Dataset>,
    pub config: LoaderConfig,
    preprocess: Preprocess,
    augment: Option<Augment>,
    mixing: Option<Mixing>,
    weights: Option<Weights>,
}

impl Loader {
    /// A loader of `dataset`; without `augment` the samples are taken as they are.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for a batch of 0 samples and for mixing without a number of classes, and what [`Preprocess::check`] and [`Augment::check`] refuse.
    pub fn new(
        dataset: Arc<dyn Dataset>,
        config: LoaderConfig,
        preprocess: Preprocess,
        augment: Option<Augment>,
    ) -> Result<Self, Error> {
        if config.batch == 0 {
            return Err(Error::setting("batch", "0 samples; at least 1 is needed"));
        }
        if config.workers > MAX_WORKERS {
            let reason = format!("{} threads; 0 to {MAX_WORKERS} are possible", config.workers);
            return Err(Error::setting("loader.workers", reason));
        }
        preprocess.check()?;
        augment.map_or(Ok(()), |augment| augment.check())?;
        let mixing = augment.and_then(|augment| augment.mixing());
        let augment = augment.filter(|augment| !augment.keeps_images());
        if mixing.is_some() && config.classes == 0 {
            let reason = "0; MixUp and CutMix must know how many there are";
            return Err(Error::setting("loader.classes", reason));
        }
        let weights = match config.sampling {
            Sampling::Once => None,
            Sampling::Balanced => Some(Weights::balanced(&*dataset)?),
        };
        Ok(Self(Arc::new(Work { dataset, config, preprocess, augment, mixing, weights })))
    }

    /// The same with epochs of as many samples as before, each drawn in proportion to its weight, as PyTorch's
    /// `WeightedRandomSampler` does with replacement.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] unless there is a weight for each sample, none is below 0 and one is above.
    pub fn weighted(&self, weights: &[f64]) -> Result<Self, Error> {
        let Work { dataset, config, preprocess, augment, mixing, .. } = &*self.0;
        if weights.len() != dataset.len() {
            let reason = format!("{} for {} samples", weights.len(), dataset.len());
            return Err(Error::setting("weights", reason));
        }
        Ok(Self(Arc::new(Work {
            dataset: Arc::clone(dataset),
            config: config.clone(),
            preprocess: preprocess.clone(),
            augment: *augment,
            mixing: *mixing,
            weights: Some(Weights::new(weights)?),
        })))
    }

    /// Batches of an epoch.
    pub fn batches(&self) -> usize {
        let Work { config, .. } = &*self.0;
        let samples = self.0.dataset.len();
        if config.drop_last { samples / config.batch } else { samples.div_ceil(config.batch) }
    }

    /// Samples of an epoch, those skipped included.
    pub fn samples(&self) -> usize {
        self.0.dataset.len().min(self.batches() * self.0.config.batch)
    }

    /// The data set.
    pub fn dataset(&self) -> &Arc<dyn Dataset> {
        &self.0.dataset
    }

    /// The settings.
    pub fn config(&self) -> &LoaderConfig {
        &self.0.config
    }

    /// Reads epoch number `epoch` from batch `first_batch` on (0: from its start). Batch k is the same either way.
    pub fn epoch(&self, epoch: u64, first_batch: usize) -> Batches {
        Batches::start(Arc::clone(&self.0), epoch, first_batch, self.batches(), self.samples())
    }
}

/// More threads than this are a mistake.
pub const MAX_WORKERS: usize = 1024;

/// The streams of a seed: one for each sample of an epoch, one for each of its batches.
const SAMPLE: u64 = 0x5341_4D50_4C45;
const MIX: u64 = 0x4D_4958;

impl Work {
    /// The samples of an epoch.
    pub fn order(&self, epoch: u64) -> Order {
        Order::of(&*self.dataset, &self.config, self.weights.as_ref(), epoch)
    }

    /// Batch `number` of an epoch, of these samples; with each stands how often it came before.
    pub fn batch(
        &self,
        epoch: u64,
        number: usize,
        samples: impl ExactSizeIterator<Item = (usize, u32)>,
    ) -> Result<Batch, Error> {
        let Preprocess { channels, height, width, .. } = self.preprocess;
        let size = self.preprocess.len();
        let mut batch = Batch {
            images: vec![0.0; samples.len() * size],
            shape: [0, channels, height, width],
            labels: Vec::with_capacity(samples.len()),
            indices: Vec::with_capacity(samples.len()),
            skipped: Vec::new(),
            targets: None,
        };
        for (index, repeat) in samples {
            let values = &mut batch.images[batch.labels.len() * size..][..size];
            match self.sample(epoch, index, repeat, values) {
                Ok(label) => {
                    batch.labels.push(label);
                    batch.indices.push(index);
                }
                Err(error @ Error::Panicked { .. }) => return Err(error),
                Err(error) => match self.config.policy {
                    Policy::Fail => return Err(error),
                    Policy::Skip => {
                        let (name, reason) = (self.dataset.name(index), error.to_string());
                        batch.skipped.push(Skipped { name, reason });
                    }
                },
            }
        }
        batch.shape[0] = batch.labels.len();
        batch.images.truncate(batch.labels.len() * size);
        let Some(mixing) = self.mixing else { return Ok(batch) };
        let mut random = Random::new(&[MIX, self.config.seed, epoch, number as u64]);
        Ok(mixed(batch, mixing, self.config.classes, &mut random))
    }

    /// Writes the numbers of one sample and returns its label.
    fn sample(
        &self,
        epoch: u64,
        index: usize,
        repeat: u32,
        values: &mut [f32],
    ) -> Result<usize, Error> {
        let read = || {
            let Sample { pixels, label } = self.dataset.sample(index)?;
            if let Some(fault) = pixels.fault() {
                return Err(Error::sample(self.dataset.name(index), fault));
            }
            if self.mixing.is_some() && label >= self.config.classes {
                let reason = format!("label {label} is no class of {}", self.config.classes);
                return Err(Error::sample(self.dataset.name(index), reason));
            }
            let done = match self.augment {
                None => self.preprocess.apply_into(pixels, values),
                Some(augment) => {
                    // What comes again in an epoch is changed otherwise.
                    let key = [SAMPLE, self.config.seed, epoch, index as u64, repeat.into()];
                    let mut random = Random::new(&key[..4 + usize::from(repeat > 0)]);
                    let scene = augment.apply(Scene::of(pixels), &self.preprocess, &mut random);
                    scene.map(|scene| self.preprocess.normalize(&scene.pixels, values))
                }
            };
            done.map_err(|error| error.named(|| self.dataset.name(index)))?;
            Ok(label)
        };
        catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| {
            Err(Error::Panicked {
                name: format!("number {index}"),
                message: panic_message(&*panic),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Pixels, open};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Sender, channel};
    use std::thread;
    use std::time::Duration;

    /// `len` samples of one pixel whose value and label are the index, except where `fault` says otherwise.
    struct Toy {
        len: usize,
        fault: fn(usize) -> Fault,
    }

    #[derive(PartialEq)]
    enum Fault {
        None,
        Unreadable,
        Panic,
        OddPixels,
    }

    impl Toy {
        fn new(len: usize, fault: fn(usize) -> Fault) -> Arc<Self> {
            Arc::new(Self { len, fault })
        }
    }

    impl Dataset for Toy {
        fn len(&self) -> usize {
            self.len
        }
        fn sample(&self, index: usize) -> Result<Sample, Error> {
            // Uneven work, so that workers overtake each other.
            thread::sleep(Duration::from_micros(Random::new(&[index as u64]).below(300) as u64));
            match (self.fault)(index) {
                Fault::Unreadable => return Err(Error::decode(self.name(index), "it is broken")),
                Fault::Panic => panic!("sample {index} is cursed"),
                Fault::OddPixels => {
                    let pixels = Pixels { width: 2, ..Pixels::black(1, 1, 1) };
                    return Ok(Sample { pixels, label: 0 });
                }
                Fault::None => {}
            }
            Ok(Sample { pixels: Pixels::new(1, 1, 1, vec![index as u8])?, label: index })
        }
        fn name(&self, index: usize) -> String {
            format!("toy/{index}.png")
        }
        fn label(&self, index: usize) -> usize {
            index
        }
    }

    fn config(batch: usize, workers: usize) -> LoaderConfig {
        LoaderConfig { batch, workers, shuffle: true, seed: 3, ..LoaderConfig::default() }
    }

    fn loader(dataset: Arc<dyn Dataset>, config: LoaderConfig) -> Loader {
        Loader::new(dataset, config, Preprocess::plain(1, 1, 1), None).unwrap()
    }

    fn whole(loader: &Loader, epoch: u64) -> Vec<Batch> {
        loader.epoch(epoch, 0).map(Result::unwrap).collect()
    }

    #[test]
    fn the_number_of_workers_changes_nothing() {
        let augment = Some(Augment { shift: 2.0, rotate: 20.0, mixup: 0.2, ..Augment::default() });
        let epoch = |workers, prefetch| {
            let digits = open("mnist", None).unwrap();
            let config = LoaderConfig { prefetch, classes: 10, ..config(64, workers) };
            let loader = Loader::new(digits.test, config, digits.preprocess, augment).unwrap();
            whole(&loader, 5)
        };
        let alone = epoch(0, 1);
        assert!(alone == epoch(1, 4) && alone == epoch(3, 1) && alone == epoch(8, 16));
    }

    #[test]
    fn every_epoch_has_each_sample_once_in_its_own_order() {
        let loader = loader(Toy::new(103, |_| Fault::None), config(10, 4));
        assert_eq!((loader.batches(), loader.samples()), (11, 103));
        let order =
            |epoch| whole(&loader, epoch).into_iter().flat_map(|b| b.indices).collect::<Vec<_>>();
        let (mut first, second) = (order(0), order(1));
        assert_ne!(first, second);
        assert_eq!(second, order(1));
        first.sort_unstable();
        assert_eq!(first, (0..103).collect::<Vec<_>>());
    }

    #[test]
    fn an_epoch_can_be_entered_at_any_batch() {
        let loader = loader(Toy::new(50, |_| Fault::None), config(7, 3));
        let all = whole(&loader, 2);
        for first in [0, 1, 5, 8, 9, usize::MAX] {
            let rest: Vec<Batch> = loader.epoch(2, first).map(Result::unwrap).collect();
            assert!(rest == all[first.min(all.len())..], "{first}");
        }
    }

    #[test]
    fn the_last_batch_is_short_or_dropped() {
        let short =
            loader(Toy::new(10, |_| Fault::None), LoaderConfig { shuffle: false, ..config(4, 2) });
        let sizes = |loader: &Loader| whole(loader, 0).iter().map(Batch::len).collect::<Vec<_>>();
        assert_eq!(sizes(&short), [4, 4, 2]);
        assert_eq!(whole(&short, 0)[1].labels, [4, 5, 6, 7]);

        let dropped =
            loader(short.dataset().clone(), LoaderConfig { drop_last: true, ..config(4, 2) });
        assert_eq!((sizes(&dropped), dropped.batches(), dropped.samples()), (vec![4, 4], 2, 8));
        assert!(whole(&loader(Toy::new(0, |_| Fault::None), config(4, 2)), 0).is_empty());
    }

    #[test]
    fn a_batch_carries_numbers_labels_and_places() {
        let loader =
            loader(Toy::new(4, |_| Fault::None), LoaderConfig { shuffle: false, ..config(3, 1) });
        let batch = &whole(&loader, 0)[0];
        assert_eq!(batch.images, [0.0, 1.0 / 255.0, 2.0 / 255.0]);
        assert_eq!(
            (batch.shape, &batch.labels, &batch.indices),
            ([3, 1, 1, 1], &vec![0, 1, 2], &vec![0, 1, 2])
        );
    }

    #[test]
    fn skipping_reports_every_broken_sample_and_moves_no_other() {
        // One in a hundred is broken, and a whole batch of them.
        let broken = |index: usize| index % 100 == 7 || (320..330).contains(&index);
        let fault = |index| {
            if index % 100 == 7 || (320..330).contains(&index) {
                Fault::Unreadable
            } else {
                Fault::None
            }
        };
        let skip = LoaderConfig { policy: Policy::Skip, shuffle: false, ..config(10, 8) };
        let batches = whole(&loader(Toy::new(1000, fault), skip), 0);

        assert_eq!(batches.len(), 100);
        let names: Vec<&str> = batches
            .iter()
            .flat_map(|batch| &batch.skipped)
            .map(|skipped| skipped.name.as_str())
            .collect();
        let expected: Vec<String> =
            (0..1000).filter(|&i| broken(i)).map(|i| format!("toy/{i}.png")).collect();
        assert_eq!(names, expected);
        assert_eq!(batches[0].skipped[0].reason, "cannot decode toy/7.png: it is broken");
        assert_eq!(batches[1].indices, (10..20).collect::<Vec<_>>());
        assert!(batches[32].is_empty() && batches[32].shape == [0, 1, 1, 1]);
        assert_eq!(batches.iter().map(Batch::len).sum::<usize>(), 980);
    }

    #[test]
    fn failing_ends_the_epoch_with_the_first_error_in_order() {
        let fault = |index| if index >= 25 { Fault::Unreadable } else { Fault::None };
        for workers in [0, 1, 8] {
            let config = LoaderConfig { shuffle: false, ..config(10, workers) };
            let results: Vec<_> = loader(Toy::new(100, fault), config).epoch(0, 0).collect();
            assert_eq!(results.len(), 3);
            let message = results[2].as_ref().unwrap_err().to_string();
            assert_eq!(message, "cannot decode toy/25.png: it is broken");
        }
    }

    #[test]
    fn a_panic_in_a_data_set_becomes_an_error() {
        let fault = |index| if index == 13 { Fault::Panic } else { Fault::None };
        for workers in [0, 4] {
            let config = LoaderConfig { policy: Policy::Skip, ..config(5, workers) };
            let last = loader(Toy::new(40, fault), config).epoch(0, 0).last().unwrap();
            let message = last.unwrap_err().to_string();
            assert_eq!(message, "sample number 13: its data set panicked: sample 13 is cursed");
        }
    }

    #[test]
    fn pixels_that_contradict_themselves_are_an_error_with_a_name() {
        let result =
            loader(Toy::new(1, |_| Fault::OddPixels), config(1, 1)).epoch(0, 0).next().unwrap();
        let message = result.unwrap_err().to_string();
        assert_eq!(message, "sample toy/0.png: 2×1 pixels of 1 channels, but 1 values");
    }

    /// Samples that tell of each of their readings, and whether it came too early.
    struct Watched {
        reads: Sender<(usize, bool)>,
        /// Samples below this may be read.
        allowed: AtomicUsize,
    }

    impl Dataset for Watched {
        fn len(&self) -> usize {
            10_000
        }
        fn sample(&self, index: usize) -> Result<Sample, Error> {
            let too_early = index >= self.allowed.load(Ordering::SeqCst);
            let _ = self.reads.send((index, too_early)); // in the end nobody listens
            Ok(Sample { pixels: Pixels::new(1, 1, 1, vec![0])?, label: 0 })
        }
        fn name(&self, index: usize) -> String {
            index.to_string()
        }
        fn label(&self, _: usize) -> usize {
            0
        }
    }

    #[test]
    fn workers_go_as_far_as_the_prefetch_and_no_farther_and_stop_when_dropped() {
        let (sender, reads) = channel();
        let data = Arc::new(Watched { reads: sender, allowed: AtomicUsize::new(30) });
        let config = LoaderConfig { prefetch: 3, shuffle: false, ..config(10, 2) };
        let mut batches = loader(data.clone(), config).epoch(0, 0);

        // Only workers that stop short of what they may read let the time run out.
        let await_reads = |count| {
            for _ in 0..count {
                let (index, too_early) = reads.recv_timeout(Duration::from_secs(60)).unwrap();
                assert!(!too_early, "sample {index} was read before there was room for it");
            }
        };
        await_reads(30);
        for taken in 1..=50 {
            data.allowed.store(30 + 10 * taken, Ordering::SeqCst);
            batches.next().unwrap().unwrap();
            await_reads(10);
        }

        drop(batches);
        assert_eq!(Arc::strong_count(&data), 1, "a worker is still there");
        assert_eq!(reads.try_iter().count(), 0, "nothing was read that was not waited for");
    }

    #[test]
    fn balanced_epochs_show_rare_classes_as_often_as_others_and_each_time_otherwise() {
        let digits = open("mnist", None).unwrap();
        // 700 of one class, 70 and 7 of two others.
        let mut few = [700, 70, 7].into_iter().zip(0..).flat_map(|(count, class)| {
            let digits = digits.clone();
            let of_class =
                (0..digits.train.len()).filter(move |&at| digits.train.label(at) == class);
            of_class.take(count).collect::<Vec<_>>()
        });
        let few = crate::Subset::new(digits.train.clone(), few.by_ref().collect()).unwrap();
        let augment = Some(Augment { rotate: 20.0, ..Augment::default() });
        let make = |workers| {
            let config = LoaderConfig { sampling: Sampling::Balanced, ..config(37, workers) };
            let (few, preprocess) = (Arc::new(few.clone()), digits.preprocess.clone());
            Loader::new(few, config, preprocess, augment).unwrap()
        };
        let batches = whole(&make(3), 1);
        assert!(batches == whole(&make(0), 1));
        let mut counts = [0; 3];
        batches.iter().flat_map(|batch| &batch.labels).for_each(|&label| counts[label] += 1);
        assert_eq!(counts.iter().sum::<usize>(), 777);
        assert!(counts.iter().all(|count| (200..320).contains(count)), "{counts:?}");
        let size = 28 * 28;
        let mut seen: Vec<(usize, Vec<u32>)> = batches
            .iter()
            .flat_map(|batch| batch.indices.iter().zip(batch.images.chunks_exact(size)))
            .filter(|(index, _)| **index == 770)
            .map(|(index, image)| (*index, image.iter().map(|value| value.to_bits()).collect()))
            .collect();
        let times = seen.len();
        seen.sort();
        seen.dedup();
        assert!(times > 10 && seen.len() == times, "{} of {times} differ", seen.len());

        let weighted = make(2).weighted(&[0.0; 776].into_iter().chain([1.0]).collect::<Vec<_>>());
        let batches = whole(&weighted.unwrap(), 0);
        assert!(batches.iter().flat_map(|batch| &batch.indices).all(|&index| index == 776));
        let message = make(2).weighted(&[1.0]).err().unwrap().to_string();
        assert_eq!(message, "weights: 1 for 777 samples");
    }

    /// What happens to files of a collection that grew over years.
    #[test]
    fn with_one_file_in_a_hundred_broken_and_eight_workers_each_is_reported_once() {
        let folder = tempfile::tempdir().unwrap();
        let image =
            image::RgbImage::from_fn(24, 16, |x, y| image::Rgb([x as u8 * 9, y as u8 * 9, 7]));
        let mut jpeg = std::io::Cursor::new(Vec::new());
        image.write_to(&mut jpeg, image::ImageFormat::Jpeg).unwrap();
        let jpeg = jpeg.into_inner();
        let mut expected = Vec::new();
        for number in 0..1000 {
            let path = folder.path().join(format!("train/{}/{number}.jpg", number % 2));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let bytes = match number % 100 {
                41 if number % 400 == 41 => &jpeg[..100],
                41 if number % 400 == 141 => &[],
                41 if number % 400 == 241 => b"<html>404</html>",
                41 => &jpeg[..20],
                _ => &jpeg[..],
            };
            std::fs::write(&path, bytes).unwrap();
            if number % 100 == 41 {
                expected.push(path.display().to_string());
            }
        }
        std::fs::create_dir_all(folder.path().join("test/0")).unwrap();
        std::fs::write(folder.path().join("test/0/0.jpg"), &jpeg).unwrap();
        let photos = open("folders", Some(folder.path())).unwrap();
        // One is taken away after the folder was looked at.
        std::fs::remove_file(&expected[9]).unwrap();

        let preprocess = Preprocess::plain(3, 16, 24);
        let config = LoaderConfig { policy: Policy::Skip, ..config(32, 8) };
        let loader = Loader::new(photos.train.clone(), config.clone(), preprocess.clone(), None);
        let loader = loader.unwrap();
        for epoch in 0..3 {
            // An epoch that isn't complete ends with an error.
            let batches = whole(&loader, epoch);
            let mut skipped: Vec<&Skipped> =
                batches.iter().flat_map(|batch| &batch.skipped).collect();
            skipped.sort_by_key(|skipped| expected.iter().position(|name| *name == skipped.name));
            let names: Vec<&String> = skipped.iter().map(|skipped| &skipped.name).collect();
            assert_eq!(names, expected.iter().collect::<Vec<_>>());
            assert!(skipped.iter().all(|skipped| skipped.reason.contains(&skipped.name)));
            let seen = batches.iter().map(Batch::len).sum::<usize>();
            assert_eq!((seen, seen + skipped.len()), (990, loader.samples()));
        }
        let config = LoaderConfig { policy: Policy::Fail, ..config };
        let strict = Loader::new(photos.train, config, preprocess, None).unwrap();
        let message = strict.epoch(0, 0).find_map(Result::err).unwrap().to_string();
        assert!(expected.iter().any(|name| message.contains(name)), "{message}");
    }

    #[test]
    fn settings_without_a_meaning_are_refused() {
        let toy = Toy::new(1, |_| Fault::None);
        let refusal = |config, augment| {
            let made = Loader::new(toy.clone(), config, Preprocess::plain(1, 1, 1), augment);
            made.err().unwrap().to_string()
        };
        assert_eq!(refusal(config(0, 1), None), "batch: 0 samples; at least 1 is needed");
        assert!(refusal(config(1, 9999), None).starts_with("loader.workers: 9999 threads"));
        let augment = Some(Augment { scale: 2.0, ..Augment::default() });
        assert!(refusal(config(1, 1), augment).starts_with("augment.scale: 2;"));
    }
}
