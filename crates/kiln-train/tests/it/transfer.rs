//! Transfer learning: what is frozen, what thaws, and where a head starts anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::prelude::*;
use kiln_models::weights::{read_tensors, save};
use kiln_models::{Registry, options};
use kiln_train::{Checkpoint, Event, Group, Job, Observer, Silent, Stopped, plan, train};

use crate::{After, Mine, SmallConfig, alone, bytes, job};

fn backbone() -> Group {
    Group { matches: "backbone".into(), ..Group::default() }
}

/// A job with groups and, by default, so many epochs.
fn grouped(out: &Path, epochs: usize, groups: &[Group]) -> Job {
    let mut job = job(out);
    job.recipe.epochs = epochs;
    job.recipe.groups = groups.to_vec();
    job
}

/// A weight file for five classes.
fn five_classes(folder: &Path) -> PathBuf {
    let file = folder.join("five.safetensors");
    let device = Device::default();
    device.seed(5);
    let config = options::table(&SmallConfig::new().with_num_classes(5));
    save(&Mine.build("small", &config, &device).unwrap(), &file).unwrap();
    file
}

fn tensors(file: &Path) -> BTreeMap<String, TensorData> {
    read_tensors(file).unwrap()
}

fn last(run: &Path) -> BTreeMap<String, TensorData> {
    tensors(&run.join("checkpoints/last/model.safetensors"))
}

/// Keeps what was noted, and the stages.
#[derive(Default)]
struct Heard(Vec<String>);

impl Observer for Heard {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Note(note) => self.0.push(note.to_owned()),
            Event::Stage(stage) => self.0.push(stage.to_string()),
            _ => {}
        }
    }
}

#[test]
fn a_frozen_backbone_keeps_every_bit_while_a_new_head_learns() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let file = five_classes(folder.path());
    let mut job = grouped(&run, 2, &[Group { frozen: true, ..backbone() }]);
    job.recipe.weights = Some(file.display().to_string());

    let mut heard = Heard::default();
    train(&Mine, &job, &mut heard).unwrap();

    let (before, after) = (tensors(&file), last(&run));
    assert_eq!(after.len(), before.len());
    let (head, backbone): (Vec<_>, Vec<_>) =
        after.iter().partition(|(path, _)| path.starts_with("head"));
    for (path, values) in backbone {
        assert!(before[path] == *values, "{path} changed");
    }
    let bias = head.iter().find(|(path, _)| path.ends_with("bias")).unwrap().1;
    assert_eq!(bias.num_elements(), 10);
    assert!(bias.iter::<f32>().any(|x| x != 0.0), "the head learns");

    let said = heard.0.join("\n");
    assert!(said.contains("head.linear.bias ([5] in the file, [10] wanted)"), "{said}");
    assert!(said.contains("these parts of the head start anew"), "{said}");
    let stage = "epochs 1 to 2: 170 of 1,442 parameters learn; frozen: backbone";
    assert!(said.contains(stage), "{said}");
    for file in ["log.txt", "report.html"] {
        let text = fs::read_to_string(run.join(file)).unwrap();
        assert!(text.contains(stage), "{file}");
    }
    // No momentum is kept for what doesn't learn: two moments of the head's weight and bias.
    let state = Checkpoint::read(&run.join("checkpoints/last")).unwrap().optimizer.unwrap();
    assert!(state.len() < 2 * 1_442 * 4, "{} bytes", state.len());
}

#[test]
fn a_staged_run_interrupted_on_both_sides_of_the_thaw_ends_with_the_same_bytes() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let [whole, parts] = ["whole", "parts"].map(|name| folder.path().join(name));
    let groups = [Group { frozen_epochs: 1, rate_factor: 0.1, ..backbone() }];
    let mut heard = Heard::default();
    train(&Mine, &grouped(&whole, 3, &groups), &mut heard).unwrap();
    assert_eq!(
        heard.0[heard.0.len() - 2..],
        [
            "epoch 1: 170 of 1,442 parameters learn; frozen: backbone",
            "epochs 2 to 3: all 1,442 parameters learn",
        ]
    );

    let mut next = grouped(&parts, 3, &groups);
    let steps = plan(&Mine, &next).unwrap().steps_per_epoch;
    // In the frozen epoch, at its very end, and in the epoch after the thaw.
    for steps in [3, steps - 3, 4] {
        let outcome = train(&Mine, &next, &mut After(steps)).unwrap();
        assert_eq!(outcome.stopped, Stopped::Interrupted);
        next = Job::resume(&Mine, &parts, Device::default()).unwrap();
    }
    assert_eq!(train(&Mine, &next, &mut Silent).unwrap().stopped, Stopped::Finished);

    for name in ["last", "best"] {
        assert!(bytes(&whole, name) == bytes(&parts, name), "{name} differs");
    }
}

