//! `kiln compare`: mean and spread of runs of one recipe, and a row for each recipe.

use std::fs;

use crate::{json, kiln, text};

#[test]
fn runs_that_differ_in_their_seeds_are_one_row_and_others_another() {
    let folder = tempfile::tempdir().unwrap();
    let [seeds, other] = ["seeds", "other"].map(|name| folder.path().join(name));
    let short = ["--epochs", "2", "--set", "fraction=0.05", "--quiet"];
    let train = |more: &[&str]| json(0, [&["train", "lenet5"][..], &short, more].concat());
    let trained = train(&["--seeds", "2", "--out", text(&seeds)]);
    train(&["--set", "optimizer.learning_rate=0.001", "--out", text(&other)]);
    let out = folder.path().join("both.png");

    // One run of the two named once more counts once.
    let again = seeds.join("seed-1");
    let object =
        json(0, ["compare", text(&seeds), text(&again), text(&other), "--out", text(&out)]);

    let variants = object["variants"].as_array().unwrap();
    assert_eq!(variants.len(), 2, "{object}");
    assert_eq!((&variants[0]["name"], &variants[1]["name"]), (&"seeds".into(), &"other".into()));
    let runs = variants[0]["runs"].as_array().unwrap();
    assert_eq!(runs.iter().map(|run| run["seed"].as_u64()).collect::<Vec<_>>(), [Some(1), Some(2)]);
    for (key, which) in [("mean", "metrics"), ("std", "spread")] {
        let [ours, theirs] = [&variants[0]["test_top1"][key], &trained[which]["top1"]]
            .map(|number| number.as_f64().unwrap());
        assert!((ours - theirs).abs() < 1e-9, "{key}: {object}");
    }
    assert_eq!(variants[1]["test_top1"]["std"], 0.0);
    assert!(fs::read(&out).unwrap().starts_with(b"\x89PNG"));

    let shown = kiln(["compare", text(&seeds), text(&other), "--force", "--out", text(&out)]);
    let shown = String::from_utf8({ shown }.output().unwrap().stdout).unwrap();
    assert!(shown.contains(" ± ") && shown.contains("other"), "{shown}");

    let refused = json(2, ["compare", text(&seeds), "--out", text(&out)]);
    assert!(refused["error"].as_str().unwrap().contains("is there already"), "{refused}");
    let nowhere = folder.path().join("nowhere");
    let refused = json(2, ["compare", text(&nowhere)]);
    assert!(refused["error"].as_str().unwrap().contains("holds no run"), "{refused}");
}
