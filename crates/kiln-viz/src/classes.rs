//! The class of each pixel as a picture: flat colours with a legend, laid over the photo, and as numbers in a palette.

use image::{Rgb, RgbImage};

use crate::boxes::class_colour;
use crate::font::{self, Weight};
use crate::theme::mix;
use crate::{Error, Theme};

/// The class of each pixel, and what the classes are called.
#[derive(Debug, Clone, Copy)]
pub struct Classes<'a> {
    /// Width in pixels.
    pub width: u32,
    /// Classes, rows from the top; those that are missing are 0.
    pub pixels: &'a [u8],
    /// Names by class; a class without one has a number.
    pub names: &'a [String],
}

impl Classes<'_> {
    /// Height in pixels.
    fn height(&self) -> u32 {
        (self.pixels.len() / self.width.max(1) as usize) as u32
    }

    /// The colour of a class: black for the background, by that name as the first, else that of
    /// [`class_colour`](crate::class_colour).
    pub fn colour(&self, class: u8) -> Rgb<u8> {
        let background = self.names.first().is_some_and(|name| name == "background");
        if class == 0 && background { Rgb([0; 3]) } else { class_colour(class.into()) }
    }

    fn at(&self, x: u32, y: u32) -> u8 {
        let at = y as usize * self.width as usize + x as usize;
        self.pixels.get(at).copied().unwrap_or_default()
    }

    /// Every pixel in the colour of its class.
    pub fn painted(&self) -> RgbImage {
        RgbImage::from_fn(self.width, self.height(), |x, y| self.colour(self.at(x, y)))
    }

    /// Every pixel in the colour of its class, over a legend of the classes that are there.
    pub fn with_legend(&self) -> RgbImage {
        let image = self.painted();
        let mut there = [false; 256];
        self.pixels.iter().for_each(|&class| there[usize::from(class)] = true);
        let rows: Vec<(Rgb<u8>, String)> = (0..=u8::MAX)
            .filter(|&class| there[usize::from(class)])
            .map(|class| {
                let name = self.names.get(usize::from(class)).cloned();
                (self.colour(class), name.unwrap_or_else(|| format!("class {class}")))
            })
            .collect();
        legend(&image, &rows)
    }

    /// `photo` with the colours of the classes over it, as dense as `opacity` from 0 to 1. Where the photo is larger, it stays
    /// as it is.
    pub fn over(&self, photo: &RgbImage, opacity: f32) -> RgbImage {
        let (width, height) = (self.width, self.height());
        RgbImage::from_fn(photo.width(), photo.height(), |x, y| {
            let pixel = *photo.get_pixel(x, y);
            let inside = x < width && y < height;
            if inside { mix(pixel, self.colour(self.at(x, y)), opacity) } else { pixel }
        })
    }

    /// A PNG whose numbers are the classes, with a palette that shows their colours.
    ///
    /// # Errors
    ///
    /// If there is no pixel.
    pub fn numbers(&self) -> Result<Vec<u8>, Error> {
        let failed = |error: &dyn std::fmt::Display| Error::Encode(error.to_string());
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width, self.height());
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_palette((0..=u8::MAX).flat_map(|c| self.colour(c).0).collect::<Vec<u8>>());
        let size = self.width as usize * self.height() as usize;
        let mut writer = encoder.write_header().map_err(|error| failed(&error))?;
        writer.write_image_data(&self.pixels[..size]).map_err(|error| failed(&error))?;
        writer.finish().map_err(|error| failed(&error))?;
        Ok(bytes)
    }
}

