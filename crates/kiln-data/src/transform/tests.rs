//! Each change against torchvision's, and what is marked against what is seen.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::Pixels;
use crate::golden::{self, Tensor, pixels};

fn golden() -> BTreeMap<String, Tensor> {
    golden::read("transform")
}

fn floats((_, data): &Tensor) -> Vec<[f32; 4]> {
    let values = data.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes));
    let values: Vec<f32> = values.collect();
    values.as_chunks::<4>().0.to_vec()
}

/// The parameters of `xtask/golden/transform.py`.
fn shapes() -> Vec<(&'static str, Op)> {
    let region = |left, top, width, height| Region { left, top, width, height };
    let affine = |angle, shift, scale, shear| {
        Op::Affine(Affine { angle, shift, scale, shear, about_corner: false })
    };
    let corner = Affine {
        shear: [0.3_f32.atan().to_degrees(), 0.0],
        about_corner: true,
        ..Affine::default()
    };
    vec![
        ("resize_down", Op::Resize { width: 11, height: 9 }),
        ("resize_up", Op::Resize { width: 33, height: 19 }),
        ("crop", Op::Crop(region(5, 3, 14, 9))),
        ("crop_outside", Op::Crop(region(-3, -4, 22, 15))),
        ("center_crop", Op::Crop(Region::middle(&Pixels::black(23, 15, 1), 14, 10))),
        ("resized_crop", Op::ResizedCrop { region: region(4, 2, 15, 11), width: 20, height: 12 }),
        ("flip", Op::Flip),
        ("flip_vertical", Op::FlipVertical),
        ("rotate", affine(20.0, [0.0; 2], 1.0, [0.0; 2])),
        ("translate", affine(0.0, [3.0, -2.0], 1.0, [0.0; 2])),
        ("scale", affine(0.0, [0.0; 2], 1.4, [0.0; 2])),
        ("shear", affine(0.0, [0.0; 2], 1.0, [18.0, 0.0])),
        ("shear_both", affine(0.0, [0.0; 2], 1.0, [12.0, -9.0])),
        ("all", affine(33.0, [2.0, 1.0], 0.8, [10.0, 4.0])),
        ("shear_corner", Op::Affine(corner)),
    ]
}

fn colours() -> Vec<(&'static str, Op)> {
    let region = Region { left: 4, top: 6, width: 9, height: 5 };
    vec![
        ("brightness", Op::Brightness(1.35)),
        ("brightness_down", Op::Brightness(0.4)),
        ("contrast", Op::Contrast(1.6)),
        ("contrast_down", Op::Contrast(0.3)),
        ("saturation", Op::Saturation(1.7)),
        ("saturation_down", Op::Saturation(0.25)),
        ("hue", Op::Hue(0.2)),
        ("hue_back", Op::Hue(-0.37)),
        ("lighting", Op::Lighting([0.15, -0.2, 0.3])),
        ("grayscale", Op::Grayscale),
        ("invert", Op::Invert),
        ("posterize", Op::Posterize(3)),
        ("solarize", Op::Solarize(110.0)),
        ("autocontrast", Op::AutoContrast),
        ("equalize", Op::Equalize),
        ("sharpness", Op::Sharpness(1.9)),
        ("sharpness_down", Op::Sharpness(0.2)),
        ("blur", Op::Blur { kernel: 5, sigma: 1.3 }),
        ("blur_wide", Op::Blur { kernel: 13, sigma: 2.5 }),
        ("erase", Op::Erase { region, colour: [10, 20, 30] }),
    ]
}

fn changed(op: Op, pixels: &Pixels) -> Pixels {
    let mut scene = Scene::of(pixels.clone());
    op.apply(&mut scene).unwrap();
    scene.pixels
}

#[track_caller]
fn assert_within_one_level(name: &str, found: &Pixels, expected: &Pixels) {
    assert_eq!((found.width, found.height), (expected.width, expected.height), "{name}");
    let differences = found.data.iter().zip(&expected.data).map(|(a, b)| a.abs_diff(*b));
    let worst = differences.max().unwrap();
    assert!(worst <= 1, "{name} differs by {worst} levels; `cargo xtask golden transform`");
}

#[test]
fn every_change_is_torchvisions_within_one_grey_level() {
    let golden = golden();
    let (image, grey) = (pixels(&golden["image"]), pixels(&golden["grey"]));
    for (name, op) in shapes().into_iter().chain(colours()) {
        let expected = pixels(&golden[name]);
        assert_within_one_level(name, &changed(op, &image), &expected);
        assert_ne!(expected, image, "{name} does something");
        if let Some(expected) = golden.get(&format!("{name}.grey")) {
            assert_within_one_level(name, &changed(op, &grey), &pixels(expected));
        }
    }
}

