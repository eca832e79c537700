//! `cargo xtask bench train`: training steps against PyTorch, and against burn's own operations.
//!
//! Each engine and network has a process of its own, whose most memory is its own too. They take turns; all begin with the
//! same weights and give the same scores, or nothing is measured. PyTorch runs in both of its memory formats, and the faster
//! one is the measure.

use std::fmt::Write;

use anyhow::{Context, Result};

use super::Request;
use super::peer::Peer;
use super::quiet::Ticks;
use super::turns::{self, Engine, Folder, RUNS, executable, script};
use crate::ci::target;
use crate::command::Call;
use crate::golden;
use crate::stamp::Stamp;

/// A network, what it is trained on in one timing, and how much faster than PyTorch that shall be.
struct Goal {
    model: &'static str,
    batch: usize,
    images: usize,
    bar: f64,
}

const fn step(model: &'static str, bar: f64) -> Goal {
    Goal { model, batch: 8, images: 8, bar }
}

const GOALS: [Goal; 8] = [
    step("vgg16", 1.5),
    step("resnet18", 1.4),
    step("resnet50", 1.2),
    step("seresnet50", 1.1),
    step("googlenet", 1.1),
    step("alexnet", 1.1),
    step("xception", 1.1),
    // An epoch of MNIST.
    Goal { model: "lenet5", batch: 128, images: 60_000, bar: 2.0 },
];

/// Plain flex's time in kiln's.
const PLAIN_BAR: f64 = 2.0;

const KILN: usize = 0;
const PLAIN: usize = 1;
const PYTORCH: [usize; 2] = [2, 3];
const NAMES: [&str; 4] = ["kiln", "burn on flex", "PyTorch", "PyTorch, channels last"];

/// One network, measured.
struct Row {
    goal: &'static Goal,
    engines: Vec<Engine>,
    /// Most bytes resident of each process.
    memory: Vec<f64>,
}

pub(super) fn run(request: Request, stamp: &Stamp) -> Result<()> {
    let python = golden::python(request.venv.clone())?;
    let goals = turns::chosen(&GOALS, |goal| goal.model, &request.names)?;
    Call::cargo("build --release --locked --package kiln-cli --package kiln --example train_times")
        .run()?;
    let folder = Folder(target()?.join("xtask/bench/train"));
    let mut others = Ticks::default();
    let mut rows = Vec::new();
    let runs = request.runs.unwrap_or(RUNS);
    for goal in goals {
        folder.clear()?;
        let path = folder.path().display().to_string();
        script(&python, "parity/parity.py", &["make", goal.model, &path]).output()?;
        let mut peers = start(&python)?;
        let load = format!("load {} {path} {} {}", goal.model, goal.batch, goal.images);
        let mut engines = turns::loaded(&mut peers, goal.model, &load)?;
        turns::take(&mut peers, &mut engines, runs, &mut others)?;
        let memory = peers.iter_mut().map(|peer| {
            peer.numbers("memory")?.first().copied().context("a peer answered no memory")
        });
        let row = Row { goal, engines, memory: memory.collect::<Result<_>>()? };
        println!("{}", row.ratios());
        rows.push(row);
    }
    let missed: Vec<String> = rows.iter().flat_map(Row::missed).collect();
    turns::finish(stamp, "Training", &request.names, section(&rows, runs), &others, &missed)
}

/// In the order of [`NAMES`].
fn start(python: &str) -> Result<Vec<Peer>> {
    let program = target()?.join("release/examples").join(executable("train_times"));
    let program = program.display().to_string();
    let torch = |layout| script(python, "bench/train.py", &[layout]);
    let calls = [
        Call::new(&program, [""; 0]),
        Call::new(&program, ["plain"]),
        torch("contiguous"),
        torch("channels_last"),
    ];
    NAMES.into_iter().zip(&calls).map(|(name, call)| Peer::start(name, call)).collect()
}

impl Row {
    /// Least, middle and most milliseconds.
    fn times(&self, engine: usize) -> [f64; 3] {
        self.engines[engine].times.spread().map(|seconds| seconds * 1e3)
    }

    /// The faster of PyTorch's memory formats.
    fn pytorch(&self) -> usize {
        let [one, other] = PYTORCH;
        if self.times(one)[1] <= self.times(other)[1] { one } else { other }
    }

    /// How much longer `engine` takes than kiln, by medians and by least times.
    fn ratio(&self, engine: usize) -> [f64; 2] {
        let ([least, middle, _], [own_least, own, _]) = (self.times(engine), self.times(KILN));
        [middle / own, least / own_least]
    }

    /// kiln's memory in that of PyTorch's faster format.
    fn memory(&self) -> f64 {
        self.memory[KILN] / self.memory[self.pytorch()]
    }

