//! Running a network over a part of a data set: what validation, the test at the end and `kiln eval` have in common.

use std::sync::Arc;

use burn::prelude::*;
use kiln_data::{Dataset, Loader, LoaderConfig, Policy, Preprocess};
use kiln_metrics::{Classification, softmax};
use kiln_models::Classifier;

use crate::{Error, Event, Observer};

/// How a part is measured.
pub(crate) struct How<'a> {
    pub(crate) preprocess: &'a Preprocess,
    pub(crate) classes: usize,
    /// Images per forward pass.
    pub(crate) batch: usize,
    /// What an unreadable sample does.
    pub(crate) on_error: Policy,
    /// Whether the mirror image of each image is looked at too.
    pub(crate) mirrored: bool,
}

/// Scores of every sample of a part, as totals.
#[derive(Debug)]
pub(crate) struct Measure {
    pub(crate) totals: Classification,
    pub(crate) skipped: usize,
}

/// Runs `network` over `part` and compares with the labels.
///
/// # Errors
///
/// If a sample can't be read and `how` doesn't allow for that, or if none of them can: no number would be true of nothing.
pub(crate) fn measure<N: Classifier>(
    network: &N,
    part: Arc<dyn Dataset>,
    how: &How<'_>,
    device: &Device,
    observer: &mut dyn Observer,
) -> Result<Measure, Error> {
    let How { preprocess, classes, batch, on_error, mirrored } = *how;
    let of = part.len();
    let config = LoaderConfig { batch, policy: on_error, ..LoaderConfig::default() };
    let loader = Loader::new(part, config, preprocess.clone(), None)?;

    let mut totals = Classification::new(classes);
    let mut skipped = 0;
    for batch in loader.epoch(0, 0) {
        let batch = batch?;
        for sample in &batch.skipped {
            observer.event(Event::Skipped { name: &sample.name, reason: &sample.reason });
        }
        skipped += batch.skipped.len();
        if batch.labels.is_empty() {
            continue;
        }
        let images = batch.images(device);
        let mut seen = scores(network.forward(images.clone()), classes)?;
        if mirrored {
            let other = scores(network.forward(images.flip([3])), classes)?;
            seen = mean(&seen, &other, classes);
        }
        let scores = seen;
        let loss_sum = cross_entropy_sum(&scores, classes, &batch.labels);
        totals.record(&scores, &batch.labels, loss_sum);
        observer.event(Event::Evaluated { done: totals.samples() + skipped, of });
    }
    if totals.samples() == 0 {
        return Err(Error::Unreadable { samples: of });
    }
    Ok(Measure { totals, skipped })
}

/// Scores whose softmax is the mean of those of `some` and `others`, row by row.
fn mean(some: &[f32], others: &[f32], classes: usize) -> Vec<f32> {
    let rows = some.chunks_exact(classes).zip(others.chunks_exact(classes));
    rows.flat_map(|(some, other)| {
        let pairs = softmax(some).into_iter().zip(softmax(other));
        // The logarithm of 0 would make a mistake cost infinitely much.
        pairs.map(|(a, b)| f64::midpoint(a, b).max(f64::from(f32::MIN_POSITIVE)).ln() as f32)
    })
    .collect()
}

/// The scores of a batch as plain numbers, `batch × classes`.
pub(crate) fn scores(scores: Tensor<2>, classes: usize) -> Result<Vec<f32>, Error> {
    let [_, width] = scores.dims();
    if width != classes {
        return Err(Error::Mismatch(format!(
            "the network predicts {width} classes, the data set has {classes}; \
             train a head for them with `kiln train` and --weights, or say --set num_classes={classes} if these weights have one"
        )));
    }
    Ok(scores.into_data().convert::<f32>().try_to_vec().expect("scores were converted to f32"))
}

