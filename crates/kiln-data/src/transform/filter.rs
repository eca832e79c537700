//! Filters of a neighbourhood: Gaussian blur, and sharpness.

use super::colour::blend;
use crate::Pixels;

/// A Gaussian blur of `kernel` × `kernel` pixels, an odd number, mirrored at the border.
pub(super) fn blur(pixels: &mut Pixels, kernel: usize, sigma: f32) {
    let reach = kernel / 2;
    let weight = |at: usize| {
        let distance = at as f32 - reach as f32;
        (-(distance * distance) / (2.0 * sigma * sigma)).exp()
    };
    let weights: Vec<f32> = (0..kernel).map(weight).collect();
    let sum: f32 = weights.iter().sum();
    let weights: Vec<f32> = weights.iter().map(|weight| weight / sum).collect();

    let Pixels { width, height, channels, .. } = *pixels;
    let values: Vec<f32> = pixels.data.iter().map(|&value| f32::from(value)).collect();
    let across = along(&values, [height, width, channels], &weights);
    // Rows are as long as `width · channels` one after another, so the other axis is a stride.
    let both = along(&across, [1, height, width * channels], &weights);
    pixels.data = both.iter().map(|value| value.round_ties_even() as u8).collect();
}

/// Weighs the neighbours along the middle axis of `[outer, length, inner]`.
fn along(values: &[f32], [outer, length, inner]: [usize; 3], weights: &[f32]) -> Vec<f32> {
    let reach = (weights.len() / 2) as isize;
    let mut filtered = vec![0.0; values.len()];
    for block in 0..outer {
        let from = &values[block * length * inner..][..length * inner];
        let to = &mut filtered[block * length * inner..][..length * inner];
        for (at, to) in to.chunks_exact_mut(inner).enumerate() {
            for (step, weight) in (-reach..).zip(weights) {
                let source = mirrored(at as isize + step, length);
                let from = &from[source * inner..][..inner];
                to.iter_mut().zip(from).for_each(|(to, from)| *to += weight * from);
            }
        }
    }
    filtered
}

/// A place beyond the border, seen in a mirror that stands on the last pixel; again and again in small images.
fn mirrored(at: isize, length: usize) -> usize {
    let period = (2 * length as isize - 2).max(1);
    let at = at.rem_euclid(period);
    if at < length as isize { at as usize } else { (period - at) as usize }
}

/// From a blurred image (0) through the image (1) to a sharper one. Its border stays as it is.
pub(super) fn sharpness(pixels: &mut Pixels, factor: f32) {
    let Pixels { width, height, channels, .. } = *pixels;
    if width < 3 || height < 3 {
        return;
    }
    let row = width * channels;
    let before = pixels.data.clone();
    for y in 1..height - 1 {
        for at in y * row + channels..(y + 1) * row - channels {
            let sum = |middle: usize| {
                [middle - channels, middle, middle + channels]
                    .iter()
                    .map(|&at| u32::from(before[at]))
                    .sum::<u32>()
            };
            let all = sum(at - row) + sum(at) + sum(at + row) + 4 * u32::from(before[at]);
            let smooth = ((2 * all + 13) / 26) as u8;
            pixels.data[at] = blend(smooth, before[at], factor);
        }
    }
}
