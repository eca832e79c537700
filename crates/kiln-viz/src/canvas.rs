//! The sheet every picture is drawn on: rectangles, tiles and text, measured in points.

use image::{Rgb, RgbImage};

use crate::Theme;
use crate::font::{self, Weight};
use crate::theme::mix;

/// Pixels a point: pictures stay sharp on the dense screens of phones and laptops.
pub(crate) const SCALE: u32 = 2;
/// Points between a picture's edge and its content.
pub(crate) const MARGIN: f32 = 16.0;

/// Where a text hangs on its `x`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Centre,
    Right,
}

/// How a text looks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    pub size: f32,
    pub weight: Weight,
    pub colour: Rgb<u8>,
    pub align: Align,
}

impl Style {
    pub(crate) fn new(size: f32, colour: Rgb<u8>) -> Self {
        Self { size, weight: Weight::Regular, colour, align: Align::Left }
    }

    pub(crate) fn bold(self) -> Self {
        Self { weight: Weight::SemiBold, ..self }
    }

    pub(crate) fn align(self, align: Align) -> Self {
        Self { align, ..self }
    }

    /// Width of `text` in points.
    pub(crate) fn width(&self, text: &str) -> f32 {
        font::width(text, self.size, self.weight)
    }

    /// `text` cut with an ellipsis to `room` points.
    pub(crate) fn fit(&self, text: &str, room: f32) -> String {
        font::fit(text, room, self.size, self.weight)
    }
}

/// A sheet of one theme's paper.
pub(crate) struct Canvas {
    pub theme: &'static Theme,
    image: RgbImage,
}

fn pixels(points: f32) -> i64 {
    (points * SCALE as f32).round() as i64
}

impl Canvas {
    /// An empty sheet of `width` by `height` points.
    pub(crate) fn new(theme: &'static Theme, width: f32, height: f32) -> Self {
        let side = |points: f32| pixels(points).clamp(1, 20_000) as u32;
        Self { theme, image: RgbImage::from_pixel(side(width), side(height), theme.background) }
    }

    pub(crate) fn into_image(self) -> RgbImage {
        self.image
    }

    pub(crate) fn image_mut(&mut self) -> &mut RgbImage {
        &mut self.image
    }

    /// Fills a rectangle; its edges fall on whole pixels, and it is at least one pixel wide and high.
    pub(crate) fn fill(&mut self, x: f32, y: f32, width: f32, height: f32, colour: Rgb<u8>) {
        let (left, top) = (pixels(x), pixels(y));
        let (right, bottom) = (pixels(x + width).max(left + 1), pixels(y + height).max(top + 1));
        let (w, h) = (i64::from(self.image.width()), i64::from(self.image.height()));
        for y in top.clamp(0, h)..bottom.clamp(0, h) {
            for x in left.clamp(0, w)..right.clamp(0, w) {
                self.image.put_pixel(x as u32, y as u32, colour);
            }
        }
    }

    /// Draws `columns` by `rows` cells over a rectangle, each in its own colour; no seams between them.
    pub(crate) fn cells(
        &mut self,
        [x, y, width, height]: [f32; 4],
        [columns, rows]: [usize; 2],
        colour: impl Fn(usize, usize) -> Rgb<u8>,
    ) {
        let (left, top) = (pixels(x), pixels(y));
        let (w, h) = (pixels(width).max(1), pixels(height).max(1));
        for dy in 0..h {
            for dx in 0..w {
                let (px, py) = (left + dx, top + dy);
                if px < 0
                    || py < 0
                    || px >= i64::from(self.image.width())
                    || py >= i64::from(self.image.height())
                {
                    continue;
                }
                let (column, row) =
                    ((dx as usize * columns) / w as usize, (dy as usize * rows) / h as usize);
                self.image.put_pixel(px as u32, py as u32, colour(column, row));
            }
        }
    }

    /// Writes `text` with the middle of its capitals at `y`.
    pub(crate) fn text(&mut self, text: &str, x: f32, y: f32, style: &Style) {
        self.place(text, style, |along, across| (pixels(x) + along, pixels(y) + across));
    }

    /// Writes `text` upwards with the middle of its capitals at `x`; `y` is where a left-aligned text starts, at the bottom.
    pub(crate) fn text_up(&mut self, text: &str, x: f32, y: f32, style: &Style) {
        self.place(text, style, |along, across| (pixels(x) + across, pixels(y) - along));
    }

