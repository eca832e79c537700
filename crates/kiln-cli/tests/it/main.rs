//! The binary from outside: what it prints, what it writes, how it ends.

mod bench;
mod compare;
mod convert;
mod data;
mod detect;
mod errors;
mod folders;
mod forward;
mod listing;
mod photos;
mod predict;
mod pretrained;
mod refusals;
mod resume;
mod seeds;
mod segment;
mod train;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant, UNIX_EPOCH};

use serde_json::Value;
use tempfile::TempDir;

/// `kiln` with these arguments, in a folder of its own that is gone afterwards.
fn kiln<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    static AWAY: OnceLock<TempDir> = OnceLock::new();
    let away = AWAY.get_or_init(|| tempfile::tempdir().unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
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

/// What `make` puts into an empty folder, made once for all tests, which may be one process each.
fn shared(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let binary = Path::new(env!("CARGO_BIN_EXE_kiln"));
    let built = fs::metadata(binary).and_then(|it| it.modified()).unwrap();
    let key = built.duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let shelf = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kiln-cli-{key}"));
    let ready = shelf.join(name);
    let part = shelf.join(format!("{name}.part"));
    if fs::create_dir(&shelf).is_ok() {
        // What earlier builds left.
        let shelves = fs::read_dir(env!("CARGO_TARGET_TMPDIR")).unwrap().flatten();
        for old in shelves.filter(|it| it.path() != shelf) {
            if old.file_name().to_string_lossy().starts_with("kiln-cli-") {
                let _ = fs::remove_dir_all(old.path());
            }
        }
    }

    if !ready.exists() && fs::create_dir(&part).is_ok() {
        make(&part);
        fs::rename(&part, &ready).unwrap();
    }
    let start = Instant::now();
    while !ready.exists() {
        let waited = start.elapsed();
        assert!(waited < Duration::from_secs(120), "remove {}: its maker died", part.display());
        sleep(Duration::from_millis(50));
    }
    ready
}

/// A short run on kiln's digits, for tests that only read it.
fn short_run() -> PathBuf {
    shared("run", |folder| {
        let few = ["--epochs", "1", "--set", "validation=0.5"];
        json(0, ["train", "lenet5", "--out", text(folder)].into_iter().chain(few));
    })
}

/// The sample's digits as `test/CLASS/NUMBER.png`.
fn digits() -> PathBuf {
    shared("digits", |folder| {
        json(0, ["data", "convert", "mnist", "--split", "test", "--out", text(folder)]);
    })
}

/// A data set in MNIST's files that trains in a blink: ten classes, a bar at ten heights.
fn bars() -> PathBuf {
    shared("bars", |folder| {
        for (split, count) in [("train", 640u32), ("t10k", 100)] {
            let mut images = [0x803, count, 28, 28].map(u32::to_be_bytes).concat();
            let mut labels = [0x801, count].map(u32::to_be_bytes).concat();
            for number in 0..count {
                let (class, left) = (number % 10, number / 10 % 9);
                labels.push(class as u8);
                images.extend((0..784).map(|at| {
                    let (row, column) = (at / 28, at % 28);
                    let inside = row * 10 / 28 == class && column >= left;
                    if inside { 255 } else { (number * 7 % 50) as u8 }
                }));
            }
            fs::write(folder.join(format!("{split}-images-idx3-ubyte")), images).unwrap();
            fs::write(folder.join(format!("{split}-labels-idx1-ubyte")), labels).unwrap();
        }
    })
}
