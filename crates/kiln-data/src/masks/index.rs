//! Masks of numbers: PNG files whose grey values, or places in a palette, are classes.

use std::io::Cursor;

use png::{BitDepth, ColorType, Decoder, Limits, Transformations};

use crate::Error;
use crate::decode::MAX_PIXELS;
use crate::transform::Mask;

/// The numbers of the PNG in `bytes`; `name` is for the message.
pub(super) fn mask(bytes: &[u8], name: &str, void: u8) -> Result<Mask, Error> {
    read(bytes, void).map_err(|reason| Error::decode(name, reason))
}

fn read(bytes: &[u8], void: u8) -> Result<Mask, String> {
    let limits = Limits { bytes: MAX_PIXELS as usize * 2 };
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), limits);
    // A palette stays unread, and four bits aren't stretched to eight: the numbers themselves are wanted.
    decoder.set_transformations(Transformations::IDENTITY);
    let mut reader = decoder
        .read_info()
        .map_err(|error| format!("{error}; a mask of numbers must be a PNG file"))?;
    let info = reader.info();
    let (width, height) = (info.width as usize, info.height as usize);
    if u64::from(info.width) * u64::from(info.height) > MAX_PIXELS {
        return Err(format!("{width}×{height} pixels; at most {MAX_PIXELS} are read"));
    }
    let bits = match (info.color_type, info.bit_depth) {
        (ColorType::Grayscale | ColorType::Indexed, BitDepth::One) => 1,
        (ColorType::Grayscale | ColorType::Indexed, BitDepth::Two) => 2,
        (ColorType::Grayscale | ColorType::Indexed, BitDepth::Four) => 4,
        (ColorType::Grayscale | ColorType::Indexed, BitDepth::Eight) => 8,
        (ColorType::Grayscale, BitDepth::Sixteen) => {
            return Err("it holds 16 bits a pixel, and a class has 8 at most".to_owned());
        }
        _ => {
            return Err("it holds colours and no numbers; say with a table which class each \
                 colour means"
                .to_owned());
        }
    };
    let size = reader.output_buffer_size().ok_or("it is too large")?;
    let mut packed = vec![0; size];
    let frame = reader.next_frame(&mut packed).map_err(|error| error.to_string())?;
    let mut data = Vec::with_capacity(width * height);
    for row in packed.chunks_exact(frame.line_size.max(1)).take(height) {
        data.extend((0..width).map(|x| {
            let first = x * bits;
            // The leftmost pixel has the highest bits of a byte.
            let shift = 8 - bits - first % 8;
            row[first / 8] >> shift & (0xFF_u8 >> (8 - bits))
        }));
    }
    if data.len() != width * height {
        return Err(format!("{} of {} pixels", data.len(), width * height));
    }
    Ok(Mask { width, height, data, outside: void })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A PNG of numbers of so many bits.
    fn encode(numbers: &[u8], width: usize, bits: usize, color: ColorType) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder =
            png::Encoder::new(&mut bytes, width as u32, (numbers.len() / width) as u32);
        encoder.set_color(color);
        encoder.set_depth(match bits {
            1 => BitDepth::One,
            2 => BitDepth::Two,
            4 => BitDepth::Four,
            _ => BitDepth::Eight,
        });
        if color == ColorType::Indexed {
            // A palette in which all is black, and which says nothing.
            encoder.set_palette(vec![0; 3 << bits]);
        }
        let packed: Vec<u8> = numbers
            .chunks(width)
            .flat_map(|row| {
                row.chunks(8 / bits).map(|pixels| {
                    let last = 8 / bits - pixels.len();
                    pixels.iter().fold(0_u8, |byte, &n| (u16::from(byte) << bits) as u8 | n)
                        << (last * bits % 8)
                })
            })
            .collect();
        encoder.write_header().unwrap().write_image_data(&packed).unwrap();
        bytes
    }

    proptest! {
        #[test]
        fn numbers_come_back_from_grey_values_and_from_palettes_of_any_depth(
            width in 1..20_usize, height in 1..8_usize, depth in 0..4_usize, palette: bool, seed: u64,
        ) {
            let bits = 1 << depth;
            let mut random = crate::Random::new(&[seed]);
            let numbers: Vec<u8> =
                (0..width * height).map(|_| random.below(1 << bits) as u8).collect();
            let color = if palette { ColorType::Indexed } else { ColorType::Grayscale };

            let mask = mask(&encode(&numbers, width, bits, color), "a.png", 255).unwrap();

            prop_assert_eq!((mask.width, mask.height, mask.outside), (width, height, 255));
            prop_assert_eq!(mask.data, numbers);
        }

        #[test]
        fn no_damage_makes_it_panic(at in any::<prop::sample::Index>(), value: u8, cut: bool) {
            let mut bytes = encode(&[3; 64], 8, 8, ColorType::Indexed);
            let at = at.index(bytes.len());
            bytes[at] = value;
            if cut {
                bytes.truncate(at);
            }
            if let Err(error) = mask(&bytes, "damaged", 0) {
                prop_assert!(error.to_string().contains("damaged"));
            }
        }
    }

    #[test]
    fn what_has_no_numbers_is_refused_with_the_reason() {
        let refused = |bytes: &[u8]| mask(bytes, "a.png", 0).unwrap_err().to_string();

        assert!(refused(b"{}").ends_with("a mask of numbers must be a PNG file"));
        let photo = image::RgbImage::new(2, 2);
        let mut bytes = Cursor::new(Vec::new());
        photo.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        assert!(refused(bytes.get_ref()).contains("it holds colours and no numbers"));
        let deep = image::ImageBuffer::from_pixel(2, 2, image::Luma([300_u16]));
        let mut bytes = Cursor::new(Vec::new());
        image::DynamicImage::ImageLuma16(deep)
            .write_to(&mut bytes, image::ImageFormat::Png)
            .unwrap();
        assert!(refused(bytes.get_ref()).contains("16 bits"));
    }
}
