//! Average precision of published detections.

use std::fs;
use std::path::{Path, PathBuf};

use kiln_metrics::{BoundingBox, Detection, Detections, Points, Truth, VocConfig};

/// The folder `map_reference` of the real data, if it is there.
fn reference() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let root = std::env::var_os("KILN_REAL_DATA").map_or_else(beside, PathBuf::from);
    let folder = root.join("map_reference");
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no real data");
    None
}

/// The lines of a file, as a name and numbers.
fn lines(file: &Path) -> Vec<(String, Vec<f64>)> {
    let text = fs::read_to_string(file).unwrap();
    let split = text.lines().filter(|line| !line.trim().is_empty()).map(|line| {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap().to_owned();
        (name, words.map(|word| word.parse().unwrap()).collect())
    });
    split.collect()
}

/// The boxes of every file in two folders of the same names.
fn read(truth: &Path, found: &Path, bounds: fn([f64; 4]) -> BoundingBox) -> Detections {
    let mut files: Vec<_> = fs::read_dir(truth).unwrap().map(|e| e.unwrap().file_name()).collect();
    files.sort();
    let mut names: Vec<String> =
        files.iter().flat_map(|f| lines(&truth.join(f))).map(|l| l.0).collect();
    names.sort();
    names.dedup();
    let class = |name: &str| names.iter().position(|other| other == name);
    let mut all = Detections::new(names.len());
    for file in &files {
        let truths = lines(&truth.join(file))
            .into_iter()
            .map(|(name, row)| Truth::new(class(&name).unwrap(), bounds(row.try_into().unwrap())));
        let found = lines(&found.join(file)).into_iter().filter_map(|(name, row)| {
            let bounds = bounds(row[1..].try_into().unwrap());
            // A class that no image shows has no average precision.
            Some(Detection { class: class(&name)?, score: row[0], bounds })
        });
        all.record(truths.collect(), found.collect());
    }
    all
}

#[test]
fn real_detections_have_their_published_average_precision() {
    let Some(folder) = reference() else { return };
    let folder = folder.join("samples/sample_2");
    let (truth, found) = (folder.join("groundtruths"), folder.join("detections"));
    // The files have widths, in whole pixels: the right edge is the last pixel but for one.
    let all = read(&truth, &found, BoundingBox::from_origin);
    let map = |iou, points| {
        all.voc(VocConfig { iou, points, whole_pixels: true }).map().expect("there are objects")
    };
    for (iou, points, expected) in [
        (0.3, Points::All, 0.245_687),
        (0.3, Points::Eleven, 0.268_398),
        (0.5, Points::All, 0.022_222),
        (0.5, Points::Eleven, 0.030_303),
    ] {
        let found = map(iou, points);
        assert!((found - expected).abs() < 1e-6, "{iou} {points:?}: {found}");
    }
}

#[test]
fn real_detections_of_thirty_classes_have_the_known_average_precision() {
    let Some(folder) = reference() else { return };
    let folder = folder.join("cartucho/input");
    let (truth, found) = (folder.join("ground-truth"), folder.join("detection-results"));
    let all = read(&truth, &found, BoundingBox::from_corners);
    assert_eq!((all.images(), all.classes()), (85, 30));

    let map = all.voc(VocConfig { iou: 0.5, points: Points::All, whole_pixels: true }).map();

    let map = map.expect("there are objects");
    assert!((map - 0.310_477).abs() < 1e-6, "{map}");
}
