//! A drawing for a light and a dark page, and how it becomes a file.

use std::path::Path;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder, RgbImage};

use crate::Theme;
use crate::canvas::{Canvas, SCALE};
use crate::error::Error;

/// One drawing in both colour schemes, two pixels a point.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// For a light page and for paper.
    pub light: RgbImage,
    /// For a dark page.
    pub dark: RgbImage,
}

impl Picture {
    /// Draws once for every theme.
    pub(crate) fn draw(draw: impl Fn(&'static Theme) -> Canvas) -> Self {
        Self { light: draw(&Theme::LIGHT).into_image(), dark: draw(&Theme::DARK).into_image() }
    }

    /// Width and height in points, a point being a CSS pixel: half the size in pixels.
    pub fn points(&self) -> (u32, u32) {
        (self.light.width().div_ceil(SCALE), self.light.height().div_ceil(SCALE))
    }

    /// Writes the light drawing as PNG, whole or not at all.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        write_whole(path, &png(&self.light))
    }
}

/// How hard to press an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Effort {
    /// For a page that is written again soon: three times as fast, half as large again.
    Fast,
    #[default]
    Small,
}

/// An image as a PNG file's bytes.
pub fn png(image: &RgbImage) -> Vec<u8> {
    encode(image, Effort::Small)
}

/// An image as a PNG file's bytes.
pub(crate) fn encode(image: &RgbImage, effort: Effort) -> Vec<u8> {
    let mut bytes = Vec::new();
    let compression = match effort {
        Effort::Fast => CompressionType::Fast,
        Effort::Small => CompressionType::Default,
    };
    let encoder = PngEncoder::new_with_quality(&mut bytes, compression, FilterType::Adaptive);
    let (width, height) = image.dimensions();
    // Writing to memory fails only for an image without pixels: no bytes then.
    if encoder.write_image(image.as_raw(), width, height, ExtendedColorType::Rgb8).is_err() {
        bytes.clear();
    }
    bytes
}

/// Writes a file beside its place and renames it there, so that a reader never sees half of it.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    let written = std::fs::write(&part, bytes).and_then(|()| std::fs::rename(&part, path));
    written.map_err(|source| Error::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_comes_back_from_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dot.png");
        let picture = Picture {
            light: RgbImage::from_pixel(4, 2, image::Rgb([1, 2, 3])),
            dark: RgbImage::new(4, 2),
        };
        picture.save(&path).unwrap();

        assert_eq!(image::open(&path).unwrap().into_rgb8(), picture.light);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no part file stays");
        assert_eq!(picture.points(), (2, 1));
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let picture = Picture { light: RgbImage::new(1, 1), dark: RgbImage::new(1, 1) };
        let error = picture.save(Path::new("no/such/folder/a.png")).unwrap_err().to_string();
        assert!(error.starts_with("cannot write no/such/folder/a.png: "), "{error}");
    }
}
