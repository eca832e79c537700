//! From an error, or a panic, to what the user reads: one `error:` line, one `hint:` line, an exit
//! status of 2 for wrong use and 1 for a failure. With `--json`, one object `{error, hint}`. Tensors that don't fit are
//! listed between the two lines, and as `details`.

use std::any::Any;
use std::backtrace::Backtrace;
use std::env;
use std::fmt::Display;
use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;

use anstyle::{AnsiColor, Style};
use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use kiln::models::did_you_mean;
use serde_json::json;

use crate::cli::Cli;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();

/// Why a verb ended early.
#[derive(Debug)]
pub struct Failure {
    message: String,
    /// What the message counts, a line each.
    details: Vec<String>,
    hint: Option<String>,
    status: u8,
}

/// What a verb returns: the exit status of a success that isn't quite one, or 0.
pub type Verb = Result<u8, Failure>;

impl Failure {
    /// The command asks for something that doesn't exist or can't be: exit status 2.
    pub fn usage(message: impl Display) -> Self {
        Failure { message: message.to_string(), details: Vec::new(), hint: None, status: 2 }
    }

    /// Something went wrong on the way: exit status 1.
    pub fn failed(message: impl Display) -> Self {
        Failure { message: message.to_string(), details: Vec::new(), hint: None, status: 1 }
    }

    /// A file or folder that the system refuses.
    pub fn file(path: &Path, error: &io::Error) -> Self {
        let (what, hint) = refusal(error);
        let failure = Failure::failed(format!("{}: {what}", path.display()));
        failure.hint(hint)
    }