    fn missed(&self) -> Vec<String> {
        let Goal { model, bar, .. } = self.goal;
        let mut missed = Vec::new();
        for (engine, bar) in [(self.pytorch(), *bar), (PLAIN, PLAIN_BAR)] {
            let [ratio, _] = self.ratio(engine);
            if ratio < bar {
                missed.push(format!("{model}: {ratio:.2} of {}, bar {bar}", NAMES[engine]));
            }
        }
        if self.memory() > 1.0 {
            missed.push(format!("{model}: {:.2} times PyTorch's memory", self.memory()));
        }
        missed
    }

    fn cells(&self) -> String {
        let mut line =
            format!("| `{}` | {} | {} |", self.goal.model, self.goal.batch, self.goal.images);
        for engine in 0..NAMES.len() {
            let [least, middle, most] = self.times(engine);
            let _ = write!(line, " {middle:.0} ({least:.0} to {most:.0}) |");
        }
        line
    }

    fn ratios(&self) -> String {
        let pytorch = self.pytorch();
        let mut line = format!("| `{}` |", self.goal.model);
        for (engine, bar) in [(pytorch, self.goal.bar), (PLAIN, PLAIN_BAR)] {
            let [middle, least] = self.ratio(engine);
            let name = if engine == PLAIN { "" } else { NAMES[engine] };
            let mark = if middle < bar { "**" } else { "" };
            let _ = write!(line, " {name} {mark}{middle:.2}{mark} ({least:.2}), bar {bar} |");
        }
        let mark = if self.memory() > 1.0 { "**" } else { "" };
        let megabytes = |engine: usize| self.memory[engine] / 1e6;
        let _ = write!(
            line,
            " {mark}{:.0}{mark} | {:.0} | {:.0} |",
            megabytes(KILN),
            megabytes(pytorch),
            megabytes(PLAIN)
        );
        line
    }
}

fn section(rows: &[Row], runs: usize) -> String {
    let mut body = format!(
        "`cargo xtask bench train`: milliseconds of training on so many images, a batch at a time: forward pass, cross \
         entropy, backward pass and a step of SGD with momentum, in f32 on all cores; the median of {runs} timings and their \
         range. Each engine is a process of its own that begins with the same weights (its scores must agree); they take \
         turns, after a step that doesn't count. Images are in memory; GoogLeNet is without its auxiliary heads. *burn on \
         flex* is kiln with its kernels off.\n\n| network | batch | images |"
    );
    NAMES.iter().for_each(|name| _ = write!(body, " {name} |"));
    let _ = writeln!(body, "\n| --- | ---: | ---: |{}", " ---: |".repeat(NAMES.len()));
    rows.iter().for_each(|row| _ = writeln!(body, "{}", row.cells()));
    body += "\nHow many times as fast kiln is, by medians and in brackets by least times, and the most memory resident in each \
             process, in MB; bold where the bar is missed (of memory: PyTorch's):\n\n\
             | network | than PyTorch's faster format | than burn on flex | kiln, MB | PyTorch, MB | burn on flex, MB |\n\
             | --- | ---: | ---: | ---: | ---: | ---: |\n";
    rows.iter().for_each(|row| _ = writeln!(body, "{}", row.ratios()));
    let about =
        rows.first().map_or(Vec::new(), |row| row.engines.iter().map(|e| &e.about).collect());
    if let [kiln, _, pytorch, ..] = about[..] {
        let version = pytorch.split(' ').next().unwrap_or_default();
        let _ = write!(body, "\nSettings: kiln {kiln}; PyTorch {version}.");
    }
    body
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Times;
    use super::*;

    fn row(milliseconds: [u64; 4], memory: [f64; 4]) -> Row {
        let engine = |(name, time): (&'static str, u64)| Engine {
            name,
            about: "2.1 contiguous".to_owned(),
            able: true,
            times: Times(vec![Duration::from_millis(time)]),
        };
        let engines = NAMES.into_iter().zip(milliseconds).map(engine).collect();
        Row { goal: &GOALS[1], engines, memory: memory.to_vec() }
    }

    #[test]
    fn the_faster_format_is_the_measure_of_time_and_memory() {
        let row = row([100, 190, 150, 130], [11e8, 20e8, 15e8, 10e8]);
        assert_eq!(row.pytorch(), 3);
        assert_eq!(
            row.missed(),
            [
                "resnet18: 1.30 of PyTorch, channels last, bar 1.4",
                "resnet18: 1.90 of burn on flex, bar 2",
                "resnet18: 1.10 times PyTorch's memory"
            ]
        );
        assert!(section(&[row], 9).contains("| **1100** | 1000 | 2000 |"));
    }

    #[test]
    fn unknown_networks_are_refused() {
        assert_eq!(turns::chosen(&GOALS, |goal| goal.model, &[]).unwrap().len(), GOALS.len());
        assert!(turns::chosen(&GOALS, |goal| goal.model, &["vgg17".to_owned()]).is_err());
    }
}
