//! `cargo xtask sanitize`: the kernels' tests under AddressSanitizer, on every instruction path that the processor has.
//!
//! Cargo calls this program in the compiler's place for the workspace's members ([`compile`]), so that burn and all else
//! is taken as it was built before. Buffers are then exactly as long as was asked for and never used again
//! (`cfg(kiln_sanitize)`): a read beyond one is seen even where the pool would have had room. Overflow and pointer checks
//! of debug builds are on too.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::ci::target;
use crate::command::Call;

/// Set where this program stands in the compiler's place.
const WRAPPER: &str = "KILN_SANITIZE";

/// What members are compiled with besides.
const FLAGS: [&str; 5] = [
    "-Zsanitizer=address",
    "--cfg=kiln_sanitize",
    "-Cdebug-assertions=yes",
    "-Coverflow-checks=yes",
    "-Cdebuginfo=1",
];

const PACKAGE: &str = "kiln-kernels";

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    if let Some(argument) = arguments.first() {
        bail!("`sanitize` takes no argument, and `{argument}` stands there");
    }
    if !cfg!(target_os = "linux") {
        bail!("AddressSanitizer's library comes with the compiler on Linux only");
    }
    let here = std::env::current_exe().context("cannot tell where this program is")?;
    // A copy: cargo may replace the program that runs.
    let wrapper = target()?.join("xtask/sanitize");
    std::fs::create_dir_all(target()?.join("xtask")).context("cannot make a folder for xtask")?;
    std::fs::copy(here, &wrapper).with_context(|| format!("cannot write {}", wrapper.display()))?;

    // The selection has the features of every other build, so that burn isn't built again.
    let list =
        Call::cargo("test --release --locked --no-run --message-format=json-render-diagnostics")
            .argument("--package=kiln-cli")
            .argument("--package=kiln")
            .argument(format!("--package={PACKAGE}"))
            .argument("--lib")
            .argument("--test=it")
            .environment(WRAPPER, "1")
            .environment("RUSTC_WORKSPACE_WRAPPER", wrapper.display().to_string())
            .output()?;
    let programs = programs(&list);
    if programs.is_empty() {
        bail!("cargo built no test of {PACKAGE}");
    }
    for program in programs {
        // Property tests search as they always do; what they find is not written into the tree.
        Call::new(&program, [""; 0])
            .environment("ASAN_OPTIONS", "detect_leaks=0:detect_stack_use_after_return=1")
            .environment("PROPTEST_FAILURE_PERSISTENCE", "off")
            .run()?;
    }
    println!("no test of {PACKAGE} read or wrote where it must not");
    Ok(())
}

/// The test programs of the package in cargo's messages.
fn programs(messages: &str) -> Vec<String> {
    let objects = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ours = objects.filter(|object| {
        let id = object["package_id"].as_str().unwrap_or_default();
        object["profile"]["test"] == true && id.contains(&format!("/{PACKAGE}#"))
    });
    ours.filter_map(|object| object["executable"].as_str().map(str::to_owned)).collect()
}

/// Whether cargo has started this program in the compiler's place.
pub(crate) fn is_wrapper() -> bool {
    std::env::var_os(WRAPPER).is_some()
}

/// Compiles as cargo asks, `arguments` being the compiler and its arguments, with the sanitizer.
pub(crate) fn compile(arguments: &[String]) -> ExitCode {
    let Some((compiler, rest)) = arguments.split_first() else {
        eprintln!("error: {WRAPPER} is set, so a compiler was expected");
        return ExitCode::FAILURE;
    };
    let mut command = Command::new(compiler);
    command.args(rest);
    // Questions about the compiler itself name no crate.
    if rest.iter().any(|argument| argument == "--crate-name") {
        // The sanitizer is an unstable option of a stable compiler.
        command.args(FLAGS).env("RUSTC_BOOTSTRAP", "1");
    }
    match command.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: cannot start {compiler}: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_test_programs_of_the_kernels_are_run() {
        let message = |package: &str, test: bool, program: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","package_id":"path+file:///k/crates/{package}#0.1.0","profile":{{"test":{test}}},"executable":{program}}}"#
            )
        };
        let messages = [
            message("kiln-kernels", true, "\"/t/kernels\""),
            message("kiln-kernels", false, "null"),
            message("kiln", true, "\"/t/kiln\""),
            "not JSON".to_owned(),
        ];
        assert_eq!(programs(&messages.join("\n")), ["/t/kernels"]);
    }
}
