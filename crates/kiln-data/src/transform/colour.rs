//! Brightness, contrast, saturation, grey, and AlexNet's lighting.

use crate::Pixels;

/// Pillow's formula: 0.299 R + 0.587 G + 0.114 B in 16-bit fixed point, rounded.
pub(crate) fn luma(rgb: [u8; 3]) -> u8 {
    let [red, green, blue] = rgb.map(u32::from);
    ((red * 19_595 + green * 38_470 + blue * 7_471 + 0x8000) >> 16) as u8
}

/// Pillow's `blend`: from `from` through `to` by `factor`, 0 and 1 being these; a fraction is cut off.
pub(super) fn blend(from: u8, to: u8, factor: f32) -> u8 {
    (f32::from(from) + factor * (f32::from(to) - f32::from(from))) as u8 // saturates
}

/// From black (0) through the image (1) and beyond.
pub(super) fn brightness(pixels: &mut Pixels, factor: f32) {
    pixels.data.iter_mut().for_each(|value| *value = blend(0, *value, factor));
}

/// From the image's mean luma (0) through the image (1) and beyond.
pub(super) fn contrast(pixels: &mut Pixels, factor: f32) {
    let lumas: u64 = match pixels.channels {
        1 => pixels.data.iter().map(|&value| u64::from(value)).sum(),
        _ => pixels.data.as_chunks().0.iter().map(|&rgb| u64::from(luma(rgb))).sum(),
    };
    let mean = (lumas as f64 / (pixels.width * pixels.height) as f64 + 0.5) as u8;
    pixels.data.iter_mut().for_each(|value| *value = blend(mean, *value, factor));
}

/// From grey (0) through the image (1) and beyond.
pub(super) fn saturation(pixels: &mut Pixels, factor: f32) {
    if pixels.channels == 3 {
        for rgb in pixels.data.as_chunks_mut::<3>().0 {
            let grey = luma(*rgb);
            *rgb = rgb.map(|value| blend(grey, value, factor));
        }
    }
}

/// Grey, with as many channels as before.
pub(super) fn grayscale(pixels: &mut Pixels) {
    saturation(pixels, 0.0);
}

/// The principal components of ImageNet's colours for values between 0 and 1: eigenvalues, and the share of red, green
/// and blue in each (Krizhevsky, Sutskever, Hinton. *ImageNet Classification with Deep Convolutional Neural Networks.*
/// NIPS 2012, §4.1; the numbers are those of its reimplementations).
const EIGENVALUES: [f32; 3] = [0.2175, 0.0188, 0.0045];
const EIGENVECTORS: [[f32; 3]; 3] =
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]];

/// Adds `amounts` of the three components, in units of their eigenvalues.
pub(super) fn lighting(pixels: &mut Pixels, amounts: [f32; 3]) {
    if pixels.channels == 3 {
        let shares = EIGENVECTORS.map(|shares| -> f32 {
            let parts = shares.iter().zip(amounts).zip(EIGENVALUES);
            parts.map(|((share, amount), value)| share * amount * value * 255.0).sum()
        });
        for rgb in pixels.data.as_chunks_mut::<3>().0 {
            for (value, share) in rgb.iter_mut().zip(shares) {
                *value = (f32::from(*value) + share).round() as u8; // saturates
            }
        }
    }
}
