//! Standard output: text for people, or with `--json` one object and nothing else.

use std::io::{self, Write};
use std::path::Path;

use anstyle::{AnsiColor, Style};
use serde_json::Value;

use crate::errors::{Failure, Verb};

const NOTE: Style = AnsiColor::Yellow.on_default().bold();

/// How to speak.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// One JSON object on standard output and nothing else there.
    pub json: bool,
    /// No progress on standard error.
    pub quiet: bool,
}

impl Output {
    /// Prints the result of a verb: `object` with `--json`, else what `text` writes.
    pub fn result(
        self,
        object: &Value,
        text: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Verb {
        let mut to = anstream::stdout().lock();
        let written = if self.json { writeln!(to, "{object}") } else { text(&mut to) };
        finished(written.and_then(|()| to.flush()))
    }

    /// A line of a verb that is still at work: to standard output, or with `--json` to standard
    /// error.
    pub fn line(self, line: &str) {
        // A closed pipe must not end a training run.
        let _ = if self.json {
            writeln!(anstream::stderr(), "{line}")
        } else {
            writeln!(anstream::stdout(), "{line}")
        };
    }
}

/// A path as an argument of a command that can be copied into a shell.
pub fn argument(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |letter: char| letter.is_alphanumeric() || "/._-+=:,@%\\".contains(letter);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// A remark on standard error.
pub fn note(text: &str) {
    let _ = writeln!(anstream::stderr(), "{NOTE}note:{NOTE:#} {text}");
}

/// A reader that has seen enough (`kiln models | head -1`) is no failure.
fn finished(written: io::Result<()>) -> Verb {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::from(error)),
        _ => Ok(0),
    }
}
