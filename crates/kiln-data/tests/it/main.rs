//! Tests on real data, which is not part of the repository; see [`real_data`].

use std::fs;
use std::path::{Path, PathBuf};

use kiln_data::masks::camvid;
use kiln_data::{Dataset, check, decode, open};
use kiln_testkit::real_data;

fn counts(dataset: &dyn Dataset) -> Vec<usize> {
    let mut counts = vec![0; 10];
    (0..dataset.len()).for_each(|index| counts[dataset.label(index)] += 1);
    counts
}

#[test]
fn real_mnist_has_all_70_000_digits_with_the_known_label_counts() {
    let Some(folder) = real_data("mnist") else { return };
    let digits = open("mnist", Some(&folder)).unwrap();
    let train = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949];
    let test = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009];
    assert_eq!(counts(&*digits.train), train);
    assert_eq!(counts(&*digits.test), test);

    let report = check::check(&digits, &mut |_, _| ());
    assert!(report.is_clean(), "{report:?}");
    assert!(report.splits.iter().all(|split| split.repeated == 0));
    assert_eq!(report.splits.iter().map(|split| split.samples).sum::<usize>(), 70_000);
    assert_eq!(
        (&report.splits[0].per_class[..], &report.splits[1].per_class[..]),
        (&train[..], &test[..])
    );
}

#[test]
fn real_mnist_begins_with_the_embedded_sample() {
    let Some(folder) = real_data("mnist") else { return };
    let (complete, sample) = (open("mnist", Some(&folder)).unwrap(), open("mnist", None).unwrap());
    for index in 0..10_000_usize {
        let ours = match index.checked_sub(8500) {
            None => sample.train.sample(index),
            Some(held_out) => sample.test.sample(held_out),
        };
        assert!(ours.unwrap() == complete.train.sample(index).unwrap(), "digit {index} differs");
    }
}

#[test]
fn real_mnist_has_the_mean_and_deviation_of_its_preprocessing() {
    let Some(folder) = real_data("mnist") else { return };
    let digits = open("mnist", Some(&folder)).unwrap();
    let (mut sum, mut squares, mut count) = (0_u64, 0_u64, 0_u64);
    for index in 0..digits.train.len() {
        for value in digits.train.sample(index).unwrap().pixels.data {
            let value = u64::from(value);
            (sum, squares, count) = (sum + value, squares + value * value, count + 1);
        }
    }
    let mean = sum as f64 / count as f64;
    let std = (squares as f64 / count as f64 - mean * mean).sqrt();
    assert!((mean / 255.0 - f64::from(digits.preprocess.mean[0])).abs() < 5e-5);
    assert!((std / 255.0 - f64::from(digits.preprocess.std[0])).abs() < 5e-5);
}

#[test]
fn real_clothing_is_as_its_card_says() {
    let Some(folder) = real_data("clothing") else { return };
    let clothes = open("clothing", Some(&folder)).unwrap();
    let parts: Vec<_> = clothes.parts().map(|(name, part)| (name, counts(&**part))).collect();
    assert_eq!(
        parts,
        [
            ("train", vec![241, 123, 455, 184, 468, 290, 198, 202, 112, 795]),
            ("validation", vec![32, 14, 49, 24, 49, 29, 26, 25, 12, 81]),
            ("test", vec![15, 12, 72, 38, 42, 26, 73, 30, 12, 52]),
        ]
    );
    // Its folders say the same without being told.
    let folders = open("folders", Some(&folder)).unwrap();
    assert_eq!(folders.classes, clothes.classes);
    assert_eq!(folders.test.name(200), clothes.test.name(200));

    let report = check::check(&clothes, &mut |_, _| ());
    assert!(report.is_clean(), "{report:?}");
}

/// The files below `folder`.
fn files_below(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files_below(&path, files);
        } else {
            files.push(path);
        }
    }
}

