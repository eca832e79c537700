//! Each format read and written, there and back, and files that are none.

mod hostile;

use super::*;
use proptest::prelude::*;

/// A folder with an image of each of the sizes, called `0.png` and so on.
fn pictures(sizes: &[[u32; 2]]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (at, [width, height]) in sizes.iter().enumerate() {
        let file = folder.path().join(format!("{at}.png"));
        image::GrayImage::new(*width, *height).save(file).unwrap();
    }
    folder
}

/// A set of two parts with flags, an image without boxes, and classes that need care.
fn set(folder: &Path) -> BoxSet {
    let image = |at: usize, boxes| BoxImage {
        file: folder.join(format!("{at}.png")),
        name: format!("{at}.png"),
        width: 64,
        height: 48,
        boxes,
    };
    let hard = MarkedBox {
        difficult: true,
        truncated: true,
        ..MarkedBox::new(2, [0.0, 0.5, 64.0, 47.99])
    };
    let train =
        vec![image(0, vec![MarkedBox::new(1, [3.0, 4.0, 20.0, 30.0]), hard]), image(1, Vec::new())];
    let test = vec![image(2, vec![MarkedBox::new(0, [1.25, 2.0, 3.0, 4.75])])];
    BoxSet {
        format: BoxFormat::Voc,
        classes: ["zebra", "a & <b>", "it's: \"x\" # 1"].map(str::to_owned).to_vec(),
        parts: vec![
            BoxPart { name: "train".to_owned(), images: train },
            BoxPart { name: "test".to_owned(), images: test },
        ],
        findings: Findings::default(),
    }
}

/// What must come back, without the places of files.
fn essence(set: &BoxSet) -> impl PartialEq + fmt::Debug {
    let image =
        |image: &BoxImage| (image.name.clone(), image.width, image.height, image.boxes.clone());
    let parts = set
        .parts
        .iter()
        .map(|part| (part.name.clone(), part.images.iter().map(image).collect::<Vec<_>>()));
    (set.classes.clone(), parts.collect::<Vec<_>>())
}

/// The set after it was written and read in each of the formats.
fn through(set: &BoxSet, formats: &[BoxFormat]) -> BoxSet {
    let mut set = set.clone();
    let mut kept = None;
    for &format in formats {
        let out = tempfile::tempdir().unwrap();
        let mut copied = 0;
        set.write(format, out.path(), &mut || copied += 1).unwrap();
        assert_eq!(copied, set.images().count());
        set = BoxSet::open(out.path()).unwrap();
        assert_eq!(set.format, format);
        assert!(set.findings == Findings::default(), "{:?}", set.findings);
        assert!(set.images().all(|image| image.file.starts_with(out.path())));
        kept = Some(out); // the folder before has been copied, and goes
    }
    drop(kept);
    set
}

