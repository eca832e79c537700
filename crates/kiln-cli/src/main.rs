//! `kiln`: train, evaluate and run convolutional networks from the command line.

mod cli;
mod device;
mod errors;
mod interrupt;
mod memory;
mod numbers;
mod output;
mod progress;
mod table;
mod target;
mod verbs;

use std::process::ExitCode;

fn main() -> ExitCode {
    errors::guard(cli::run)
}
