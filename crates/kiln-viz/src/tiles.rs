//! What a network learned and what it sees: filters and feature maps as grids of tiles.

use image::{Rgb, RgbImage, imageops};

use crate::Theme;
use crate::canvas::{Align, Canvas, MARGIN, SCALE, Style};
use crate::error::{Error, check_length};
use crate::picture::Picture;
use crate::units;

/// Points the tiles may take from left to right.
const ROOM: f32 = 528.0;
/// Filters or maps drawn at most, where each is a tile of its own.
const TILES: usize = 64;
/// Filters and inputs drawn at most, where every pair of them is a tile.
const PAIRS: [usize; 2] = [16, 8];
/// Classes whose names have room below their scores.
const NAMED: usize = 12;
/// Maps of a single value drawn at most.
const UNITS: usize = 512;

/// Draws the filters of a convolution.
///
/// `weights` has the `shape` `[filters, inputs, height, width]`. One input gives one tile a filter, three give one tile in
/// colour, any other number a column of tiles a filter with a row an input. All share one scale, symmetric about zero:
/// orange is positive, blue negative. Of a large layer the first filters are drawn, and the picture says how many.
///
/// # Errors
///
/// Fails if `weights` does not fill `shape`.
pub fn filters(title: &str, weights: &[f32], shape: [usize; 4]) -> Result<Picture, Error> {
    check_length(title, &shape, weights.len())?;
    let [count, inputs, height, width] = shape;
    let area = height * width;
    let (scale, size) = (Scale::symmetric(weights), format!("{height}×{width}"));
    if inputs == 1 || inputs == 3 {
        let scale = if inputs == 3 { scale.shades() } else { scale };
        let shown = count.min(TILES);
        let note = format!("{}, {size}", of(shown, count, "filter"));
        let at =
            |tile: usize, input: usize, cell: usize| weights[(tile * inputs + input) * area + cell];
        return Ok(Picture::draw(|theme| {
            grid([title, &note], shown, [height, width], &scale, theme, |tile, cell| match inputs {
                1 => scale.colour(at(tile, 0, cell), theme),
                _ => Rgb([0, 1, 2].map(|input| scale.channel(at(tile, input, cell)))),
            })
        }));
    }
    let [most_filters, most_inputs] = if area == 1 { [64, 64] } else { PAIRS };
    let shown = [count.min(most_filters), inputs.min(most_inputs)];
    let note = format!(
        "columns: {}, rows: {}, {size}",
        of(shown[0], count, "filter"),
        of(shown[1], inputs, "input")
    );
    Ok(Picture::draw(|theme| {
        pairs([title, &note], shown, [height, width], &scale, theme, |filter, input, cell| {
            scale.colour(weights[(filter * inputs + input) * area + cell], theme)
        })
    }))
}

/// Draws the feature maps of one layer for one image.
///
/// `values` has the `shape` `[channels, height, width]`; maps of one value are drawn as cells. All share one scale:
/// orange is positive, blue negative. Of a large layer the first maps are drawn, and the picture says how many.
///
/// # Errors
///
/// Fails if `values` does not fill `shape`.
pub fn maps(title: &str, values: &[f32], shape: [usize; 3]) -> Result<Picture, Error> {
    check_length(title, &shape, values.len())?;
    let [channels, height, width] = shape;
    let area = height * width;
    let scale = if values.iter().any(|&v| v < 0.0) {
        Scale::symmetric(values)
    } else {
        Scale::positive(values)
    };
    let (noun, most) = if area == 1 { ("unit", UNITS) } else { ("map", TILES) };
    let shown = channels.min(most);
    let mut note = of(shown, channels, noun);
    if area > 1 {
        note += &format!(", {height}×{width}");
    }
    Ok(Picture::draw(|theme| {
        grid([title, &note], shown, [height, width], &scale, theme, |tile, cell| {
            scale.colour(values[tile * area + cell], theme)
        })
    }))
}

/// Draws the scores of an image as a row of cells with the class below each. As [`maps`] where there isn't room for that:
/// with more than a dozen classes.
///
/// # Errors
///
/// Fails if there aren't as many scores as classes.
pub fn scores(title: &str, scores: &[f32], classes: &[String]) -> Result<Picture, Error> {
    check_length(title, &[classes.len()], scores.len())?;
    if !(1..=NAMED).contains(&scores.len()) {
        return maps(title, scores, [scores.len(), 1, 1]);
    }
    let scale = Scale::symmetric(scores);
    let step = ROOM / scores.len() as f32;
    let (tile, below) = ((step - 6.0).min(44.0), 18.0);
    let note = format!("{} classes", scores.len());
    Ok(Picture::draw(|theme| {
        let mut canvas = sheet([title, &note], ROOM, tile + below, &scale, theme);
        let name = Style::new(9.5, theme.muted).align(Align::Centre);
        for (place, (score, class)) in scores.iter().zip(classes).enumerate() {
            let x = MARGIN + place as f32 * (tile + 6.0);
            canvas.cells([x, HEAD, tile, tile], [1, 1], |_, _| scale.colour(*score, theme));
            canvas.text(&name.fit(class, tile + 4.0), x + tile / 2.0, HEAD + tile + 9.0, &name);
        }
        canvas
    }))
}

