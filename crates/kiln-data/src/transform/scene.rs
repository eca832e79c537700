//! An image with what is marked in it.

use crate::Pixels;

/// An image, the objects in it and the class of each of its pixels, as far as they are known.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    /// The image.
    pub pixels: Pixels,
    /// The objects, in no order. One that leaves the image is dropped.
    pub objects: Vec<Object>,
    /// The class of each pixel, for segmentation.
    pub classes: Option<Mask>,
}

/// Something marked in an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Its class.
    pub label: usize,
    /// Left, top, right and bottom edge in pixels from the image's upper left corner; the first pixel lies between 0
    /// and 1.
    pub corners: [f32; 4],
    /// The pixels that belong to it, not 0. Its corners then are those of its mask after every change of shape.
    pub mask: Option<Mask>,
}

/// A number for each pixel of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// `height · width` numbers, rows from the top.
    pub data: Vec<u8>,
    /// The number of what comes from outside the image.
    pub outside: u8,
}

/// An object of which less than this is left, in pixels of width or height, is dropped.
const SMALLEST: f32 = 1.0;

impl Scene {
    /// An image in which nothing is marked.
    pub fn of(pixels: Pixels) -> Self {
        Self { pixels, objects: Vec::new(), classes: None }
    }

    /// What is wrong with the fields, which anybody may set.
    pub(crate) fn fault(&self) -> Option<String> {
        let masks = self.objects.iter().filter_map(|object| object.mask.as_ref());
        let odd = masks.chain(&self.classes).find(|mask| {
            (mask.width, mask.height) != (self.pixels.width, self.pixels.height)
                || mask.width.checked_mul(mask.height) != Some(mask.data.len())
        });
        self.pixels.fault().or_else(|| {
            odd.map(|mask| {
                let (Mask { width, height, data, .. }, image) = (mask, &self.pixels);
                format!(
                    "a mask of {width}×{height} with {} values in an image of {}×{}",
                    data.len(),
                    image.width,
                    image.height
                )
            })
        })
    }

    /// Moves what is marked: each point by `point`, each mask by `mask`. Corners become those of the smallest upright
    /// box that holds the moved ones, or the object's mask; what isn't in the image any more is dropped.
    ///
    /// The image has its new size already.
    pub(super) fn follow(
        &mut self,
        point: impl Fn([f32; 2]) -> [f32; 2],
        mask: impl Fn(&Mask) -> Mask,
    ) {
        let (width, height) = (self.pixels.width as f32, self.pixels.height as f32);
        self.objects.retain_mut(|object| {
            let [left, top, right, bottom] = object.corners;
            let corners = [[left, top], [right, top], [right, bottom], [left, bottom]].map(&point);
            let bound = |axis: usize, pick: fn(f32, f32) -> f32, most: f32| {
                let values = corners.iter().map(|corner| corner[axis]);
                values.reduce(pick).unwrap_or_default().clamp(0.0, most)
            };
            object.corners = [
                bound(0, f32::min, width),
                bound(1, f32::min, height),
                bound(0, f32::max, width),
                bound(1, f32::max, height),
            ];
            if let Some(before) = &object.mask {
                let after = mask(before);
                match after.bounds() {
                    Some(bounds) => object.corners = bounds,
                    None => return false,
                }
                object.mask = Some(after);
            }
            let [left, top, right, bottom] = object.corners;
            right - left >= SMALLEST && bottom - top >= SMALLEST
        });
        if let Some(classes) = &self.classes {
            self.classes = Some(mask(classes));
        }
    }
}

impl Mask {
    /// A mask of zeros.
    pub fn empty(width: usize, height: usize) -> Self {
        Self { width, height, data: vec![0; width * height], outside: 0 }
    }

    /// The edges of the smallest box that holds all that isn't 0: left, top, right, bottom; none if nothing is.
    pub fn bounds(&self) -> Option<[f32; 4]> {
        let rows = || self.data.chunks_exact(self.width.max(1));
        let marked = |row: &[u8]| row.iter().any(|&value| value != 0);
        let top = rows().position(marked)?;
        let bottom = rows().rposition(marked)? + 1;
        let first = |row: &[u8]| row.iter().position(|&value| value != 0);
        let last = |row: &[u8]| row.iter().rposition(|&value| value != 0);
        let left = rows().filter_map(first).min()?;
        let right = rows().filter_map(last).max()? + 1;
        Some([left, top, right, bottom].map(|edge| edge as f32))
    }

    /// A mask of `width` × `height` whose pixels are looked up here; none looks outside.
    pub(crate) fn looked_up(
        &self,
        width: usize,
        height: usize,
        from: impl Fn(usize, usize) -> Option<[usize; 2]>,
    ) -> Self {
        let places = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let value =
            |(x, y)| from(x, y).map_or(self.outside, |[x, y]| self.data[y * self.width + x]);
        Self { width, height, data: places.map(value).collect(), outside: self.outside }
    }
}
