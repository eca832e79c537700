//! `kiln train` and `kiln eval`: runs, seeds, stopping and going on.

use std::fs;
use std::path::Path;

use crate::{bars, json, keys, kiln, short_run, text};

const STABLE: [&str; 9] =
    ["checkpoint", "dataset", "metrics", "model", "run", "samples", "seconds", "source", "split"];

fn model_bytes(run: &Path) -> Vec<u8> {
    fs::read(run.join("checkpoints/last/model.safetensors")).unwrap()
}

#[test]
fn a_run_learns_and_leaves_everything_in_its_folder() {
    let run = &short_run();
    for file in ["recipe.toml", "results.csv", "report.html", "log.txt"] {
        assert!(run.join(file).is_file(), "{file}");
    }
    let object = json(0, ["eval", text(run)]);
    for key in STABLE {
        assert!(keys(&object).contains(&key), "{key}");
    }
    assert_eq!(keys(&object["metrics"]), ["loss", "top1", "top5"]);
    let top1 = object["metrics"]["top1"].as_f64().unwrap();
    assert!((0.8..=1.0).contains(&top1), "a fraction: {top1}");
    assert_eq!(object["run"], text(run));
    assert_eq!(object["split"], "test");

    let last = json(0, ["eval", text(&run.join("checkpoints/last")), "--split", "train"]);
    assert_eq!(last["split"], "train");
}

#[test]
fn a_run_is_measured_on_the_data_that_it_was_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let bars = bars();
    let train = ["train", "lenet5", "--epochs", "1", "--data", text(&bars), "--out", text(&out)];
    let trained = json(0, train);

    let measured = json(0, ["eval", text(&out)]);

    for key in ["samples", "source", "metrics"] {
        assert_eq!(measured[key], trained[key], "{key}");
    }
    assert_eq!(measured["source"], text(&bars));
}

#[test]
fn seeds_give_mean_and_spread() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("two");
    let bars = bars();
    let arguments = ["train", "lenet5", "--epochs", "1", "--seeds", "2", "--data", text(&bars)];
    let object = json(0, arguments.into_iter().chain(["--out", text(&out)]));
    for key in STABLE.into_iter().chain(["spread", "runs"]) {
        assert!(keys(&object).contains(&key), "{key}");
    }
    let runs = object["runs"].as_array().unwrap();
    let [a, b] = [0, 1].map(|at| runs[at]["metrics"]["top1"].as_f64().unwrap());
    assert!((object["metrics"]["top1"].as_f64().unwrap() - (a + b) / 2.0).abs() < 1e-12);
    let spread = (a - b).abs() / 2f64.sqrt();
    assert!((object["spread"]["top1"].as_f64().unwrap() - spread).abs() < 1e-12);
    assert_ne!(
        model_bytes(Path::new(runs[0]["run"].as_str().unwrap())),
        model_bytes(Path::new(runs[1]["run"].as_str().unwrap()))
    );
}

#[test]
fn a_run_that_cannot_begin_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let arguments = ["train", "lenet5", "--weights", "nowhere.pt", "--out", text(&out)];
    let refused = json(1, arguments);
    assert!(refused["error"].as_str().unwrap().contains("nowhere.pt"), "{refused}");
    assert!(!out.exists());
}

#[test]
fn a_dry_run_says_what_would_be_done_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let object = json(0, ["train", "lenet5", "--dry-run", "--out", text(&out)]);
    assert_eq!(object["parameters"], 61_750);
    assert!(object["steps_per_epoch"].as_u64().unwrap() > 0);
    assert_eq!((&object["run"], &object["seeds"]), (&text(&out).into(), &[1].into()));
    assert!(!out.exists());

    let seeds = ["train", "lenet5", "--dry-run", "--seed", "4", "--seeds", "3"];
    assert_eq!(json(0, seeds)["seeds"], serde_json::json!([4, 5, 6]));
}

#[test]
fn a_dry_run_refuses_the_folder_that_training_would() {
    let run = short_run();
    let object = json(2, ["train", "lenet5", "--dry-run", "--out", text(&run)]);
    assert!(object["error"].as_str().unwrap().contains("already holds a run"), "{object}");
}

