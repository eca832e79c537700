//! Images side by side: each with what the network said of it and, where that is known, whether it was right.

use image::RgbImage;

use crate::Theme;
use crate::canvas::{Align, Canvas, MARGIN, SCALE, Style, wrap};
use crate::picture::Picture;
use crate::tiles::into_box;
use crate::units;

/// One image with what is said of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Card {
    /// The image as the network was given it, or as the user knows it.
    pub image: RgbImage,
    /// What the network said, such as `7 · 99.1 %`, or what there is to see.
    pub caption: String,
    /// What it should have said, such as `true: 9`; may be empty.
    pub note: String,
    /// Whether the prediction was right; `None` where nobody knows, or nothing was predicted.
    pub right: Option<bool>,
}

impl Card {
    /// A card with a caption of its own, neither right nor wrong.
    pub fn new(image: RgbImage, caption: impl Into<String>) -> Self {
        Self { image, caption: caption.into(), note: String::new(), right: None }
    }

    /// A card for the class `predicted` with `confidence` between 0 and 1 where `truth` is the label.
    pub fn prediction(image: RgbImage, predicted: &str, truth: &str, confidence: f64) -> Self {
        let right = predicted == truth;
        let caption = format!("{predicted} · {}", units::percent(confidence, 1));
        let note = if right { String::new() } else { format!("true: {truth}") };
        Self { image, caption, note, right: Some(right) }
    }
}

/// Points of an image's box, of the space between cards, and of a caption's line.
const BOX: f32 = 84.0;
const GAP: f32 = 12.0;
const LINE: f32 = 14.0;
const COLUMNS: usize = 6;

/// Draws cards in rows of six: a blue bar is right, an orange one wrong, a grey one neither.
pub fn contact_sheet(title: &str, cards: &[Card]) -> Picture {
    Picture::draw(|theme| draw(title, cards, theme))
}

fn draw(title: &str, cards: &[Card], theme: &'static Theme) -> Canvas {
    let bold = Style::new(11.0, theme.ink).bold().align(Align::Centre);
    let small = Style::new(10.5, theme.muted).align(Align::Centre);
    let text: Vec<Vec<(String, Style)>> = cards
        .iter()
        .map(|card| {
            let lines = |text: &str, style: Style, most| {
                cut(wrap(text, BOX, &style), most).into_iter().map(move |line| (line, style))
            };
            lines(&card.caption, bold, 4).chain(lines(&card.note, small, 3)).collect()
        })
        .collect();
    // All cards of a row are as high as its tallest.
    let heights: Vec<f32> = text
        .chunks(COLUMNS)
        .map(|row| BOX + 12.0 + row.iter().map(Vec::len).max().unwrap_or(0) as f32 * LINE + GAP)
        .collect();
    let head = MARGIN + 26.0;
    let width = 2.0 * MARGIN + COLUMNS as f32 * (BOX + GAP) - GAP;
    let height =
        head + heights.iter().sum::<f32>() + if cards.is_empty() { 24.0 } else { 0.0 } + MARGIN
            - GAP;
    let mut canvas = Canvas::new(theme, width, height.min(9_000.0));
    canvas.title(title, "");
    if cards.is_empty() {
        canvas.text("none", MARGIN, head + 8.0, &Style::new(12.0, theme.muted));
    }
    for (i, (card, lines)) in cards.iter().zip(&text).enumerate() {
        let (column, row) = (i % COLUMNS, i / COLUMNS);
        let (x, y) =
            (MARGIN + column as f32 * (BOX + GAP), head + heights[..row].iter().sum::<f32>());
        let image = into_box(&card.image, (BOX * SCALE as f32) as u32);
        let (w, h) = (image.width() as f32 / SCALE as f32, image.height() as f32 / SCALE as f32);
        let (left, top) = (x + (BOX - w) / 2.0, y + (BOX - h) / 2.0);
        canvas.fill(x, y, BOX, BOX, theme.neutral);
        let size = [image.width() as usize, image.height() as usize];
        canvas.cells([left, top, w, h], size, |i, j| *image.get_pixel(i as u32, j as u32));
        let bar = card.right.map_or(theme.grid, |right| theme.series[usize::from(right)]);
        canvas.fill(x, y + BOX, BOX, 3.0, bar);
        for (k, (line, style)) in lines.iter().enumerate() {
            canvas.text(line, x + BOX / 2.0, y + BOX + 14.0 + k as f32 * LINE, style);
        }
    }
    canvas
}

/// The first `most` lines, the last of them marked if more follow.
fn cut(mut lines: Vec<String>, most: usize) -> Vec<String> {
    if lines.len() > most {
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            let mut kept: Vec<char> = last.chars().collect();
            kept.truncate(kept.len().saturating_sub(2));
            *last = kept.into_iter().collect::<String>() + "…";
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_card_says_what_was_true_and_a_right_one_need_not() {
        let wrong = Card::prediction(RgbImage::new(28, 28), "4", "9", 0.61);
        assert_eq!(
            (wrong.caption.as_str(), wrong.note.as_str(), wrong.right),
            ("4 · 61.0\u{a0}%", "true: 9", Some(false))
        );
        let right = Card::prediction(RgbImage::new(28, 28), "7", "7", 0.99996);
        assert_eq!(
            (right.caption.as_str(), right.note.as_str(), right.right),
            ("7 · 99.9\u{a0}%", "", Some(true))
        );
    }

    #[test]
    fn a_prediction_that_nobody_judged_has_the_colour_of_neither() {
        let colours = |right| {
            let card = Card { right, ..Card::new(RgbImage::new(28, 28), "7") };
            let sheet = contact_sheet("", &[card]);
            [(sheet.light, Theme::LIGHT), (sheet.dark, Theme::DARK)].map(|(image, theme)| {
                let [wrong, right, ..] = theme.series;
                [wrong, right, theme.grid].map(|colour| image.pixels().any(|&p| p == colour))
            })
        };

        assert_eq!(colours(Some(false)), [[true, false, false]; 2]);
        assert_eq!(colours(Some(true)), [[false, true, false]; 2]);
        assert_eq!(colours(None), [[false, false, true]; 2]);
    }

    #[test]
    fn rows_grow_with_their_captions_and_an_empty_sheet_is_a_sheet() {
        let card = |caption: &str| Card::new(RgbImage::new(40, 20), caption);
        let height = |cards: &[Card]| contact_sheet("Right", cards).points().1;
        assert!(height(&[]) > 40);
        assert!(height(&[card("a much longer name of a class")]) > height(&[card("cat")]));
        assert!(height(&vec![card("cat"); 7]) > height(&vec![card("cat"); 6]));
    }
}
