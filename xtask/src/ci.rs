//! `cargo xtask ci [STEP…]`: everything that must hold, cheapest first, stopping at the first failure.

use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::command::{Call, root};
use crate::runner::{self, Selection};
use crate::{index, tidy};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let steps = steps();
    if arguments.iter().any(|argument| argument == "--list") {
        for step in &steps {
            println!("{:<20} {}", step.name, step.rerun());
        }
        return Ok(());
    }
    let mut done = Vec::new();
    let mut closing = Vec::new();
    for step in chosen(steps, arguments)? {
        println!("\n== {}: {}", step.name, step.rerun());
        let start = Instant::now();
        let result = step.run();
        done.push((step.name, start.elapsed().as_secs_f64()));
        match result {
            Ok(summary) => closing.extend(summary),
            Err(error) => {
                print!("\n{}", table(&done));
                bail!("step {} failed: {error:#}\nrun it again with: {}", step.name, step.rerun());
            }
        }
    }
    print!("\n{}", table(&done));
    for line in closing {
        println!("{line}");
    }
    Ok(())
}

struct Step {
    name: &'static str,
    work: Work,
}

enum Work {
    Commands(Vec<Call>),
    Tests(Call),
    Inside {
        rerun: &'static str,
        run: fn(&[String]) -> Result<()>,
        arguments: &'static [&'static str],
    },
    Example(&'static str),
    Packages,
}

/// In this order. clippy, the backends and the documentation share the metadata of the dependencies; the tests, the
/// doctests, the example and the index share their machine code with `cargo build --release`.
fn steps() -> Vec<Step> {
    let backend = |name| {
        Call::cargo("check --release --locked -p kiln-cli --no-default-features --features")
            .argument(name)
    };
    vec![
        Step { name: "fmt", work: Work::Commands(vec![Call::cargo("fmt --all --check")]) },
        Step {
            name: "tidy",
            work: Work::Inside { rerun: "cargo xtask tidy", run: tidy::run, arguments: &[] },
        },
        Step {
            name: "clippy",
            work: Work::Commands(vec![Call::cargo(
                "clippy --release --workspace --all-targets --locked -- -D warnings",
            )]),
        },
        Step {
            name: "docs",
            work: Work::Commands(vec![
                Call::cargo("doc --release --workspace --no-deps --locked")
                    .environment("RUSTDOCFLAGS", "-D warnings"),
            ]),
        },
        Step { name: "package", work: Work::Packages },
        Step { name: "flex", work: Work::Commands(vec![backend("flex")]) },
        Step { name: "ndarray", work: Work::Commands(vec![backend("ndarray")]) },
        Step { name: "wgpu", work: Work::Commands(vec![backend("wgpu")]) },
        Step { name: "test", work: Work::Tests(runner::call(&Selection::Ordinary(Vec::new()))) },
        Step {
            name: "doctest",
            work: Work::Commands(vec![Call::cargo("test --release --workspace --locked --doc")]),
        },
        Step { name: "example", work: Work::Example("from_layers") },
        Step {
            name: "index",
            work: Work::Inside {
                rerun: "cargo xtask index --check",
                run: index::run,
                arguments: &["--check"],
            },
        },
    ]
}

/// The steps named in `arguments`, in the order of CI; all of them without a name.
fn chosen(steps: Vec<Step>, arguments: &[String]) -> Result<Vec<Step>> {
    for argument in arguments {
        if !steps.iter().any(|step| step.name == argument) {
            let names: Vec<&str> = steps.iter().map(|step| step.name).collect();
            bail!("no step `{argument}`; there are: {}", names.join(", "));
        }
    }
    let wanted = |step: &Step| {
        arguments.is_empty() || arguments.iter().any(|argument| step.name == argument)
    };
    Ok(steps.into_iter().filter(wanted).collect())
}

impl Step {
    /// The command that repeats this step alone.
    fn rerun(&self) -> String {
        match &self.work {
            Work::Commands(calls) => {
                calls.iter().map(Call::to_string).collect::<Vec<_>>().join(" && ")
            }
            Work::Tests(call) => call.to_string(),
            Work::Inside { rerun, .. } => (*rerun).to_owned(),
            Work::Example(_) | Work::Packages => format!("cargo xtask ci {}", self.name),
        }
    }

