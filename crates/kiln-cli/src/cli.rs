//! The command line: verbs, what they have in common, and the way from one to the other.

use std::env;
use std::ffi::OsString;

use anstream::ColorChoice;
use anstyle::AnsiColor;
use clap::builder::Styles;
use clap::error::ErrorKind;
use clap::{Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use serde_json::json;

use crate::errors::{Failure, Verb, wants_json};
use crate::numbers::parse_within;
use crate::output::Output;
use crate::verbs;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// More threads than any machine has cores; starting many more takes longer than the work.
const MOST_THREADS: u64 = 1024;
/// rayon's own way to say how many.
const THREADS_VARIABLE: &str = "RAYON_NUM_THREADS";

const EXAMPLES: &str = "\x1b[1;32mExamples:\x1b[0m
  kiln train lenet5                        Train on the digits that kiln carries
  kiln predict runs/lenet5-mnist 7.png     What does it see?
  kiln summary lenet5                      Layers, parameters, cost
  kiln train --help                        Everything about one verb

Exit status: 0 success, 1 failure, 2 wrong use, 130 stopped by Ctrl-C.
With --json a verb prints one JSON object on standard output and nothing else there;
rates and metrics are fractions from 0 to 1.";

/// Train, evaluate and run convolutional networks.
#[derive(Debug, Parser)]
#[command(
    name = "kiln",
    version,
    styles = STYLES,
    after_help = EXAMPLES,
    max_term_width = 100,
    subcommand_value_name = "VERB",
    subcommand_help_heading = "Verbs"
)]
pub struct Cli {
    #[command(subcommand)]
    verb: Subcommands,
    #[command(flatten)]
    shared: Shared,
}

/// Options of every verb.
#[derive(Args, Debug)]
struct Shared {
    /// Print one JSON object on standard output and nothing else there
    #[arg(long, global = true, help_heading = "Global options")]
    json: bool,
    /// Show no progress
    #[arg(long, short, global = true, help_heading = "Global options")]
    quiet: bool,
    /// Colour the output
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true,
        help_heading = "Global options",
        help = "Colour the output: auto (on a terminal, unless NO_COLOR is set), always, never"
    )]
    color: Color,
    /// Threads for tensor operations, 1 to 1024 [default: one per core]
    #[arg(
        long,
        global = true,
        value_name = "N",
        value_parser = parse_threads,
        help_heading = "Global options"
    )]
    threads: Option<usize>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    Train(verbs::train::Train),
    Eval(verbs::eval::Eval),
    Compare(verbs::compare::Compare),
    Predict(verbs::predict::Predict),
    Forward(verbs::forward::Forward),
    Convert(verbs::convert::Convert),
    Summary(verbs::summary::Summary),
    Models(verbs::models::Models),
    Data(verbs::data::Data),
    Devices(verbs::devices::Devices),
    Bench(verbs::bench::Bench),
    Completions(verbs::completions::Completions),
}

/// Parses the arguments and runs the verb.
pub fn run() -> Verb {
    let json = wants_json();
    let mut arguments: Vec<OsString> = env::args_os().collect();
    if json
        && arguments
            .iter()
            .skip(1)
            .find(|word| *word != "--json")
            .is_some_and(|word| word == "help")
    {
        // clap takes every word after `help` for a verb.
        arguments.retain(|word| word != "--json");
    }
    let parsed = with_negative_numbers(Cli::command())
        .try_get_matches_from(arguments)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return explain(error, json),
    };
    match cli.shared.color {
        Color::Auto => {}
        Color::Always => ColorChoice::Always.write_global(),
        Color::Never => ColorChoice::Never.write_global(),
    }
    if let Some(threads) = cli.shared.threads {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global()
            .map_err(|error| Failure::failed(format!("--threads {threads}: {error}")))?;
    } else if let Some(wish) =
        env::var(THREADS_VARIABLE).ok().and_then(|text| text.parse::<u64>().ok())
    {
        // rayon would start them all. 0, and what is no number, mean one per core to it.
        if wish > MOST_THREADS {
            return Err(Failure::usage(format!("{THREADS_VARIABLE} asks for {wish} threads"))
                .hint(format!("let it name 0 to {MOST_THREADS}, or leave it unset")));
        }
    }

    let output = Output { json: cli.shared.json, quiet: cli.shared.quiet };
    match cli.verb {
        Subcommands::Train(verb) => verb.run(output),
        Subcommands::Eval(verb) => verb.run(output),
        Subcommands::Compare(verb) => verb.run(output),
        Subcommands::Predict(verb) => verb.run(output),
        Subcommands::Forward(verb) => verb.run(output),
        Subcommands::Convert(verb) => verb.run(output),
        Subcommands::Summary(verb) => verb.run(output),
        Subcommands::Models(verb) => verb.run(output),
        Subcommands::Data(verb) => verb.run(output),
        Subcommands::Devices(verb) => verb.run(output),
        Subcommands::Bench(verb) => verb.run(output),
        Subcommands::Completions(verb) => verb.run(output),
    }
}

fn parse_threads(text: &str) -> Result<usize, String> {
    parse_within(text, 1..=MOST_THREADS).map(|threads| threads as usize)
}

/// `--epochs -1` is a number out of range, and no unknown option `-1`.
fn with_negative_numbers(command: Command) -> Command {
    command
        .mut_args(|argument| {
            let takes_one = !argument.is_positional() && argument.get_action().takes_values();
            argument.allow_negative_numbers(takes_one)
        })
        .mut_subcommands(with_negative_numbers)
}

/// Help and version are what was asked for; everything else is wrong use.
fn explain(error: clap::Error, json: bool) -> Verb {
    match error.kind() {
        kind @ (ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) if json => {
            let text = error.render().to_string();
            let object = match kind {
                ErrorKind::DisplayVersion => json!({ "version": env!("CARGO_PKG_VERSION") }),
                _ => json!({ "help": text }),
            };
            Output { json, quiet: true }.result(&object, |_| Ok(()))
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand if json => {
            Err(Failure::usage("a verb is missing").hint("`kiln --help` shows what there is"))
        }
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A closed pipe (`kiln --help | head -1`) is no failure.
            let _ = error.print();
            Ok(0)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            Ok(2)
        }
        _ => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        with_negative_numbers(Cli::command()).debug_assert();
    }

    #[test]
    fn every_verb_explains_itself_and_shows_an_example() {
        for verb in Cli::command().get_subcommands() {
            assert!(verb.get_about().is_some(), "{}", verb.get_name());
            let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains(&format!("kiln {}", verb.get_name())), "{}", verb.get_name());
        }
    }
}
