//! Boxes drawn into a photo, each class in its own colour and with its name.

use image::{Rgb, RgbImage};

use crate::Theme;
use crate::font::{self, Weight};
use crate::theme::mix;

/// What is drawn around an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Labelled {
    /// Left, top, right and bottom in pixels; what is outside of the image isn't drawn.
    pub bounds: [f64; 4],
    /// Number of its class, which chooses the colour.
    pub class: usize,
    /// What is written above it; nothing if it is empty.
    pub label: String,
}

/// Turns of the colour circle from a class to the next: the golden ratio, so that neighbours differ and none comes twice soon.
const TURN: f64 = 0.618_033_988_749_895;

/// The colour of a class: bright, and readable on photos of any kind.
pub fn class_colour(class: usize) -> Rgb<u8> {
    let hue = (0.08 + class as f64 * TURN).fract() * 6.0;
    // Every third class is darker and every third lighter, because hues alone are too few.
    let (value, saturation) = [(0.95, 0.85), (0.75, 0.9), (1.0, 0.55)][class % 3];
    let channel = |shift: f64| {
        let k = (shift + hue) % 6.0;
        let dip = k.min(4.0 - k).clamp(0.0, 1.0);
        (255.0 * value * (1.0 - saturation * dip)).round() as u8
    };
    Rgb([channel(5.0), channel(3.0), channel(1.0)])
}

/// Draws frames and labels into `image`, the last one on top; their width and size follow the image's.
pub fn draw_boxes(image: &mut RgbImage, boxes: &[Labelled]) {
    let side = image.width().max(image.height()) as f32;
    let width = (side / 320.0).round().clamp(1.0, 8.0) as i64;
    let size = (side / 45.0).clamp(11.0, 48.0);
    for one in boxes {
        if let Some(frame) = frame(image, one.bounds) {
            outline(image, frame, width, class_colour(one.class));
        }
    }
    // Labels come last, so that no frame runs through them.
    for one in boxes.iter().filter(|one| !one.label.is_empty()) {
        if let Some(frame) = frame(image, one.bounds) {
            label(image, frame, size, one);
        }
    }
}

/// The pixels that a box covers, from the first to the last; none for a box outside, or one that is none.
fn frame(image: &RgbImage, bounds: [f64; 4]) -> Option<[i64; 4]> {
    let [left, top, right, bottom] = bounds;
    let (w, h) = (f64::from(image.width()), f64::from(image.height()));
    // Written so that a NaN is outside.
    let touches = left < w && top < h && right > 0.0 && bottom > 0.0;
    let inside = w > 0.0 && h > 0.0 && touches && left <= right && top <= bottom;
    inside.then(|| {
        let edge = |at: f64, side: f64| at.clamp(0.0, side - 1.0).round() as i64;
        [edge(left, w), edge(top, h), edge(right - 1.0, w), edge(bottom - 1.0, h)]
    })
}

fn fill(image: &mut RgbImage, [left, top, right, bottom]: [i64; 4], colour: Rgb<u8>) {
    let (w, h) = (i64::from(image.width()), i64::from(image.height()));
    for y in top.max(0)..=bottom.min(h - 1) {
        for x in left.max(0)..=right.min(w - 1) {
            image.put_pixel(x as u32, y as u32, colour);
        }
    }
}

fn outline(
    image: &mut RgbImage,
    [left, top, right, bottom]: [i64; 4],
    width: i64,
    colour: Rgb<u8>,
) {
    let more = width - 1;
    for side in [
        [left, top, right, (top + more).min(bottom)],
        [left, (bottom - more).max(top), right, bottom],
        [left, top, (left + more).min(right), bottom],
        [(right - more).max(left), top, right, bottom],
    ] {
        fill(image, side, colour);
    }
}

