//! Image files: PNG, JPEG, GIF (first frame), BMP and WebP, told by their content and not by their name.

use std::fs;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use crate::{Error, Pixels};

/// Images of more pixels than this are refused before they are decoded: 100 megapixels.
pub const MAX_PIXELS: u64 = 100_000_000;

/// Endings of the names of image files, in lower case.
pub const EXTENSIONS: [&str; 7] = ["png", "jpg", "jpeg", "jpe", "gif", "bmp", "webp"];

/// Image files of more bytes than this are refused: 1 GiB.
const MAX_BYTES: u64 = 1 << 30;

/// Whether a search of a folder takes `path` for an image: its name ends with one of [`EXTENSIONS`].
pub fn is_image_name(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    EXTENSIONS.contains(&extension.as_str())
}

/// Reads the image file at `path`.
///
/// Grey images keep one channel, all others become red, green, blue; 16-bit values are scaled to 8 bits, an alpha
/// channel is dropped, as Pillow's `convert("RGB")` does. The image stands upright as its EXIF orientation says.
///
/// # Errors
///
/// [`Error::Io`] if the file cannot be opened, [`Error::Decode`] with the path and the reason if it holds no image that
/// can be read, or one of more than [`MAX_PIXELS`] pixels.
pub fn decode(path: &Path) -> Result<Pixels, Error> {
    Ok(decode_telling(path)?.0)
}

/// As [`decode`], and whether a pixel's alpha was dropped that meant something: one of less than opaque.
///
/// # Errors
///
/// As [`decode`].
pub fn decode_telling(path: &Path) -> Result<(Pixels, bool), Error> {
    let name = || path.display().to_string();
    let metadata = fs::metadata(path).map_err(Error::io("read", path))?;
    if metadata.is_dir() {
        return Err(Error::decode(name(), "it is a folder"));
    }
    if metadata.len() > MAX_BYTES {
        let reason = format!("{} bytes; at most {MAX_BYTES} are read", metadata.len());
        return Err(Error::decode(name(), reason));
    }
    // From memory, because the decoders are compiled once for every kind of reader.
    guarded(&fs::read(path).map_err(Error::io("read", path))?, &name())
}

/// As [`decode`], from memory; `name` is for the message.
///
/// # Errors
///
/// [`Error::Decode`] with `name` and the reason.
pub fn decode_bytes(bytes: &[u8], name: &str) -> Result<Pixels, Error> {
    Ok(guarded(bytes, name)?.0)
}

fn guarded(bytes: &[u8], name: &str) -> Result<(Pixels, bool), Error> {
    // Decoders are tested well but not proved: what one of them panics at is one more unreadable file.
    catch_unwind(AssertUnwindSafe(|| read(bytes)))
        .unwrap_or_else(|_| Err("its decoder failed".into()))
        .map_err(|reason| Error::decode(name, reason))
}

fn read(bytes: &[u8]) -> Result<(Pixels, bool), String> {
    let mut reader =
        ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| e.to_string())?;
    if reader.format().is_none() {
        return Err("it is no PNG, JPEG, GIF, BMP or WebP image".into());
    }
    if reader.format() == Some(ImageFormat::Jpeg) && is_cut(bytes) {
        return Err("the file ends before its image does; copy or download it again".into());
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_PIXELS * 8); // 16 bits, four channels
    reader.limits(limits);

    let mut decoder = reader.into_decoder().map_err(|error| error.to_string())?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(format!("{width}×{height} pixels"));
    }
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(format!("{width}×{height} pixels; at most {MAX_PIXELS} are read"));
    }
    let orientation = decoder.orientation().unwrap_or(image::metadata::Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(|error| error.to_string())?;
    image.apply_orientation(orientation);
    let transparent = is_transparent(&image);
    Ok((pixels(image), transparent))
}

/// Whether the last scan of a JPEG has no end, whose rest the decoder would fill with grey.
fn is_cut(jpeg: &[u8]) -> bool {
    let marker = |kind: u8| move |pair: &[u8]| pair == [0xFF, kind];
    let scan = jpeg.windows(2).rposition(marker(0xDA)).unwrap_or(0);
    !jpeg[scan..].windows(2).any(marker(0xD9))
}