/// Shows an image about `points` wide and high at most: small ones with visible pixels, large ones smoothed.
pub fn enlarged(image: &RgbImage, points: u32) -> Picture {
    let image = into_box(image, points * SCALE);
    Picture { light: image.clone(), dark: image }
}

/// Scales to fit a square of `side` pixels: up by whole pixels where there is room for two each, else smoothly.
pub(crate) fn into_box(image: &RgbImage, side: u32) -> RgbImage {
    let (width, height) = (image.width().max(1), image.height().max(1));
    if image.width() == 0 || image.height() == 0 {
        return RgbImage::new(1, 1);
    }
    let longest = width.max(height);
    let factor = side / longest;
    if factor >= 2 {
        return imageops::resize(
            image,
            width * factor,
            height * factor,
            imageops::FilterType::Nearest,
        );
    }
    let fitted = |length: u32| {
        ((u64::from(length) * u64::from(side)).div_ceil(u64::from(longest)) as u32).max(1)
    };
    imageops::thumbnail(image, fitted(width), fitted(height))
}

/// `6 filters`, or `the first 64 of 512 filters`.
fn of(shown: usize, all: usize, noun: &str) -> String {
    let all_of_them = units::plural(all as u64, noun);
    if shown == all { all_of_them } else { format!("the first {shown} of {all_of_them}") }
}

/// The values a picture's colours stand for.
struct Scale {
    /// Value of the strongest colour; 0 if all values are.
    largest: f32,
    symmetric: bool,
    /// Whether values are shades of red, green and blue instead of colours between blue and orange.
    shades: bool,
}

impl Scale {
    fn symmetric(values: &[f32]) -> Self {
        let largest =
            values.iter().filter(|v| v.is_finite()).fold(0.0, |a: f32, &v| a.max(v.abs()));
        Self { largest, symmetric: true, shades: false }
    }

    fn positive(values: &[f32]) -> Self {
        Self { symmetric: false, ..Self::symmetric(values) }
    }

    /// −1 to 1 for −largest to largest.
    fn position(&self, value: f32) -> f32 {
        if self.largest > 0.0 || !value.is_finite() { value / self.largest } else { 0.0 }
    }

    fn shades(self) -> Self {
        Self { shades: true, ..self }
    }

    fn colour(&self, value: f32, theme: &Theme) -> Rgb<u8> {
        theme.diverging(self.position(value))
    }

    /// One colour channel of a filter over red, green and blue: middle grey is zero.
    fn channel(&self, value: f32) -> u8 {
        (127.5 + 127.5 * self.position(value)).round() as u8
    }

    /// The bar that says what the colours mean, from `x` and around `y`.
    fn draw(&self, canvas: &mut Canvas, x: f32, y: f32) {
        let theme = canvas.theme;
        let small = Style::new(11.0, theme.muted);
        if self.largest == 0.0 {
            canvas.text("all values are 0", x, y, &small);
            return;
        }
        let (low, high) =
            (if self.symmetric { -1.0 } else { 0.0 }, units::number(f64::from(self.largest), 2));
        let start = if self.symmetric { format!("−{high}") } else { "0".to_owned() };
        let bar = x + small.width(&start) + 8.0;
        canvas.text(&start, x, y, &small);
        canvas.cells([bar, y - 4.0, 120.0, 8.0], [240, 1], |i, _| {
            let value = low + (1.0 - low) * i as f32 / 239.0;
            if self.shades {
                Rgb([self.channel(value * self.largest); 3])
            } else {
                theme.diverging(value)
            }
        });
        let high =
            if self.shades { format!("{high}  in each of red, green and blue") } else { high };
        canvas.text(&high, bar + 128.0, y, &small);
    }
}

/// Points of a cell such that `columns` tiles of `cells` cells fit into `room`: whole pixels, or less than one where there
/// are more cells than pixels; then not every cell is drawn.
fn cell_size(room: f32, columns: usize, gap: f32, cells: usize, largest_tile: f32) -> f32 {
    let columns = columns.max(1) as f32;
    let tile = ((room - gap * (columns - 1.0)) / columns).min(largest_tile);
    let pixels = (tile * SCALE as f32).floor() / cells.max(1) as f32;
    if pixels >= 1.0 { pixels.floor() / SCALE as f32 } else { pixels / SCALE as f32 }
}

