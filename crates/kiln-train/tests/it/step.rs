//! What a step is made of, and what is left of a run when something goes wrong.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use burn::prelude::*;
use kiln_models::Zoo;
use kiln_models::weights::read_tensors;
use kiln_train::{Checkpoint, Job, Recipe, Silent, Stopped, Subject, train};

use crate::{After, Mine, alone, job};

/// The weights of a run's last checkpoint, from one of its files.
fn weights(run: &Path, file: &str) -> BTreeMap<String, TensorData> {
    read_tensors(&run.join("checkpoints/last").join(file)).unwrap()
}

/// LeNet-5, which has neither norms nor dropouts, for an epoch of some steps.
fn plain(out: &Path, changes: &[&str]) -> Job {
    let mut recipe = Recipe::named(&Zoo, "lenet5").unwrap();
    let small = ["fraction=0.02", "epochs=1", "batch_size=24", "validation=0.2"];
    recipe.set_all(&[&small[..], changes].concat()).unwrap();
    Job::new(recipe, out, Device::default())
}

#[test]
fn a_batch_in_parts_takes_the_step_of_the_whole() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let mut ends = Vec::new();
    for (name, changes) in [
        ("plain", &["optimizer.clip_norm=0.5"][..]),
        ("weighted", &["loss.name=focal", "loss.class_weights=[1,2,3,4,5,5,4,3,2,1]"]),
        ("binary", &["loss.name=binary", "loss.smoothing=0.1"]),
        ("blended", &["augment.mixup=0.4", "augment.cutmix=1"]),
        (
            "blended and weighted",
            &["augment.mixup=0.4", "loss.class_weights=[1,2,3,4,5,5,4,3,2,1]"],
        ),
    ] {
        let run = |accumulate: &str| {
            let out = folder.path().join(name).join(accumulate);
            let changes = [changes, &[accumulate]].concat();
            train(&Zoo, &plain(&out, &changes), &mut Silent).unwrap();
            weights(&out, "model.safetensors")
        };
        // Five parts of a batch of 24, the last of which is smaller.
        let (whole, parts) = (run("accumulate=1"), run("accumulate=5"));
        for (path, values) in &whole {
            let pairs = values.iter::<f32>().zip(parts[path].iter::<f32>());
            let off = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off < 1e-5, "{name}: {path} is off by {off}");
        }
        assert!(!ends.contains(&whole), "{name} learnt what another loss did");
        ends.push(whole);
    }
}

#[test]
fn a_moving_average_survives_being_interrupted_bit_for_bit_and_is_what_a_checkpoint_means() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let [whole, parts] = ["whole", "parts"].map(|name| folder.path().join(name));
    let averaged = |out: &Path| {
        let mut job = job(out);
        job.recipe.set("ema.decay=0.9").unwrap();
        job
    };
    train(&Mine, &averaged(&whole), &mut Silent).unwrap();

    let mut next = averaged(&parts);
    for steps in [3, 2, 7] {
        let outcome = train(&Mine, &next, &mut After(steps)).unwrap();
        assert_eq!(outcome.stopped, Stopped::Interrupted);
        next = Job::resume(&Mine, &parts, Device::default()).unwrap();
    }
    train(&Mine, &next, &mut Silent).unwrap();

    for checkpoint in ["last", "best"] {
        for file in ["model.safetensors", "ema.safetensors"] {
            let [a, b] = [&whole, &parts]
                .map(|run| fs::read(run.join("checkpoints").join(checkpoint).join(file)).unwrap());
            assert!(a == b, "{file} of {checkpoint} differs");
        }
    }
    let (raw, average) = (weights(&whole, "model.safetensors"), weights(&whole, "ema.safetensors"));
    assert!(raw.iter().all(|(path, values)| average[path] != *values), "each is averaged");

    // Prediction and evaluation take the average.
    let last = whole.join("checkpoints/last");
    let ready = Subject::Checkpoint(last.clone()).load(&Mine, &Device::default()).unwrap();
    let used = kiln_models::weights::to_bytes(&ready.network);
    assert!(used == fs::read(last.join("ema.safetensors")).unwrap());
    let rows = Checkpoint::read(&last).unwrap().state.history;
    assert!(rows.iter().all(|row| row.raw_top1.is_some() && row.validation_top1.is_some()));

    // Without it the run can't go on.
    let mut lame = Checkpoint::read(&last).unwrap();
    lame.average = None;
    lame.write(&last).unwrap();
    let mut onward = Job::resume(&Mine, &whole, Device::default()).unwrap();
    onward.recipe.epochs = 3;
    let error = train(&Mine, &onward, &mut Silent).unwrap_err().to_string();
    assert!(error.contains("no moving average"), "{error}");
}

