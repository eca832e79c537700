//! Rotation, translation, scale and shear in one map, about the middle of the image.

use super::{Mask, Scene};
use crate::Pixels;

/// A planar affine map: shears, scales, turns, then shifts. Bilinear in images, where coordinates are Pillow's: the
/// middle of the first pixel lies at 0.5.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Affine {
    /// Rotation in degrees, clockwise as seen.
    pub angle: f32,
    /// Shift in pixels, to the right and down.
    pub shift: [f32; 2],
    /// Factor by which the content grows.
    pub scale: f32,
    /// Shear in degrees along x and along y, of the sign that torchvision's has.
    pub shear: [f32; 2],
    /// Whether the shear leaves the upper left corner where it is, and not the middle: what the policies do.
    pub about_corner: bool,
}

impl Default for Affine {
    fn default() -> Self {
        Self { angle: 0.0, shift: [0.0; 2], scale: 1.0, shear: [0.0; 2], about_corner: false }
    }
}

/// Rows of a 2×3 matrix: what x and y are multiplied by, and what is added.
type Matrix = [[f64; 3]; 2];

impl Affine {
    /// Whether the map moves nothing.
    pub fn is_identity(&self) -> bool {
        Self { about_corner: false, ..*self } == Self::default()
    }

    /// The linear part: rotation · scale · shear along y · shear along x.
    fn linear(&self) -> [[f64; 2]; 2] {
        let radians = |degrees: f32| f64::from(degrees).to_radians();
        let (rotation, [sx, sy]) = (radians(self.angle), self.shear.map(radians));
        let lean = rotation - sy;
        let scale = f64::from(self.scale);
        [
            [lean.cos() / sy.cos(), -lean.cos() * sx.tan() / sy.cos() - rotation.sin()],
            [lean.sin() / sy.cos(), -lean.sin() * sx.tan() / sy.cos() + rotation.cos()],
        ]
        .map(|row| row.map(|value| value * scale))
    }

    /// From a place in the old image to that in the new one, and back.
    fn matrices(&self, pixels: &Pixels) -> [Matrix; 2] {
        let middle = match self.about_corner {
            true => [0.0; 2],
            false => [pixels.width as f64 / 2.0, pixels.height as f64 / 2.0],
        };
        let [[a, b], [c, d]] = self.linear();
        let determinant = a * d - b * c;
        let to = [0, 1].map(|axis| middle[axis] + f64::from(self.shift[axis]));
        let with = |[[a, b], [c, d]]: [[f64; 2]; 2], from: [f64; 2], to: [f64; 2]| {
            [[a, b, to[0] - a * from[0] - b * from[1]], [c, d, to[1] - c * from[0] - d * from[1]]]
        };
        let back = [[d, -b], [-c, a]].map(|row| row.map(|value| value / determinant));
        [with([[a, b], [c, d]], middle, to), with(back, to, middle)]
    }
}

/// Applies `map`.
pub(super) fn affine(scene: &mut Scene, map: Affine) {
    if map.is_identity() {
        return;
    }
    let [forth, back] = map.matrices(&scene.pixels);
    scene.pixels = match scene.pixels.channels {
        1 => warped::<1>(&scene.pixels, &back),
        _ => warped::<3>(&scene.pixels, &back),
    };
    let point =
        |[x, y]: [f32; 2]| forth.map(|[a, b, c]| (a * f64::from(x) + b * f64::from(y) + c) as f32);
    scene.follow(point, |mask| nearest(mask, &back));
}

fn nearest(mask: &Mask, [across, along]: &Matrix) -> Mask {
    let at = |[a, b, c]: &[f64; 3], x: usize, y: usize, side: usize| {
        let place = a * (x as f64 + 0.5) + b * (y as f64 + 0.5) + c;
        (place >= 0.0 && place < side as f64).then_some(place as usize)
    };
    mask.looked_up(mask.width, mask.height, |x, y| {
        Some([at(across, x, y, mask.width)?, at(along, x, y, mask.height)?])
    })
}

/// Pillow's bilinear filter, which extends an image by half a pixel of its border and takes black beyond; its result is
/// rounded here and cut there.
fn warped<const CHANNELS: usize>(pixels: &Pixels, [across, along]: &Matrix) -> Pixels {
    let Pixels { width, height, .. } = *pixels;
    let (source, _) = pixels.data.as_chunks::<CHANNELS>();
    let (wide, high) = (width as f64, height as f64);
    let mut moved = Pixels::black(width, height, CHANNELS);
    let (target, _) = moved.data.as_chunks_mut::<CHANNELS>();
    for (y, row) in target.chunks_exact_mut(width).enumerate() {
        let down = y as f64 + 0.5;
        for (x, to) in row.iter_mut().enumerate() {
            let right = x as f64 + 0.5;
            let from_x = across[0] * right + across[1] * down + across[2];
            let from_y = along[0] * right + along[1] * down + along[2];
            // Written so that no number is outside as well.
            let inside = from_x >= 0.0 && from_x < wide && from_y >= 0.0 && from_y < high;
            if !inside {
                continue;
            }
            let pair = |place: f64, side: usize| {
                let place = place - 0.5;
                let floor = place.floor();
                let near = |at: f64| at.clamp(0.0, side as f64 - 1.0) as usize;
                (near(floor), near(floor + 1.0), (place - floor) as f32)
            };
            let (left, right, part_x) = pair(from_x, width);
            let (top, bottom, part_y) = pair(from_y, height);
            let (upper, lower) = (top * width, bottom * width);
            let corners = [upper + left, upper + right, lower + left, lower + right];
            let corners = corners.map(|at| source[at].map(f32::from));
            for (channel, to) in to.iter_mut().enumerate() {
                let mix = |a: f32, b: f32, part: f32| a + (b - a) * part;
                let [a, b, c, d] = [0, 1, 2, 3].map(|corner: usize| corners[corner][channel]);
                *to = (mix(mix(a, b, part_x), mix(c, d, part_x), part_y) + 0.5) as u8;
            }
        }
    }
    moved
}
