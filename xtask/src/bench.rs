//! `cargo xtask bench WHAT`: whole programs measured, each into its own section of docs/performance.md.

mod data;
mod dense;
mod infer;
mod load;
mod page;
mod peer;
mod quiet;
mod start;
mod train;
mod turns;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::ci::target;
use crate::command::{Call, root};
use crate::golden;
use crate::stamp::Stamp;

const WHAT: &str = "start (a photo's classes, from nothing), load (memory of VGG-16's weights), \
                    dense (one pass over a large image against its crops), \
                    data (photos to batches against torchvision's loaders), \
                    infer [MODEL…] (forward passes against other engines and burn), \
                    train [MODEL…] (training steps against PyTorch and burn)";

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let Some((what, rest)) = arguments.split_first() else {
        bail!("name what to measure: {WHAT}");
    };
    let request = Request::parse(rest)?;
    if let Some(name) =
        request.names.first().filter(|_| !["infer", "train"].contains(&what.as_str()))
    {
        bail!("`{what}` takes no name, and `{name}` stands there");
    }
    let stamp = Stamp::take()?;
    match what.as_str() {
        "infer" => infer::run(request, &stamp),
        "train" => train::run(request, &stamp),
        "start" => start::run(request, &stamp),
        "load" => load::run(request, &stamp),
        "dense" => dense::run(&stamp),
        "data" => data::run(&request, &stamp),
        other => bail!("nothing to measure is called `{other}`; there are: {WHAT}"),
    }
}

/// What stands after the verb or after what is measured.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Request {
    pub(crate) names: Vec<String>,
    pub(crate) venv: Option<PathBuf>,
    pub(crate) runs: Option<usize>,
}

impl Request {
    pub(crate) fn parse(arguments: &[String]) -> Result<Request> {
        let mut request = Request::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--venv" => {
                    let venv = arguments.next().context("--venv needs a folder")?;
                    request.venv = Some(PathBuf::from(venv));
                }
                "--runs" => {
                    let runs = arguments.next().context("--runs needs a number")?;
                    let runs: usize = runs.parse().context("--runs needs a number")?;
                    if runs == 0 {
                        bail!("--runs must be positive");
                    }
                    request.runs = Some(runs);
                }
                other if other.starts_with('-') => {
                    bail!("no option `{other}`; there are --venv DIR and --runs N")
                }
                name => request.names.push(name.to_owned()),
            }
        }
        Ok(request)
    }
}

/// Files of random weights, made by PyTorch, in a folder of their own.
struct Bench {
    python: String,
    script: String,
    kiln: String,
    folder: PathBuf,
}

impl Bench {
    fn new(request: &Request, model: &str) -> Result<Bench> {
        let python = golden::python(request.venv.clone())?;
        Call::cargo("build --release --locked").run()?;
        let kiln = target()?.join("release").join(if cfg!(windows) { "kiln.exe" } else { "kiln" });
        let folder = target()?.join("xtask/bench").join(model);
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let script = root().join("xtask/bench/start.py").display().to_string();
        let bench = Bench { python, script, kiln: kiln.display().to_string(), folder };
        bench.python(&["make", &bench.folder.display().to_string(), model]).output()?;
        Ok(bench)
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn python(&self, arguments: &[&str]) -> Call {
        Call::new(&self.python, [self.script.as_str()].iter().chain(arguments))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // The files are half a gigabyte each; what can't be removed is only in the way.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Times of several runs.
#[derive(Debug, Default)]
struct Times(Vec<Duration>);

impl Times {
    fn take<T>(&mut self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let start = Instant::now();
        let result = work()?;
        self.0.push(start.elapsed());
        Ok(result)
    }

    /// Smallest, middle and largest, in seconds.
    fn spread(&self) -> [f64; 3] {
        let mut seconds: Vec<f64> = self.0.iter().map(Duration::as_secs_f64).collect();
        seconds.sort_by(f64::total_cmp);
        match seconds[..] {
            [] => [0.0; 3],
            [first, ..] => [first, seconds[seconds.len() / 2], seconds[seconds.len() - 1]],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_understood() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let request = Request::parse(&words("vgg16 --runs 11 --venv torch")).unwrap();
        assert_eq!(request.names, ["vgg16"]);
        assert_eq!((request.venv, request.runs), (Some(PathBuf::from("torch")), Some(11)));
        assert!(run(&words("load vgg16")).unwrap_err().to_string().contains("takes no name"));
        assert!(Request::parse(&words("--runs 0")).is_err());
        assert!(Request::parse(&words("--fast")).is_err());
        assert!(run(&words("nothing")).unwrap_err().to_string().contains("start (a photo"));
    }

    #[test]
    fn the_middle_of_an_odd_number_of_runs_is_one_of_them() {
        let times = Times([3, 1, 2].map(Duration::from_secs).to_vec());
        assert_eq!(times.spread(), [1.0, 2.0, 3.0]);
    }
}
