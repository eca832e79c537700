//! `kiln train MODEL --data photos/`: images of a user's own, without a word about them.

use std::fs;
use std::path::Path;

use crate::{digits, json, kiln, text};

/// Copies the first `count` images of the digit `class` into `to`.
fn some(class: &str, count: usize, to: &Path) -> Vec<String> {
    fs::create_dir_all(to).unwrap();
    let mut files: Vec<_> =
        fs::read_dir(digits().join("test").join(class)).unwrap().flatten().collect();
    files.sort_by_key(fs::DirEntry::file_name);
    let names = files.iter().take(count).map(|file| {
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
        file.file_name().into_string().unwrap()
    });
    names.collect()
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(ToOwned::to_owned).collect()
}

#[test]
fn folders_of_photos_are_enough_and_their_split_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (photos, out) = (folder.path().join("photos"), folder.path().join("run"));
    for (class, count) in [("1", 60), ("4", 60), ("7", 6)] {
        some(class, count, &photos.join(class));
    }
    let train = ["train", "lenet5", "--data", text(&photos), "--epochs", "2", "--out", text(&out)];
    let object = json(0, train);
    assert_eq!((&object["dataset"], &object["samples"]), (&"folders".into(), &25.into()));
    let recipe = fs::read_to_string(out.join("recipe.toml")).unwrap();
    assert!(recipe.contains("dataset = \"folders\""), "{recipe}");
    let log = fs::read_to_string(out.join("log.txt")).unwrap();
    assert!(log.contains("class `7` has "), "{log}");
    assert!(!log.contains("class `1` has "), "{log}");

    // A model without a recipe of its own cuts and mirrors; one with a recipe does what that says.
    let plan = json(0, ["train", "resnet18", "--data", text(&photos), "--dry-run"]);
    let recipe = plan["recipe"].as_str().unwrap();
    for line in ["dataset = \"folders\"", "crop = \"resized\"", "flip = 0.5", "num_classes = 3"] {
        assert!(recipe.contains(line), "{line} in {recipe}");
    }

    let split = lines(&out.join("split.csv"));
    let count = |part: &str| split.iter().filter(|line| line.ends_with(part)).count();
    assert_eq!((split.len(), split[0].as_str()), (127, "image,label,split"));
    assert_eq!((count(",train"), count(",validation"), count(",test")), (91, 10, 25));
    assert!(split[1].starts_with("1/"), "paths start at the folder: {}", split[1]);

    // Photos that come later move none of the others.
    some("1", 90, &photos.join("1"));
    for (part, samples) in [("test", 25), ("train", 91), ("validation", 10)] {
        let measured = json(0, ["eval", text(&out), "--split", part]);
        assert_eq!(measured["samples"], samples, "{part}");
    }
    assert_eq!(json(0, ["eval", text(&out)])["metrics"], object["metrics"]);
    let everything = json(0, ["eval", text(&out), "--data", text(&photos)]);
    assert_eq!(everything["samples"], 31);
}

#[test]
fn a_run_on_photos_goes_on_with_its_own_split() {
    let folder = tempfile::tempdir().unwrap();
    let photos = folder.path().join("photos");
    for class in ["0", "1", "7"] {
        some(class, 50, &photos.join(class));
    }
    let whole = folder.path().join("whole");
    let train = |out: &Path, epochs: &str| {
        let train = ["train", "lenet5", "--data", text(&photos), "--seed", "5"];
        json(0, train.into_iter().chain(["--epochs", epochs, "--out", text(out)]))
    };
    train(&whole, "2");
    let split = fs::read(whole.join("split.csv")).unwrap();

    // A run that was stopped after its last checkpoint, before its test.
    fs::remove_file(whole.join("test.json")).unwrap();
    some("0", 70, &photos.join("0"));
    let resumed = json(0, ["train", "--resume", text(&whole)]);
    assert_eq!(resumed["samples"], 30);
    assert_eq!(fs::read(whole.join("split.csv")).unwrap(), split);

    let lost = lines(&whole.join("split.csv"))[1].split(',').next().unwrap().to_owned();
    fs::remove_file(photos.join(&lost)).unwrap();
    let error = json(1, ["train", "--resume", text(&whole)]);
    assert!(error["error"].as_str().unwrap().contains(&lost), "{error}");
}

#[test]
fn a_folder_and_a_table_are_photos_too() {
    let folder = tempfile::tempdir().unwrap();
    let photos = folder.path().join("photos");
    let mut table = "file;species;set\n".to_owned();
    for (class, name) in [("1", "one"), ("7", "seven")] {
        for (at, file) in some(class, 40, &photos.join("all")).into_iter().enumerate() {
            let part = ["train", "train", "train", "val", "test"][at % 5];
            // Images of both classes lie side by side.
            let kept = format!("{class}-{file}");
            fs::rename(photos.join("all").join(file), photos.join("all").join(&kept)).unwrap();
            table += &format!("all/{kept};{name};{part}\n");
        }
    }
    fs::write(photos.join("labels.csv"), &table).unwrap();
    let refusal = json(1, ["train", "lenet5", "--data", text(&photos), "--dry-run"]);
    let message = refusal["error"].as_str().unwrap();
    assert!(message.contains("no column for the class"), "{message}");

    fs::write(photos.join("labels.csv"), table.replace("species", "label")).unwrap();
    for data in [photos.clone(), photos.join("labels.csv")] {
        let plan = json(0, ["train", "lenet5", "--data", text(&data), "--dry-run"]);
        assert_eq!(
            plan["samples"],
            serde_json::json!({ "train": 48, "validation": 16, "test": 16 })
        );
        let report = json(0, ["data", "check", "folders", "--data", text(&data)]);
        assert_eq!(report["datasets"][0]["classes"], serde_json::json!(["one", "seven"]));
    }
    let out = folder.path().join("run");
    let labels = photos.join("labels.csv");
    let train = ["train", "lenet5", "--data", text(&labels), "--epochs", "1", "--out", text(&out)];
    assert_eq!(json(0, train)["samples"], 16);
    assert_eq!(json(0, ["eval", text(&out), "--split", "validation"])["samples"], 16);
}

#[test]
fn photos_that_cannot_be_used_are_told_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let photos = folder.path();
    some("1", 5, &photos.join("one"));
    fs::create_dir(photos.join("two")).unwrap();
    let error = json(1, ["train", "resnet18", "--data", text(photos), "--dry-run"]);
    assert!(error["error"].as_str().unwrap().contains("no image in its folder `two`"), "{error}");

    // Another data set that was asked for stays asked for.
    let train = ["train", "lenet5", "--dataset", "mnist", "--data", text(photos), "--dry-run"];
    assert!(json(1, train)["error"].as_str().unwrap().contains("train-images"));
    let help = kiln(["train", "--help"]).output().unwrap();
    assert!(String::from_utf8(help.stdout).unwrap().contains("--data photos/"));
}
