//! `cargo xtask backends [BACKEND…]`: one training step of LeNet-5 on each backend, compared with flex.
//!
//! The example `backends` of the library takes the step: same weights, same images, every number written to a file.
//! Its build takes too long for every CI run; docs/backends.md keeps the last result of each backend with date and
//! commit.

pub(crate) mod comparison;
mod driver;
mod ledger;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::ci::target;
use crate::command::{Call, root};
use crate::safetensors::{self, Tensors};
use crate::stamp::Stamp;
use ledger::Row;

/// What the others are held against.
const REFERENCE: &str = "flex";

struct Backend {
    name: &'static str,
    /// Largest difference allowed, relative to the largest value of the tensor.
    tolerance: f64,
    /// Runs when none is named.
    by_default: bool,
}

const BACKENDS: &[Backend] = &[
    Backend { name: "ndarray", tolerance: 1e-4, by_default: true },
    Backend { name: "wgpu", tolerance: 1e-3, by_default: true },
    Backend { name: "vulkan", tolerance: 1e-3, by_default: false },
    Backend { name: "metal", tolerance: 1e-3, by_default: false },
    Backend { name: "cuda", tolerance: 1e-3, by_default: false },
];

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let backends = chosen(arguments)?;
    let folder = target()?.join("xtask/backends");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    let start = folder.join("start.safetensors");
    if start.exists() {
        // Left by an earlier run, maybe of another network.
        std::fs::remove_file(&start)
            .with_context(|| format!("cannot remove {}", start.display()))?;
    }

    let names: Vec<&str> = backends.iter().map(|backend| backend.name).collect();
    println!(
        "building for {REFERENCE} and {}: another copy of burn, which takes minutes",
        names.join(", ")
    );
    let stamp = Stamp::take()?;
    let program = build(&names)?;
    let reference = step(&program, REFERENCE, &folder, &[])?;

    let mut rows = Vec::new();
    let mut failures = Vec::new();
    for backend in backends {
        let vulkan = matches!(backend.name, "wgpu" | "vulkan");
        let environment = if vulkan { driver::environment(&folder)? } else { Vec::new() };
        let start = Instant::now();
        let found = step(&program, backend.name, &folder, &environment)?;
        let seconds = start.elapsed().as_secs_f64();
        let difference = comparison::compare(&reference, &found)
            .with_context(|| format!("{} can't be compared with {REFERENCE}", backend.name))?;
        let holds = difference.relative <= backend.tolerance;
        let verdict = if holds { "within" } else { "NOT within" };
        println!("{}: {difference}, {verdict} {:e}", backend.name, backend.tolerance);
        if !holds {
            failures
                .push(format!("{}: {difference}, allowed {:e}", backend.name, backend.tolerance));
        }
        rows.push(Row::new(backend.name, backend.tolerance, &difference, seconds, &stamp));
    }
    // Failures stand in the table too: it tells what happened last.
    ledger::update(&root().join("docs/backends.md"), &rows)?;
    if !failures.is_empty() {
        bail!("{}", failures.join("; "));
    }
    Ok(())
}

fn chosen(arguments: &[String]) -> Result<Vec<&'static Backend>> {
    for argument in arguments {
        if argument != REFERENCE && !BACKENDS.iter().any(|backend| backend.name == argument) {
            let names: Vec<&str> = BACKENDS.iter().map(|backend| backend.name).collect();
            bail!(
                "no backend `{argument}`; there are: {}, and {REFERENCE}, the reference",
                names.join(", ")
            );
        }
    }
    let wanted = |backend: &&Backend| {
        if arguments.is_empty() {
            backend.by_default
        } else {
            arguments.iter().any(|name| name == backend.name)
        }
    };
    Ok(BACKENDS.iter().filter(wanted).collect())
}

/// Builds the example with all backends at once, in a folder of its own: two builds would compile the crates between
/// burn's tensors and ours twice, and `target/release` keeps its own binaries.
fn build(backends: &[&str]) -> Result<PathBuf> {
    let features = [&[REFERENCE], backends].concat().join(",");
    let folder = target()?.join("backends");
    Call::cargo(
        "build --release --locked -p kiln --no-default-features --example backends --features",
    )
    .argument(features)
    .argument("--target-dir")
    .argument(folder.display().to_string())
    .run()?;
    Ok(folder.join("release/examples/backends"))
}

/// Takes the step on one backend and reads what it wrote. The reference comes first and writes the weights that
/// everybody starts from; random ones would differ from backend to backend.
fn step(
    program: &Path,
    backend: &str,
    folder: &Path,
    environment: &[(String, String)],
) -> Result<Tensors> {
    let file = |name: &str| folder.join(format!("{name}.safetensors"));
    let files = [file("start"), file(backend)].map(|path| path.display().to_string());
    let call = Call::new(&program.display().to_string(), [backend]);
    let call = files.into_iter().fold(call, Call::argument);
    environment.iter().fold(call, |call, (key, value)| call.environment(key, value)).run()?;
    safetensors::read(&file(backend))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ndarray_and_wgpu_run_by_default() {
        let names: Vec<&str> = chosen(&[]).unwrap().iter().map(|backend| backend.name).collect();
        assert_eq!(names, ["ndarray", "wgpu"]);
    }

    #[test]
    fn an_unknown_backend_lists_the_known_ones() {
        let error = chosen(&["tpu".to_owned()]).err().unwrap().to_string();
        assert!(error.contains("tpu") && error.contains("ndarray, wgpu"), "{error}");
    }
}