    /// What happened, without what to do.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do, where that is known.
    pub fn remedy(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// What to do about it.
    pub fn hint(mut self, hint: impl Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// Keeps what the libraries say. Where they name the remedy after a semicolon it becomes the
    /// hint; a nearest name stays on the error's own line.
    fn from_library(error: &dyn Display, wrong_use: bool) -> Self {
        let text = one_line(&error.to_string());
        let status = if wrong_use { 2 } else { 1 };
        match text.split_once("; ") {
            Some((message, hint)) if !text.contains("did you mean") => {
                let (message, hint) = (message.into(), Some(hint.into()));
                Failure { message, details: Vec::new(), hint, status }
            }
            _ => Failure { message: text, details: Vec::new(), hint: None, status },
        }
    }

    fn report(&self, json: bool) -> ExitCode {
        // Nobody is left to tell where both streams are closed.
        let _ = if json {
            let mut object = json!({ "error": self.message, "hint": self.hint });
            if !self.details.is_empty() {
                object["details"] = self.details.clone().into();
            }
            writeln!(io::stdout(), "{object}")
        } else {
            let mut to = anstream::stderr();
            writeln!(to, "{ERROR}error:{ERROR:#} {}", self.message)
                .and_then(|()| self.details.iter().try_for_each(|line| writeln!(to, "  {line}")))
                .and_then(|()| {
                    self.hint.iter().try_for_each(|hint| writeln!(to, "{HINT}hint:{HINT:#} {hint}"))
                })
        };
        ExitCode::from(self.status)
    }
}

impl From<kiln::train::Error> for Failure {
    fn from(error: kiln::train::Error) -> Self {
        use kiln::train::Error::{Data, Io, Model, Out, Picture};
        match &error {
            Io { path, source }
            | Model(kiln::models::Error::File { file: path, source })
            | Data(kiln::data::Error::Io { path, source, .. })
            | Picture(kiln::viz::Error::Write { path, source }) => Failure::file(path, source),
            Data(kiln::data::Error::Decode { .. }) => Failure::failed(one_line(&error.to_string()))
                .hint(
                    "`kiln data check` lists every such file; --set loader.on_error=skip trains \
                     without them",
                ),
            Out { path, source } => {
                let (path, (reason, _)) = (path.display(), refusal(source));
                Failure::failed(format!("the run folder {path} can't be made: {reason}"))
                    .hint("name another one with --out")
            }
            Data(kiln::data::Error::Download { .. }) => Failure::failed(one_line(
                &error.to_string(),
            ))
            .hint("check the address and the connection, and try again; HTTPS_PROXY names a proxy"),
            // These are lists: what follows a semicolon is the next item, not a remedy.
            Model(kiln::models::Error::Mismatch { file, report }) => {
                let hint = if report.loaded.len() <= report.missing.len() {
                    "these look like the weights of another network; name its model"
                } else if report.missing.is_empty() && report.unexpected.is_empty() {
                    "if the file has other classes: --set num_classes=N uses its head, and `kiln train` with \
                     --weights starts a new one"
                } else {
                    "`kiln summary` shows the network; --set changes its options, such as se, aux or num_classes"
                };
                let counts = report.counts();
                let message =
                    format!("{}: the weights don't fit the network: {counts}", file.display());
                Failure { details: report.lines(), ..Failure::failed(message).hint(hint) }
            }
            _ => Failure::from_library(&error, error.is_wrong_use()),
        }
    }
}

impl From<kiln::models::Error> for Failure {
    fn from(error: kiln::models::Error) -> Self {
        kiln::train::Error::from(error).into()
    }
}

impl From<kiln::data::Error> for Failure {
    fn from(error: kiln::data::Error) -> Self {
        kiln::train::Error::from(error).into()
    }
}

impl From<kiln::viz::Error> for Failure {
    fn from(error: kiln::viz::Error) -> Self {
        kiln::train::Error::from(error).into()
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::failed(format!("output: {error}"))
    }
}

impl From<clap::Error> for Failure {
    fn from(error: clap::Error) -> Self {
        let get = |kind| error.get(kind).map(words).unwrap_or_default();
        let nearest = |kind| {
            let near = get(kind);
            did_you_mean((!near.is_empty()).then_some(near.as_str()))
        };
        let message = match error.kind() {
            ErrorKind::UnknownArgument => format!(
                "unknown option `{}`{}",
                get(ContextKind::InvalidArg),
                nearest(ContextKind::SuggestedArg)
            ),
            ErrorKind::InvalidSubcommand => format!(
                "unknown verb `{}`{}",
                get(ContextKind::InvalidSubcommand),
                nearest(ContextKind::SuggestedSubcommand)
            ),
            ErrorKind::InvalidValue if !get(ContextKind::ValidValue).is_empty() => format!(
                "`{}` is no value of {}{}",
                get(ContextKind::InvalidValue),
                get(ContextKind::InvalidArg),
                nearest(ContextKind::SuggestedValue)
            ),
            ErrorKind::MissingSubcommand => format!("`{}` needs a verb", command()),
            ErrorKind::ValueValidation => format!(
                "`{}` is no value of {}",
                shortened(&get(ContextKind::InvalidValue)),
                get(ContextKind::InvalidArg)
            ),
            ErrorKind::MissingRequiredArgument => {
                format!("{} is missing", get(ContextKind::InvalidArg))
            }
            _ => {
                let text = error.render().to_string();
                let paragraph = text.split("\n\n").next().unwrap_or_default();
                one_line(paragraph.trim_start_matches("error: "))
            }
        };
        let failure = Failure::usage(message);
        if error.kind() == ErrorKind::ValueValidation
            && let Some(reason) = std::error::Error::source(&error)
        {
            let reason = reason.to_string();
            return failure.hint(match reason.strip_prefix("expected ") {
                Some(expected) => format!("it takes {expected}"),
                None => reason,
            });
        }
        if error.kind() == ErrorKind::MissingSubcommand {
            let verbs = get(ContextKind::ValidSubcommand);
            return failure.hint(format!("name one of {verbs}; `{} --help` tells more", command()));
        }
        match get(ContextKind::ValidValue).as_str() {
            "" => failure.hint(format!("`{} --help` shows what there is", command())),
            values => failure.hint(format!("it takes {values}")),
        }
    }
}

/// `kiln` and the verbs among the arguments, as far as they are verbs.
fn command() -> String {
    let mut path = String::from("kiln");
    let mut command = Cli::command();
    for word in env::args().skip(1) {
        if let Some(verb) = command.find_subcommand(&word).cloned() {
            path.push(' ');
            path.push_str(&word);
            command = verb;
        }
    }
    path
}

/// What the system refused, in words, and what to do about it; nothing where nobody knows.
fn refusal(error: &io::Error) -> (String, &'static str) {
    use io::ErrorKind as Kind;
    let (what, hint) = match error.kind() {
        Kind::NotFound => (
            "no such file or folder",
            "check the path; a relative one starts where kiln was called",
        ),
        Kind::IsADirectory => ("it is a folder, and a file is wanted", "name a file in it"),
        Kind::NotADirectory => ("a part of this path is a file", "name a folder there"),
        Kind::AlreadyExists => ("it is there already", "name another one"),
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem => (
            "it may not be read or written",
            "change its permissions or its folder's, or name another place",
        ),
        Kind::StorageFull | Kind::QuotaExceeded => {
            ("the disk is full", "make room, or name another place")
        }
        _ => {
            let text = one_line(&error.to_string());
            let text = text.strip_prefix("I/O error: ").unwrap_or(&text);
            let text = text.split_once(" (os error").map_or(text, |(reason, _)| reason);
            return (text.to_owned(), "check the path, its permissions and the room on the disk");
        }
    };
    (what.to_owned(), hint)
}

/// A value of clap's error context as words.
fn words(value: &ContextValue) -> String {
    match value {
        ContextValue::String(word) => word.clone(),
        ContextValue::Strings(words) => words.join(", "),
        other => anstream::adapter::strip_str(&other.to_string()).to_string(),
    }
}

/// A value as it was given, or its beginning: an error line is there to be read.
fn shortened(value: &str) -> String {
    const MOST: usize = 40;
    match value.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}

/// `text` with its line breaks, and the blanks around them, made single blanks.
fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Where and why the last panic happened.
static PANIC: Mutex<Option<String>> = Mutex::new(None);

/// Runs the program; no panic gets past it, and none prints more than a user can use.
pub fn guard(program: impl FnOnce() -> Verb) -> ExitCode {
    let json = wants_json();
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(|place| format!(" ({place})")).unwrap_or_default();
        let text = format!("{}{place}", one_line(payload(info.payload())));
        if env::var_os("RUST_BACKTRACE").is_some_and(|wish| wish != "0") {
            let trace = Backtrace::force_capture();
            let _ = writeln!(io::stderr(), "panic: {text}\n{trace}");
        }
        if let Ok(mut last) = PANIC.lock() {
            *last = Some(text);
        }
    }));

    match panic::catch_unwind(AssertUnwindSafe(program)) {
        Ok(Ok(status)) => ExitCode::from(status),
        Ok(Err(failure)) => failure.report(json),
        Err(panic) => {
            let last = PANIC.lock().ok().and_then(|mut last| last.take());
            let text = last.unwrap_or_else(|| one_line(payload(&*panic)));
            Failure::failed(format!("kiln met a mistake of its own: {text}"))
                .hint(concat!(
                    "please report it with the command you ran at ",
                    env!("CARGO_PKG_REPOSITORY"),
                    "/issues; RUST_BACKTRACE=1 shows where it happened"
                ))
                .report(json)
        }
    }
}

fn payload(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Whether `--json` is among the arguments, known even where they don't parse.
pub fn wants_json() -> bool {
    env::args_os().skip(1).take_while(|argument| argument != "--").any(|word| word == "--json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_after_a_semicolon_becomes_the_hint() {
        let failure = Failure::from_library(&"x holds no run; name another folder", true);
        assert_eq!(failure.message, "x holds no run");
        assert_eq!(failure.hint.as_deref(), Some("name another folder"));
        assert_eq!(failure.status, 2);
    }

    #[test]
    fn a_nearest_name_stays_on_the_error_line() {
        let failure = Failure::from_library(&"unknown model `a`; did you mean `b`?", true);
        assert_eq!(failure.message, "unknown model `a`; did you mean `b`?");
        assert_eq!(failure.hint, None);
    }

    #[test]
    fn line_breaks_never_reach_the_error_line() {
        assert_eq!(one_line("a\n  b\n\n c"), "a b c");
    }

    #[test]
    fn no_panic_gets_past_the_guard() {
        let hook = panic::take_hook();
        let status = guard(|| panic!("on purpose"));
        panic::set_hook(hook);
        assert_eq!(format!("{status:?}"), format!("{:?}", ExitCode::from(1)));
    }
}
