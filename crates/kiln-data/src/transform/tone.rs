//! Tables of values: inverted, solarized, posterized, stretched, equalized.

use crate::Pixels;

/// Looks up each value in the table that `table` makes from the histogram of its channel and its number of pixels.
fn map(pixels: &mut Pixels, table: impl Fn(&[u32; 256]) -> [u8; 256]) {
    let channels = pixels.channels;
    for channel in 0..channels {
        let mut counts = [0; 256];
        for &value in pixels.data.iter().skip(channel).step_by(channels) {
            counts[usize::from(value)] += 1;
        }
        let table = table(&counts);
        for value in pixels.data.iter_mut().skip(channel).step_by(channels) {
            *value = table[usize::from(*value)];
        }
    }
}

/// The table that changes nothing.
fn identity() -> [u8; 256] {
    std::array::from_fn(|value| value as u8)
}

/// White for black.
pub(super) fn invert(pixels: &mut Pixels) {
    pixels.data.iter_mut().for_each(|value| *value = 255 - *value);
}

/// Inverts what isn't below `threshold`.
pub(super) fn solarize(pixels: &mut Pixels, threshold: f32) {
    for value in &mut pixels.data {
        if f32::from(*value) >= threshold {
            *value = 255 - *value;
        }
    }
}

/// Keeps the `bits` highest bits.
pub(super) fn posterize(pixels: &mut Pixels, bits: u8) {
    let kept = (0xFF00_u16 >> bits.min(8)) as u8;
    pixels.data.iter_mut().for_each(|value| *value &= kept);
}

/// Stretches each channel from black to white.
pub(super) fn autocontrast(pixels: &mut Pixels) {
    map(pixels, |counts| {
        let low = counts.iter().position(|&count| count > 0).unwrap_or(0);
        let high = counts.iter().rposition(|&count| count > 0).unwrap_or(0);
        if high <= low {
            return identity();
        }
        let scale = 255.0 / (high - low) as f64;
        let offset = -(low as f64) * scale;
        std::array::from_fn(|value| (value as f64 * scale + offset) as u8) // saturates
    });
}

/// Spreads the values of each channel so that all are about as frequent.
pub(super) fn equalize(pixels: &mut Pixels) {
    map(pixels, |counts| {
        let last = counts.iter().rev().find(|&&count| count > 0).copied().unwrap_or(0);
        let step = (counts.iter().sum::<u32>() - last) / 255;
        if step == 0 {
            return identity();
        }
        let mut sum = step / 2;
        std::array::from_fn(|value| {
            let level = (sum / step).min(255) as u8;
            sum += counts[value];
            level
        })
    });
}
