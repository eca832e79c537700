//! `cargo xtask bench data`: photos from JPEG files to batches, against torchvision's loaders.
//!
//! Each loader is a process that stays, with as many workers. They take turns, an epoch at a time, over the same files.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::peer::Peer;
use super::quiet::Ticks;
use super::{Request, page};
use crate::ci::target;
use crate::command::{Call, root};
use crate::golden;
use crate::stamp::Stamp;

/// Epochs of each loader, without a wish; one more comes first and doesn't count.
const RUNS: usize = 7;
/// Photos of an epoch; a tenth as many are made for the test part.
const PHOTOS: usize = 1000;
/// Threads or processes of each loader.
const WORKERS: usize = 2;

const KILN: &str = "kiln";
/// torchvision's loaders, the word that starts each, and the bar: kiln's images per second in theirs.
const RIVALS: [(&str, &str, f64); 2] =
    [("torchvision, PIL", "pil", 1.5), ("torchvision v2, tensors", "tensor", 1.0)];

pub(super) fn run(request: &Request, stamp: &Stamp) -> Result<()> {
    let python = golden::python(request.venv.clone())?;
    Call::cargo("build --release --locked --package kiln-cli --package kiln --example photo_speed")
        .run()?;
    let folder = Folder::new()?;
    let path = folder.0.display().to_string();
    let script = root().join("xtask/bench/data.py").display().to_string();
    let clothes = photos();
    let count = PHOTOS.to_string();
    let mut make = vec![script.as_str(), "make", &path, &count];
    make.extend(clothes.as_deref());
    Call::new(&python, make).output()?;

    let example = target()?.join("release/examples").join(if cfg!(windows) {
        "photo_speed.exe"
    } else {
        "photo_speed"
    });
    let workers = WORKERS.to_string();
    let call = Call::new(&example.display().to_string(), [path.as_str(), &workers]);
    let mut peers = vec![Peer::start(KILN, &call)?];
    for (name, word, _) in RIVALS {
        let call = Call::new(&python, [script.as_str(), "serve", word, &path, &workers]);
        peers.push(Peer::start(name, &call)?);
    }

    let runs = request.runs.unwrap_or(RUNS);
    let mut speeds = vec![Vec::with_capacity(runs); peers.len()];
    let start = Ticks::now();
    for run in 0..=runs {
        for (peer, speeds) in peers.iter_mut().zip(&mut speeds) {
            let answer = peer.numbers("epoch")?;
            let speed = answer.first().copied().context("a loader gave no number")?;
            if run > 0 {
                speeds.push(speed);
            }
        }
    }
    let mut ticks = Ticks::default();
    ticks.add(start, Ticks::now());

    let names: Vec<&str> = peers.iter().map(|peer| peer.name).collect();
    let body = section(&names, &mut speeds, runs, clothes.is_some());
    println!("{body}");
    page::renew(stamp, "Photos to batches", &body)?;
    let missed = missed(&speeds);
    if !missed.is_empty() {
        bail!("missed: {}", missed.join("; "));
    }
    Ok(())
}

/// Real photos to make the files of, where they are.
fn photos() -> Option<String> {
    let real = std::env::var_os("KILN_REAL_DATA").map(PathBuf::from);
    let folder = real.unwrap_or_else(|| root().join("../shared/data")).join("clothing/train");
    folder.is_dir().then(|| folder.display().to_string())
}

/// The middle of sorted numbers.
fn median(speeds: &[f64]) -> f64 {
    speeds.get(speeds.len() / 2).copied().unwrap_or_default()
}

fn section(names: &[&str], speeds: &mut [Vec<f64>], runs: usize, real: bool) -> String {
    speeds.iter_mut().for_each(|speeds| speeds.sort_by(f64::total_cmp));
    let ours = median(&speeds[0]);
    let mut rows = String::new();
    for (name, speeds) in names.iter().zip(&*speeds) {
        let middle = median(speeds);
        let (low, high) = (speeds.first().copied(), speeds.last().copied());
        let (low, high) = (low.unwrap_or_default(), high.unwrap_or_default());
        let times = ours / middle;
        writeln!(rows, "| {name} | {middle:.0} | {low:.0} to {high:.0} | {times:.2} |")
            .expect("a string grows");
    }
    let bars: Vec<String> =
        RIVALS.iter().map(|(name, _, bar)| format!("{bar} times {name}")).collect();
    let files = if real { "photos of clothes" } else { "smooth noise" };
    format!(
        "`cargo xtask bench data`: {} JPEG files of 500×375 pixels ({files}), cut and stretched at random to 224×224, \
         flipped, normalized and put into batches of 64, with {WORKERS} workers each. The loaders take turns over the \
         same files, {runs} epochs each after one that doesn't count; medians.\n\n\
         | loader | images/s | range | kiln is so many times as fast |\n| --- | ---: | ---: | ---: |\n{rows}\n\
         The bar: {}.",
        PHOTOS - PHOTOS / 10,
        bars.join(", ")
    )
}

/// The bars that kiln missed.
fn missed(speeds: &[Vec<f64>]) -> Vec<String> {
    let ours = median(&speeds[0]);
    let rivals = RIVALS.iter().zip(&speeds[1..]);
    rivals
        .filter(|((.., bar), speeds)| ours < bar * median(speeds))
        .map(|((name, _, bar), speeds)| {
            format!("{:.2} times {name}; the bar is {bar}", ours / median(speeds))
        })
        .collect()
}

/// The photos, which go when the measurement ends.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let folder = Self(target()?.join("xtask/bench/data"));
        let _ = std::fs::remove_dir_all(&folder.0);
        std::fs::create_dir_all(&folder.0)
            .with_context(|| format!("cannot make {}", folder.0.display()))?;
        Ok(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What can't be removed is only in the way.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_medians_and_what_missed_its_bar() {
        let mut speeds = vec![vec![900.0, 1100.0, 1000.0], vec![500.0; 3], vec![1200.0; 3]];
        let text = section(&[KILN, RIVALS[0].0, RIVALS[1].0], &mut speeds, 3, true);
        assert!(text.contains("| kiln | 1000 | 900 to 1100 | 1.00 |"), "{text}");
        assert!(text.contains("| torchvision, PIL | 500 | 500 to 500 | 2.00 |"), "{text}");
        assert_eq!(missed(&speeds), ["0.83 times torchvision v2, tensors; the bar is 1"]);
    }
}