#[test]
fn a_thousand_truncated_or_flipped_checkpoints_are_refused() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let mut first = job(folder.path());
    first.recipe.set_all(&["epochs=1", "ema.decay=0.9"]).unwrap();
    train(&Mine, &first, &mut Silent).unwrap();
    let last = folder.path().join("checkpoints/last");
    let files: Vec<_> = fs::read_dir(&last).unwrap().flatten().map(|file| file.path()).collect();
    assert_eq!(files.len(), 5, "weights, average, optimizer, state and sums");

    // SplitMix64, so that a failure can be repeated.
    let mut state = 0_u64;
    let mut random = |below: usize| {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) as usize % below
    };
    for case in 0..1000 {
        let file = &files[random(files.len())];
        let whole = fs::read(file).unwrap();
        let at = random(whole.len());
        let mut harmed = whole.clone();
        if case % 2 == 0 {
            harmed.truncate(at);
        } else {
            harmed[at] ^= 1 << random(8);
        }
        fs::write(file, harmed).unwrap();
        let read = Checkpoint::read(&last);
        assert!(read.is_err(), "case {case}: {} at {at}", file.display());
        fs::write(file, whole).unwrap();
    }
    Checkpoint::read(&last).unwrap();
}

#[test]
fn what_is_computed_again_is_what_was_not_kept() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let [kept, again] = ["recompute=false", "recompute=true"].map(|change| {
        let out = folder.path().join(change);
        let mut job = job(&out);
        job.recipe.set_all(&["epochs=1", change]).unwrap();
        train(&Mine, &job, &mut Silent).unwrap();
        weights(&out, "model.safetensors")
    });
    assert!(kept == again, "bit for bit");
}

#[test]
fn weights_of_classes_must_be_as_many_as_the_classes() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let error = train(&Zoo, &plain(&out, &["loss.class_weights=[1, 2, 3]"]), &mut Silent);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("3 values, and the data set 10 classes"), "{error}");
    assert!(!out.exists());
}

#[test]
fn a_plateau_lowers_the_rate_of_a_run_and_of_a_resumed_one_alike() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let [whole, parts] = ["whole", "parts"].map(|name| folder.path().join(name));
    // Nothing is better by half, so that each epoch after the first lowers the rate.
    let changes =
        ["epochs=3", "schedule.name=plateau", "schedule.patience=0", "schedule.threshold=0.9"];
    train(&Zoo, &plain(&whole, &changes), &mut Silent).unwrap();
    let rows = Checkpoint::read(&whole.join("checkpoints/last")).unwrap().state.history;
    let rates: Vec<f64> =
        rows.iter().map(|row| row.learning_rate / rows[0].learning_rate).collect();
    assert!((rates[1] - 1.0).abs() < 1e-12 && (rates[2] - 0.1).abs() < 1e-12, "{rates:?}");

    let steps = kiln_train::plan(&Zoo, &plain(&parts, &changes)).unwrap().steps_per_epoch;
    train(&Zoo, &plain(&parts, &changes), &mut After(2 * steps + 1)).unwrap();
    train(&Zoo, &Job::resume(&Zoo, &parts, Device::default()).unwrap(), &mut Silent).unwrap();
    let file = "model.safetensors";
    assert!(weights(&whole, file) == weights(&parts, file));
}
