//! Tests on real data, which is not part of the repository; see [`real_data`].

use std::fs;

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

#[test]
fn real_odd_images_give_pixels_or_an_error_that_names_the_file() {
    let Some(folder) = real_data("image_corpus") else { return };
    let (mut read, mut refused) = (0, 0);
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            match decode(&path) {
                Ok(pixels) => {
                    read += 1;
                    assert_eq!(pixels.data.len(), pixels.width * pixels.height * pixels.channels);
                }
                Err(error) => {
                    refused += 1;
                    let name = path.file_name().unwrap().to_string_lossy().into_owned();
                    assert!(error.to_string().contains(&name), "{error}");
                }
            }
        }
    }
    println!("{read} images read, {refused} files refused");
    assert!(read > 100);
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
