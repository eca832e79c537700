//! `cargo xtask bench infer`: forward passes against the engines that people would use instead.
//!
//! Each engine is a process that stays. They take turns, one timing at a time, so that whatever else the machine does
//! meets all of them; and all compute the same scores from the same weights, or nothing is measured. The engines in Rust
//! are built from a workspace of their own, `xtask/bench/rivals`.

mod table;

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::Request;
use super::peer::Peer;
use super::quiet::Ticks;
use super::turns::{self, Folder, RUNS, executable, script};
use crate::ci::target;
use crate::command::Call;
use crate::golden;
use crate::stamp::Stamp;
use table::Row;

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
/// Inference engines in Rust, and their time in kiln's.
const RIVALS: [(&str, f64); 3] = [("rten", 1.3), ("tract", 2.5), ("candle", 2.5)];
const KILN: &str = "kiln";
const PLAIN: &str = "burn on flex";

pub(super) fn run(request: Request, stamp: &Stamp) -> Result<()> {
    let python = golden::python(request.venv.clone())?;
    let goals = turns::chosen(&GOALS, |goal| goal.model, &request.names)?;
    Call::cargo(
        "build --release --locked --package kiln-cli --package kiln --example forward_times",
    )
    .run()?;
    rivals(&["build"])?.run()?;
    let folder = Folder(target()?.join("xtask/bench/infer"));
    let mut peers = start(&python)?;
    let mut rows = Vec::new();
    let mut others = Ticks::default();
    for goal in &goals {
        folder.clear()?;
        let path = folder.path().display().to_string();
        script(&python, "parity/parity.py", &["make", goal.model, &path]).output()?;
        for batch in BATCHES {
            let images = batch.to_string();
            script(&python, "bench/infer.py", &["export", goal.model, &path, &images]).output()?;
            let row = measure(
                &mut peers,
                &mut others,
                goal,
                batch,
                folder.path(),
                request.runs.unwrap_or(RUNS),
            )?;
            println!("{}", row.ratios());
            rows.push(row);
        }
    }
    let missed: Vec<String> = rows.iter().flat_map(Row::missed).collect();
    turns::finish(
        stamp,
        "Inference",
        &request.names,
        table::section(&rows, request.runs.unwrap_or(RUNS)),
        &others,
        &missed,
    )
}

/// cargo on the rivals' workspace; what it builds lies below the target folder, beside what is ours.
fn rivals(verb: &[&str]) -> Result<Call> {
    let call = Call::new("cargo", verb).argument("--release").argument("--locked");
    let call = call.argument("--manifest-path").argument("xtask/bench/rivals/Cargo.toml");
    Ok(call.argument("--target-dir").argument(rivals_target()?.display().to_string()))
}

fn rivals_target() -> Result<PathBuf> {
    Ok(target()?.join("rivals"))
}

/// kiln first, then its peers.
fn start(python: &str) -> Result<Vec<Peer>> {
    let program = target()?.join("release/examples").join(executable("forward_times"));
    let program = program.display().to_string();
    let mut peers = vec![
        Peer::start(KILN, &Call::new(&program, [""; 0]))?,
        Peer::start(PLAIN, &Call::new(&program, ["plain"]))?,
    ];
    for (name, engine) in PYTHON {
        peers.push(Peer::start(name, &script(python, "bench/infer.py", &["serve", engine]))?);
    }
    let program = rivals_target()?.join("release").join(executable("rivals")).display().to_string();
    for (name, _) in RIVALS {
        peers.push(Peer::start(name, &Call::new(&program, [name]))?);
    }
    Ok(peers)
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
    let load = format!("load {model} {} {batch}", folder.display());
    let mut engines = turns::loaded(peers, &format!("{model}, {batch}"), &load)?;
    turns::take(peers, &mut engines, runs, others)?;
    let at = usize::from(batch > 1);
    Ok(Row { model, batch, peer_bar: goal.peer[at], plain_bar: goal.plain, engines })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_networks_are_refused() {
        assert_eq!(turns::chosen(&GOALS, |goal| goal.model, &[]).unwrap().len(), GOALS.len());
        assert_eq!(
            turns::chosen(&GOALS, |goal| goal.model, &["vgg16".to_owned()]).unwrap().len(),
            1
        );
        assert!(turns::chosen(&GOALS, |goal| goal.model, &["vgg17".to_owned()]).is_err());
    }
}