/// A strip of the class's colour above the frame, or within it where the image ends, with the text on it.
fn label(image: &mut RgbImage, [left, top, ..]: [i64; 4], size: f32, one: &Labelled) {
    let (w, gap) = (i64::from(image.width()), (size * 0.3).round() as i64);
    let text = font::fit(&one.label, (w - 2 * gap).max(0) as f32, size, Weight::SemiBold);
    if text.is_empty() {
        return;
    }
    let length = font::width(&text, size, Weight::SemiBold).ceil() as i64 + 2 * gap;
    let height = (size * 1.3).round() as i64;
    let left = left.min(w - length).max(0);
    let top = if top >= height { top - height } else { top };
    let paper = class_colour(one.class);
    let ink = Theme::LIGHT.ink_on(paper);
    fill(image, [left, top, left + length - 1, top + height - 1], paper);
    font::rasterize(&text, size, Weight::SemiBold, 0.0, |x, y, coverage| {
        let (x, y) = (left + gap + i64::from(x), top + height / 2 + i64::from(y));
        if let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y))
            && let Some(pixel) = image.get_pixel_mut_checked(x, y)
        {
            *pixel = mix(*pixel, ink, coverage);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(bounds: [f64; 4], label: &str) -> Labelled {
        Labelled { bounds, class: 0, label: label.to_owned() }
    }

    #[test]
    fn a_frame_covers_the_edges_of_its_box_and_nothing_else() {
        let mut image = RgbImage::new(40, 30);
        draw_boxes(&mut image, &[one([5.0, 6.0, 20.0, 16.0], "")]);

        for (x, y, pixel) in image.enumerate_pixels() {
            let within = (5..20).contains(&x) && (6..16).contains(&y);
            let edge = within && (x == 5 || x == 19 || y == 6 || y == 15);
            assert_eq!(*pixel, if edge { class_colour(0) } else { Rgb([0; 3]) }, "{x} {y}");
        }
    }

    #[test]
    fn boxes_and_labels_beyond_the_image_never_panic() {
        let mut image = RgbImage::new(64, 48);
        let label = "a label that is far too long for an image of this size";
        let strange = [
            [-50.0, -50.0, 500.0, 500.0],
            [60.0, 40.0, 63.0, 47.0],
            [100.0, 100.0, 200.0, 200.0],
            [f64::NAN, 0.0, 1.0, 1.0],
            [f64::NEG_INFINITY, 0.0, f64::INFINITY, 1.0],
            [9.0, 9.0, 3.0, 3.0],
            [3.0, 3.0, 3.0, 3.0],
        ];
        draw_boxes(&mut image, &strange.map(|bounds| one(bounds, label)));
        draw_boxes(&mut RgbImage::new(1, 1), &strange.map(|bounds| one(bounds, label)));
        draw_boxes(&mut RgbImage::new(0, 0), &strange.map(|bounds| one(bounds, label)));
        assert_eq!(*image.get_pixel(0, 0), class_colour(0));
    }

    #[test]
    fn eighty_classes_have_eighty_colours_and_neighbours_differ_much() {
        let colours: Vec<[i32; 3]> =
            (0..80).map(|class| class_colour(class).0.map(i32::from)).collect();
        let apart = |a: [i32; 3], b: [i32; 3]| (0..3).map(|i| (a[i] - b[i]).abs()).sum::<i32>();
        for (at, &colour) in colours.iter().enumerate() {
            assert!(colours[..at].iter().all(|&other| other != colour), "{at}");
            let next = (at + 1).min(79);
            assert!(next == at || apart(colour, colours[next]) > 100, "{at}");
        }
    }

    #[test]
    fn a_label_is_written_above_its_box_in_readable_ink() {
        let mut image = RgbImage::from_pixel(300, 200, Rgb([128; 3]));
        draw_boxes(&mut image, &[one([50.0, 100.0, 200.0, 180.0], "dog 92 %")]);

        let above = |wanted: Rgb<u8>| {
            (85..100)
                .flat_map(|y| (50..150).map(move |x| (x, y)))
                .any(|(x, y)| *image.get_pixel(x, y) == wanted)
        };
        assert!(above(class_colour(0)) && above(Theme::LIGHT.ink_on(class_colour(0))));
    }
}
