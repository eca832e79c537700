//! `cargo xtask bench start`: from nothing to the classes of a photo, against Python.

use anyhow::{Result, bail};

use super::{Bench, Request, Times, page};
use crate::command::Call;
use crate::stamp::Stamp;

/// How many times faster kiln must be.
const BAR: f64 = 10.0;

/// Runs of each side that count, without a wish.
const RUNS: usize = 9;

pub(super) fn run(request: Request, stamp: &Stamp) -> Result<()> {
    let bench = Bench::new(&request, "resnet50")?;
    let (weights, photo) = (bench.file("resnet50.pth"), bench.file("photo.jpg"));
    let ours = Call::new(&bench.kiln, ["predict", "resnet50", "--weights", &weights, &photo]);
    let theirs = bench.python(&["predict", &weights, &photo]);
    let runs = request.runs.unwrap_or(RUNS);

    // One run of each brings programs and files into memory.
    print!("{}", ours.output()?);
    print!("{}", theirs.output()?);
    let (mut kiln, mut python) = (Times::default(), Times::default());
    for run in 1..=runs {
        kiln.take(|| ours.output())?;
        python.take(|| theirs.output())?;
        println!("{run} of {runs}");
    }

    let ratio = python.spread()[1] / kiln.spread()[1];
    let row = |name: &str, times: &Times| {
        let [least, middle, most] = times.spread();
        format!("| {name} | {middle:.3} | {least:.3} to {most:.3} |\n")
    };
    let body = format!(
        "`cargo xtask bench start`: whole processes, ResNet-50's weights in a `.pth` file to the five likeliest classes \
         of one photo. `kiln predict resnet50 --weights FILE photo.jpg` against a script with torch and torchvision \
         (`xtask/bench/start.py`), alternating, {runs} runs each after one that doesn't count.\n\n\
         | program | median, seconds | range |\n| --- | ---: | ---: |\n{}{}\n\
         kiln is {ratio:.1} times as fast; the bar is {BAR}.",
        row("kiln", &kiln),
        row("Python", &python),
    );
    println!("{body}");
    page::renew(stamp, "From nothing to an answer", &body)?;
    if ratio < BAR {
        bail!("{ratio:.1} times as fast as Python; the bar is {BAR}");
    }
    Ok(())
}
