//! A process that stays: one line to it, one line back.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use anyhow::{Context, Result, bail};

use crate::command::Call;

/// An engine under measurement, alone in its process.
pub(super) struct Peer {
    /// As the table names it.
    pub(super) name: &'static str,
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    pub(super) fn start(name: &'static str, call: &Call) -> Result<Peer> {
        let mut command = call.command();
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start `{call}`"))?;
        let questions = child.stdin.take().context("the peer has no standard input")?;
        let answers = child.stdout.take().context("the peer has no standard output")?;
        Ok(Peer { name, child, questions, answers: BufReader::new(answers) })
    }

    /// The answer to one line.
    pub(super) fn ask(&mut self, question: &str) -> Result<String> {
        let mut answer = String::new();
        let asked = writeln!(self.questions, "{question}").and_then(|()| self.questions.flush());
        if asked.is_ok() {
            self.answers.read_line(&mut answer).context("cannot read a peer's answer")?;
        }
        if answer.is_empty() {
            bail!("{} ended at `{question}`", self.name);
        }
        Ok(answer.trim().to_owned())
    }

    /// Numbers in answer to one line.
    pub(super) fn numbers(&mut self, question: &str) -> Result<Vec<f64>> {
        let answer = self.ask(question)?;
        let numbers: Result<Vec<f64>, _> = answer.split_whitespace().map(str::parse).collect();
        numbers.with_context(|| format!("{} answered `{answer}` to `{question}`", self.name))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It would end by itself at the end of its input; one that hangs must not outlive us.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_line_gets_a_line_and_an_end_is_told() {
        let mut echo = Peer::start("echo", &Call::new("cat", [""; 0])).unwrap();
        assert_eq!(echo.ask("one").unwrap(), "one");
        assert_eq!(echo.numbers("1.5 -2e3").unwrap(), [1.5, -2000.0]);
        assert!(echo.numbers("one").is_err());

        let mut gone = Peer::start("gone", &Call::new("true", [""; 0])).unwrap();
        let error = gone.ask("time").unwrap_err();
        assert_eq!(error.to_string(), "gone ended at `time`");
    }
}
