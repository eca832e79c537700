//! What benches share whose engines take turns: processes that stay, timed one after the other on the same weights.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::peer::Peer;
use super::quiet::Ticks;
use super::{Times, page};
use crate::command::{Call, root};
use crate::stamp::Stamp;

/// Timings of each engine, without a wish.
pub(super) const RUNS: usize = 9;

/// Largest difference of the scores between engines, relative to the largest score.
const TOLERANCE: f64 = 1e-3;

/// Between two timings: the engines' threads spin for a while after their last task, and would run beside the next one.
const PAUSE: Duration = Duration::from_millis(250);

/// Share of the cores that other work may take.
const QUIET: f64 = 0.1;

/// Weights and graphs, half a gigabyte each.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn clear(&self) -> Result<()> {
        let _ = std::fs::remove_dir_all(&self.0);
        std::fs::create_dir_all(&self.0)
            .with_context(|| format!("cannot make {}", self.0.display()))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What can't be removed is only in the way.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What was measured of a process.
pub(super) struct Engine {
    pub(super) name: &'static str,
    /// Version and settings, or why it can't.
    pub(super) about: String,
    /// Whether it runs the network at all.
    pub(super) able: bool,
    pub(super) times: Times,
}

/// Gives every peer the work that `load` names. All must give the scores of the first.
pub(super) fn loaded(peers: &mut [Peer], what: &str, load: &str) -> Result<Vec<Engine>> {
    let mut engines = Vec::new();
    let mut expected: Option<Vec<f64>> = None;
    for peer in peers {
        let about = peer.ask(load)?;
        let able = !about.starts_with("cannot");
        println!("{what}: {} answers {about}", peer.name);
        if able {
            let scores = peer.numbers("scores")?;
            let expected = expected.get_or_insert_with(|| scores.clone());
            let difference = difference(expected, &scores);
            if difference.is_nan() || difference > TOLERANCE {
                bail!("{what}: the scores of {} differ from kiln's by {difference:.1e}", peer.name);
            }
        }
        engines.push(Engine { name: peer.name, about, able, times: Times::default() });
    }
    Ok(engines)
}

/// Lets the peers take `runs` turns.
pub(super) fn take(
    peers: &mut [Peer],
    engines: &mut [Engine],
    runs: usize,
    others: &mut Ticks,
) -> Result<()> {
    for _ in 0..runs {
        for (peer, engine) in peers.iter_mut().zip(&mut *engines).filter(|(_, e)| e.able) {
            std::thread::sleep(PAUSE / 2);
            let asleep = Ticks::now();
            std::thread::sleep(PAUSE / 2);
            others.add(asleep, Ticks::now());
            let time = peer.numbers("time")?;
            let milliseconds = time.first().context("a peer answered no time")?;
            engine.times.0.push(Duration::from_secs_f64(milliseconds / 1e3));
        }
    }
    Ok(())
}

/// The goals whose networks are named; all, if none is.
pub(super) fn chosen<G>(
    goals: &'static [G],
    model: impl Fn(&G) -> &'static str,
    names: &[String],
) -> Result<Vec<&'static G>> {
    if let Some(name) = names.iter().find(|name| goals.iter().all(|goal| model(goal) != **name)) {
        let models: Vec<&str> = goals.iter().map(&model).collect();
        bail!("`{name}` isn't measured; there are: {}", models.join(", "));
    }
    let wanted = |goal: &&G| names.is_empty() || names.iter().any(|name| name == model(goal));
    Ok(goals.iter().filter(wanted).collect())
}

/// Shows what was measured, beneath `title` in docs/performance.md if it was all of it, and fails for what `missed` its
/// bar.
pub(super) fn finish(
    stamp: &Stamp,
    title: &str,
    names: &[String],
    mut body: String,
    others: &Ticks,
    missed: &[String],
) -> Result<()> {
    if let Some(share) = others.busy_share() {
        body += &busy(share);
    }
    println!("{body}");
    // A part of the networks is a look, not a result.
    if names.is_empty() {
        page::renew(stamp, title, &body)?;
    }
    if !missed.is_empty() {
        bail!("missed: {}", missed.join("; "));
    }
    Ok(())
}

pub(super) fn script(python: &str, file: &str, arguments: &[&str]) -> Call {
    let file = root().join("xtask").join(file).display().to_string();
    Call::new(python, [file.as_str()].iter().chain(arguments))
}

pub(super) fn executable(name: &str) -> String {
    if cfg!(windows) { format!("{name}.exe") } else { name.to_owned() }
}

/// What a reader must know of other work on the machine.
fn busy(share: f64) -> String {
    let told = format!(
        " Other work kept the cores busy for {:.0} % of the pauses between timings.",
        100.0 * share
    );
    if share <= QUIET {
        return told;
    }
    told + "\n\n**The machine was not quiet, so these ratios are no result:** engines that cut the work into equal parts \
            wait for the slowest one there, which flatters kiln."
}

/// The largest difference relative to the largest score; infinite if the shapes differ.
fn difference(expected: &[f64], scores: &[f64]) -> f64 {
    if expected.len() != scores.len() {
        return f64::INFINITY;
    }
    let largest = expected.iter().fold(0f64, |most, score| most.max(score.abs()));
    let apart = expected.iter().zip(scores).map(|(a, b)| (a - b).abs());
    apart.fold(0f64, |most, apart| if apart > most || apart.is_nan() { apart } else { most })
        / largest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_that_are_no_numbers_or_too_few_differ() {
        assert_eq!(difference(&[1.0, -2.0], &[1.0, -1.0]), 0.5);
        assert!(difference(&[1.0, 2.0], &[f64::NAN, 2.0]).is_nan());
        assert_eq!(difference(&[1.0], &[]), f64::INFINITY);
    }

    #[test]
    fn a_busy_machine_gives_no_result() {
        assert!(!busy(0.03).contains("no result"));
        assert!(busy(0.98).contains("98 %") && busy(0.98).contains("no result"));
    }
}
