//! `kiln train --resume`: what can't be continued, and what is done already.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{env, fs};

use crate::{json, kiln, short_run, text};

/// A copy of the short run in `to`.
fn copied(to: &Path) {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap().flatten() {
            let target = to.join(entry.file_name());
            if entry.path().is_dir() {
                copy(&entry.path(), &target);
            } else {
                fs::copy(entry.path(), target).unwrap();
            }
        }
    }
    copy(&short_run(), to);
}

fn refused(status: i32, arguments: &[&str]) -> (String, String) {
    let object = json(status, arguments.iter().copied());
    (object["error"].as_str().unwrap().to_owned(), object["hint"].as_str().unwrap().to_owned())
}

#[test]
fn a_run_that_cannot_go_on_names_a_command_that_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    type Harm = fn(&Path);
    let harms: [(&str, Harm, &str); 4] = [
        ("gone", |run| fs::remove_dir_all(run.join("checkpoints/last")).unwrap(), "it is gone"),
        (
            "damaged",
            |run| fs::write(run.join("checkpoints/last/model.safetensors"), "x").unwrap(),
            "is damaged",
        ),
        (
            "stateless",
            |run| fs::remove_file(run.join("checkpoints/last/optimizer.bpk")).unwrap(),
            "optimizer.bpk is missing",
        ),
        ("bestless", |run| fs::remove_dir_all(run.join("checkpoints/best")).unwrap(), "it is gone"),
    ];
    for (name, harm, expected) in harms {
        let run = folder.path().join(name);
        copied(&run);
        harm(&run);
        let results = fs::read(run.join("results.csv")).unwrap();
        let (error, hint) = refused(1, &["train", "--resume", text(&run)]);
        assert!(error.contains(expected) && !error.contains("os error"), "{name}: {error}");
        assert_eq!(fs::read(run.join("results.csv")).unwrap(), results, "{name}");

        let (_, command) = hint.split_once("kiln ").unwrap();
        assert!(command.contains("--weights"), "{name}: {command}");
        let out = folder.path().join(format!("{name}-anew"));
        let command = command.replace("DIR", text(&out));
        json(0, command.split(' '));
    }
}

#[test]
fn only_a_run_or_its_last_checkpoint_can_be_continued() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere");
    let (error, hint) = refused(2, &["train", "lenet5", "--resume", text(&nowhere)]);
    assert!(error.ends_with("nowhere is not there"), "{error}");
    assert!(hint.contains("without --resume"), "{hint}");
    assert!(!nowhere.exists());

    // A folder with something else in it is not taken for a run.
    fs::write(folder.path().join("letter.txt"), "").unwrap();
    let (error, _) = refused(2, &["train", "lenet5", "--resume", text(folder.path())]);
    assert!(error.contains("holds no run"), "{error}");

    // Nor are checkpoints overwritten that have lost their recipe.
    let stray = folder.path().join("stray");
    copied(&stray);
    fs::remove_file(stray.join("recipe.toml")).unwrap();
    for file in ["results.csv", "test.json", "report.html"] {
        fs::remove_file(stray.join(file)).unwrap();
    }
    let (error, _) = refused(2, &["train", "lenet5", "--resume", text(&stray)]);
    assert!(error.contains("holds no run"), "{error}");
    let (error, _) = refused(2, &["train", "lenet5", "--out", text(&stray)]);
    assert!(error.contains("already holds a run"), "{error}");

    let run = folder.path().join("run");
    copied(&run);
    let best = run.join("checkpoints/best");
    let (error, hint) = refused(2, &["train", "--resume", text(&best)]);
    assert!(error.contains("can't be continued"), "{error}");
    assert_eq!(hint, format!("name the run itself: --resume {}", text(&run)));
    let last = json(0, ["train", "--resume", text(&run.join("checkpoints/last"))]);
    assert_eq!(last["run"], text(&run));
}

#[test]
fn a_finished_run_says_that_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    copied(&run);
    let output = kiln(["train", "--resume", text(&run)]).output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains("finished already") && !shown.contains("epoch  "), "{shown}");
    assert!(shown.lines().all(|line| line.trim_end() == line), "{shown:?}");
}

/// Options of a run in which everything that a checkpoint restores plays a part.
const WHOLE: [&str; 13] = [
    "--epochs",
    "4",
    "--set",
    "fraction=0.3",
    "--set",
    "ema.decay=0.9",
    "--set",
    "optimizer.name=adamw",
    "--set",
    "optimizer.learning_rate=2e-3",
    "--set",
    "augment.shift=2",
    "--quiet",
];

/// `kiln` that begins the run in `out` or goes on with it.
fn begun_or_resumed(out: &Path) -> Command {
    if out.join("recipe.toml").exists() {
        return kiln(["train", "--resume", text(out), "--quiet"]);
    }
    let mut command = kiln(["train", "lenet5", "--out", text(out)]);
    command.args(WHOLE);
    command
}

/// The network and its average in the last checkpoint of a run.
fn last(run: &Path) -> [Vec<u8>; 2] {
    ["model.safetensors", "ema.safetensors"]
        .map(|file| fs::read(run.join("checkpoints/last").join(file)).unwrap())
}

/// `KILN_KILLS=100` makes it as thorough as one likes.
#[test]
fn a_run_killed_at_random_moments_ends_with_the_weights_of_an_undisturbed_one() {
    let kills = env::var("KILN_KILLS").map_or(4, |kills| kills.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let start = Instant::now();
    assert!(begun_or_resumed(&whole).output().unwrap().status.success());
    let took = start.elapsed();
    let expected = last(&whole);

    let mut moment = 1_u64;
    let mut killed = 0;
    for round in 0.. {
        let run = folder.path().join(round.to_string());
        loop {
            let mut child = begun_or_resumed(&run).stdout(Stdio::null()).spawn().unwrap();
            if killed < kills {
                // Knuth's generator, so that a failure can be repeated.
                moment = moment.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                sleep(took.mul_f64((moment >> 40) as f64 / f64::from(1 << 24)));
                child.kill().unwrap();
            }
            let status = child.wait().unwrap();
            if status.success() {
                break;
            }
            assert_eq!(status.code(), None, "it ended by itself, after {killed} kills");
            killed += 1;
        }
        assert!(last(&run) == expected, "weights differ after {killed} kills");
        if killed >= kills {
            break;
        }
    }
}

#[cfg(unix)]
#[test]
fn a_disk_that_takes_no_more_ends_a_run_and_leaves_its_last_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let [whole, run] = ["whole", "run"].map(|name| folder.path().join(name));
    assert!(begun_or_resumed(&whole).output().unwrap().status.success());
    let mut child = begun_or_resumed(&run).stdout(Stdio::null()).spawn().unwrap();
    while !run.join("results.csv").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it has four epochs");
        sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = last(&run);

    // No file may have more than 32 blocks; the network has more.
    let limited = "trap '' XFSZ; ulimit -f 32; exec \"$0\" train --resume \"$1\"";
    let binary = env!("CARGO_BIN_EXE_kiln");
    let output = Command::new("sh").args(["-c", limited, binary, text(&run)]).output().unwrap();

    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains(".new/") && errors.contains("File too large"), "{errors}");
    assert!(last(&run) == before, "the last checkpoint is intact");
    assert!(begun_or_resumed(&run).output().unwrap().status.success());
    assert!(last(&run) == last(&whole), "and the run goes on from it");
}