#[test]
fn masks_and_boxes_move_as_torchvisions() {
    let golden = golden();
    let corners = floats(&golden["boxes"]);
    for (name, op) in shapes() {
        let (mask, image) = (pixels(&golden["mask"]), pixels(&golden["image"]));
        let classes = Mask { width: mask.width, height: mask.height, data: mask.data, outside: 0 };
        let object = |(label, &corners)| Object { label, corners, mask: None };
        let objects = corners.iter().enumerate().map(object).collect();
        let mut scene = Scene { pixels: image, objects, classes: Some(classes) };
        op.apply(&mut scene).unwrap();

        let moved = scene.classes.unwrap();
        let expected = pixels(&golden[&format!("{name}.mask")]);
        assert_eq!((moved.width, moved.height), (expected.width, expected.height), "{name}");
        // A pixel whose middle falls between two is either's, and Pillow counts in 16 bits.
        let other = moved.data.iter().zip(&expected.data).filter(|(a, b)| a != b).count();
        assert!(other <= 1, "{name}: {other} pixels of the mask differ");

        let expected = floats(&golden[&format!("{name}.boxes")]);
        let small = |[left, top, right, bottom]: [f32; 4]| right - left < 1.0 || bottom - top < 1.0;
        for (label, expected) in expected.into_iter().enumerate() {
            match scene.objects.iter().find(|object| object.label == label) {
                None => assert!(small(expected), "{name} lost box {label}: {expected:?}"),
                Some(Object { corners, .. }) => {
                    let near = corners.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-3);
                    assert!(near, "{name}: {corners:?} instead of {expected:?}");
                }
            }
        }
    }
}

/// A white rectangle on black, with its mask and its corners; and a twin without a mask.
fn rectangle([width, height]: [usize; 2], [left, top, wide, high]: [usize; 4]) -> Scene {
    let mut mask = Mask::empty(width, height);
    for y in top..top + high {
        mask.data[y * width + left..][..wide].fill(1);
    }
    let data = mask.data.iter().map(|&value| 255 * value).collect();
    let pixels = Pixels::new(width, height, 1, data).unwrap();
    let corners = [left, top, left + wide, top + high].map(|edge| edge as f32);
    let object = Object { label: 0, corners, mask: Some(mask.clone()) };
    let twin = Object { label: 1, mask: None, ..object.clone() };
    Scene { pixels, objects: vec![object, twin], classes: Some(mask) }
}

fn any_shape() -> impl Strategy<Value = Op> {
    let region = || {
        (-12_i64..30, -12_i64..20, 8..50_usize, 8..40_usize)
            .prop_map(|(left, top, width, height)| Region { left, top, width, height })
    };
    let affine = (-180.0_f32..180.0, -9.0_f32..9.0, -9.0_f32..9.0, 0.4_f32..2.5, any::<bool>());
    prop_oneof![
        (8..90_usize, 8..70_usize).prop_map(|(width, height)| Op::Resize { width, height }),
        region().prop_map(Op::Crop),
        (region(), 8..90_usize, 8..70_usize).prop_map(|(region, width, height)| Op::ResizedCrop {
            region,
            width,
            height
        }),
        Just(Op::Flip),
        Just(Op::FlipVertical),
        (affine, -35.0_f32..35.0, -35.0_f32..35.0).prop_map(
            |((angle, right, down, scale, about_corner), x, y)| {
                Op::Affine(Affine {
                    angle,
                    shift: [right, down],
                    scale,
                    shear: [x, y],
                    about_corner,
                })
            }
        ),
    ]
}

