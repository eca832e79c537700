//! The test runner: nextest where it is installed, `cargo test` elsewhere, and the closing line of either.

use anyhow::{Result, bail};

use crate::command::Call;

/// Everything is selected at once: `-p CRATE` would give third-party crates other features than the product has, and
/// burn would be built a second time (CONTRIBUTING.md, "One build").
const NEXTEST: &str = "nextest run --cargo-profile release --workspace --locked";
const CARGO_TEST: &str = "test --release --workspace --locked --lib --bins --tests --examples";

/// Which tests run.
#[derive(Clone, Debug)]
pub(crate) enum Selection {
    /// All but the ones on real data whose name contains one of the words; all without a word.
    Ordinary(Vec<String>),
    /// The ones on real data in this folder.
    Real(String),
}

/// The command for `selection`.
pub(crate) fn call(selection: &Selection) -> Call {
    if has_nextest() { nextest(selection) } else { cargo_test(selection) }
}

/// Runs the tests and returns the lines that sum them up.
///
/// # Errors
/// When a test fails, when nothing compiles, and when not one test was selected.
pub(crate) fn run(call: &Call) -> Result<Vec<String>> {
    let (passed, lines) = call.watch()?;
    let summary = summary(&lines);
    if !passed {
        bail!(
            "{}`{call}` failed",
            summary.iter().map(|line| format!("{line}\n")).collect::<String>()
        );
    }
    if summary.is_empty() {
        bail!("`{call}` ran no test");
    }
    Ok(summary)
}

fn has_nextest() -> bool {
    Call::cargo("nextest --version").succeeds()
}

fn nextest(selection: &Selection) -> Call {
    match selection {
        Selection::Ordinary(words) => {
            // `test(word)` matches a part of the name, `binary(...)` and `package(...)` stay out: one idea.
            let ordinary = "not test(/(^|::)real_/)".to_owned();
            let words: Vec<String> = words.iter().map(|word| format!("test({word})")).collect();
            let filter = if words.is_empty() {
                ordinary
            } else {
                format!("{ordinary} and ({})", words.join(" or "))
            };
            Call::cargo(NEXTEST).argument("-E").argument(filter)
        }
        Selection::Real(data) => Call::cargo(NEXTEST)
            .argument("-E")
            .argument("test(/(^|::)real_/)")
            .argument("--no-fail-fast")
            .environment("KILN_REAL_DATA", data),
    }
}

fn cargo_test(selection: &Selection) -> Call {
    let call = Call::cargo(CARGO_TEST).argument("--no-fail-fast").argument("--");
    match selection {
        Selection::Ordinary(words) => {
            words.iter().fold(call.argument("--skip").argument("real_"), Call::argument)
        }
        Selection::Real(data) => call.argument("real_").environment("KILN_REAL_DATA", data),
    }
}

/// The closing lines: nextest's own summary and failures, or the sum over the binaries of `cargo test`.
fn summary(lines: &[String]) -> Vec<String> {
    let start = lines.iter().rposition(|line| line.trim_start().starts_with("Summary ["));
    if let Some(start) = start {
        // Below the summary nextest repeats what failed.
        return lines[start..].iter().filter(|line| !line.trim().is_empty()).cloned().collect();
    }
    let mut counts = [0_u64; 2];
    let mut binaries = 0;
    for line in lines {
        let Some(result) = line.trim().strip_prefix("test result: ") else { continue };
        binaries += 1;
        for part in result.split([';', '.']) {
            let mut words = part.split_whitespace();
            if let (Some(Ok(count)), Some(what)) =
                (words.next().map(str::parse::<u64>), words.next())
            {
                match what {
                    "passed" => counts[0] += count,
                    "failed" => counts[1] += count,
                    _ => {}
                }
            }
        }
    }
    if binaries == 0 || counts == [0, 0] {
        return Vec::new();
    }
    vec![format!("{} passed, {} failed", counts[0], counts[1])]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_summary_of_nextest_is_kept_with_its_failures() {
        let text = "PASS [   0.1s] a b\n------------\n     Summary [   1.2s] 2 tests run: 1 passed, 1 failed, 0 skipped\n        FAIL [   0.1s] a c\n";
        let found = summary(&lines(text));
        assert_eq!(found.len(), 2);
        assert!(found[0].contains("1 passed, 1 failed"));
    }

    #[test]
    fn the_binaries_of_cargo_test_add_up() {
        let text = "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 1 filtered out; finished in 0.01s\n\
                    test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        assert_eq!(summary(&lines(text)), ["5 passed, 1 failed"]);
    }

    #[test]
    fn no_test_gives_no_summary() {
        let text = "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out; finished in 0.00s";
        assert!(summary(&lines(text)).is_empty());
        assert!(summary(&[]).is_empty());
    }

    #[test]
    fn ordinary_runs_leave_real_data_out() {
        for call in [nextest, cargo_test] {
            let text = call(&Selection::Ordinary(vec!["lenet".to_owned()])).to_string();
            assert!(text.contains("real_") && text.contains("lenet"), "{text}");
            assert!(!text.contains("KILN_REAL_DATA"), "{text}");
        }
    }

    #[test]
    fn real_runs_hand_the_folder_over() {
        for call in [nextest, cargo_test] {
            let text = call(&Selection::Real("data".to_owned())).to_string();
            assert!(text.starts_with("KILN_REAL_DATA=data cargo "), "{text}");
        }
    }
}