/// Height of the title and of the colour bar, in points.
const HEAD: f32 = MARGIN + 26.0;
const FOOT: f32 = 32.0 + MARGIN - 4.0;

/// A sheet wide and high enough for its tiles, its title and its colour bar.
fn sheet(
    [title, note]: [&str; 2],
    width: f32,
    height: f32,
    scale: &Scale,
    theme: &'static Theme,
) -> Canvas {
    // All sheets of a report are equally wide unless a tile is wider than the room.
    let mut canvas = Canvas::new(theme, width.max(ROOM) + 2.0 * MARGIN, HEAD + height + FOOT);
    canvas.title(title, note);
    scale.draw(&mut canvas, MARGIN, HEAD + height + 20.0);
    canvas
}

/// Tiles in reading order.
fn grid(
    words: [&str; 2],
    count: usize,
    [height, width]: [usize; 2],
    scale: &Scale,
    theme: &'static Theme,
    colour: impl Fn(usize, usize) -> Rgb<u8>,
) -> Canvas {
    let unit = height * width <= 1;
    let columns = match count {
        _ if unit => count.min(40),
        0..=8 => count,
        9..=32 => 8,
        _ => 16,
    };
    let gap = if unit { 2.0 } else { 6.0 };
    let cell = cell_size(ROOM, columns, gap, width, if unit { 11.0 } else { 96.0 });
    let (tile_width, tile_height) = (cell * width as f32, cell * height as f32);
    let rows = count.div_ceil(columns.max(1));
    let full = |tile: f32, n: usize| (tile + gap) * n as f32 - if n > 0 { gap } else { 0.0 };
    let mut canvas = sheet(words, full(tile_width, columns), full(tile_height, rows), scale, theme);
    for tile in 0..count {
        let x = MARGIN + (tile % columns) as f32 * (tile_width + gap);
        let y = HEAD + (tile / columns) as f32 * (tile_height + gap);
        canvas.cells([x, y, tile_width, tile_height], [width, height], |column, row| {
            colour(tile, row * width + column)
        });
    }
    canvas
}

