//! How kiln is checked, measured and kept tidy: `cargo xtask VERB`.
//!
//! One verb per file. Nothing here depends on burn, so that the checks which need no build start at once.

mod backends;
mod bench;
mod ci;
mod command;
mod golden;
mod index;
mod parity;
mod real;
mod runner;
mod safetensors;
mod sanitize;
mod stamp;
mod test;
mod tidy;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "\
usage: cargo xtask VERB [ARGUMENTS]

  ci [STEP…] [--list]            everything that must hold, cheapest first; or only the named steps
  test [FILTER…]                 the tests whose name contains FILTER; all of them without one
  tidy                           the house rules: layers, lengths, cards, recipes, one burn
  real [DATA]                    the tests named real_*, on the data sets in DATA or $KILN_REAL_DATA
  golden NAME… | --all           golden files from PyTorch; --venv DIR, $KILN_TORCH_VENV or .venv
  index [--check]                the model table of README.md, from `kiln models --json`
  backends [BACKEND…]            one training step on flex, ndarray and wgpu, compared; docs/backends.md
  parity [MODEL…]                full-size scores and converted files against PyTorch; docs/parity.md
  bench start | load | dense | data | infer   what is measured against Python and others; docs/performance.md
  sanitize                       the kernels' tests under AddressSanitizer (Linux)

Every command runs from any folder of the workspace.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if sanitize::is_wrapper() {
        return sanitize::compile(&arguments);
    }
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<()> {
    let Some((verb, rest)) = arguments.split_first() else {
        eprintln!("{USAGE}");
        bail!("no verb given");
    };
    match verb.as_str() {
        "ci" => ci::run(rest),
        "test" => test::run(rest),
        "tidy" => tidy::run(rest),
        "real" => real::run(rest),
        "golden" => golden::run(rest),
        "index" => index::run(rest),
        "backends" => backends::run(rest),
        "parity" => parity::run(rest),
        "bench" => bench::run(rest),
        "sanitize" => sanitize::run(rest),
        "help" | "-h" | "--help" => {
            println!("{USAGE}");
            Ok(())
        }
        other => {
            eprintln!("{USAGE}");
            bail!("no verb `{other}`");
        }
    }
}
