//! Cutting out, adding a border, and mirroring.

use super::Scene;
use crate::Pixels;

/// A part of an image, or one that reaches beyond it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// Its left edge, in pixels; negative outside.
    pub left: i64,
    /// Its upper edge, in pixels; negative outside.
    pub top: i64,
    /// Its width in pixels.
    pub width: usize,
    /// Its height in pixels.
    pub height: usize,
}

impl Region {
    /// The whole of an image.
    pub fn whole(pixels: &Pixels) -> Self {
        Self { left: 0, top: 0, width: pixels.width, height: pixels.height }
    }

    /// `width` × `height` of the middle of `pixels`. An odd rest is halved to the even number, as Python rounds.
    pub fn middle(pixels: &Pixels, width: usize, height: usize) -> Self {
        let half = |rest: i64| {
            let floor = rest.div_euclid(2);
            floor + i64::from(rest.rem_euclid(4) == 3)
        };
        let left = half(pixels.width as i64 - width as i64);
        let top = half(pixels.height as i64 - height as i64);
        Self { left, top, width, height }
    }

    /// `pixels` with a border of `pad` pixels on each side.
    pub fn bordered(pixels: &Pixels, pad: usize) -> Self {
        let edge = -(pad as i64);
        let (width, height) = (pixels.width + 2 * pad, pixels.height + 2 * pad);
        Self { left: edge, top: edge, width, height }
    }

    /// Whether every pixel of it lies in an image of this size.
    pub(super) fn is_inside(&self, width: usize, height: usize) -> bool {
        let fits = |start: i64, length: usize, whole: usize| {
            usize::try_from(start).is_ok_and(|start| start.saturating_add(length) <= whole)
        };
        fits(self.left, self.width, width) && fits(self.top, self.height, height)
    }
}

/// Cuts `region` out; what isn't there is black.
pub(super) fn crop(scene: &mut Scene, region: Region) {
    if region == Region::whole(&scene.pixels) {
        return;
    }
    scene.pixels = cut(&scene.pixels, region);
    let Region { left, top, width, height } = region;
    let point = |[x, y]: [f32; 2]| [x - left as f32, y - top as f32];
    scene.follow(point, |mask| {
        mask.looked_up(width, height, |x, y| {
            let inside = |start: i64, at: usize, length: usize| {
                usize::try_from(start + at as i64).ok().filter(|&at| at < length)
            };
            Some([inside(left, x, mask.width)?, inside(top, y, mask.height)?])
        })
    });
}

fn cut(pixels: &Pixels, region: Region) -> Pixels {
    let Region { left, top, width, height } = region;
    let channels = pixels.channels;
    // What both have, seen from each.
    let overlap = |start: i64, length: usize, whole: usize| {
        let from = start.clamp(0, whole as i64) as usize;
        let to = (start + length as i64).clamp(0, whole as i64) as usize;
        (from, to.saturating_sub(from), (from as i64 - start).max(0) as usize)
    };
    let (from_x, wide, to_x) = overlap(left, width, pixels.width);
    let (from_y, high, to_y) = overlap(top, height, pixels.height);
    let mut cut = Pixels::black(width, height, channels);
    if wide > 0 {
        for row in 0..high {
            let source = ((from_y + row) * pixels.width + from_x) * channels;
            let target = ((to_y + row) * width + to_x) * channels;
            cut.data[target..target + wide * channels]
                .copy_from_slice(&pixels.data[source..source + wide * channels]);
        }
    }
    cut
}

/// Mirrors left and right.
pub(super) fn flip(scene: &mut Scene) {
    let (width, channels) = (scene.pixels.width, scene.pixels.channels);
    for row in scene.pixels.data.chunks_exact_mut(width * channels) {
        match channels {
            1 => row.reverse(),
            _ => row.as_chunks_mut::<3>().0.reverse(),
        }
    }
    scene.follow(
        |[x, y]| [width as f32 - x, y],
        |mask| mask.looked_up(mask.width, mask.height, |x, y| Some([mask.width - 1 - x, y])),
    );
}

/// Mirrors top and bottom.
pub(super) fn flip_vertical(scene: &mut Scene) {
    let Pixels { width, height, channels, .. } = scene.pixels;
    let rows = scene.pixels.data.chunks_exact(width * channels).rev();
    scene.pixels.data = rows.flatten().copied().collect();
    scene.follow(
        |[x, y]| [x, height as f32 - y],
        |mask| mask.looked_up(mask.width, mask.height, |x, y| Some([x, mask.height - 1 - y])),
    );
}
