//! The binary from outside: what it prints, what it writes, how it ends.

mod bench;
mod data;
mod errors;
mod forward;
mod listing;
mod predict;
mod train;

use std::path::Path;
use std::sync::OnceLock;

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

/// `kiln` with these arguments, in a folder of its own that is gone afterwards.
fn kiln<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    static AWAY: OnceLock<TempDir> = OnceLock::new();
    let away = AWAY.get_or_init(|| tempfile::tempdir().unwrap());
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("kiln"));
    command.current_dir(away.path()).env_remove("RUST_BACKTRACE").args(arguments);
    command
}

/// Runs `kiln … --json`, which must end with `status` and print one object and nothing else.
fn json<'a>(status: i32, arguments: impl IntoIterator<Item = &'a str>) -> Value {
    let output = kiln(arguments).arg("--json").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{text}{errors}");
    assert_eq!(text.lines().count(), 1, "one line: {text}");
    let value: Value = serde_json::from_str(&text).unwrap();
    assert!(value.is_object(), "{value}");
    value
}

/// The keys of an object, sorted.
fn keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A run of two short epochs, shared by the tests that only read it.
fn short_run() -> &'static Path {
    static RUN: OnceLock<TempDir> = OnceLock::new();
    let folder = RUN.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        json(0, ["train", "lenet5", "--epochs", "1", "--set", "validation=0.7", "--out", text(&out)]);
        folder
    });
    // Nothing leaks: the operating system clears its temporary folder, statics are never dropped.
    static PATH: OnceLock<std::path::PathBuf> = OnceLock::new();
    PATH.get_or_init(|| folder.path().join("run"))
}