/// `Σ −log softmax(scores)[label]` over a batch, in f64.
pub(crate) fn cross_entropy_sum(scores: &[f32], classes: usize, labels: &[usize]) -> f64 {
    scores
        .chunks_exact(classes)
        .zip(labels)
        .map(|(row, &label)| {
            let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = row.iter().map(|&score| f64::from(score - max).exp()).sum();
            sum.ln() - f64::from(row[label] - max)
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Silent;
    use kiln_data::{Pixels, Sample};
    use kiln_models::{Registry, Zoo};
    use kiln_testkit::device;

    #[test]
    fn equal_scores_cost_the_logarithm_of_the_class_count() {
        let sum = cross_entropy_sum(&[3.0; 8], 4, &[0, 3]);
        assert!((sum - 2.0 * 4f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn the_mean_of_two_views_is_that_of_their_confidences() {
        let both = mean(&[0.0, 0.0, 9.0, 0.0], &[1e4, -1e4, 9.0, 0.0], 2);
        let softmaxes: Vec<f64> = both.chunks(2).flat_map(softmax).collect();
        let sure = softmax(&[9.0, 0.0])[0];
        for (actual, expected) in softmaxes.iter().zip([0.75, 0.25, sure, 1.0 - sure]) {
            assert!((actual - expected).abs() < 1e-6, "{actual} {expected}");
        }
    }

    #[test]
    fn an_image_and_its_mirror_image_are_measured_alike_if_both_are_looked_at() {
        /// An image with a bright half, or its mirror image.
        struct Half(bool);
        impl Dataset for Half {
            fn len(&self) -> usize {
                1
            }
            fn sample(&self, _: usize) -> Result<Sample, kiln_data::Error> {
                let mut pixels = Pixels::black(28, 28, 1);
                for (at, value) in pixels.data.iter_mut().enumerate() {
                    *value = if (at % 28 < 14) == self.0 { 255 } else { 10 };
                }
                Ok(Sample { pixels, label: 3 })
            }
            fn name(&self, _: usize) -> String {
                "half".to_owned()
            }
            fn label(&self, _: usize) -> usize {
                3
            }
        }
        let options = Zoo.defaults("lenet5").unwrap();
        device().seed(8);
        let network = Zoo.build("lenet5", &options, &device()).unwrap();
        let preprocess = Preprocess::plain(1, 28, 28);
        let loss = |left: bool, mirrored: bool| {
            let how = How {
                preprocess: &preprocess,
                classes: 10,
                batch: 2,
                on_error: Policy::Fail,
                mirrored,
            };
            let seen = measure(&network, Arc::new(Half(left)), &how, &device(), &mut Silent);
            seen.unwrap().totals.loss()
        };
        assert!((loss(true, true) - loss(false, true)).abs() < 1e-5);
        assert!((loss(true, false) - loss(false, false)).abs() > 1e-3);
    }

    #[test]
    fn large_scores_do_not_overflow() {
        let sum = cross_entropy_sum(&[1000.0, 0.0], 2, &[1]);
        assert!((sum - 1000.0).abs() < 1e-9);
    }

    /// Samples of one class that can be read as long as their number is below `whole`.
    struct Broken {
        whole: usize,
    }

    impl Dataset for Broken {
        fn len(&self) -> usize {
            5
        }
        fn sample(&self, index: usize) -> Result<Sample, kiln_data::Error> {
            match index < self.whole {
                true => Ok(Sample { pixels: Pixels::black(28, 28, 1), label: 0 }),
                false => Err(kiln_data::Error::sample(self.name(index), "it is broken")),
            }
        }
        fn name(&self, index: usize) -> String {
            format!("{index}.png")
        }
        fn label(&self, _: usize) -> usize {
            0
        }
    }

    fn measured(whole: usize, on_error: Policy) -> Result<Measure, Error> {
        let options = Zoo.defaults("lenet5").unwrap();
        let network = Zoo.build("lenet5", &options, &device()).unwrap();
        let preprocess = Preprocess::plain(1, 28, 28);
        let how = How { preprocess: &preprocess, classes: 10, batch: 2, on_error, mirrored: false };
        measure(&network, Arc::new(Broken { whole }), &how, &device(), &mut Silent)
    }

    #[test]
    fn what_is_unreadable_is_counted_or_ends_it_and_nothing_is_no_measurement() {
        let some = measured(3, Policy::Skip).unwrap();
        assert_eq!((some.totals.samples(), some.skipped), (3, 2));
        let error = measured(3, Policy::Fail).unwrap_err().to_string();
        assert!(error.contains("3.png"), "{error}");
        let error = measured(0, Policy::Skip).unwrap_err().to_string();
        assert!(error.starts_with("none of 5 images could be read"), "{error}");
    }
}