#[test]
fn after_the_thaw_the_backbone_and_its_statistics_learn() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let after = |epochs| {
        let run = folder.path().join(format!("{epochs}"));
        let groups = [Group { frozen_epochs: 1, ..backbone() }];
        train(&Mine, &grouped(&run, epochs, &groups), &mut Silent).unwrap();
        last(&run)
    };

    let (frozen, thawed) = (after(1), after(2));

    for (path, values) in &frozen {
        assert!(thawed[path] != *values, "{path} did not change");
    }
}

#[test]
fn frozen_norms_keep_every_bit_of_their_statistics_while_all_else_learns() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let [run, parts] = ["run", "parts"].map(|name| folder.path().join(name));
    let file = five_classes(folder.path());
    // The first epoch frozen, the second thawed.
    let groups = [Group { freeze_norms: true, frozen_epochs: 1, ..backbone() }];
    let job = |out: &Path| {
        let mut job = grouped(out, 2, &groups);
        job.recipe.weights = Some(file.display().to_string());
        job
    };
    let mut heard = Heard::default();
    train(&Mine, &job(&run), &mut heard).unwrap();
    let said = heard.0.join("\n");
    assert!(said.contains("all 1,442 parameters learn; norms keep their statistics: backbone"));

    let (before, after) = (tensors(&file), last(&run));
    for (path, values) in after.iter().filter(|(path, _)| !path.starts_with("head")) {
        // Scale and shift learn, as the convolutions do.
        assert_eq!(before[path] == *values, path.contains("running"), "{path}");
    }

    // Thawed and resumed, they are still fixed.
    let steps = plan(&Mine, &job(&run)).unwrap().steps_per_epoch;
    train(&Mine, &job(&parts), &mut After(steps + 3)).unwrap();
    let rest = Job::resume(&Mine, &parts, Device::default()).unwrap();
    assert_eq!(train(&Mine, &rest, &mut Silent).unwrap().stopped, Stopped::Finished);
    assert!(bytes(&run, "last") == bytes(&parts, "last"));
}

#[test]
fn a_rate_factor_of_zero_holds_the_weights_and_not_the_statistics() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let file = five_classes(folder.path());
    let mut job = grouped(&run, 1, &[Group { rate_factor: 0.0, ..backbone() }]);
    job.recipe.weights = Some(file.display().to_string());

    train(&Mine, &job, &mut Silent).unwrap();

    let (before, after) = (tensors(&file), last(&run));
    for (path, values) in after.iter().filter(|(path, _)| !path.starts_with("head")) {
        let statistic = path.contains("running");
        assert_eq!(before[path] != *values, statistic, "{path}");
    }
}

#[test]
fn weights_or_groups_that_do_not_fit_are_refused_before_a_folder_is_made() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let file = folder.path().join("other.safetensors");
    let mut other = tensors(&five_classes(folder.path()));
    other.remove("body.conv.weight");
    kiln_models::weights::write_tensors(&file, other).unwrap();
    let mut foreign = job(&run);
    foreign.recipe.weights = Some(file.display().to_string());
    let typo = Group { matches: "bodi".into(), ..Group::default() };

    let message = train(&Mine, &foreign, &mut Silent).unwrap_err().to_string();
    assert!(message.contains("missing: body.conv.weight"), "{message}");
    // What a dry run says, too.
    assert_eq!(plan(&Mine, &foreign).unwrap_err().to_string(), message);
    foreign.recipe.weights = Some(five_classes(folder.path()).display().to_string());
    let notes = plan(&Mine, &foreign).unwrap().notes.join("\n");
    assert!(notes.contains("these parts of the head start anew"), "{notes}");
    let message = train(&Mine, &grouped(&run, 2, &[typo]), &mut Silent).unwrap_err().to_string();
    assert!(message.contains("group `bodi`") && message.contains("`body`"), "{message}");
    assert!(!run.exists());
}
