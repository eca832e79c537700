//! `kiln train --resume`: what can't be continued, and what is done already.

use std::fs;
use std::path::Path;

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