fn is_transparent(image: &DynamicImage) -> bool {
    match image {
        DynamicImage::ImageLumaA8(image) => image.pixels().any(|pixel| pixel[1] < u8::MAX),
        DynamicImage::ImageLumaA16(image) => image.pixels().any(|pixel| pixel[1] < u16::MAX),
        DynamicImage::ImageRgba8(image) => image.pixels().any(|pixel| pixel[3] < u8::MAX),
        DynamicImage::ImageRgba16(image) => image.pixels().any(|pixel| pixel[3] < u16::MAX),
        _ => false,
    }
}

fn pixels(image: DynamicImage) -> Pixels {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let grey =
        matches!(image.color(), ColorType::L8 | ColorType::L16 | ColorType::La8 | ColorType::La16);
    let (channels, data) =
        if grey { (1, image.into_luma8().into_raw()) } else { (3, image.into_rgb8().into_raw()) };
    Pixels { width, height, channels, data }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;
    use image::{GrayImage, Luma, Rgb, RgbImage, RgbaImage};
    use proptest::prelude::*;

    /// Left half red, right half green; the top row blue.
    fn flag() -> RgbImage {
        RgbImage::from_fn(16, 8, |x, y| match (x, y) {
            (_, 0) => Rgb([0, 0, 255]),
            (..8, _) => Rgb([255, 0, 0]),
            _ => Rgb([0, 255, 0]),
        })
    }

    fn encode(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.into().write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn at(pixels: &Pixels, x: usize, y: usize) -> &[u8] {
        &pixels.data[(y * pixels.width + x) * pixels.channels..][..pixels.channels]
    }

    #[test]
    fn lossless_formats_give_the_pixels_back_whatever_the_name() {
        let folder = tempfile::tempdir().unwrap();
        for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::WebP, ImageFormat::Gif] {
            let path = folder.path().join("named.jpg");
            fs::write(&path, encode(flag(), format)).unwrap();
            let pixels = decode(&path).unwrap();
            assert_eq!((pixels.width, pixels.height, pixels.channels), (16, 8, 3));
            assert!(pixels.data == flag().into_raw(), "{format:?}");
        }
    }

    #[test]
    fn image_files_are_found_by_their_ending() {
        let is = |name: &str| is_image_name(Path::new(name));
        assert!(is("a.png") && is("dir/b.JPEG") && is("c.tar.Webp"));
        assert!(!is("png") && !is("a.txt") && !is(".png") && !is("a.png/b"));
    }

    #[test]
    fn grey_keeps_one_channel_and_16_bits_become_8() {
        let grey = GrayImage::from_fn(3, 2, |x, y| Luma([(40 * x + 100 * y) as u8]));
        let pixels = decode_bytes(&encode(grey.clone(), ImageFormat::Png), "x").unwrap();
        assert_eq!((pixels.channels, pixels.data), (1, grey.into_raw()));

        let deep = image::ImageBuffer::from_fn(3, 1, |x, _| Luma([x as u16 * 257 * 100]));
        let pixels =
            decode_bytes(&encode(DynamicImage::ImageLuma16(deep), ImageFormat::Png), "x").unwrap();
        assert_eq!((pixels.channels, pixels.data), (1, vec![0, 100, 200]));
    }

    #[test]
    fn alpha_is_dropped() {
        let glass = RgbaImage::from_pixel(2, 2, image::Rgba([10, 20, 30, 0]));
        let pixels = decode_bytes(&encode(glass, ImageFormat::Png), "x").unwrap();
        assert_eq!(at(&pixels, 1, 1), [10, 20, 30]);
    }

    #[test]
    fn a_camera_turned_on_its_side_gives_an_upright_image() {
        // An EXIF block with one entry, orientation 6: turn clockwise by a quarter.
        let mut exif = b"\xFF\xE1\x00\x22Exif\0\0MM\0\x2A\0\0\0\x08".to_vec();
        exif.extend(b"\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0");
        let jpeg = encode(flag(), ImageFormat::Jpeg);
        let turned = [&jpeg[..2], &exif, &jpeg[2..]].concat();

        let flat = decode_bytes(&jpeg, "x").unwrap();
        let upright = decode_bytes(&turned, "x").unwrap();
        assert_eq!((flat.width, flat.height), (16, 8));
        assert_eq!((upright.width, upright.height), (8, 16));
        assert_eq!(at(&upright, 7, 0), at(&flat, 0, 0));
        assert_eq!(at(&upright, 0, 15), at(&flat, 15, 7));
    }

    /// The files of `xtask/golden/photos.py`: what cameras, scanners and drawing programs write.
    #[test]
    fn every_kind_of_image_gives_the_pixels_that_pillow_reads() {
        let golden = golden::read("photos");
        let files: Vec<&String> = golden.keys().filter(|name| !name.ends_with(".pixels")).collect();
        assert_eq!(files.len(), 31);
        for name in files {
            let expected = golden::pixels(&golden[&format!("{name}.pixels")]);
            let found = decode_bytes(&golden[name].1, name).unwrap();
            let size = |it: &Pixels| (it.width, it.height, it.channels);
            assert_eq!(size(&found), size(&expected), "{name}");
            let worst = found.data.iter().zip(&expected.data).map(|(a, b)| a.abs_diff(*b)).max();
            // Decoders of JPEG and of lossy WebP may round otherwise, and enlarge halved colours otherwise.
            let allowed = match name.as_str() {
                "halved.jpg" => 3,
                name if name.ends_with(".jpg") || name == "lossy.webp" => 2,
                _ => 0,
            };
            assert!(worst <= Some(allowed), "{name} differs by {worst:?} levels");
        }
    }

    #[test]
    fn what_is_no_image_is_refused_with_its_path_and_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let png = encode(flag(), ImageFormat::Png);
        let jpeg = encode(flag(), ImageFormat::Jpeg);
        let mut huge = png.clone();
        huge[16..24].copy_from_slice(&[0, 0, 0x40, 0, 0, 0, 0x40, 0]); // 16384 × 16384
        let sum = crc(&huge[12..29]).to_be_bytes();
        huge[29..33].copy_from_slice(&sum);
        for (name, bytes, reason) in [
            ("empty.png", vec![], "it is no PNG, JPEG, GIF, BMP or WebP image"),
            ("text.jpg", b"not a picture".to_vec(), "it is no PNG, JPEG, GIF, BMP or WebP image"),
            ("cut.png", png[..png.len() / 2].to_vec(), "unexpected end of file"),
            ("cut.jpg", jpeg[..jpeg.len() - 30].to_vec(), "copy or download it again"),
            ("huge.png", huge, "16384×16384 pixels; at most 100000000 are read"),
        ] {
            let path = folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            let message = decode(&path).unwrap_err().to_string();
            assert!(message.contains(name) && message.ends_with(reason), "{message}");
        }
        let missing = decode(&folder.path().join("none.png")).unwrap_err().to_string();
        assert!(missing.starts_with("cannot read ") && missing.contains("none.png"), "{missing}");
        assert!(decode(folder.path()).unwrap_err().to_string().contains("folder"));
    }

    /// PNG's checksum.
    fn crc(bytes: &[u8]) -> u32 {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        crc.sum()
    }

    proptest! {
        #[test]
        fn no_damage_makes_it_panic(at in any::<prop::sample::Index>(), value: u8, jpeg: bool) {
            let format = if jpeg { ImageFormat::Jpeg } else { ImageFormat::WebP };
            let mut bytes = encode(flag(), format);
            let at = at.index(bytes.len());
            bytes[at] = value;
            match decode_bytes(&bytes, "damaged") {
                Ok(pixels) => prop_assert_eq!(pixels.fault(), None),
                Err(error) => prop_assert!(error.to_string().contains("damaged"), "{}", error),
            }
        }
    }
}
