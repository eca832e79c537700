//! Masks of polygons: what LabelMe writes beside an image.

use serde::Deserialize;

use crate::Error;
use crate::decode::MAX_PIXELS;
use crate::transform::Mask;

/// Corners that a shape has at most.
const MOST_POINTS: usize = 100_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    image_width: usize,
    image_height: usize,
    shapes: Vec<Shape>,
}

#[derive(Deserialize)]
struct Shape {
    label: String,
    points: Vec<[f64; 2]>,
    #[serde(default)]
    shape_type: Option<String>,
}

/// The shapes in `bytes`, each over those before it; `name` is for the message.
pub(super) fn mask(
    bytes: &[u8],
    name: &str,
    classes: &[String],
    background: u8,
    void: u8,
) -> Result<Mask, Error> {
    let wrong = |reason: String| Error::malformed(name, reason);
    let file: File = serde_json::from_slice(bytes)
        .map_err(|error| wrong(format!("{error}; expected what LabelMe writes")))?;
    let File { image_width: width, image_height: height, shapes } = file;
    let pixels = (width as u64).checked_mul(height as u64);
    if pixels.is_none_or(|pixels| pixels == 0 || pixels > MAX_PIXELS) {
        return Err(wrong(format!("an image of {width}×{height}; at most {MAX_PIXELS} pixels")));
    }
    let mut mask = Mask { width, height, data: vec![background; width * height], outside: void };
    for (number, shape) in shapes.iter().enumerate() {
        let at = |reason: String| wrong(format!("shape {}: {reason}", number + 1));
        let Some(class) = classes.iter().position(|class| *class == shape.label) else {
            let known = classes.join(", ");
            return Err(at(format!("`{}` is none of the classes {known}", shape.label)));
        };
        let class = u8::try_from(class).map_err(|_| at("more than 256 classes".to_owned()))?;
        mask.fill(&shape.corners().map_err(at)?, class);
    }
    Ok(mask)
}

impl Shape {
    /// The corners of the polygon that it is.
    fn corners(&self) -> Result<Vec<[f64; 2]>, String> {
        if self.points.len() > MOST_POINTS {
            let found = self.points.len();
            return Err(format!("{found} points; at most {MOST_POINTS} are read"));
        }
        match (self.shape_type.as_deref().unwrap_or("polygon"), &self.points[..]) {
            ("polygon", points @ [_, _, _, ..]) => Ok(points.to_vec()),
            ("rectangle", &[[a, b], [c, d]]) => Ok(vec![[a, b], [c, b], [c, d], [a, d]]),
            ("polygon" | "rectangle", points) => {
                Err(format!("{} points make no shape", points.len()))
            }
            (kind, _) => {
                Err(format!("a {kind}; polygons and rectangles only say which pixels are theirs"))
            }
        }
    }
}