#[test]
fn a_damaged_best_checkpoint_is_not_passed_over_for_the_last() {
    let folder = tempfile::tempdir().unwrap();
    for part in ["best", "last"] {
        let to = folder.path().join("checkpoints").join(part);
        fs::create_dir_all(&to).unwrap();
        for file in fs::read_dir(short_run().join("checkpoints").join(part)).unwrap().flatten() {
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
    fs::remove_file(folder.path().join("checkpoints/best/SHA256SUMS")).unwrap();
    let object = json(1, ["eval", text(folder.path())]);
    assert!(object["error"].as_str().unwrap().contains("SHA256SUMS is missing"), "{object}");
}

#[test]
fn plain_lines_when_piped() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let output = kiln(["train", "lenet5", "--epochs", "1", "--out", text(&out)])
        .args(["--data", text(&bars())])
        .output()
        .unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    assert!(shown.contains("61,750 parameters") && shown.contains("report.html"), "{shown}");
    assert!(!shown.contains('\x1b') && !shown.contains('\r'), "{shown}");
}

#[test]
fn a_recipe_file_and_a_finished_run_can_be_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
    json(0, ["train", "lenet5", "--epochs", "1", "--data", text(&bars()), "--out", text(&first)]);
    let recipe = first.join("recipe.toml");
    json(0, ["train", text(&recipe), "--out", text(&second)]);
    assert_eq!(model_bytes(&second), model_bytes(&first), "one recipe, one result");

    let object = json(0, ["train", "--resume", text(&second)]);
    assert_eq!(object["stopped"], "finished");
    assert_eq!(model_bytes(&second), model_bytes(&first));

    let refused = json(2, ["train", "--resume", text(&second), "--epochs", "7"]);
    assert!(refused["error"].as_str().unwrap().contains("epochs = 1"), "{refused}");
}

#[test]
fn a_run_killed_before_its_first_checkpoint_starts_again() {
    let folder = tempfile::tempdir().unwrap();
    let [whole, killed] = ["whole", "killed"].map(|name| folder.path().join(name));
    let bars = bars();
    let arguments =
        |flag, out| ["train", "lenet5", "--epochs", "1", "--data", text(&bars), flag, text(out)];
    json(0, arguments("--out", &whole));
    // Killed after its recipe, and before its recipe.
    fs::create_dir_all(killed.join("checkpoints")).unwrap();
    fs::copy(whole.join("recipe.toml"), killed.join("recipe.toml")).unwrap();
    json(0, arguments("--resume", &killed));
    assert_eq!(model_bytes(&killed), model_bytes(&whole));

    fs::remove_dir_all(&killed).unwrap();
    fs::create_dir_all(killed.join("checkpoints")).unwrap();
    let refused = json(2, ["train", "--resume", text(&killed)]);
    assert!(refused["error"].as_str().unwrap().contains("holds no run"), "{refused}");
    json(0, arguments("--resume", &killed));
    assert_eq!(model_bytes(&killed), model_bytes(&whole));
}

#[cfg(unix)]
#[test]
fn a_run_stopped_by_ctrl_c_and_resumed_ends_with_the_same_bytes() {
    use std::process::{Command, Stdio};
    use std::thread::sleep;
    use std::time::{Duration, Instant};

    let folder = tempfile::tempdir().unwrap();
    let [whole, parted] = ["whole", "parted"].map(|name| folder.path().join(name));
    let bars = bars();
    let arguments = ["train", "lenet5", "--epochs", "5", "--data", text(&bars)];
    json(0, arguments.into_iter().chain(["--out", text(&whole)]));

    let child = Command::new(env!("CARGO_BIN_EXE_kiln"))
        .args(arguments)
        .args(["--out", text(&parted), "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while !parted.join("checkpoints/last").exists() {
        assert!(start.elapsed() < Duration::from_secs(60), "no checkpoint in a minute");
        sleep(Duration::from_millis(5));
    }
    let stopped = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(stopped.success());
    let output = child.wait_with_output().unwrap();
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(130), "{object}");
    assert_eq!(object["stopped"], "interrupted");
    assert_ne!(model_bytes(&parted), model_bytes(&whole));

    let object = json(0, ["train", "lenet5", "--resume", text(&parted)]);
    assert_eq!(object["stopped"], "finished");
    assert_eq!(model_bytes(&parted), model_bytes(&whole));
    let best = |run: &Path| fs::read(run.join("checkpoints/best/model.safetensors")).unwrap();
    assert_eq!(best(&parted), best(&whole));
}