    fn place(&mut self, text: &str, style: &Style, at: impl Fn(i64, i64) -> (i64, i64)) {
        let size = style.size * SCALE as f32;
        let shift = match style.align {
            Align::Left => 0.0,
            Align::Centre => -font::width(text, size, style.weight) / 2.0,
            Align::Right => -font::width(text, size, style.weight),
        };
        font::rasterize(text, size, style.weight, shift, |along, across, coverage| {
            let (x, y) = at(i64::from(along), i64::from(across));
            if let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y))
                && let Some(pixel) = self.image.get_pixel_mut_checked(x, y)
            {
                *pixel = mix(*pixel, style.colour, coverage);
            }
        });
    }

    /// The picture's title, semibold at the top left, and a note behind it; both are cut before they leave the sheet.
    pub(crate) fn title(&mut self, title: &str, note: &str) {
        let room = self.image.width() as f32 / SCALE as f32 - 2.0 * MARGIN;
        let bold = Style::new(14.0, self.theme.ink).bold();
        let title = bold.fit(title, room);
        self.text(&title, MARGIN, MARGIN + 7.0, &bold);
        let (used, muted) = (bold.width(&title) + 10.0, Style::new(11.5, self.theme.muted));
        self.text(&muted.fit(note, room - used), MARGIN + used, MARGIN + 7.0, &muted);
    }
}

/// Breaks `text` at spaces into lines of at most `room` points, and a word longer than that wherever it must be. Blanks that
/// don't break, as before a unit, don't.
pub(crate) fn wrap(text: &str, room: f32, style: &Style) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let is_space = |c: char| c.is_whitespace() && c != '\u{a0}';
    for word in text.split(is_space).filter(|word| !word.is_empty()) {
        match lines.last_mut() {
            Some(line) if style.width(&format!("{line} {word}")) <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.extend(pieces(word, room, style)),
        }
    }
    lines
}

/// `word` in pieces that fit into `room`, of one character at least.
fn pieces(word: &str, room: f32, style: &Style) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for c in word.chars() {
        match pieces.last_mut() {
            Some(piece) if piece.is_empty() || style.width(&format!("{piece}{c}")) <= room => {
                piece.push(c);
            }
            _ => pieces.push(c.to_string()),
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_never_leaves_its_room_and_the_sheet_never_panics() {
        let mut canvas = Canvas::new(&Theme::LIGHT, 40.0, 20.0);
        let style = Style::new(12.0, Theme::LIGHT.ink);
        canvas.text("far too long for this sheet", -10.0, 10.0, &style);
        canvas.text_up("far too long for this sheet", 10.0, 30.0, &style.align(Align::Centre));
        canvas.fill(-5.0, -5.0, 500.0, 500.0, Theme::LIGHT.grid);
        canvas.cells([30.0, 10.0, 30.0, 30.0], [3, 3], |_, _| Theme::LIGHT.warm);
        let image = canvas.into_image();
        assert_eq!(image.dimensions(), (80, 40));
        for (x, y, pixel) in image.enumerate_pixels() {
            let within = x >= 60 && y >= 20;
            let expected = if within { Theme::LIGHT.warm } else { Theme::LIGHT.grid };
            assert_eq!(*pixel, expected, "{x} {y}");
        }
    }

    #[test]
    fn words_wrap_into_their_room() {
        let style = Style::new(11.0, Theme::LIGHT.ink);
        let lines = wrap("soft-coated wheaten terrier · 61 %", 90.0, &style);
        assert!(lines.len() > 1 && lines.iter().all(|line| style.width(line) <= 90.0), "{lines:?}");

        // A unit stays with its number, and nothing of a long name is lost.
        let lines = wrap("tabby · 61.25\u{a0}%", 60.0, &style);
        assert_eq!(lines.last().unwrap(), "61.25\u{a0}%");
        let name = "IMG_20240611_a_very_long_name_of_a_file.jpeg";
        let lines = wrap(name, 90.0, &style);
        assert!(lines.len() > 1 && lines.iter().all(|line| style.width(line) <= 90.0), "{lines:?}");
        assert_eq!(lines.concat(), name);
    }
}
