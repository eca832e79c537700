//! Files that are none: named by line, and never a panic.

use super::*;
use std::panic::catch_unwind;

/// What opening a set complains about.
fn refusal(files: &[(&str, &str)]) -> String {
    let folder = pictures(&[[64, 48]]);
    for (name, text) in files {
        save(&folder.path().join(name), text).unwrap();
    }
    let images = folder.path().join("images/train/0.png");
    copy(&folder.path().join("0.png"), &images).unwrap();
    copy(&images, &folder.path().join("JPEGImages/0.png")).unwrap();
    BoxSet::open(folder.path()).unwrap_err().to_string()
}

const YAML: &str = "train: images/train\nnames: [a, b]\n";

#[test]
fn what_is_wrong_is_named_with_file_and_line() {
    let voc = |inside: &str| {
        format!(
            "<annotation>\n<size><width>64</width><height>48</height></size>\n{inside}</annotation>"
        )
    };
    let object = |bounds: &str| {
        voc(&format!("<object><name>a</name>\n<bndbox>{bounds}</bndbox></object>\n"))
    };
    for (text, line, what) in [
        ("", 1, "no element"),
        ("<annotation>\n<size>\n</annotation>", 3, "<size> of line 2 is open"),
        ("<annotation>\n", 2, "isn't closed"),
        ("<a></a>", 1, "expected <annotation>"),
        ("<annotation></annotation>", 1, "has no <size>"),
        ("<annotation>\n&bad;</annotation>", 2, "`&bad;` is not known"),
        ("<annotation><size><width>0</width>", 1, "isn't closed"),
        (&voc("<object></object>\n"), 3, "has no <name>"),
        (&object("<xmin>1</xmin>"), 4, "has no <ymin>"),
        (
            &object("<xmin>1</xmin><ymin>1</ymin><xmax>x</xmax><ymax>4</ymax>"),
            4,
            "<xmax> must be a number",
        ),
        (
            &object("<xmin>9</xmin><ymin>1</ymin><xmax>3</xmax><ymax>4</ymax>"),
            4,
            "begin before it ends",
        ),
        (
            &object("<xmin>nan</xmin><ymin>1</ymin><xmax>3</xmax><ymax>4</ymax>"),
            4,
            "must be a number",
        ),
        ("<!DOCTYPE a [<!ENTITY b \"c\">]>", 1, "document type"),
    ] {
        let message = refusal(&[("Annotations/0.xml", text)]);
        assert!(
            message.contains("0.xml") && message.contains(&format!("line {line}: ")),
            "{message}"
        );
        assert!(message.contains(what), "{message}");
    }

    let coco = |rest: &str| {
        format!(
            "{{\"categories\": [{{\"id\": 7, \"name\": \"a\"}}],\n\"images\": [{{\"id\": 5, \"file_name\": \"0.png\", \"width\": 64, \"height\": 48}}],\n\"annotations\": [\n{rest}]}}"
        )
    };
    let one = |change: &str| {
        format!("{{\"image_id\": 5, \"category_id\": 7, \"bbox\": [1, 2, 3, 4]}},\n{{{change}}}")
    };
    for (text, line, what) in [
        ("[", 1, ""),
        ("{\"images\": []}", 1, "categories"),
        (
            &coco(&one("\"image_id\": 6, \"category_id\": 7, \"bbox\": [1, 2, 3, 4]")),
            5,
            "no image with the id 6",
        ),
        (
            &coco(&one("\"image_id\": 5, \"category_id\": 1, \"bbox\": [1, 2, 3, 4]")),
            5,
            "no category with the id 1",
        ),
        (&coco(&one("\"image_id\": 5, \"category_id\": 7, \"bbox\": [1, 2, -3, 4]")), 5, "-3×4"),
        (&coco(&one("\"image_id\": 5, \"category_id\": 7, \"bbox\": [1, 2]")), 5, "length"),
        (&coco("").replace("0.png", "../0.png"), 2, "no name of a file below"),
        (&coco("").replace("\"width\": 64", "\"width\": 0"), 2, "width and height"),
        (
            &coco("").replace("}],\n\"images\"", "}, {\"id\": 7, \"name\": \"b\"}],\n\"images\""),
            1,
            "two categories",
        ),
    ] {
        let message = refusal(&[("annotations/train.json", text)]);
        assert!(
            message.contains("train.json") && message.contains(&format!("line {line}: ")),
            "{message}"
        );
        assert!(message.contains(what), "{message}");
    }

    for (yaml, labels, file, line, what) in [
        ("nc: 2\n", "", "data.yaml", 1, "no `names`"),
        (
            "names: [a]\nnc: 2\ntrain: images/train\n",
            "",
            "data.yaml",
            2,
            "nc is 2, and there are 1 names",
        ),
        ("names: {0: a, 2: b}\n", "", "data.yaml", 1, "from 0 on"),
        ("names:\n  - a\n  1: b\n", "", "data.yaml", 3, "a list and a table"),
        ("names: [a\ntrain: x\n", "", "data.yaml", 1, "without `]`"),
        ("what\n", "", "data.yaml", 1, "key: value"),
        ("names: [a]\ntrain: nowhere\n", "", "data.yaml", 2, "no `nowhere`"),
        (YAML, "0 .5 .5 .5 .5\n\n2 .5 .5 .5 .5\n", "0.txt", 3, "from 0 to 1, found `2`"),
        (YAML, "0 .5 .5 .5\n", "0.txt", 1, "4 numbers"),
        (YAML, "0 .5 .5 .5 nan\n", "0.txt", 1, "4 numbers"),
        (YAML, "0 .5 .5 -.5 .5\n", "0.txt", 1, "below 0"),
    ] {
        let message = refusal(&[("data.yaml", yaml), ("labels/train/0.txt", labels)]);
        assert!(message.contains(file) && message.contains(&format!("line {line}: ")), "{message}");
        assert!(message.contains(what), "{message}");
    }
    let empty = BoxSet::open(tempfile::tempdir().unwrap().path()).unwrap_err().to_string();
    assert!(empty.contains("Annotations/") && empty.contains("data.yaml"), "{empty}");
}

