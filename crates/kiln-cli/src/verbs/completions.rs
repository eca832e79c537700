//! `kiln completions`: scripts that let a shell complete kiln's verbs and options.

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use serde_json::json;

use crate::cli::Cli;
use crate::errors::Verb;
use crate::output::Output;

const EXAMPLES: &str = "\x1b[1;32mExamples:\x1b[0m
  kiln completions bash > ~/.local/share/bash-completion/completions/kiln
  kiln completions zsh > ~/.zfunc/_kiln
  kiln completions fish > ~/.config/fish/completions/kiln.fish

JSON: {shell, script}";

/// Print a completion script for a shell
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Completions {
    /// The shell to write for
    shell: Shell,
}

impl Completions {
    /// Prints the script.
    pub fn run(self, output: Output) -> Verb {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "kiln", &mut script);
        let object = json!({
            "shell": self.shell.to_string(),
            "script": String::from_utf8_lossy(&script),
        });

        output.result(&object, |to| to.write_all(&script))
    }
}
