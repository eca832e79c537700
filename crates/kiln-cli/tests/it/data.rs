//! `kiln data`.

use std::fs;

use crate::{bars, json, keys, text};

#[test]
fn data_sets_are_listed_and_the_sample_is_clean() {
    let object = json(0, ["data", "list"]);
    assert_eq!(object["datasets"][0]["name"], "mnist");

    let object = json(0, ["data", "check"]);
    let mnist = &object["datasets"][0];
    assert_eq!(mnist["clean"], true);
    let splits = mnist["splits"].as_array().unwrap();
    for split in splits {
        let per_class = split["per_class"].as_array().unwrap();
        let sum: u64 = per_class.iter().map(|count| count.as_u64().unwrap()).sum();
        assert_eq!(split["samples"], sum);
    }
}

#[test]
fn sets_with_boxes_are_checked_and_converted_there_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for part in ["train", "val"] {
        fs::create_dir_all(at("set/images").join(part)).unwrap();
        fs::create_dir_all(at("set/labels").join(part)).unwrap();
        let image = at("set/images").join(part).join(format!("{part}-1.png"));
        image::GrayImage::new(40, 20).save(image).unwrap();
    }
    fs::write(at("set/data.yaml"), "train: images/train\nval: images/val\nnames: [b, a]\n")
        .unwrap();
    fs::write(at("set/labels/train/train-1.txt"), "1 0.5 0.5 0.25 0.5\n0 0.5 0.5 0 0.5\n").unwrap();

    let object = json(1, ["data", "check", text(&at("set"))]);
    let set = &object["datasets"][0];
    assert_eq!((&set["source"], &set["clean"]), (&"YOLO".into(), &false.into()));
    assert_eq!(set["per_class"], serde_json::json!([0, 1]));
    assert!(set["findings"]["empty"][0].as_str().unwrap().ends_with("train-1.txt line 2"));

    let [coco, voc, yolo] = ["coco", "voc", "yolo"].map(at);
    let convert = |from: &std::path::Path, to: &str, out: &std::path::Path| {
        json(0, ["data", "convert", text(from), "--to", to, "--out", text(out)])
    };
    let object = convert(&at("set"), "coco", &coco);
    assert_eq!((&object["files"], &object["boxes"]), (&2.into(), &1.into()));
    convert(&coco, "voc", &voc);
    convert(&voc, "yolo", &yolo);
    let labels = fs::read_to_string(yolo.join("labels/train/train-1.txt")).unwrap();
    assert_eq!(labels, "1 0.5 0.5 0.25 0.5\n");
    let names = fs::read_to_string(yolo.join("data.yaml")).unwrap();
    assert!(names.contains("0: \"b\"\n  1: \"a\"") && names.contains("val: images/val"), "{names}");
    assert_eq!(json(0, ["data", "check", text(&yolo)])["datasets"][0]["clean"], true);

    json(2, ["data", "convert", text(&coco), "--to", "voc", "--out", text(&voc)]); // not empty
    json(2, ["data", "convert", text(&coco), "--out", text(&at("x"))]);
    let error = json(1, ["data", "check", text(&at("set/images"))]);
    assert!(error["hint"].as_str().unwrap().contains("data.yaml (YOLO)"), "{error}");
}

#[test]
fn a_preview_is_a_picture() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("sheet.png");
    let object = json(0, ["data", "preview", "mnist", "--count", "12", "--out", text(&out)]);
    assert_eq!(keys(&object), ["augment", "count", "file", "name", "recipe", "split"]);
    assert!(fs::read(&out).unwrap().starts_with(b"\x89PNG"));
}

#[test]
fn a_preview_writes_its_numbers_as_they_were_given() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("sheet.png");
    let preview = ["data", "preview", "mnist", "--count", "1", "--out", text(&out)];
    let set = ["--set", "augment.scale=0.1306", "--set", "augment.rotate=7.3"];
    let augment = &json(0, [&preview[..], &set].concat())["augment"];
    assert_eq!(augment["scale"].to_string(), "0.1306");
    assert_eq!(augment["rotate"].to_string(), "7.3");
    assert!(keys(augment).len() > 20, "every key: {augment}");
}

#[test]
fn a_preview_of_a_recipe_blends_and_names_the_shares() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("sheet.png");
    let preview = ["data", "preview", "lenet5-mnist", "--count", "6", "--out", text(&out)];
    let set = ["--set", "augment.cutmix=1", "--set", "augment.crop=resized"];
    let object = json(0, [&preview[..], &set].concat());
    assert_eq!((&object["name"], &object["recipe"]), (&"mnist".into(), &"lenet5-mnist".into()));
    assert_eq!(object["augment"]["crop"], "resized");

    let error = json(2, ["data", "preview", "mnist", "--set", "augment.flipp=0.5"]);
    let error = error["error"].as_str().unwrap();
    assert!(error.contains("did you mean `augment.flip`?"), "{error}");
    let error = json(2, ["data", "preview", "mnist", "--set", "augment.policy=trivial"]);
    assert!(error["error"].as_str().unwrap().contains("trivial_augment_wide"), "{error}");
}