/// `image` over rows of colours and their names.
fn legend(image: &RgbImage, rows: &[(Rgb<u8>, String)]) -> RgbImage {
    /// Height of a row and of its text, side of its colour, and gaps, in pixels.
    const ROW: u32 = 22;
    const TEXT: f32 = 14.0;
    const SWATCH: u32 = 14;
    const GAP: u32 = 8;

    let theme = &Theme::LIGHT;
    let length = |name: &str| {
        let text = font::width(name, TEXT, Weight::Regular).ceil() as u32;
        SWATCH + 2 * GAP + text.min(300)
    };
    // Wide enough for the longest row, whatever the image.
    let longest = rows.iter().map(|(_, name)| length(name)).max().unwrap_or(0);
    let width = image.width().max(longest + 2 * GAP);
    let mut places = Vec::with_capacity(rows.len());
    let (mut x, mut line) = (GAP, 0);
    for (_, name) in rows {
        let length = length(name) + GAP;
        if x > GAP && x + length > width {
            (x, line) = (GAP, line + 1);
        }
        places.push((x, line));
        x += length;
    }
    let lines = if rows.is_empty() { 0 } else { line + 1 };
    let height = image.height() + lines * ROW + if lines > 0 { GAP } else { 0 };
    let mut sheet = RgbImage::from_pixel(width, height, theme.background);
    image::imageops::replace(&mut sheet, image, 0, 0);
    for ((colour, name), (left, line)) in rows.iter().zip(places) {
        let middle = image.height() + GAP / 2 + line * ROW + ROW / 2;
        for y in middle - SWATCH / 2..middle + SWATCH / 2 {
            for x in left..left + SWATCH {
                if let Some(pixel) = sheet.get_pixel_mut_checked(x, y) {
                    *pixel = *colour;
                }
            }
        }
        let text = font::fit(name, 300.0, TEXT, Weight::Regular);
        font::rasterize(&text, TEXT, Weight::Regular, 0.0, |x, y, coverage| {
            let x = i64::from(left + SWATCH + GAP) + i64::from(x);
            let y = i64::from(middle) + i64::from(y);
            if let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y))
                && let Some(pixel) = sheet.get_pixel_mut_checked(x, y)
            {
                *pixel = mix(*pixel, theme.ink, coverage);
            }
        });
    }
    sheet
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIXELS: [u8; 6] = [0, 1, 2, 2, 1, 0];

    fn classes(names: &[String]) -> Classes<'_> {
        Classes { width: 3, pixels: &PIXELS, names }
    }

    fn named() -> [String; 3] {
        ["background", "cat", "dog"].map(str::to_owned)
    }

    #[test]
    fn each_pixel_has_the_colour_of_its_class_and_the_background_is_black() {
        let names = named();
        let image = classes(&names).painted();

        assert_eq!((image.width(), image.height()), (3, 2));
        assert_eq!(*image.get_pixel(0, 0), Rgb([0; 3]));
        assert_eq!(
            (*image.get_pixel(2, 0), *image.get_pixel(0, 1)),
            (class_colour(2), class_colour(2))
        );
        assert_eq!(*classes(&[]).painted().get_pixel(0, 0), class_colour(0));
    }

    #[test]
    fn the_legend_lies_below_the_image_with_the_colours_of_what_is_there() {
        let names = named();
        let only = Classes { width: 2, pixels: &[1, 1, 1, 1], names: &names };

        let image = only.with_legend();

        assert!(image.width() > 40 && image.height() > 22);
        assert_eq!(*image.get_pixel(1, 1), class_colour(1));
        let below = || image.enumerate_pixels().filter(|(_, y, _)| *y >= 2);
        assert!(below().any(|(_, _, pixel)| *pixel == class_colour(1)));
        assert!(below().any(|(_, _, pixel)| *pixel == Theme::LIGHT.ink));
        assert!(below().all(|(_, _, pixel)| *pixel != class_colour(2)));
    }

    #[test]
    fn a_legend_of_many_classes_breaks_into_lines_and_none_is_cut() {
        let pixels: Vec<u8> = (0..=255).collect();
        let many = Classes { width: 64, pixels: &pixels, names: &[] };

        let image = many.with_legend();

        let colours: std::collections::HashSet<[u8; 3]> =
            image.enumerate_pixels().filter(|(_, y, _)| *y >= 4).map(|(_, _, p)| p.0).collect();
        assert!((0..256).all(|class| colours.contains(&class_colour(class).0)));
        let empty = Classes { width: 0, pixels: &[], names: &[] };
        assert_eq!(empty.with_legend().height(), 0);
        assert!(empty.numbers().is_err());
    }

    #[test]
    fn over_a_photo_the_colours_are_as_dense_as_is_said() {
        let names = named();
        let photo = RgbImage::from_pixel(4, 2, Rgb([200; 3]));

        let [none, half, whole] = [0.0, 0.5, 1.0].map(|o| classes(&names).over(&photo, o));

        assert_eq!(none, photo);
        assert_eq!(*whole.get_pixel(1, 0), class_colour(1));
        assert!((99..=101).contains(&half.get_pixel(0, 0)[0]));
        assert_eq!(*whole.get_pixel(3, 0), Rgb([200; 3]), "beside the classes");
    }

    #[test]
    fn the_numbers_in_a_png_are_the_classes_and_its_palette_shows_the_colours() {
        let names = named();
        let bytes = classes(&names).numbers().unwrap();

        let mut reader = png::Decoder::new(std::io::Cursor::new(&bytes)).read_info().unwrap();
        let mut numbers = vec![0; 6];
        reader.next_frame(&mut numbers).unwrap();
        assert_eq!(numbers, PIXELS);
        let shown = image::load_from_memory(&bytes).unwrap().into_rgb8();
        assert_eq!(shown, classes(&names).painted());
    }
}
