//! `cargo xtask bench infer`: forward passes against the engines that people would use instead.
//!
//! Each engine is a process that stays. They take turns, one timing at a time, so that whatever else the machine does
//! meets all of them; and all compute the same scores from the same weights, or nothing is measured.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::peer::Peer;
use super::quiet::Ticks;
use super::{Request, Times, page};
use crate::ci::target;
use crate::command::{Call, root};
use crate::golden;
use crate::stamp::Stamp;

/// Timings of each engine, without a wish.
const RUNS: usize = 9;

/// Largest difference of the scores between engines, relative to the largest score.
const TOLERANCE: f64 = 1e-3;

/// Between two timings: the engines' threads spin for a while after their last task, and would run beside the next one.
const PAUSE: Duration = Duration::from_millis(250);

/// Share of the cores that other work may take.
const QUIET: f64 = 0.1;

const BATCHES: [usize; 2] = [1, 8];

/// A network and what is asked of it.
struct Goal {
    model: &'static str,
    /// Fastest peer's time in kiln's, at 1 image and at 8.
    peer: [f64; 2],
    /// Plain flex's time in kiln's.
    plain: f64,
}

/// PyTorch's time in kiln's.
const PYTORCH: f64 = 1.3;

const GOALS: [Goal; 7] = [
    Goal { model: "vgg16", peer: [1.5, 1.8], plain: 2.5 },
    Goal { model: "resnet18", peer: [1.15, 1.35], plain: 2.5 },
    Goal { model: "resnet50", peer: [1.0, 1.1], plain: 2.0 },
    Goal { model: "seresnet50", peer: [1.0, 1.1], plain: 2.0 },
    Goal { model: "googlenet", peer: [1.0, 1.05], plain: 2.5 },
    Goal { model: "alexnet", peer: [1.0, 1.05], plain: 2.5 },
    Goal { model: "xception", peer: [1.0, 1.05], plain: 2.5 },
];

const PYTHON: [(&str, &str); 3] =
    [("ONNX Runtime", "onnxruntime"), ("OpenVINO", "openvino"), ("PyTorch", "pytorch")];
const KILN: &str = "kiln";
const PLAIN: &str = "burn on flex";

pub(super) fn run(request: Request, stamp: &Stamp) -> Result<()> {
    let python = golden::python(request.venv.clone())?;
    let goals = chosen(&request.names)?;
    Call::cargo(
        "build --release --locked --package kiln-cli --package kiln --example forward_times",
    )
    .run()?;
    let folder = Folder(target()?.join("xtask/bench/infer"));
    let mut peers = start(&python)?;
    let mut rows = Vec::new();
    let mut others = Ticks::default();
    for goal in &goals {
        folder.clear()?;
        let path = folder.0.display().to_string();
        script(&python, "parity/parity.py", &["make", goal.model, &path]).output()?;
        for batch in BATCHES {
            let images = batch.to_string();
            script(&python, "bench/infer.py", &["export", goal.model, &path, &images]).output()?;
            let row = measure(
                &mut peers,
                &mut others,
                goal,
                batch,
                &folder.0,
                request.runs.unwrap_or(RUNS),
            )?;
            println!("{}", row.ratios());
            rows.push(row);
        }
    }
    let mut body = section(&rows, request.runs.unwrap_or(RUNS));
    if let Some(share) = others.busy_share() {
        body += &busy(share);
    }
    println!("{body}");
    // A part of the networks is a look, not a result.
    if request.names.is_empty() {
        page::renew(stamp, "Inference", &body)?;
    }
    let missed: Vec<String> = rows.iter().flat_map(Row::missed).collect();
    if !missed.is_empty() {
        bail!("missed: {}", missed.join("; "));
    }
    Ok(())
}

fn chosen(names: &[String]) -> Result<Vec<&'static Goal>> {
    if let Some(name) = names.iter().find(|name| GOALS.iter().all(|goal| goal.model != **name)) {
        let models: Vec<&str> = GOALS.iter().map(|goal| goal.model).collect();
        bail!("`{name}` isn't measured; there are: {}", models.join(", "));
    }
    let wanted = |goal: &&Goal| names.is_empty() || names.iter().any(|name| name == goal.model);
    Ok(GOALS.iter().filter(wanted).collect())
}

/// Weights and graphs, half a gigabyte each.
struct Folder(PathBuf);

