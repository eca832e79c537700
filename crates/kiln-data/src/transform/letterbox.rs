//! An image in its own shape within an input of another one, and the way back for what is found there.
//!
//! As darknet's `letterbox_image` does it, <https://github.com/AlexeyAB/darknet/blob/master/src/image.c>, but shrunk with
//! antialiasing.

use super::{Op, Region, Scene};
use crate::Error;

/// The grey of the bars above and below, or left and right.
const GREY: u8 = 128;

/// How an image of one size lies in one of another: as large as fits, in the middle, in its own shape.
///
/// The places of pixels are whole numbers, so each axis has a scale of its own, the quotient of two of them, and
/// [`back`](Self::back) undoes [`there`](Self::there) exactly where quotients can be written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Letterbox {
    /// Width and height of the image.
    from: [usize; 2],
    /// Width and height that it gets.
    inner: [usize; 2],
    /// Where its left and upper edge come to lie.
    offset: [usize; 2],
    /// Width and height of the input.
    to: [usize; 2],
}

impl Letterbox {
    /// For an image of width and height `from` and an input of `to`.
    ///
    /// # Panics
    ///
    /// Panics if a side is 0.
    pub fn new(from: [usize; 2], to: [usize; 2]) -> Self {
        assert!(from.iter().chain(&to).all(|&side| side > 0), "images have at least a pixel");
        let [[w, h], [wide, high]] = [from, to].map(|size| size.map(|side| side as u128));
        // A side rounds down, but not to nothing.
        let inner = if wide * h < high * w {
            [to[0], ((h * wide / w) as usize).max(1)]
        } else {
            [((w * high / h) as usize).max(1), to[1]]
        };
        let offset = [0, 1].map(|axis| (to[axis] - inner[axis]) / 2);
        Self { from, inner, offset, to }
    }

    /// Where a point of the image comes to lie in the input, both in pixels.
    pub fn there(&self, point: [f64; 2]) -> [f64; 2] {
        [0, 1].map(|axis| {
            let [from, inner] = [self.from[axis] as f64, self.inner[axis] as f64];
            point[axis] * inner / from + self.offset[axis] as f64
        })
    }

    /// Which point of the image lies there in the input, both in pixels; beyond the image for a point on a bar.
    pub fn back(&self, point: [f64; 2]) -> [f64; 2] {
        [0, 1].map(|axis| {
            let [from, inner] = [self.from[axis] as f64, self.inner[axis] as f64];
            (point[axis] - self.offset[axis] as f64) * from / inner
        })
    }

    /// Brings `scene` into the input, with bars of grey.
    ///
    /// # Errors
    ///
    /// [`Error::Sample`] if the image has another size or the fields of `scene` contradict each other, [`Error::Setting`]
    /// for an input of absurd size.
    pub fn apply(&self, scene: &mut Scene) -> Result<(), Error> {
        let found = [scene.pixels.width, scene.pixels.height];
        if found != self.from {
            let reason = format!("an image of {found:?} where one of {:?} was expected", self.from);
            return Err(Error::sample("of unknown name", reason));
        }
        let [width, height] = self.inner;
        Op::Resize { width, height }.apply(scene)?;
        let [left, top] = self.offset.map(|offset| -(offset as i64));
        let [width, height] = self.to;
        Op::Crop(Region { left, top, width, height }).apply(scene)?;
        let channels = scene.pixels.channels;
        for (at, pixel) in scene.pixels.data.chunks_exact_mut(channels).enumerate() {
            let place = [at % width, at / width];
            let inside = [0, 1].iter().all(|&axis| {
                (self.offset[axis]..self.offset[axis] + self.inner[axis]).contains(&place[axis])
            });
            if !inside {
                pixel.fill(GREY);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pixels;
    use crate::transform::Object;
    use proptest::prelude::*;

    #[test]
    fn an_image_lies_in_the_middle_in_its_own_shape() {
        for (from, to, inner, offset) in [
            ([640, 480], [416, 416], [416, 312], [0, 52]),
            ([480, 640], [416, 416], [312, 416], [52, 0]),
            ([500, 375], [416, 416], [416, 312], [0, 52]),
            ([100, 100], [320, 416], [320, 320], [0, 48]),
            ([768, 576], [416, 416], [416, 312], [0, 52]),
            ([10_000, 1], [32, 32], [32, 1], [0, 15]),
            ([7, 5], [7, 5], [7, 5], [0, 0]),
        ] {
            assert_eq!(Letterbox::new(from, to), Letterbox { from, inner, offset, to });
        }
    }

    proptest! {
        #[test]
        fn the_way_back_is_the_way_back(
            from in (1_usize..6000, 1_usize..6000),
            to in (1_usize..1300, 1_usize..1300),
            part in (-0.5..1.5_f64, -0.5..1.5_f64),
        ) {
            let (from, to) = ([from.0, from.1], [to.0, to.1]);
            let letterbox = Letterbox::new(from, to);
            // The corners of the image and of its place come back to the last bit.
            let corner = from.map(|side| side as f64);
            prop_assert_eq!(letterbox.back(letterbox.there([0.0; 2])), [0.0; 2]);
            prop_assert_eq!(letterbox.back(letterbox.there(corner)), corner);
            let place = letterbox.there(corner);
            prop_assert!(place[0] <= to[0] as f64 && place[1] <= to[1] as f64);
            prop_assert!(place[0] == to[0] as f64 || place[1] == to[1] as f64);
            // All else within what a double can say of a number of that size.
            let point = [part.0 * corner[0], part.1 * corner[1]];
            let back = letterbox.back(letterbox.there(point));
            for axis in [0, 1] {
                let pixel = corner[axis] / letterbox.inner[axis] as f64;
                let precision = 4.0 * f64::EPSILON * (corner[axis] * 1.5 + pixel * to[axis] as f64);
                prop_assert!((back[axis] - point[axis]).abs() <= precision);
            }
        }
    }

    #[test]
    fn bars_are_grey_and_boxes_go_along() {
        let pixels = Pixels::new(4, 2, 1, vec![10, 20, 30, 40, 50, 60, 70, 80]).unwrap();
        let object = Object { label: 3, corners: [1.0, 0.0, 3.0, 2.0], mask: None };
        let mut scene = Scene { objects: vec![object], ..Scene::of(pixels) };
        let letterbox = Letterbox::new([4, 2], [4, 6]);

        letterbox.apply(&mut scene).unwrap();

        let bar = [GREY; 8];
        let image = [10, 20, 30, 40, 50, 60, 70, 80];
        assert_eq!(scene.pixels.data, [bar, image, bar].concat());
        assert_eq!(scene.objects[0].corners, [1.0, 2.0, 3.0, 4.0]);
        assert!(letterbox.apply(&mut Scene::of(Pixels::black(3, 2, 1))).is_err());
    }
}