/// A column a filter and a row an input, numbered where there is room.
fn pairs(
    words: [&str; 2],
    [columns, rows]: [usize; 2],
    [height, width]: [usize; 2],
    scale: &Scale,
    theme: &'static Theme,
    colour: impl Fn(usize, usize, usize) -> Rgb<u8>,
) -> Canvas {
    let left = 20.0;
    let gap = if height * width == 1 { 1.0 } else { 4.0 };
    let cell =
        cell_size(ROOM - left, columns, gap, width, if height * width == 1 { 14.0 } else { 44.0 });
    let (tile_width, tile_height) = (cell * width as f32, cell * height as f32);
    let top = 18.0;
    let mut canvas = sheet(
        words,
        left + columns as f32 * (tile_width + gap) - gap,
        top + (rows as f32 * (tile_height + gap) - gap).max(0.0),
        scale,
        theme,
    );
    let small = Style::new(9.5, theme.muted);
    let every = |tile: f32, least: f32| (least / (tile + gap)).ceil().max(1.0) as usize;
    for row in (0..rows).step_by(every(tile_height, 12.0)) {
        let y = HEAD + top + row as f32 * (tile_height + gap) + tile_height / 2.0;
        canvas.text(&(row + 1).to_string(), MARGIN + left - 7.0, y, &small.align(Align::Right));
    }
    for column in (0..columns).step_by(every(tile_width, 16.0)) {
        let x = MARGIN + left + column as f32 * (tile_width + gap) + tile_width / 2.0;
        canvas.text(&(column + 1).to_string(), x, HEAD + 8.0, &small.align(Align::Centre));
    }
    for column in 0..columns {
        for row in 0..rows {
            let x = MARGIN + left + column as f32 * (tile_width + gap);
            let y = HEAD + top + row as f32 * (tile_height + gap);
            canvas.cells([x, y, tile_width, tile_height], [width, height], |i, j| {
                colour(column, row, j * width + i)
            });
        }
    }
    canvas
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(image: &RgbImage, colour: Rgb<u8>) -> bool {
        image.pixels().any(|&p| p == colour)
    }

    #[test]
    fn the_strongest_weights_have_the_strongest_colours_in_both_themes() {
        let picture = filters("c1", &[-2.0, 0.0, 2.0, 1.0], [1, 1, 2, 2]).unwrap();
        for (image, theme) in [(&picture.light, Theme::LIGHT), (&picture.dark, Theme::DARK)] {
            assert!(
                [theme.cool, theme.neutral, theme.warm, theme.warm_middle]
                    .iter()
                    .all(|&c| has(image, c))
            );
        }
    }

    #[test]
    fn a_tile_shows_its_weights_in_place() {
        // The top right weight alone is positive; the tile is 96 points wide and starts below the title.
        let picture = filters("", &[0.0, 1.0, 0.0, 0.0], [1, 1, 2, 2]).unwrap();
        let at = |x: f32, y: f32| {
            *picture.light.get_pixel(((MARGIN + x) * 2.0) as u32, ((HEAD + y) * 2.0) as u32)
        };
        assert_eq!(at(72.0, 24.0), Theme::LIGHT.warm);
        assert_eq!([at(24.0, 24.0), at(24.0, 72.0), at(72.0, 72.0)], [Theme::LIGHT.neutral; 3]);
    }

    #[test]
    fn each_score_stands_above_its_class() {
        let classes = ["cat".to_owned(), "dog".to_owned()];
        let named = scores("output", &[-1.0, 1.0], &classes).unwrap().light;
        let unnamed =
            scores("output", &[-1.0, 1.0], &[String::new(), String::new()]).unwrap().light;
        // The cells are 44 points wide, 6 apart; the names lie in the 18 points below them.
        let at =
            |x: f32| *named.get_pixel(((MARGIN + x) * 2.0) as u32, ((HEAD + 22.0) * 2.0) as u32);
        assert_eq!([at(22.0), at(72.0)], [Theme::LIGHT.cool, Theme::LIGHT.warm]);
        let differ = |(x, y): (f32, f32)| {
            let (x, y) = (((MARGIN + x) * 2.0) as u32, ((HEAD + y) * 2.0) as u32);
            (x..x + 88)
                .any(|x| (y..y + 36).any(|y| named.get_pixel(x, y) != unnamed.get_pixel(x, y)))
        };
        assert!(differ((0.0, 44.0)) && differ((50.0, 44.0)));
        assert!(scores("output", &[1.0], &classes).is_err());
    }

    #[test]
    fn maps_without_negative_values_start_their_scale_at_zero() {
        let picture = maps("pool", &[0.0, 1.0, 0.5, 0.0], [1, 2, 2]).unwrap();
        assert!(has(&picture.light, Theme::LIGHT.warm) && !has(&picture.light, Theme::LIGHT.cool));
    }

    #[test]
    fn any_layer_gives_a_picture_of_bounded_size() {
        let shapes = [
            [6, 1, 5, 5],
            [16, 6, 5, 5],
            [64, 3, 7, 7],
            [512, 512, 1, 1],
            [120, 16, 5, 5],
            [0, 1, 3, 3],
            [1, 2, 1, 31],
            [8, 1, 96, 96],
        ];
        for shape in shapes {
            let weights = vec![0.5; shape.iter().product()];
            let (width, height) = filters("layer", &weights, shape).unwrap().points();
            assert!(width <= 560 && height < 1200, "{shape:?} gives {width}×{height}");
        }
        for shape in [
            [1, 28, 28],
            [6, 28, 28],
            [16, 5, 5],
            [120, 1, 1],
            [84, 1, 1],
            [2048, 7, 7],
            [4096, 1, 1],
            [64, 224, 224],
            [0, 0, 0],
        ] {
            let values = vec![-0.5; shape.iter().product()];
            let (width, height) = maps("layer", &values, shape).unwrap().points();
            assert!(width <= 560 && height < 1200, "{shape:?} gives {width}×{height}");
        }
    }

    #[test]
    fn values_that_are_no_numbers_are_marked_and_do_not_spoil_the_scale() {
        let picture = maps("conv", &[f32::NAN, f32::INFINITY, 1.0, -1.0], [1, 2, 2]).unwrap();
        assert!(
            [Theme::LIGHT.missing, Theme::LIGHT.warm, Theme::LIGHT.cool]
                .iter()
                .all(|&c| has(&picture.light, c))
        );
        maps("zeros", &[0.0; 4], [1, 2, 2]).unwrap();
        maps("nothing is finite", &[f32::NAN; 4], [1, 2, 2]).unwrap();
    }

    #[test]
    fn a_wrong_shape_is_refused_even_a_huge_one() {
        let error = filters("c1", &[0.0; 5], [1, 1, 2, 2]).unwrap_err().to_string();
        assert_eq!(error, "c1: expected 4 values for shape 1×1×2×2, found 5");
        assert!(maps("m", &[], [usize::MAX, 2, 2]).is_err());
    }

    #[test]
    fn small_images_keep_square_pixels_and_large_ones_shrink() {
        assert_eq!(enlarged(&RgbImage::new(28, 28), 100).light.dimensions(), (196, 196));
        assert_eq!(enlarged(&RgbImage::new(640, 320), 100).light.dimensions(), (200, 100));
        assert_eq!(enlarged(&RgbImage::new(0, 0), 100).light.dimensions(), (1, 1));
    }
}