impl Mask {
    /// Gives every pixel whose middle lies in the polygon this class. Where the polygon crosses itself, what is inside and
    /// outside changes with each crossing.
    fn fill(&mut self, corners: &[[f64; 2]], class: u8) {
        let (width, height) = (self.width as f64, self.height as f64);
        let mut crossings: Vec<Vec<f64>> = vec![Vec::new(); self.height];
        for (at, &from) in corners.iter().enumerate() {
            let to = corners[(at + 1) % corners.len()];
            let ([ax, ay], [bx, by]) = if from[1] <= to[1] { (from, to) } else { (to, from) };
            // Rows whose middle lies from the upper corner to above the lower one.
            let [first, end] = [ay, by].map(|y| (y - 0.5).ceil().clamp(0.0, height) as usize);
            for (y, crossings) in (first..end).zip(&mut crossings[first..end]) {
                let part = (y as f64 + 0.5 - ay) / (by - ay);
                crossings.push(ax + part * (bx - ax));
            }
        }
        for (row, mut crossings) in self.data.chunks_exact_mut(self.width).zip(crossings) {
            crossings.sort_by(f64::total_cmp);
            for pair in crossings.chunks_exact(2) {
                let [from, to] =
                    [pair[0], pair[1]].map(|x| (x - 0.5).ceil().clamp(0.0, width) as usize);
                row[from..to.max(from)].fill(class);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn read(shapes: Value) -> Result<Mask, Error> {
        let file = json!({
            "version": "5.4.1", "flags": {}, "imagePath": "a.jpg", "imageData": null,
            "imageWidth": 8, "imageHeight": 6, "shapes": shapes,
        });
        let classes = ["background", "cat", "dog"].map(str::to_owned);
        mask(file.to_string().as_bytes(), "a.json", &classes, 0, 255)
    }

    fn rows(mask: &Mask) -> Vec<String> {
        let row = |row: &[u8]| row.iter().map(u8::to_string).collect::<String>();
        mask.data.chunks(mask.width).map(row).collect()
    }

    #[test]
    fn a_pixel_belongs_to_the_last_shape_that_its_middle_lies_in() {
        let mask = read(json!([
            { "label": "cat", "points": [[1, 1], [7, 1], [7, 5], [1, 5]], "shape_type": "polygon" },
            { "label": "dog", "points": [[5.4, 3.6], [2.6, 2.4]], "shape_type": "rectangle" },
            { "label": "background", "points": [[6, 0], [9, 0], [9, 2], [6, 2]] },
        ]))
        .unwrap();

        assert_eq!(
            rows(&mask),
            ["00000000", "01111100", "01122110", "01122110", "01111110", "00000000"]
        );
        assert_eq!(mask.outside, 255);
    }

    #[test]
    fn what_a_polygon_that_crosses_itself_goes_around_twice_is_outside() {
        let twice =
            [[0, 0], [8, 0], [8, 6], [0, 6], [0, 0], [2, 2], [6, 2], [6, 4], [2, 4], [2, 2]];
        let mask = read(json!([{ "label": "cat", "points": twice }])).unwrap();

        assert_eq!(rows(&mask)[2], "11000011");
        assert_eq!(rows(&mask)[1], "11111111");
    }

    #[test]
    fn what_is_no_shape_of_a_known_class_is_refused_with_its_number() {
        let refused = |shape: Value| read(json!([shape])).unwrap_err().to_string();

        let corners = json!([[0, 0], [1, 0], [1, 1]]);
        let bird = refused(json!({ "label": "bird", "points": corners }));
        assert!(bird.contains("shape 1: `bird` is none of the classes background, cat, dog"));
        let line = refused(json!({ "label": "cat", "points": [[0, 0], [1, 1]] }));
        assert!(line.contains("2 points make no shape"), "{line}");
        let circle = json!({ "label": "cat", "points": [[0, 0], [1, 1]], "shape_type": "circle" });
        assert!(refused(circle).contains("a circle; polygons and rectangles only"));
        let classes = ["cat".to_owned()];
        let whole = |bytes: &[u8]| mask(bytes, "a.json", &classes, 0, 0).unwrap_err().to_string();
        assert!(whole(b"[1]").contains("expected what LabelMe writes"));
        let huge = br#"{"imageWidth": 100000, "imageHeight": 100000, "shapes": []}"#;
        assert!(whole(huge).contains("at most 100000000 pixels"));
        let empty = br#"{"imageWidth": 0, "imageHeight": 5, "shapes": []}"#;
        assert!(whole(empty).contains("0×5"));
    }

    proptest! {
        #[test]
        fn a_triangle_holds_the_pixels_whose_middles_are_on_one_side_of_each_edge(
            points in prop::array::uniform3(prop::array::uniform2(-4.0..12.0_f64)),
        ) {
            let mask = read(json!([{ "label": "dog", "points": points }])).unwrap();

            let [a, b, c] = points;
            let side = |p: [f64; 2], q: [f64; 2], x: f64, y: f64| {
                (q[0] - p[0]) * (y - p[1]) - (q[1] - p[1]) * (x - p[0])
            };
            for (at, class) in mask.data.iter().enumerate() {
                let (x, y) = ((at % 8) as f64 + 0.5, (at / 8) as f64 + 0.5);
                let sides = [side(a, b, x, y), side(b, c, x, y), side(c, a, x, y)];
                if sides.iter().any(|side| side.abs() < 1e-9) {
                    continue; // on an edge
                }
                let inside = sides.iter().all(|&s| s > 0.0) || sides.iter().all(|&s| s < 0.0);
                prop_assert_eq!(*class, if inside { 2 } else { 0 });
            }
        }

        #[test]
        fn any_numbers_as_corners_are_filled_or_refused_and_nothing_panics(
            points in prop::collection::vec(prop::array::uniform2(prop::num::f64::NORMAL), 0..6),
        ) {
            let _ = read(json!([{ "label": "dog", "points": points }]));
        }
    }
}