/// The most memory that this process has held, in bytes; none where the system doesn't tell.
fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(1024 * line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?)
}

#[test]
fn real_hostile_images_give_pixels_or_an_error_that_names_the_file_in_bounded_memory() {
    // Those of every kind, read by kiln or not.
    const KINDS: [&str; 10] =
        ["png", "jpg", "jpeg", "gif", "bmp", "webp", "tga", "ico", "tif", "tiff"];
    let Some(folder) = real_data("image_corpus") else { return };
    let mut files = Vec::new();
    files_below(&folder, &mut files);
    let is_image = |path: &PathBuf| {
        let kind = path.extension().unwrap_or_default().to_string_lossy();
        KINDS.contains(&kind.as_ref())
    };
    assert_eq!(files.iter().filter(|path| is_image(path)).count(), 569);
    let (mut read, mut refused) = (0, 0);
    // Texts have nothing to hide behind either.
    for path in &files {
        match decode(path) {
            Ok(pixels) => {
                let values = pixels.width * pixels.height * pixels.channels;
                assert!(values > 0 && values == pixels.data.len(), "{}", path.display());
                read += 1;
            }
            Err(error) => {
                assert!(error.to_string().contains(&path.display().to_string()), "{error}");
                refused += 1;
            }
        }
    }
    println!("{read} read, {refused} refused, at most {:?} bytes of memory", peak_memory());
    // PngSuite alone has 162 good images and the references of as many.
    assert!(read >= 350, "{read}");
    assert!(peak_memory().is_none_or(|bytes| bytes < 1 << 30), "{:?}", peak_memory());
}

#[test]
fn real_images_of_pngsuite_are_read_as_their_references() {
    let Some(folder) = real_data("image_corpus") else { return };
    let mut images = Vec::new();
    files_below(&folder.join("pngsuite/png"), &mut images);
    let mut compared = 0;
    for png in &images {
        let name = png.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let reference = folder.join(format!("pngsuite/bmp/{name}.bmp"));
        // It is corrupt on purpose, or its reference shows what is behind it.
        if !reference.is_file() || name == "tbbn0g04" {
            continue;
        }
        let rgb = |path: &Path| decode(path).unwrap().to_rgb();
        let (found, expected) = (rgb(png), rgb(&reference));
        assert_eq!(found.dimensions(), expected.dimensions(), "{name}");
        let differences = found.as_raw().iter().zip(expected.as_raw());
        let worst = differences.map(|(a, b)| a.abs_diff(*b)).max();
        assert!(worst <= Some(1), "{name} differs by {worst:?} levels");
        compared += 1;
    }
    assert_eq!(compared, 160);
}

#[test]
fn real_camvid_has_701_scenes_of_11_classes_with_masks_twice_as_large() {
    let Some(folder) = real_data("camvid") else { return };
    let [train, val, test] = camvid(&folder).unwrap();
    assert_eq!([train.len(), val.len(), test.len()], [367, 101, 233]);
    let mut pixels = [0_usize; 12];
    for index in 0..test.len() {
        let (scene, whole) = (test.scene(index).unwrap(), test.mask(index).unwrap());
        let mask = scene.classes.unwrap();
        assert_eq!((mask.width, mask.height), (240, 180));
        assert_eq!((whole.width, whole.height), (480, 360));
        let row = |y: usize| whole.data[2 * y * 480..].iter().step_by(2).take(240);
        assert!((0..180).all(|y| row(y).eq(&mask.data[y * 240..][..240])));
        mask.data.iter().for_each(|&class| pixels[usize::from(class)] += 1);
    }
    assert!(pixels.iter().all(|&count| count > 0), "{pixels:?}");
    assert_eq!(pixels.iter().sum::<usize>(), 233 * 240 * 180);
    // Some 3 % are of no class.
    assert!((0.02..0.05).contains(&(pixels[11] as f64 / (233 * 240 * 180) as f64)), "{pixels:?}");
}
