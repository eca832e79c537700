//! Whether a network and its images fit into memory, told before they are allocated: a program that the system gives no
//! memory is aborted without a word.

use std::fs;

use kiln::burn::module::Module;
use kiln::models::{
    AnyDetector, AnySegmenter, Classifier, Detector, Registry, Segmenter, Segmenters, Summary, Zoo,
    parameters, summarize_detector, summarize_segmenter,
};
use kiln::train::{Job, Memory, Use};

use crate::device::Opened;
use crate::errors::Failure;
use crate::numbers::{bytes, plural, shape};

/// No layer that we know makes more of its images than this; where so much fits, nobody needs to look closer.
const GROWTH: f64 = 256.0;
/// Taken for the memory where the system doesn't tell: no machine that kiln runs on has more.
const UNKNOWN: f64 = (1_u64 << 40) as f64;

/// Refuses `images`, `[batch, channels, height, width]`, that can't fit with the network called `model`.
///
/// The need is at least what is counted here. Layers are measured on a smaller image, and their maps taken to grow as
/// the image does.
///
/// # Errors
///
/// Wrong use, with what is needed and what there is.
pub fn check<N: Classifier>(
    model: &str,
    network: &N,
    images: [usize; 4],
    purpose: Use<'_>,
    on: &Opened,
) -> Result<(), Failure> {
    let limit = limit();
    let need = need(model, network, images, purpose, on, limit)?;
    if need <= limit {
        return Ok(());
    }
    let [batch, image @ ..] = images;
    Err(Failure::usage(format!(
        "{model} with {} of {} needs at least {} of memory, and {} are free",
        match batch {
            1 => "an image".to_owned(),
            _ => plural(batch as u64, "image"),
        },
        shape(&image),
        bytes(need as u64),
        bytes(limit as u64),
    ))
    .hint("take fewer images at a time, or smaller ones"))
}

/// As [`check`], for an image of `input` through a detector. Layers are measured on one of the size `usual`, and their
/// maps taken to grow as the image does.
///
/// # Errors
///
/// As [`check`].
pub fn check_detector(
    model: &str,
    network: &AnyDetector,
    usual: [usize; 3],
    input: [usize; 3],
    on: &Opened,
) -> Result<(), Failure> {
    network.check_input(input)?;
    let [channels, height, width] = input;
    let images = [1, channels, height, width];
    fits(model, network, usual, images, on, |small| summarize_detector(network, small, &on.device))
}

/// As [`check_detector`], for `images` through a network that gives every pixel a class.
///
/// # Errors
///
/// As [`check`], and for images that the network doesn't take.
pub fn check_segmenter(
    model: &str,
    network: &AnySegmenter,
    images: [usize; 4],
    on: &Opened,
) -> Result<(), Failure> {
    let [_, image @ ..] = images;
    network.check_input(image)?;
    let usual = Segmenters.entry(model).map_or(image, |entry| entry.input);
    fits(model, network, usual, images, on, |small| summarize_segmenter(network, small, &on.device))
}

/// Whether inference of `images` has room, by the layers that `summary` tells of one image no larger than `usual`.
fn fits<M: Module>(
    model: &str,
    network: &M,
    usual: [usize; 3],
    images: [usize; 4],
    on: &Opened,
    summary: impl FnOnce([usize; 3]) -> Result<Summary, kiln::models::Error>,
) -> Result<(), Failure> {
    const NUMBER: f64 = 4.0;
    let [batch, image @ ..] = images;
    let numbers = |shape: &[usize]| NUMBER * shape.iter().map(|&side| side as f64).product::<f64>();
    let weights: f64 = parameters(network).iter().map(|one| numbers(&one.shape)).sum();
    let mut need = weights + numbers(&images);
    let limit = limit();
    if on.backend.is_cpu() && need <= limit && need + GROWTH * numbers(&images) > limit {
        let [channels, height, width] = image;
        let small = [channels, height.min(usual[1]), width.min(usual[2])];
        let rows = summary(small)?.layers;
        let largest = rows.iter().map(|row| numbers(&row.output)).fold(0.0, f64::max);
        need += largest * numbers(&images) / numbers(&small);
    }
    if need <= limit {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{model} with {} of {} needs at least {} of memory, and {} are free",
        if batch == 1 { "an image".to_owned() } else { plural(batch as u64, "image") },
        shape(&image),
        bytes(need as u64),
        bytes(limit as u64),
    ))
    .hint(if batch == 1 {
        "take a smaller image"
    } else {
        "take fewer images at a time, or smaller ones"
    }))
}

