//! Tests of data of one's own, on tiny pictures.

use super::*;
use crate::shards::tests::numbered;
use crate::{Splits, open};
use image::{ImageFormat, Rgb, RgbImage};

fn picture(root: &Path, name: &str) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let image = RgbImage::from_pixel(4, 3, Rgb([name.len() as u8, 1, 2]));
    image.save_with_format(path, ImageFormat::Png).unwrap();
}

fn split(root: &Path) -> Splits {
    open("folders", Some(root)).unwrap()
}

fn refusal(root: &Path) -> String {
    open("folders", Some(root)).err().unwrap().to_string()
}

fn labels(dataset: &dyn Dataset) -> Vec<usize> {
    (0..dataset.len()).map(|index| dataset.label(index)).collect()
}

#[test]
fn one_folder_and_a_table_are_found() {
    let root = tempfile::tempdir().unwrap();
    let mut table = "image,label,split\n".to_owned();
    for (at, (class, part)) in
        [("cat", "train"), ("dog", "train"), ("cat", "val"), ("dog", "test"), ("ant", "train")]
            .into_iter()
            .enumerate()
    {
        picture(root.path(), &format!("images/{at}.png"));
        table += &format!("images/{at}.png,{class},{part}\n");
    }
    fs::write(root.path().join("labels.csv"), &table).unwrap();
    for data in [root.path().to_owned(), root.path().join("labels.csv")] {
        let photos = split(&data);
        assert!(photos.source.ends_with("labels.csv"), "{}", photos.source);
        assert_eq!(photos.classes, ["ant", "cat", "dog"]);
        assert_eq!(labels(&*photos.train), [1, 2, 0]);
        assert_eq!(labels(&**photos.validation.as_ref().unwrap()), [1]);
        assert_eq!(labels(&*photos.test), [2]);
        assert_eq!(photos.test.sample(0).unwrap().pixels.width, 4);
        assert!(photos.test.name(0).ends_with("images/3.png"));
    }
    // An image that isn't there is its own error.
    fs::remove_file(root.path().join("images/3.png")).unwrap();
    let message = split(root.path()).test.sample(0).unwrap_err().to_string();
    assert!(message.contains("images/3.png"), "{message}");

    fs::write(root.path().join("labels.csv"), table.replace("val", "dev")).unwrap();
    assert!(refusal(root.path()).contains("`dev` is no part of a data set"));
}

#[test]
fn without_a_part_one_image_in_five_of_each_class_is_kept() {
    let root = tempfile::tempdir().unwrap();
    let mut table = "file,class\n".to_owned();
    for at in 0..20 {
        picture(root.path(), &format!("{at}.png"));
        table += &format!("{at}.png,{}\n", if at % 2 == 0 { "even" } else { "odd" });
    }
    fs::write(root.path().join("labels.csv"), table).unwrap();
    let photos = split(root.path());
    assert_eq!((photos.train.len(), photos.test.len()), (16, 4));
    let mut kept = labels(&*photos.test);
    kept.sort_unstable();
    assert_eq!(kept, [0, 0, 1, 1]);
    assert!(photos.source.ends_with("one image in 5 kept for the test"), "{}", photos.source);
}

#[test]
fn a_table_beside_folders_of_classes_describes_nothing() {
    let root = tempfile::tempdir().unwrap();
    for at in 0..5 {
        picture(root.path(), &format!("cat/{at}.png"));
        picture(root.path(), &format!("dog/{at}.png"));
    }
    fs::write(root.path().join("prices.csv"), "image,price\nx,1\n").unwrap();
    fs::write(root.path().join("others.csv"), "image,label\nx.png,fish\n").unwrap();
    assert_eq!(split(root.path()).classes, ["cat", "dog"]);
}

