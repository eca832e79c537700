//! Commands that show themselves as a person would type them, run from the workspace's root.

use std::fmt;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};

/// The workspace's root: the folder above xtask, as cargo names it when it starts us. The folder we were built in
/// would be another one where two checkouts share a target folder.
pub(crate) fn root() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let manifest = manifest.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    manifest.parent().map(Path::to_path_buf).unwrap_or(manifest)
}

/// One program call. `Display` writes it so that it can be pasted into a shell.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    program: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Call {
    pub(crate) fn new<S: AsRef<str>>(
        program: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> Call {
        let arguments =
            arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect();
        Call { program: program.to_owned(), arguments, environment: Vec::new() }
    }

    /// `cargo` with words split at blanks.
    pub(crate) fn cargo(words: &str) -> Call {
        Call::new("cargo", words.split_whitespace())
    }

    pub(crate) fn argument(mut self, argument: impl Into<String>) -> Call {
        self.arguments.push(argument.into());
        self
    }

    pub(crate) fn environment(mut self, key: &str, value: impl Into<String>) -> Call {
        self.environment.push((key.to_owned(), value.into()));
        self
    }

    /// The call, ready for streams of one's own.
    pub(crate) fn command(&self) -> Command {
        // The cargo that started us is the one of the toolchain file; a plain `cargo` finds the same.
        let program = match self.program.as_str() {
            "cargo" => std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()),
            other => other.to_owned(),
        };
        let mut command = Command::new(program);
        command.args(&self.arguments).current_dir(root());
        for variable in INHERITED {
            command.env_remove(variable);
        }
        command.envs(self.environment.iter().map(|(key, value)| (key, value)));
        command
    }

    /// Runs it with our own output streams.
    pub(crate) fn run(&self) -> Result<()> {
        let status = self.command().status().with_context(|| format!("cannot start `{self}`"))?;
        if !status.success() {
            bail!("`{self}` failed ({status})");
        }
        Ok(())
    }

    /// Runs it and returns what it wrote to standard output.
    pub(crate) fn output(&self) -> Result<String> {
        let output = self
            .command()
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot start `{self}`"))?;
        if !output.status.success() {
            bail!("`{self}` failed ({})", output.status);
        }
        String::from_utf8(output.stdout).with_context(|| format!("`{self}` wrote no UTF-8"))
    }

    /// True when it can be started and exits with 0; says nothing.
    pub(crate) fn succeeds(&self) -> bool {
        let status = self.command().stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    }

    /// Runs it, passes both streams on line by line, and returns all lines without colour codes, whether it failed
    /// or not.
    pub(crate) fn watch(&self) -> Result<(bool, Vec<String>)> {
        let mut command = self.command();
        if std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
            command.env("CARGO_TERM_COLOR", "always");
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start `{self}`"))?;
        let errors =
            child.stderr.take().map(|stream| thread::spawn(move || tee(stream, std::io::stderr())));
        let mut lines = match child.stdout.take() {
            Some(stream) => tee(stream, std::io::stdout()),
            None => Vec::new(),
        };
        if let Some(errors) = errors {
            lines.extend(errors.join().unwrap_or_default());
        }
        let status = child.wait().with_context(|| format!("cannot wait for `{self}`"))?;
        Ok((status.success(), lines))
    }
}

/// What `cargo run` sets for us and a nested cargo must not see: with it, build scripts of other packages would look
/// changed and be run again.
const INHERITED: &[&str] = &[
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_PATH",
    "CARGO_PKG_AUTHORS",
    "CARGO_PKG_DESCRIPTION",
    "CARGO_PKG_HOMEPAGE",
    "CARGO_PKG_LICENSE",
    "CARGO_PKG_LICENSE_FILE",
    "CARGO_PKG_NAME",
    "CARGO_PKG_README",
    "CARGO_PKG_REPOSITORY",
    "CARGO_PKG_RUST_VERSION",
    "CARGO_PKG_VERSION",
    "CARGO_PKG_VERSION_MAJOR",
    "CARGO_PKG_VERSION_MINOR",
    "CARGO_PKG_VERSION_PATCH",
    "CARGO_PKG_VERSION_PRE",
];

fn tee(stream: impl std::io::Read, mut to: impl Write) -> Vec<String> {
    let mut lines = Vec::new();
    for line in BufReader::new(stream).split(b'\n') {
        let Ok(line) = line else { break };
        let line = String::from_utf8_lossy(&line).into_owned();
        // A closed pipe is no reason to stop reading: the child would block.
        let _ = writeln!(to, "{line}");
        lines.push(uncoloured(&line));
    }
    lines
}

/// `line` without ANSI colour sequences.
fn uncoloured(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            // A sequence ends with the first letter.
            for character in characters.by_ref() {
                if character.is_ascii_alphabetic() {
                    break;
                }
            }
        } else if character != '\r' {
            plain.push(character);
        }
    }
    plain
}

impl fmt::Display for Call {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, value) in &self.environment {
            write!(formatter, "{key}={} ", quoted(value))?;
        }
        formatter.write_str(&quoted(&self.program))?;
        for argument in &self.arguments {
            write!(formatter, " {}", quoted(argument))?;
        }
        Ok(())
    }
}

fn quoted(word: &str) -> String {
    let plain =
        |character: char| character.is_ascii_alphanumeric() || "-_./=,:@+".contains(character);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_reads_as_it_is_typed() {
        let call = Call::cargo("test --release").argument("not test(a b)").environment("A", "it's");
        assert_eq!(call.to_string(), r"A='it'\''s' cargo test --release 'not test(a b)'");
    }

    #[test]
    fn colour_codes_are_removed() {
        assert_eq!(
            uncoloured("\u{1b}[32;1m     Summary\u{1b}[0m [ 1.2s]\r"),
            "     Summary [ 1.2s]"
        );
    }

    #[test]
    fn a_failing_program_is_named() {
        let error = Call::cargo("no-such-verb-of-cargo --quiet").output().unwrap_err();
        assert!(
            error.to_string().starts_with("`cargo no-such-verb-of-cargo --quiet` failed"),
            "{error}"
        );
    }
}
