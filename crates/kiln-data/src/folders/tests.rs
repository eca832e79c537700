//! Tests of folders of images, on trees of tiny pictures.

use super::*;
use crate::{Splits, check, open};
use image::{ImageFormat, Rgb, RgbImage};

/// Writes a small image in a colour of its own.
fn picture(root: &Path, name: &str) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let sum = name.bytes().fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let [red, green, blue, _] = sum.to_le_bytes();
    let image = RgbImage::from_pixel(4, 3, Rgb([red, green, blue]));
    image.save_with_format(path, ImageFormat::Png).unwrap();
}

fn tree(names: &[&str]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    names.iter().for_each(|name| picture(root.path(), name));
    root
}

fn labels(dataset: &dyn Dataset) -> Vec<usize> {
    (0..dataset.len()).map(|index| dataset.label(index)).collect()
}

fn split(root: &Path) -> Splits {
    open("folders", Some(root)).unwrap()
}

fn refusal(name: &str, root: &Path) -> String {
    open(name, Some(root)).err().unwrap().to_string()
}

#[test]
fn parts_have_the_classes_of_all_folders_in_natural_order() {
    let root = tree(&[
        "train/class10/a.png",
        "train/class2/deep/er/c.JPEG",
        "train/class2/b10.webp",
        "train/class2/b9.png",
        "val/class2/d.gif",
        "test/class10/e.bmp",
        "test/class1/f.jpg",
    ]);
    fs::write(root.path().join("train/class2/notes.txt"), "no image").unwrap();
    fs::create_dir(root.path().join("train/.cache")).unwrap();
    picture(root.path(), "train/class2/.hidden.png");

    let photos = split(root.path());
    assert_eq!(photos.classes, ["class1", "class2", "class10"]);
    assert_eq!(labels(&*photos.train), [1, 1, 1, 2]);
    let names: Vec<String> = (0..4).map(|index| photos.train.name(index)).collect();
    let ends = ["class2/b9.png", "class2/b10.webp", "class2/deep/er/c.JPEG", "class10/a.png"];
    assert!(names.iter().zip(ends).all(|(name, end)| name.ends_with(end)), "{names:?}");
    assert_eq!(labels(&**photos.validation.as_ref().unwrap()), [1]);
    assert_eq!(labels(&*photos.test), [0, 2]);
    assert_eq!(photos.source, root.path().display().to_string());
    assert_eq!(photos.part_names(), "train, validation, test");

    let sample = photos.train.sample(2).unwrap();
    assert_eq!((sample.label, sample.pixels.width, sample.pixels.channels), (1, 4, 3));
    assert!(check::check(&photos, &mut |_, _| ()).is_clean());
}

#[test]
fn without_a_test_part_the_validation_part_is_it() {
    let root = tree(&["train/a/1.png", "train/b/2.png", "val/a/3.png"]);
    let photos = split(root.path());
    assert_eq!((photos.test.len(), photos.validation.is_none()), (1, true));
    assert!(photos.source.ends_with(", tested on val"), "{}", photos.source);
}

#[test]
fn one_image_in_five_is_kept_for_the_test_where_there_are_no_parts() {
    for root in ["", "train/"] {
        let names: Vec<String> = (0..10)
            .map(|number| format!("{root}cat/{number}.png"))
            .chain((0..3).map(|number| format!("{root}dog/{number}.png")))
            .collect();
        let root = tree(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let photos = split(root.path());
        assert_eq!((labels(&*photos.test), photos.train.len()), (vec![0, 0, 1], 10));
        let names = |part: &dyn Dataset| (0..part.len()).map(|i| part.name(i)).collect::<Vec<_>>();
        assert_eq!(names(&*photos.test), names(&*split(root.path()).test));
        let mut all = [names(&*photos.train), names(&*photos.test)].concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 13, "each image is in one part");
        assert!(photos.source.ends_with(", one image in 5 kept for the test"));
    }
}

#[test]
fn a_test_part_alone_can_be_measured_on() {
    let root = tree(&["test/a/1.png", "test/b/2.png"]);
    let photos = split(root.path());
    assert_eq!((photos.train.len(), photos.test.len()), (0, 2));
}

#[test]
fn a_class_called_train_is_a_class() {
    let root = tree(&["bus/1.png", "car/2.png", "train/3.png"]);
    assert_eq!(split(root.path()).classes, ["bus", "car", "train"]);
}

#[cfg(unix)]
#[test]
fn links_are_followed_once() {
    use std::os::unix::fs::symlink;

    let elsewhere = tree(&["photos/1.png"]);
    let root = tree(&["train/a/2.png", "test/a/3.png"]);
    let class = root.path().join("train/a");
    symlink(elsewhere.path().join("photos"), class.join("more")).unwrap();
    symlink(&class, class.join("back")).unwrap();
    symlink(class.join("back"), elsewhere.path().join("photos/there")).unwrap();
    assert_eq!(split(root.path()).train.len(), 2);
}

#[test]
fn an_unreadable_image_is_named_and_does_not_hide_the_others() {
    let root = tree(&["train/a/1.png", "test/a/3.png"]);
    let broken = root.path().join("train/a/2.png");
    fs::write(&broken, b"no image").unwrap();
    let photos = split(root.path());
    let message = photos.train.sample(1).unwrap_err().to_string();
    assert!(message.contains(&broken.display().to_string()), "{message}");

    let report = check::check(&photos, &mut |_, _| ());
    assert_eq!(report.splits[0].unreadable[0].name, broken.display().to_string());
    assert_eq!(report.splits[0].per_class, [1]);
}

#[test]
fn another_layout_is_refused_with_what_is_expected() {
    let root = tree(&["loose.png"]);
    let message = refusal("folders", root.path());
    assert!(message.starts_with(&root.path().display().to_string()), "{message}");
    assert!(message.contains(": no images in folders; ") && message.contains("train/CLASS/IMAGE"));
    assert!(
        refusal("folders", &root.path().join("none"))
            .contains("none is not there; --data takes the folder")
    );

    fs::create_dir_all(root.path().join("train/empty")).unwrap();
    picture(root.path(), "train/full/1.png");
    assert!(refusal("folders", root.path()).contains("no image in its folder `empty`"));
}

#[test]
fn a_set_with_known_classes_takes_them_and_no_others() {
    let root = tree(&["val/n15075141/1.png", "val/n01443537/2.png"]);
    let some = open("imagenet", Some(root.path())).unwrap();
    assert_eq!((some.classes.len(), labels(&*some.test)), (1000, vec![1, 999]));
    assert_eq!((some.classes[1].as_str(), some.train.len()), ("goldfish", 0));

    picture(root.path(), "val/goldfish/3.png");
    let message = refusal("imagenet", root.path());
    assert!(message.contains("`goldfish` is no class of `imagenet`"), "{message}");
    assert!(message.contains("called n01440764 … n15075141"), "{message}");

    let clothes = tree(&["clothing/train/hat/1.png", "clothing/validation/hat/2.png"]);
    let clothes = open("clothing", Some(clothes.path())).unwrap();
    assert_eq!((clothes.classes.len(), labels(&*clothes.test)), (10, vec![1]));
}