#[test]
fn a_set_comes_back_from_every_format_and_from_one_to_the_other() {
    use BoxFormat::{Coco, Voc, Yolo};
    let folder = pictures(&[[64, 48]; 3]);
    let set = set(folder.path());
    let mut plain = set.clone();
    let images = plain.parts.iter_mut().flat_map(|part| &mut part.images);
    for one in images.flat_map(|image| &mut image.boxes) {
        (one.difficult, one.truncated) = (false, false);
    }

    for formats in [&[Voc][..], &[Coco], &[Voc, Coco, Voc], &[Coco, Voc, Coco, Coco]] {
        assert_eq!(essence(&through(&set, formats)), essence(&set), "{formats:?}");
    }
    // YOLO has no flags.
    for formats in [&[Yolo][..], &[Voc, Yolo, Coco, Yolo, Voc], &[Yolo, Yolo]] {
        assert_eq!(essence(&through(&set, formats)), essence(&plain), "{formats:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn edges_in_pixels_or_hundredths_and_fractions_of_ten_digits_come_back(
        size in (16_usize..5000, 16_usize..5000),
        edges in prop::collection::vec((0.0..1.0_f64, 0.0..1.0_f64), 2),
        digits in 4..=10_i32,
    ) {
        let sides = [size.0 as f64, size.1 as f64];
        for unit in [1.0, 100.0] {
            let on = |part: f64, side: f64| (part * side * unit).floor() / unit;
            let corners = [on(edges[0].0, sides[0]), on(edges[0].1, sides[1]),
                on(edges[1].0, sides[0]), on(edges[1].1, sides[1])];
            let corners = [corners[0].min(corners[2]), corners[1].min(corners[3]),
                corners[0].max(corners[2]) + 1.0 / unit, corners[1].max(corners[3]) + 1.0 / unit];
            let one = MarkedBox::new(0, corners);
            let image = BoxImage { file: PathBuf::new(), name: "a.png".to_owned(), width: size.0, height: size.1, boxes: vec![one] };
            let text = yolo::text(&image);
            let back = yolo::parse(&text, [size.0, size.1], 1).unwrap();
            let back = back[0].1.within([size.0, size.1], &mut Findings::default(), String::new).unwrap().unwrap();
            let one = one.within([size.0, size.1], &mut Findings::default(), String::new).unwrap().unwrap();
            prop_assert_eq!(back, one, "{}", text);
        }
        // What YOLO's files say comes back to the letter, from whatever it was turned into.
        let ten = 10_f64.powi(digits);
        let fraction = |part: f64| ((part * ten).floor() / ten).max(1.0 / ten);
        let [x, y] = [0.5, 0.5];
        let [w, h] = [fraction(edges[0].0), fraction(edges[0].1)];
        let text = format!("0 {x} {y} {w} {h}\n");
        let one = yolo::parse(&text, [size.0, size.1], 1).unwrap()[0].1;
        let one = one.within([size.0, size.1], &mut Findings::default(), String::new).unwrap();
        if let Some(one) = one {
            let image = BoxImage { file: PathBuf::new(), name: "a.png".to_owned(), width: size.0, height: size.1, boxes: vec![one] };
            prop_assert_eq!(yolo::text(&image), text);
        }
    }
}

#[test]
fn boxes_without_area_and_images_that_are_missing_are_left_out_and_counted() {
    let folder = pictures(&[[64, 48]]);
    let bounds = |[a, b, c, d]: [i32; 4]| {
        format!(
            "<object><name>c</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>\n"
        )
    };
    let size = "<size><width>64</width><height>48</height></size>\n";
    let text = |boxes: &[[i32; 4]]| {
        let boxes: String = boxes.iter().copied().map(bounds).collect();
        format!("<annotation>\n{size}{boxes}</annotation>")
    };
    let root = folder.path();
    copy(&root.join("0.png"), &root.join("set/JPEGImages/0.png")).unwrap();
    save(
        &root.join("set/Annotations/0.xml"),
        &text(&[[5, 5, 5, 5], [-3, 1, 9, 50], [1, 1, 2, 2], [70, 1, 80, 2]]),
    )
    .unwrap();
    save(&root.join("set/Annotations/1.xml"), &text(&[[1, 1, 2, 2]])).unwrap();

    let set = BoxSet::open(&root.join("set")).unwrap();

    let Findings { empty, clipped, missing } = &set.findings;
    assert!(empty.len() == 2 && empty[0].ends_with("0.xml line 3") && empty[1].ends_with("line 6"));
    assert!(clipped.len() == 1 && clipped[0].ends_with("0.xml line 4"));
    assert!(missing.len() == 1 && missing[0].starts_with('1'));
    let boxes: Vec<_> =
        set.images().flat_map(|image| &image.boxes).map(|one| one.corners).collect();
    assert_eq!(boxes, [[0.0, 1.0, 9.0, 48.0], [1.0, 1.0, 2.0, 2.0]]);
    assert_eq!(set.counts(), [2]);
}

#[test]
fn cocos_numbers_may_have_gaps_and_crowds_stay_in_coco() {
    let folder = pictures(&[[64, 48], [64, 48]]);
    let text = r#"{"info": {"images": [1, 2]}, "licenses": [{"id": 1}],
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 3, "name": "car", "supercategory": "x"}],
        "images": [{"id": 99, "file_name": "1.png", "width": 64, "height": 48},
            {"id": 4, "file_name": "0.png", "width": 64, "height": 48},
            {"id": 5, "file_name": "gone.png", "width": 64, "height": 48}],
        "annotations": [{"id": 1, "image_id": 4, "category_id": 90, "bbox": [1, 2, 3.5, 4], "iscrowd": 0, "segmentation": []},
            {"id": 8, "image_id": 99, "category_id": 3, "bbox": [0, 0, 64, 48], "iscrowd": 1},
            {"id": 9, "image_id": 5, "category_id": 3, "bbox": [0, 0, 64, 48]}]}"#;
    save(&folder.path().join("instances_val2017.json"), text).unwrap();
    for at in ["0.png", "1.png"] {
        copy(&folder.path().join(at), &folder.path().join("val2017").join(at)).unwrap();
    }

    let set = BoxSet::open(&folder.path().join("instances_val2017.json")).unwrap();

    assert_eq!(
        (&set.classes[..], set.parts[0].name.as_str()),
        (&["car".to_owned(), "toothbrush".to_owned()][..], "validation")
    );
    let images: Vec<_> = set.images().collect();
    assert!(images[0].name == "1.png" && images[0].boxes[0].crowd && images[0].boxes[0].class == 0);
    assert_eq!((images[1].boxes[0].class, images[1].boxes[0].corners), (1, [1.0, 2.0, 4.5, 6.0]));
    assert_eq!(set.findings.missing.len(), 1);
    let out = tempfile::tempdir().unwrap();
    assert_eq!(set.write(BoxFormat::Yolo, &out.path().join("yolo"), &mut || ()).unwrap(), 1);
    assert_eq!(set.write(BoxFormat::Coco, &out.path().join("coco"), &mut || ()).unwrap(), 0);
    assert_eq!(essence(&BoxSet::open(&out.path().join("coco")).unwrap()), essence(&set));
}

