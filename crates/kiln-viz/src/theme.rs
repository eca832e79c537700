//! Colours of the pictures, for a light and a dark page.
//!
//! All of them stay apart under the common kinds of colour blindness: the two ends of every scale are blue and orange, and
//! series also differ in lightness (after Okabe and Ito, *Color Universal Design*, 2008).

use image::Rgb;

/// The colours of one page.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Theme {
    /// The paper.
    pub background: Rgb<u8>,
    /// Text that must be read.
    pub ink: Rgb<u8>,
    /// Text that explains: axis labels, notes.
    pub muted: Rgb<u8>,
    /// Grid lines and frames.
    pub grid: Rgb<u8>,
    /// Zero on the scales.
    pub neutral: Rgb<u8>,
    /// The strongest positive value, and what is wrong.
    pub warm: Rgb<u8>,
    /// A middling positive value.
    pub warm_middle: Rgb<u8>,
    /// The strongest negative value, and what is right.
    pub cool: Rgb<u8>,
    /// A middling negative value.
    pub cool_middle: Rgb<u8>,
    /// A value that is no number.
    pub missing: Rgb<u8>,
    /// Lines of a chart, in order.
    pub series: [Rgb<u8>; 6],
}

const fn rgb(hex: u32) -> Rgb<u8> {
    Rgb([(hex >> 16) as u8, (hex >> 8) as u8, hex as u8])
}

impl Theme {
    /// Dark ink on white paper.
    pub const LIGHT: Self = Self {
        background: rgb(0xffffff),
        ink: rgb(0x1a1f29),
        muted: rgb(0x5c6675),
        grid: rgb(0xe3e7ec),
        neutral: rgb(0xf3f4f6),
        warm: rgb(0x9a3d00),
        warm_middle: rgb(0xf2994a),
        cool: rgb(0x0b3c7d),
        cool_middle: rgb(0x5b9bd9),
        missing: rgb(0xc3a6d8),
        series: [
            rgb(0xd9660a),
            rgb(0x0b62b5),
            rgb(0x00916b),
            rgb(0xb8538f),
            rgb(0x4a9fd8),
            rgb(0x6b7280),
        ],
    };
    /// Light ink on a dark page.
    pub const DARK: Self = Self {
        background: rgb(0x171b22),
        ink: rgb(0xe8ebf0),
        muted: rgb(0x9aa4b2),
        grid: rgb(0x2c333d),
        neutral: rgb(0x232932),
        warm: rgb(0xffb870),
        warm_middle: rgb(0xc8641b),
        cool: rgb(0x9fd0ff),
        cool_middle: rgb(0x2f74b8),
        missing: rgb(0x8a6aa3),
        series: [
            rgb(0xff9d4d),
            rgb(0x66b3ff),
            rgb(0x3ecf9f),
            rgb(0xe493c3),
            rgb(0x9ad4f5),
            rgb(0x9aa4b2),
        ],
    };

    /// The colour of `value` on a scale from −1 (cool) over 0 (neutral) to 1 (warm); beyond is clamped.
    pub fn diverging(&self, value: f32) -> Rgb<u8> {
        if !value.is_finite() {
            return self.missing;
        }
        let (middle, end) =
            if value < 0.0 { (self.cool_middle, self.cool) } else { (self.warm_middle, self.warm) };
        let distance = value.abs().min(1.0) * 2.0;
        if distance < 1.0 {
            mix(self.neutral, middle, distance)
        } else {
            mix(middle, end, distance - 1.0)
        }
    }

    /// The ink that is easier to read on `paper`: nearly black or white.
    pub(crate) fn ink_on(&self, paper: Rgb<u8>) -> Rgb<u8> {
        let candidates = [rgb(0x0b0e13), rgb(0xffffff)];
        let contrast = |ink: Rgb<u8>| {
            let (a, b) = (luminance(ink) + 0.05, luminance(paper) + 0.05);
            (a / b).max(b / a)
        };
        if contrast(candidates[0]) >= contrast(candidates[1]) {
            candidates[0]
        } else {
            candidates[1]
        }
    }
}

/// `from` at 0, `to` at 1.
pub(crate) fn mix(from: Rgb<u8>, to: Rgb<u8>, share: f32) -> Rgb<u8> {
    let share = share.clamp(0.0, 1.0);
    let channel = |i: usize| {
        let (a, b) = (f32::from(from.0[i]), f32::from(to.0[i]));
        (a + (b - a) * share).round() as u8
    };
    Rgb([channel(0), channel(1), channel(2)])
}

/// Relative luminance of the Web Content Accessibility Guidelines, 0 to 1.
fn luminance(colour: Rgb<u8>) -> f32 {
    let linear = |channel: u8| {
        let c = f32::from(channel) / 255.0;
        if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * linear(colour.0[0]) + 0.7152 * linear(colour.0[1]) + 0.0722 * linear(colour.0[2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_runs_from_cool_over_neutral_to_warm() {
        for theme in [Theme::LIGHT, Theme::DARK] {
            assert_eq!(theme.diverging(-1.0), theme.cool);
            assert_eq!(theme.diverging(0.0), theme.neutral);
            assert_eq!(theme.diverging(7.0), theme.warm);
            assert_eq!(theme.diverging(f32::NAN), theme.missing);
        }
    }

    #[test]
    fn text_and_lines_are_readable_on_their_page() {
        // 4.5 is the guidelines' least contrast for text, 3 for graphics.
        let contrast = |a, b| {
            let (a, b) = (luminance(a) + 0.05, luminance(b) + 0.05);
            if a > b { a / b } else { b / a }
        };
        for theme in [Theme::LIGHT, Theme::DARK] {
            assert!(contrast(theme.ink, theme.background) > 10.0);
            assert!(contrast(theme.muted, theme.background) > 4.5);
            for line in &theme.series[..4] {
                assert!(contrast(*line, theme.background) > 3.0, "{line:?}");
            }
            for step in -10..=10 {
                let paper = theme.diverging(step as f32 / 10.0);
                assert!(contrast(theme.ink_on(paper), paper) > 4.0, "{paper:?}");
            }
        }
    }
}
