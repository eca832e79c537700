//! `kiln train --seeds`: the folder of the runs, and how one goes on with it.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::{bars, json, kiln, text};

/// One epoch on the bars with two seeds, in `out`.
fn two(out: &Path) -> Value {
    let bars = bars();
    let train = ["train", "lenet5", "--epochs", "1", "--seeds", "2", "--data", text(&bars)];
    json(0, train.into_iter().chain(["--out", text(out)]))
}

#[test]
fn a_summary_stands_beside_the_runs() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("two");
    let object = two(&out);
    let summary = fs::read_to_string(out.join("summary.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&summary).unwrap(), object);
    let lines = fs::read_to_string(out.join("summary.csv")).unwrap();
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines[0], "seed,top1,top5,loss,seconds,stopped");
    assert_eq!(lines.len(), 3);
    assert!(lines[1].starts_with("1,") && lines[1].ends_with(",finished"), "{}", lines[1]);
}

#[test]
fn the_folder_of_the_runs_names_them_where_a_run_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("two");
    two(&out);
    for verb in [&["eval", text(&out)][..], &["predict", text(&out), "x.png"]] {
        let refused = json(1, verb.iter().copied());
        let hint = refused["hint"].as_str().unwrap();
        let first = out.join("seed-1");
        assert!(hint.contains(text(&first)) && hint.contains("seed-2"), "{hint}");
    }
    let refused = json(2, ["train", "--resume", text(&out)]);
    assert!(refused["error"].as_str().unwrap().ends_with("seed-1, seed-2"), "{refused}");
    assert!(refused["hint"].as_str().unwrap().contains("--seeds 2"), "{refused}");
    let refused = json(2, ["train", "--resume", text(&out.join("seed-1")), "--seeds", "2"]);
    assert!(refused["error"].as_str().unwrap().contains("a single run"), "{refused}");
}

#[test]
fn runs_go_on_without_their_recipe_being_named_and_more_seeds_may_follow() {
    let folder = tempfile::tempdir().unwrap();
    let [whole, parted] = ["whole", "parted"].map(|name| folder.path().join(name));
    two(&whole);
    two(&parted);
    fs::remove_dir_all(parted.join("seed-2")).unwrap();
    let object = json(0, ["train", "--resume", text(&parted), "--seeds", "2"]);
    assert_eq!(object["seeds"], serde_json::json!([1, 2]));
    let bytes = |out: &Path| fs::read(out.join("seed-2/checkpoints/last/model.safetensors"));
    assert_eq!(bytes(&parted).unwrap(), bytes(&whole).unwrap());
}

#[cfg(unix)]
#[test]
fn ctrl_c_prints_a_command_that_goes_on_with_the_seeds() {
    use std::process::{Command, Stdio};
    use std::thread::sleep;
    use std::time::{Duration, Instant};

    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("some seeds");
    let child = Command::new(env!("CARGO_BIN_EXE_kiln"))
        .args(["train", "lenet5", "--epochs", "4", "--seeds", "2", "--data", text(&bars())])
        .args(["--out", text(&out)])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while !out.join("seed-1/checkpoints/last").exists() {
        assert!(start.elapsed() < Duration::from_secs(60), "no checkpoint in a minute");
        sleep(Duration::from_millis(5));
    }
    assert!(
        Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success()
    );
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let shown = String::from_utf8(output.stderr).unwrap();
    let (_, command) = shown.split_once("go on with: kiln ").unwrap();
    let command = command.lines().next().unwrap();
    let (before, rest) = command.split_once('\'').unwrap();
    let (quoted, after) = rest.split_once('\'').unwrap();
    let words = before.split_whitespace().chain([quoted]).chain(after.split_whitespace());
    let output = kiln(words).arg("--json").output().unwrap();
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(object["seeds"], serde_json::json!([1, 2]), "{object}");
    assert_eq!(object["stopped"], "finished");
}