/// As [`check`], for the training that `job` describes.
///
/// # Errors
///
/// As [`check`]; what can't be built or opened is for training itself to refuse.
pub fn check_job(job: &Job, on: &Opened) -> Result<(), Failure> {
    let recipe = &job.recipe;
    let Ok(network) = Zoo.build(&recipe.model, &recipe.options, &on.device) else {
        return Ok(());
    };
    let check = |batch| {
        check(&recipe.model, &network, recipe.input(batch), Use::Train(recipe), on)
            .map_err(|failure| failure.hint("lower batch_size, or preprocess.height and .width"))
    };
    if check(recipe.batch_size).is_ok() {
        return Ok(());
    }
    // No batch is larger than its data set.
    let data = kiln::data::open(&recipe.dataset, recipe.data.as_deref().map(AsRef::as_ref));
    data.map_or(Ok(()), |splits| check(recipe.batch_size.min(splits.train.len().max(1))))
}

/// Bytes that are needed for certain.
fn need<N: Classifier>(
    model: &str,
    network: &N,
    images: [usize; 4],
    purpose: Use<'_>,
    on: &Opened,
    limit: f64,
) -> Result<f64, kiln::train::Error> {
    let known = Memory::without_maps(network, images, purpose)?;
    // What a GPU holds is not this memory's affair.
    if !on.backend.is_cpu() {
        return Ok(known.images);
    }
    if known.total() > limit || known.total() + GROWTH * known.images <= limit {
        return Ok(known.total());
    }
    let [_, _, height, width] = images;
    let [_, usual_height, usual_width] =
        Zoo.entry(model).map_or([0, height, width], |entry| entry.input);
    let small = [height.min(usual_height), width.min(usual_width)];
    let need = Memory::of(network, images, purpose, small, &on.device);
    Ok(need.map_or(known.total(), |need| need.total()))
}

/// Bytes that this process can get, as far as the system tells.
fn limit() -> f64 {
    let read = |path: &str| fs::read_to_string(path).ok();
    let number = |text: String| text.trim().parse::<f64>().ok();
    [
        read("/proc/meminfo").and_then(|text| free(&text)),
        read("/proc/self/limits").and_then(|text| address_space(&text)),
        read("/sys/fs/cgroup/memory.max").and_then(number),
        read("/sys/fs/cgroup/memory/memory.limit_in_bytes").and_then(number),
    ]
    .into_iter()
    .flatten()
    .fold(UNKNOWN, f64::min)
}

/// Memory and swap that are free, from Linux's `/proc/meminfo`.
fn free(meminfo: &str) -> Option<f64> {
    let kibibytes = |key: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()
    };
    Some(1024.0 * (kibibytes("MemAvailable:")? + kibibytes("SwapFree:").unwrap_or(0.0)))
}

/// The limit that `ulimit -v` sets, from Linux's `/proc/self/limits`.
fn address_space(limits: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_linux_writes_them() {
        let meminfo = "MemTotal:  9 kB\nMemAvailable:   2048 kB\nSwapFree:   1024 kB\n";
        assert_eq!(free(meminfo), Some(3.0 * 1024.0 * 1024.0));
        assert_eq!(free("MemTotal: 9 kB\n"), None);
        let line = |limit: &str| format!("Max address space         {limit}      unlimited  bytes");
        assert_eq!(address_space(&line("20480000000")), Some(20_480_000_000.0));
        assert_eq!(address_space(&line("unlimited")), None);
    }

    #[cfg(feature = "flex")]
    #[test]
    fn maps_grow_with_the_image() {
        let opened = crate::device::open(crate::device::Choice::Cpu).unwrap();
        let network = Zoo.build("cnn", &Zoo.defaults("cnn").unwrap(), &opened.device).unwrap();
        let need = |side| {
            let images = [1000, 1, side, side];
            need("cnn", &network, images, Use::Infer, &opened, f64::from(1 << 28)).unwrap()
        };
        let weights = 4.0 * 1_413_834.0;
        let ratio = (need(56) - weights) / (need(28) - weights);
        assert!((3.9..4.1).contains(&ratio), "{ratio}");
    }
}