proptest! {
    #[test]
    fn after_every_change_of_shape_boxes_and_masks_lie_where_the_object_is_seen(
        place in (0..30_usize, 0..20_usize, 6..18_usize, 6..14_usize), op in any_shape(),
    ) {
        let (left, top, wide, high) = place;
        let mut scene = rectangle([48, 34], [left, top, wide, high]);
        op.apply(&mut scene).unwrap();
        prop_assert_eq!(scene.fault(), None);
        let (width, height) = (scene.pixels.width, scene.pixels.height);
        let classes = scene.classes.clone().unwrap();

        // The mask is where the image is white. Grey pixels, at edges, may be either's.
        let clear = scene.pixels.data.iter().zip(&classes.data);
        let wrong = clear.filter(|&(&value, &class)| (value > 220 && class == 0) || (value < 35 && class == 1));
        prop_assert!(wrong.count() <= width + height, "the mask is elsewhere");
        let seen = scene.pixels.data.iter().map(|&value| f32::from(value) / 255.0).sum::<f32>();
        let marked = classes.data.iter().map(|&class| f32::from(class)).sum::<f32>();
        prop_assert!((seen - marked).abs() <= 0.1 * marked + 3.0 * (width + height) as f32 / 2.0);

        let find = |label| scene.objects.iter().find(|object: &&Object| object.label == label);
        let Some(object) = find(0) else {
            // One that is dropped is gone, or a sliver.
            prop_assert!(classes.bounds().is_none_or(|[l, t, r, b]| r - l <= 1.0 || b - t <= 1.0));
            return Ok(());
        };
        let mask = object.mask.as_ref().unwrap();
        prop_assert_eq!(mask, &classes);
        prop_assert_eq!(Some(object.corners), mask.bounds());

        // The twin's box knows no mask: it holds the object's, and is as tight where the map is upright.
        let Some(twin) = find(1) else { return Ok(()) };
        let [a, b] = [twin.corners, object.corners];
        // The nearest pixel of a stretched mask is off by half an old pixel.
        let pixel = 1.0 + (width as f32 / 8.0).max(height as f32 / 8.0);
        let pixel = if matches!(op, Op::Affine(_) | Op::Flip | Op::FlipVertical | Op::Crop(_)) { 3.0 } else { pixel };
        prop_assert!(a[0] <= b[0] + pixel && a[1] <= b[1] + pixel, "{:?} {:?}", a, b);
        prop_assert!(a[2] >= b[2] - pixel && a[3] >= b[3] - pixel, "{:?} {:?}", a, b);
        if matches!(op, Op::Flip | Op::FlipVertical | Op::Crop(_)) {
            prop_assert_eq!(a, b);
        }
    }

    #[test]
    fn changes_of_colour_leave_what_is_marked_alone(which in 0..20_usize) {
        let (_, op) = colours()[which];
        let before = rectangle([30, 20], [5, 6, 9, 7]);
        let mut after = before.clone();
        op.apply(&mut after).unwrap();
        prop_assert_eq!((&after.objects, &after.classes), (&before.objects, &before.classes));
        let (old, new) = (&before.pixels, &after.pixels);
        prop_assert_eq!((old.width, old.height, old.channels), (new.width, new.height, new.channels));
    }

    #[test]
    fn two_flips_are_none(width in 1..20_usize, height in 1..20_usize, grey: bool) {
        let channels = if grey { 1 } else { 3 };
        let data = (0..width * height * channels).map(|at| (at * 37 % 251) as u8).collect();
        let pixels = Pixels::new(width, height, channels, data).unwrap();
        for op in [Op::Flip, Op::FlipVertical] {
            prop_assert_eq!(&changed(op, &changed(op, &pixels)), &pixels);
        }
    }
}

#[test]
fn a_quarter_turn_moves_the_top_to_the_right() {
    let data = (0..25).map(|at| at * 10).collect();
    let before = Pixels::new(5, 5, 1, data).unwrap();
    let after = changed(Op::Affine(Affine { angle: 90.0, ..Affine::default() }), &before);
    for (x, y) in [(0, 0), (4, 0), (1, 3), (2, 2)] {
        assert!(after.data[x * 5 + 4 - y].abs_diff(before.data[y * 5 + x]) <= 1);
    }
}

#[test]
fn what_comes_from_outside_is_black_and_of_the_outer_class() {
    let mut scene = Scene::of(Pixels::new(4, 4, 3, vec![255; 48]).unwrap());
    scene.classes = Some(Mask { outside: 255, ..Mask::empty(4, 4) });
    Op::Crop(Region { left: 2, top: -1, width: 4, height: 4 }).apply(&mut scene).unwrap();
    let classes = scene.classes.unwrap();
    assert_eq!(classes.data[..4], [255; 4]);
    assert_eq!(classes.data[4..8], [0, 0, 255, 255]);
    assert_eq!(scene.pixels.data[12..24], [255, 255, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0]);

    let away = Region { left: 1_000_000_000_000, top: i64::MIN / 2, width: 3, height: 2 };
    let mut scene = rectangle([9, 9], [1, 1, 6, 6]);
    Op::Crop(away).apply(&mut scene).unwrap();
    assert_eq!((scene.pixels, scene.objects), (Pixels::black(3, 2, 1), vec![]));
}

#[test]
fn parameters_without_a_meaning_are_refused() {
    let refusal = |op: Op| op.apply(&mut rectangle([9, 9], [1, 1, 6, 6])).unwrap_err().to_string();
    assert!(refusal(Op::Resize { width: 0, height: 3 }).starts_with("resize: 0×3 pixels;"));
    assert!(refusal(Op::Resize { width: 1 << 40, height: 3 }).starts_with("resize: "));
    assert!(refusal(Op::Blur { kernel: 4, sigma: 1.0 }).starts_with("blur: a kernel of 4 pixels"));
    let flat = Affine { scale: 0.0, ..Affine::default() };
    assert!(refusal(Op::Affine(flat)).starts_with("affine: a scale of 0"));

    let mut odd = rectangle([9, 9], [1, 1, 6, 6]);
    odd.classes = Some(Mask::empty(3, 3));
    let message = Op::Flip.apply(&mut odd).unwrap_err().to_string();
    assert!(message.contains("a mask of 3×3 with 9 values in an image of 9×9"), "{message}");
}
