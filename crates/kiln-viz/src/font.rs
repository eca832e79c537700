//! The embedded font: Inter, two weights, Latin and the symbols the pictures use.
//!
//! Under the SIL Open Font License 1.1; `fonts/README.md` says how the subsets were made.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, PxScale, ScaleFont, point};

/// Inter Regular as an OpenType file.
pub const REGULAR: &[u8] = include_bytes!("../fonts/Inter-Regular.otf");
/// Inter SemiBold as an OpenType file.
pub const SEMI_BOLD: &[u8] = include_bytes!("../fonts/Inter-SemiBold.otf");

/// Height of a capital letter, in units of the font size.
const CAP_HEIGHT: f32 = 0.727;

/// How strong a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    Regular,
    SemiBold,
}

fn face(weight: Weight) -> &'static FontRef<'static> {
    // The files are part of the program, and a test parses both.
    static FACES: LazyLock<[FontRef<'static>; 2]> = LazyLock::new(|| {
        [REGULAR, SEMI_BOLD]
            .map(|bytes| FontRef::try_from_slice(bytes).expect("the embedded font parses"))
    });
    &FACES[weight as usize]
}

/// The scale that makes an em `size` pixels: `ab_glyph` scales by ascent to descent instead.
fn scale(font: &FontRef<'_>, size: f32) -> PxScale {
    PxScale::from(size * font.height_unscaled() / font.units_per_em().unwrap_or(1000.0))
}

/// Width of `text` in the unit of `size`.
pub(crate) fn width(text: &str, size: f32, weight: Weight) -> f32 {
    let font = face(weight);
    let scaled = font.as_scaled(scale(font, size));
    text.chars().map(|c| scaled.h_advance(scaled.glyph_id(c))).sum()
}

/// `text`, or as much of it as fits into `room` with an ellipsis.
pub(crate) fn fit(text: &str, room: f32, size: f32, weight: Weight) -> String {
    if width(text, size, weight) <= room {
        return text.to_owned();
    }
    let mut kept: Vec<char> = text.chars().collect();
    while kept.pop().is_some() {
        let shorter: String = kept.iter().collect::<String>().trim_end().to_owned() + "…";
        if width(&shorter, size, weight) <= room {
            return shorter;
        }
    }
    String::new()
}

/// Calls `dot(x, y, coverage)` for every pixel of `text`, relative to the left end and the middle of the capitals.
pub(crate) fn rasterize(
    text: &str,
    size: f32,
    weight: Weight,
    shift: f32,
    mut dot: impl FnMut(i32, i32, f32),
) {
    let font = face(weight);
    let scale = scale(font, size);
    let scaled = font.as_scaled(scale);
    let baseline = (size * CAP_HEIGHT / 2.0).round();
    let mut x = shift;
    for c in text.chars() {
        let id = scaled.glyph_id(c);
        if let Some(outline) =
            font.outline_glyph(id.with_scale_and_position(scale, point(x, baseline)))
        {
            let bounds = outline.px_bounds();
            let (left, top) = (bounds.min.x as i32, bounds.min.y as i32);
            outline
                .draw(|dx, dy, coverage| dot(left + dx as i32, top + dy as i32, coverage.min(1.0)));
        }
        x += scaled.h_advance(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_faces_hold_every_sign_the_pictures_use() {
        for weight in [Weight::Regular, Weight::SemiBold] {
            for c in "AZaz09.,%·×±→←↓−≤≥°…✓–—éß\u{a0}".chars() {
                assert_ne!(face(weight).glyph_id(c).0, 0, "{c} is missing");
            }
        }
        assert!(REGULAR.len() + SEMI_BOLD.len() < 60 * 1024);
    }

    #[test]
    fn a_text_too_long_ends_in_an_ellipsis_and_fits() {
        let long = "West Highland white terrier";
        let short = fit(long, 80.0, 11.0, Weight::Regular);
        assert!(short.ends_with('…') && width(&short, 11.0, Weight::Regular) <= 80.0, "{short}");
        assert_eq!(fit("cat", 80.0, 11.0, Weight::Regular), "cat");
        assert_eq!(fit("cat", 1.0, 11.0, Weight::Regular), "");
    }

    #[test]
    fn width_grows_with_size() {
        let narrow = width("kiln", 10.0, Weight::Regular);
        assert!((width("kiln", 20.0, Weight::Regular) / narrow - 2.0).abs() < 1e-3);
        assert!((10.0..30.0).contains(&narrow), "{narrow}");
    }
}