#[test]
fn converted_digits_lie_in_a_folder_per_class() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("digits");
    let bars = bars();
    let convert = ["data", "convert", "mnist", "--data", text(&bars), "--out", text(&out)];
    let object = json(0, convert);
    let count = |folder: &str| fs::read_dir(out.join(folder)).unwrap().count();
    let files: usize = (0..10)
        .flat_map(|class| ["train", "test"].map(|split| count(&format!("{split}/{class}"))))
        .sum();
    assert_eq!((&object["files"], files), (&740.into(), 740));

    let again = json(2, convert);
    assert!(again["error"].as_str().unwrap().contains("isn't empty"));
}

#[test]
fn each_data_set_says_how_it_is_got() {
    let object = json(0, ["data", "list"]);
    let sets = object["datasets"].as_array().unwrap();
    let named = |name: &str| sets.iter().find(|set| set["name"] == name).unwrap();
    assert_eq!(
        (&named("fashion-mnist")["embedded"], &named("cifar10")["fetchable"]),
        (&true.into(), &true.into())
    );
    assert_eq!(named("imagenet")["classes"].as_array().unwrap().len(), 1000);

    let object = json(2, ["data", "fetch", "imagenet"]);
    assert!(object["hint"].as_str().unwrap().contains("image-net.org"), "{object}");
    let object = json(2, ["data", "preview", "clothing"]);
    assert!(object["hint"].as_str().unwrap().contains("--data"), "{object}");
    let folder = tempfile::tempdir().unwrap();
    let object = json(1, ["data", "check", "cifar10", "--data", text(folder.path())]);
    assert!(object["error"].as_str().unwrap().contains("cifar-10-binary.tar.gz"), "{object}");
}

#[test]
fn clothes_are_shown_and_converted_under_names_that_every_system_takes() {
    let folder = tempfile::tempdir().unwrap();
    let (sheet, out) = (folder.path().join("sheet.png"), folder.path().join("clothes"));
    let preview = ["data", "preview", "fashion-mnist", "--count", "10", "--out", text(&sheet)];
    let shown = json(0, preview);
    let recipe = shown["recipe"].as_str().unwrap();
    assert!(recipe.ends_with("-fashion-mnist"), "{recipe}");
    // What it shows is what that recipe trains with.
    let plan = json(0, ["train", recipe, "--dry-run"]);
    let shift = shown["augment"]["shift"].as_f64().unwrap();
    assert!(plan["recipe"].as_str().unwrap().contains(&format!("shift = {shift:.1}")), "{plan}");
    assert!(fs::read(&sheet).unwrap().starts_with(b"\x89PNG"));
    let convert = ["data", "convert", "fashion-mnist", "--split", "test", "--out", text(&out)];
    assert_eq!(json(0, convert)["files"], 400);
    assert_eq!(fs::read_dir(out.join("test/T-shirt-top")).unwrap().count(), 42);
}

#[test]
fn scenes_are_shown_counted_and_no_set_of_single_classes() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("sheet.png");
    let preview = ["data", "preview", "digit-scenes", "--count", "2", "--out", text(&out)];
    let object = json(0, [&preview[..], &["--split", "validation"]].concat());
    assert_eq!((&object["name"], &object["count"]), (&"digit-scenes".into(), &2.into()));
    assert!(fs::read(&out).unwrap().starts_with(b"\x89PNG"));
    let object = json(2, [&preview[..], &["--split", "dev", "--force"]].concat());
    assert!(object["hint"].as_str().unwrap().ends_with("train, validation, test"), "{object}");

    let object = json(0, ["data", "check", "digit-scenes"]);
    for split in object["datasets"][0]["splits"].as_array().unwrap() {
        let (scenes, objects) = (split["samples"].as_u64().unwrap(), split["objects"].as_u64());
        assert!((8 * scenes..=14 * scenes).contains(&objects.unwrap()), "{split}");
    }
    for verb in [
        &["train", "lenet5", "--dataset", "digit-scenes", "--dry-run"][..],
        &["data", "convert", "digit-scenes", "--out", text(&out)],
    ] {
        let error = json(2, verb.iter().copied());
        let error = error["error"].as_str().unwrap();
        assert!(error.contains("is for detection and segmentation"), "{error}");
    }
}

#[test]
fn a_check_draws_every_class_and_part() {
    let folder = tempfile::tempdir().unwrap();
    let sheet = folder.path().join("sheet.png");
    for name in ["mnist", "digit-scenes"] {
        let object = json(0, ["data", "check", name, "--sheet", text(&sheet), "--force"]);
        assert_eq!(object["sheet"], text(&sheet));
        assert!(fs::read(&sheet).unwrap().starts_with(b"\x89PNG"));
    }
    let again = json(2, ["data", "check", "mnist", "--sheet", text(&sheet)]);
    assert!(again["error"].as_str().unwrap().contains("sheet.png"), "{again}");
    let other = json(2, ["data", "check", "mnist", "--sheet", "sheet.jpg"]);
    assert!(other["hint"].as_str().unwrap().contains(".png"), "{other}");
}