#[test]
fn yolos_description_is_read_as_people_write_it() {
    let names = |text: &str| yolo::describe(text).map(|description| description.classes);
    let expected: Vec<String> = ["person", "it's", "c#"].map(str::to_owned).to_vec();
    for text in [
        "names: [person, \"it's\", c#]",
        "names: ['person', 'it''s', \"c#\"] # three",
        "names:\n  - person\n  - it's\n  - c#\n",
        "names:\n- person\n- it's\n- c#\nnc: 3",
        "# a set\nnames:\n  0: person  # first\n  1: it's\n\n  2: c#\ntrain: x",
        "names: {0: person, 1: \"it's\", 2: c#}",
        "names: [person,\n  it's, c#]\nnc: 3",
        "download: |\n  from x import *\n  names: [a]\nnames: [person, it's, c#]",
    ] {
        assert_eq!(names(text), Ok(expected.clone()), "{text}");
    }
    let parts =
        yolo::describe("path: ../x\ntrain: [a, b]\nval: c\ntest: # none\nnames: [a]").unwrap();
    assert_eq!(parts.path.as_deref(), Some("../x"));
    let parts: Vec<_> =
        parts.parts.into_iter().map(|(_, name, words)| (name, words.len())).collect();
    assert_eq!(parts, [("train".to_owned(), 2), ("validation".to_owned(), 1)]);
}

#[test]
fn real_blood_cells_lose_two_boxes_without_area_and_come_back_from_every_format() {
    use BoxFormat::{Coco, Voc, Yolo};
    let Some(folder) = kiln_testkit::real_data("bccd") else { return };
    let set = BoxSet::open(&folder).unwrap();

    assert_eq!(set.classes, ["Platelets", "RBC", "WBC"]);
    assert_eq!(set.counts(), [361, 4153, 372]);
    let parts: Vec<_> =
        set.parts.iter().map(|part| (part.name.as_str(), part.images.len())).collect();
    assert_eq!(parts, [("train", 205), ("validation", 87), ("test", 72)]);
    let Findings { empty, missing, .. } = &set.findings;
    assert!(missing.is_empty() && empty.len() == 2, "{empty:?}");
    assert!(
        empty
            .iter()
            .all(|place| place.contains("BloodImage_00338") || place.contains("BloodImage_00343"))
    );

    let mut plain = set.clone();
    let images = plain.parts.iter_mut().flat_map(|part| &mut part.images);
    for one in images.flat_map(|image| &mut image.boxes) {
        (one.difficult, one.truncated) = (false, false);
    }
    assert_eq!(essence(&through(&set, &[Coco, Voc])), essence(&set));
    assert_eq!(essence(&through(&set, &[Yolo])), essence(&plain));
}
