//! Erasing a region.
//!
//! Zhong, Zheng, Kang, Li, Yang. *Random Erasing Data Augmentation.* AAAI 2020. <https://arxiv.org/abs/1708.04896>

use super::Region;
use crate::Pixels;

/// Fills `region` with `colour`; what reaches beyond the image is not there. What is marked stays marked.
pub(super) fn erase(pixels: &mut Pixels, region: Region, colour: [u8; 3]) {
    let Pixels { width, height, channels, .. } = *pixels;
    let span = |start: i64, length: usize, whole: usize| {
        let inside = |at: i64| at.clamp(0, whole as i64) as usize;
        inside(start)..inside(start.saturating_add(length as i64))
    };
    let columns = span(region.left, region.width, width);
    for y in span(region.top, region.height, height) {
        let row = &mut pixels.data[y * width * channels..][..width * channels];
        for pixel in row.chunks_exact_mut(channels).take(columns.end).skip(columns.start) {
            pixel.copy_from_slice(&colour[..channels]);
        }
    }
}