impl Folder {
    fn clear(&self) -> Result<()> {
        let _ = std::fs::remove_dir_all(&self.0);
        std::fs::create_dir_all(&self.0)
            .with_context(|| format!("cannot make {}", self.0.display()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What can't be removed is only in the way.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn script(python: &str, file: &str, arguments: &[&str]) -> Call {
    let file = root().join("xtask").join(file).display().to_string();
    Call::new(python, [file.as_str()].iter().chain(arguments))
}

/// kiln first, then its peers.
fn start(python: &str) -> Result<Vec<Peer>> {
    let program = target()?.join("release/examples").join(if cfg!(windows) {
        "forward_times.exe"
    } else {
        "forward_times"
    });
    let program = program.display().to_string();
    let mut peers = vec![
        Peer::start(KILN, &Call::new(&program, [""; 0]))?,
        Peer::start(PLAIN, &Call::new(&program, ["plain"]))?,
    ];
    for (name, engine) in PYTHON {
        peers.push(Peer::start(name, &script(python, "bench/infer.py", &["serve", engine]))?);
    }
    Ok(peers)
}

/// One network at one batch size.
struct Row {
    model: &'static str,
    batch: usize,
    peer_bar: f64,
    plain_bar: f64,
    engines: Vec<Engine>,
}

struct Engine {
    name: &'static str,
    /// Version and settings.
    about: String,
    times: Times,
}

fn measure(
    peers: &mut [Peer],
    others: &mut Ticks,
    goal: &Goal,
    batch: usize,
    folder: &Path,
    runs: usize,
) -> Result<Row> {
    let model = goal.model;
    let mut engines = Vec::new();
    let mut expected: Option<Vec<f64>> = None;
    for peer in peers.iter_mut() {
        let about = peer.ask(&format!("load {model} {} {batch}", folder.display()))?;
        let scores = peer.numbers("scores")?;
        match &expected {
            None => expected = Some(scores),
            Some(expected) => {
                let difference = difference(expected, &scores);
                if difference.is_nan() || difference > TOLERANCE {
                    bail!(
                        "{model}: the scores of {} differ from kiln's by {difference:.1e}",
                        peer.name
                    );
                }
            }
        }
        println!("{model}, {batch}: {} is ready: {about}", peer.name);
        engines.push(Engine { name: peer.name, about, times: Times::default() });
    }
    for _ in 0..runs {
        for (peer, engine) in peers.iter_mut().zip(&mut engines) {
            std::thread::sleep(PAUSE / 2);
            let asleep = Ticks::now();
            std::thread::sleep(PAUSE / 2);
            others.add(asleep, Ticks::now());
            let time = peer.numbers("time")?;
            let milliseconds = time.first().context("a peer answered no time")?;
            engine.times.0.push(Duration::from_secs_f64(milliseconds / 1e3));
        }
    }
    let at = usize::from(batch > 1);
    Ok(Row { model, batch, peer_bar: goal.peer[at], plain_bar: goal.plain, engines })
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

impl Row {
    fn times(&self, name: &str) -> [f64; 3] {
        let engine = self.engines.iter().find(|engine| engine.name == name);
        engine.map_or([f64::NAN; 3], |engine| engine.times.spread().map(|seconds| seconds * 1e3))
    }

    /// How many times as fast as this engine kiln is: of the least times, and of the medians.
    fn ratio(&self, name: &str) -> [f64; 2] {
        let (ours, theirs) = (self.times(KILN), self.times(name));
        [theirs[0] / ours[0], theirs[1] / ours[1]]
    }

    /// The fastest of the engines that aren't burn.
    fn fastest(&self) -> &'static str {
        let middle = |name: &str| self.times(name)[1];
        let names = PYTHON.map(|(name, _)| name);
        names.into_iter().min_by(|a, b| middle(a).total_cmp(&middle(b))).unwrap_or(KILN)
    }

    /// What kiln is held against, by how much it is ahead, and the bar.
    fn comparisons(&self) -> [(&'static str, [f64; 2], f64); 3] {
        let fastest = self.fastest();
        [
            (fastest, self.ratio(fastest), self.peer_bar),
            ("PyTorch", self.ratio("PyTorch"), PYTORCH),
            (PLAIN, self.ratio(PLAIN), self.plain_bar),
        ]
    }

    fn missed(&self) -> Vec<String> {
        let missed = self.comparisons().into_iter().filter(|(_, ratio, bar)| ratio[1] < *bar);
        missed
            .map(|(name, ratio, bar)| {
                format!("{} at {}: {:.2} of {name}, bar {bar}", self.model, self.batch, ratio[1])
            })
            .collect()
    }

    fn cells(&self) -> String {
        let mut line = format!("| `{}` | {} |", self.model, self.batch);
        for engine in &self.engines {
            let [least, middle, most] = self.times(engine.name);
            let _ = write!(line, " {middle:.1} ({least:.1} to {most:.1}) |");
        }
        line
    }

    fn ratios(&self) -> String {
        let mut line = format!("| `{}` | {} |", self.model, self.batch);
        for (at, (name, [least, middle], bar)) in self.comparisons().into_iter().enumerate() {
            let name = if at == 0 { format!("{name} ") } else { String::new() };
            let mark = if middle < bar { "**" } else { "" };
            let _ = write!(line, " {name}{mark}{middle:.2}{mark} ({least:.2}), bar {bar} |");
        }
        line
    }
}

fn section(rows: &[Row], runs: usize) -> String {
    let mut body = format!(
        "`cargo xtask bench infer`: milliseconds of one forward pass in f32 on all cores, the median of {runs} timings \
         and their range. Each engine is a process of its own with the same weights (its scores must agree); they take \
         turns. A timing is the median of passes that fill 120 ms, after one that doesn't count. *burn on flex* is kiln \
         with its kernels off.\n\n| network | images |"
    );
    let names: Vec<&str> = rows
        .first()
        .map_or(Vec::new(), |row| row.engines.iter().map(|engine| engine.name).collect());
    names.iter().for_each(|name| _ = write!(body, " {name} |"));
    let _ = writeln!(body, "\n| --- | ---: |{}", " ---: |".repeat(names.len()));
    rows.iter().for_each(|row| _ = writeln!(body, "{}", row.cells()));
    body += "\nHow many times as fast kiln is, by medians and in brackets by least times; bold where the bar is missed:\n\n\
             | network | images | than the fastest peer | than PyTorch | than burn on flex |\n\
             | --- | ---: | ---: | ---: | ---: |\n";
    rows.iter().for_each(|row| _ = writeln!(body, "{}", row.ratios()));
    body += "\nSettings: ";
    let mut settings = Vec::new();
    for name in names.iter().filter(|name| **name != PLAIN) {
        // PyTorch's fastest way differs from network to network.
        let mut ways: Vec<&str> = Vec::new();
        for engine in rows.iter().flat_map(|row| &row.engines).filter(|engine| engine.name == *name)
        {
            if !ways.contains(&engine.about.as_str()) {
                ways.push(&engine.about);
            }
        }
        settings.push(format!("{name} {}", ways.join(" or ")));
    }
    body + &settings.join("; ") + "."
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

#[cfg(test)]
mod tests {
    use super::*;

    fn row(milliseconds: [u64; 5]) -> Row {
        let names = [KILN, PLAIN, "ONNX Runtime", "OpenVINO", "PyTorch"];
        let engines = names.into_iter().zip(milliseconds);
        let engines = engines.map(|(name, time)| Engine {
            name,
            about: "1.0".to_owned(),
            times: Times(vec![Duration::from_millis(time)]),
        });
        Row {
            model: "resnet18",
            batch: 8,
            peer_bar: 1.35,
            plain_bar: 2.5,
            engines: engines.collect(),
        }
    }

    #[test]
    fn the_fastest_peer_is_the_measure_and_burn_is_none() {
        let row = row([100, 110, 150, 140, 200]);
        assert_eq!(row.fastest(), "OpenVINO");
        assert!(row.ratios().contains("OpenVINO 1.40 (1.40), bar 1.35"), "{}", row.ratios());
        assert_eq!(row.missed(), ["resnet18 at 8: 1.10 of burn on flex, bar 2.5"]);
    }

    #[test]
    fn a_section_shows_every_engine_and_marks_what_is_missed() {
        let body = section(&[row([100, 300, 120, 140, 200])], 9);
        assert!(
            body.contains("| kiln | burn on flex | ONNX Runtime | OpenVINO | PyTorch |"),
            "{body}"
        );
        assert!(body.contains("ONNX Runtime **1.20** (1.20), bar 1.35"), "{body}");
    }

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

    #[test]
    fn unknown_networks_are_refused() {
        assert_eq!(chosen(&[]).unwrap().len(), GOALS.len());
        assert_eq!(chosen(&["vgg16".to_owned()]).unwrap().len(), 1);
        assert!(chosen(&["vgg17".to_owned()]).is_err());
    }
}