#[test]
fn mutilated_files_are_read_or_refused_and_never_panic() {
    let out = tempfile::tempdir().unwrap();
    let folder = pictures(&[[64, 48]; 3]);
    let set = set(folder.path());
    let mut texts = Vec::new();
    for format in [BoxFormat::Voc, BoxFormat::Coco, BoxFormat::Yolo] {
        set.write(format, &out.path().join(format.to_string()), &mut || ()).unwrap();
    }
    for name in [
        "Pascal VOC/Annotations/0.xml",
        "COCO/annotations/instances_train.json",
        "YOLO/data.yaml",
        "YOLO/labels/train/0.txt",
    ] {
        texts.push(text_of(&out.path().join(name)).unwrap());
    }
    let mut state = 7_u64;
    let mut draw = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % below
    };
    let pieces = [
        "0",
        "-1",
        "1e999",
        "<",
        "</",
        "&",
        "[",
        "{",
        "\"",
        "'",
        ":",
        "\n",
        "#",
        "é",
        "nan",
        "<![CDATA[",
        "]]>",
        "",
    ];
    let (mut read, mut refused) = (0, 0);
    for round in 0..8000 {
        let mut text = texts[round % 4].clone();
        for _ in 0..=draw(3) {
            let near = |at: usize| (0..=at).rev().find(|&at| text.is_char_boundary(at)).unwrap();
            let from = near(draw(text.len() + 1));
            let to = near((from + draw(12)).min(text.len())).max(from);
            text.replace_range(from..to, pieces[draw(pieces.len())]);
        }
        let result = catch_unwind(|| match round % 4 {
            0 => voc::parse(&text).map(|_| ()).map_err(|fault| fault.line),
            1 => coco::Document::parse(&text).map(|_| ()).map_err(|(line, _)| line),
            2 => yolo::describe(&text).map(|_| ()).map_err(|(line, _)| line),
            _ => yolo::parse(&text, [64, 48], 3).map(|_| ()).map_err(|(line, _)| line),
        });
        let lines = 1 + text.matches('\n').count();
        match result.unwrap_or_else(|_| panic!("{text}")) {
            Ok(()) => read += 1,
            Err(line) => {
                assert!((1..=lines).contains(&line), "line {line} of {lines}: {text}");
                refused += 1;
            }
        }
    }
    assert!(read > 100 && refused > 1000, "{read} {refused}");
}