    /// Runs it; returns lines worth repeating at the end.
    fn run(&self) -> Result<Vec<String>> {
        match &self.work {
            Work::Commands(calls) => calls.iter().try_for_each(Call::run)?,
            Work::Tests(call) => return runner::run(call),
            Work::Inside { run, arguments, .. } => {
                run(&arguments.iter().map(|&argument| argument.to_owned()).collect::<Vec<_>>())?;
            }
            Work::Example(name) => example(name)?,
            Work::Packages => packages()?,
        }
        Ok(Vec::new())
    }
}

/// Builds every example and runs one. Built with the whole workspace and then started as a program, because
/// `cargo run -p kiln --example` would resolve other features and build burn again.
fn example(name: &str) -> Result<()> {
    Call::cargo("build --release --workspace --examples --locked").run()?;
    let program = target()?.join("release/examples").join(name);
    Call::new(&program.display().to_string(), [""; 0]).run()
}

/// The folder cargo builds in.
pub(crate) fn target() -> Result<std::path::PathBuf> {
    let metadata = tidy::metadata()?;
    let folder = metadata["target_directory"]
        .as_str()
        .context("`cargo metadata` names no target_directory")?;
    Ok(std::path::PathBuf::from(folder))
}

/// Packs every crate that can be published, and looks into kiln-data's package for the embedded sample.
fn packages() -> Result<()> {
    let metadata = tidy::metadata()?;
    let packages = metadata["packages"].as_array().context("`cargo metadata` lists no packages")?;
    // `publish = false` is an empty list of registries.
    let published = packages.iter().filter(|package| package["publish"].is_null());
    let names: Vec<&str> = published.filter_map(|package| package["name"].as_str()).collect();
    let selection = names.iter().flat_map(|name| ["-p", name]);
    let call = selection
        .fold(Call::cargo("package --no-verify --allow-dirty --quiet --locked"), Call::argument);
    call.run()?;

    let list =
        Call::cargo("package --list --allow-dirty --quiet --locked -p kiln-data").output()?;
    let samples = files_below(&root().join("datasets"), "sample")?;
    for sample in samples {
        let sample = format!("datasets/{sample}");
        if !list.lines().any(|line| line == sample) {
            bail!(
                "the package of kiln-data lacks {sample}; is crates/kiln-data/datasets a link to datasets/?"
            );
        }
    }
    println!("{} packages: {}", names.len(), names.join(", "));
    Ok(())
}

/// Files of `folder/*/inner/`, as `*/inner/file`.
fn files_below(folder: &std::path::Path, inner: &str) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for entry in
        std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        let entry = entry?;
        let Ok(inside) = std::fs::read_dir(entry.path().join(inner)) else { continue };
        for file in inside {
            let file = file?.file_name();
            files.push(format!(
                "{}/{inner}/{}",
                entry.file_name().to_string_lossy(),
                file.to_string_lossy()
            ));
        }
    }
    files.sort();
    Ok(files)
}

fn table(done: &[(&str, f64)]) -> String {
    let mut text = format!("{:<12}{:>10}\n", "step", "seconds");
    for (name, seconds) in done {
        text.push_str(&format!("{name:<12}{seconds:>10.1}\n"));
    }
    let total: f64 = done.iter().map(|(_, seconds)| seconds).sum();
    text.push_str(&format!("{:<12}{total:>10.1}\n", "total"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_steps_keep_the_order_of_ci() {
        let steps = chosen(steps(), &["test".to_owned(), "fmt".to_owned()]).unwrap();
        let names: Vec<&str> = steps.iter().map(|step| step.name).collect();
        assert_eq!(names, ["fmt", "test"]);
    }

    #[test]
    fn an_unknown_step_lists_the_known_ones() {
        let error = chosen(steps(), &["tests".to_owned()]).err().unwrap().to_string();
        assert!(error.contains("no step `tests`") && error.contains("clippy"), "{error}");
    }

    #[test]
    fn every_command_holds_the_lock_file() {
        for step in steps() {
            let command = step.rerun();
            let exempt = ["fmt", "tidy", "package", "example", "index"].contains(&step.name);
            assert!(exempt || command.contains("--locked"), "{command}");
        }
    }

    #[test]
    fn the_table_ends_with_the_total() {
        let text = table(&[("fmt", 1.5), ("test", 10.25)]);
        assert!(text.lines().last().unwrap().ends_with("11.8"), "{text}");
    }
}