#[test]
fn archives_are_found_by_the_names_of_their_parts() {
    let root = tempfile::tempdir().unwrap();
    for (name, numbers) in [
        ("train-000.tar", 0..6),
        ("train-001.tar", 6..9),
        ("val-000.tar", 9..12),
        ("test.tar", 12..14),
    ] {
        numbered(&root.path().join(name), numbers);
    }
    let photos = split(root.path());
    assert_eq!(photos.classes, ["0", "1"]);
    let lengths: Vec<usize> = photos.parts().map(|(_, part)| part.len()).collect();
    assert_eq!(lengths, [9, 3, 2]);
    assert_eq!(photos.train.shards(), [6, 3]);

    // One alone gives its own test part, and what stays is read from start to end all the same.
    let alone = split(&root.path().join("train-000.tar"));
    assert_eq!((alone.train.len(), alone.test.len()), (4, 2));
    assert_eq!((alone.train.shards(), alone.test.shards()), (vec![4], vec![2]));
}

#[test]
fn a_description_names_files_columns_and_classes() {
    let root = tempfile::tempdir().unwrap();
    for name in ["a.png", "b.png", "c.png"] {
        picture(root.path(), name);
    }
    let write = |name: &str, text: &str| fs::write(root.path().join(name), text).unwrap();
    write("first.csv", "what,species\na.png,1\nb.png,cat\n");
    write("last.jsonl", "{\"what\": \"c.png\", \"species\": \"dog\"}\n");
    let text = "format = \"table\"\nclasses = [\"dog\", \"cat\"]\ntrain = \"f*t.csv\"\ntest = [\"last.jsonl\"]\n\
                image = \"what\"\nlabel = \"species\"\n";
    write("dataset.toml", text);
    let photos = split(root.path());
    assert_eq!(photos.classes, ["dog", "cat"]);
    assert_eq!((labels(&*photos.train), labels(&*photos.test)), (vec![1, 1], vec![0]));

    write("dataset.toml", &text.replace("label", "lable"));
    assert!(refusal(root.path()).contains("unknown field `lable`"), "{}", refusal(root.path()));
    write("dataset.toml", &text.replace("f*t", "g*t"));
    assert!(refusal(root.path()).contains("no file fits `g*t.csv`"));
    write("dataset.toml", &text.replace("\"cat\"]", "\"cow\"]"));
    assert!(refusal(root.path()).contains("`cat` is no class; those are dog, cow"));
    write("dataset.toml", "format = \"table\"\n");
    assert!(refusal(root.path()).contains("names no file"));
}

#[test]
fn files_of_mnists_and_cifars_formats_can_be_described_too() {
    let root = tempfile::tempdir().unwrap();
    for file in fs::read_dir("datasets/fashion-mnist/sample").unwrap().flatten() {
        fs::copy(file.path(), root.path().join(file.file_name())).unwrap();
    }
    let describe = |text: &str| fs::write(root.path().join("dataset.toml"), text).unwrap();
    describe("format = \"idx\"\n");
    assert!(refusal(root.path()).contains("`classes` is missing"), "{}", refusal(root.path()));
    let names: Vec<String> = (0..10).map(|class| format!("class {class}")).collect();
    describe(&format!("format = \"idx\"\nclasses = {names:?}\n"));
    let (own, known) = (split(root.path()), open("fashion-mnist", None).unwrap());
    assert_eq!((own.classes, own.test.len()), (names.clone(), known.test.len()));
    assert_eq!(own.train.sample(7).unwrap(), known.train.sample(7).unwrap());

    let root = tempfile::tempdir().unwrap();
    let batches = (1..=5).map(|batch| format!("data_batch_{batch}.bin"));
    for (number, name) in (0..).zip(batches.chain(["test_batch.bin".to_owned()])) {
        let record = [vec![number; 1], vec![40 * number; 3072]].concat();
        fs::write(root.path().join(name), record.repeat(2)).unwrap();
    }
    let text = format!("format = \"cifar\"\nclasses = {names:?}\n");
    fs::write(root.path().join("dataset.toml"), text).unwrap();
    let images = split(root.path());
    assert_eq!(labels(&*images.train), [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]);
    assert_eq!(images.test.sample(1).unwrap().pixels.data, [200; 3072]);
}

#[test]
fn a_star_stands_for_anything() {
    for (pattern, name, expected) in [
        ("a*.tar", "a.tar", true),
        ("a*.tar", "ab-0.tar", true),
        ("a*.tar", "b.tar", false),
        ("*", "é", true),
        ("*a*b", "xaayb", true),
        ("*a*b", "xaaybc", false),
    ] {
        assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
    }
}
