//! Random shifts, rotations, scalings and shears: an image the network hasn't seen, of the same class.
//!
//! LeCun, Bottou, Bengio, Haffner. *Gradient-Based Learning Applied to Document Recognition.* Proc. IEEE 1998, §III.B:
//! training on randomly distorted digits (planar affine maps) lowered LeNet-5's error from 0.95 % to 0.8 %.

use serde::{Deserialize, Serialize};

use crate::{Error, Pixels, Random};

/// How far images may be moved at random. All zero changes nothing.
///
/// Every amount is drawn evenly between minus and plus its limit, for each image and epoch anew. The map turns about
/// the middle of the image; values between pixels are interpolated bilinearly, and what comes from outside is black.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// Farthest shift along each axis, in pixels of the original image.
    pub shift: f32,
    /// Largest rotation, in degrees.
    pub rotate: f32,
    /// Largest change of size, as a fraction: 0.1 gives factors from 0.9 to 1.1.
    pub scale: f32,
    /// Largest horizontal shear, in degrees: how far a vertical stroke may lean.
    pub shear: f32,
}

impl Augment {
    /// Whether nothing is changed.
    pub fn is_identity(&self) -> bool {
        *self == Self::default()
    }

    /// Checks that the limits have a meaning.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] with the key, what is allowed and what was found.
    pub fn check(&self) -> Result<(), Error> {
        for (key, value, most) in [
            ("augment.shift", self.shift, 1e4),
            ("augment.rotate", self.rotate, 180.0),
            ("augment.scale", self.scale, 0.95),
            ("augment.shear", self.shear, 80.0),
        ] {
            if !(0.0..=most).contains(&value) {
                return Err(Error::setting(key, format!("{value}; 0 to {most} are possible")));
            }
        }
        Ok(())
    }

    /// A changed copy of `pixels`, of the same size.
    ///
    /// Always takes the same count of numbers from `random`, whatever the limits.
    pub fn apply(&self, pixels: &Pixels, random: &mut Random) -> Pixels {
        let mut draw = |limit: f32| random.between(-limit, limit);
        let shift = [draw(self.shift), draw(self.shift)];
        let (angle, factor) = (draw(self.rotate).to_radians(), 1.0 + draw(self.scale));
        let shear = draw(self.shear).to_radians().tan();
        if self.is_identity() { pixels.clone() } else { warp(pixels, shift, angle, factor, shear) }
    }
}

/// Shears, scales, turns (clockwise as seen), then shifts `pixels` about its middle.
fn warp(pixels: &Pixels, shift: [f32; 2], angle: f32, factor: f32, shear: f32) -> Pixels {
    // The inverse of p ↦ R·s·H·p + shift, with H the shear [1 h; 0 1]: each pixel looks up where it came from.
    let (sin, cos) = angle.sin_cos();
    let inverse = [
        [(cos + shear * sin) / factor, (sin - shear * cos) / factor],
        [-sin / factor, cos / factor],
    ];
    match pixels.channels {
        1 => warp_channels::<1>(pixels, shift, inverse),
        _ => warp_channels::<3>(pixels, shift, inverse),
    }
}

fn warp_channels<const CHANNELS: usize>(
    pixels: &Pixels,
    shift: [f32; 2],
    [across, along]: [[f32; 2]; 2],
) -> Pixels {
    let Pixels { width, height, .. } = *pixels;
    let (framed, stride) = framed::<CHANNELS>(pixels);
    let (wide, high) = (width as f32, height as f32);
    let middle = [(wide - 1.0) / 2.0, (high - 1.0) / 2.0];

    let mut moved = Pixels::black(width, height, CHANNELS);
    for (y, row) in moved.data.chunks_exact_mut(width * CHANNELS).enumerate() {
        let down = y as f32 - middle[1] - shift[1];
        for (x, to) in row.chunks_exact_mut(CHANNELS).enumerate() {
            let right = x as f32 - middle[0] - shift[0];
            // Where it came from, in the frame; what lies farther out than the frame is as black as the frame.
            let from_x = (across[0] * right + across[1] * down + middle[0]).clamp(-1.0, wide) + 1.0;
            let from_y = (along[0] * right + along[1] * down + middle[1]).clamp(-1.0, high) + 1.0;
            let (left, top) = (from_x as usize, from_y as usize); // rounds down, as both are positive
            let (part_x, part_y) = (from_x - left as f32, from_y - top as f32);

            let at = top * stride + left;
            let [upper, lower] = [&framed[at..at + 2], &framed[at + stride..at + stride + 2]];
            for (channel, to) in to.iter_mut().enumerate() {
                let mix = |pair: &[[f32; CHANNELS]]| {
                    pair[0][channel] * (1.0 - part_x) + pair[1][channel] * part_x
                };
                *to = (mix(upper) * (1.0 - part_y) + mix(lower) * part_y + 0.5) as u8;
            }
        }
    }
    moved
}

/// `pixels` as numbers in a black frame, 1 pixel to the left and above and 2 to the right and below, so that every
/// lookup finds its four pixels; and the width with the frame.
fn framed<const CHANNELS: usize>(pixels: &Pixels) -> (Vec<[f32; CHANNELS]>, usize) {
    let Pixels { width, height, ref data, .. } = *pixels;
    let stride = width + 3;
    let mut framed = vec![[0.0; CHANNELS]; stride * (height + 3)];
    let rows = framed[stride..].chunks_exact_mut(stride);
    for (to, from) in rows.zip(data.chunks_exact(width * CHANNELS)) {
        for (to, from) in to[1..].iter_mut().zip(from.chunks_exact(CHANNELS)) {
            to.iter_mut().zip(from).for_each(|(to, from)| *to = f32::from(*from));
        }
    }
    (framed, stride)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::f32::consts::{FRAC_PI_2, PI};

    /// Different values everywhere, in both axes and all channels.
    fn picture(width: usize, height: usize, channels: usize) -> Pixels {
        let data = (0..width * height * channels).map(|i| (i * 37 % 251) as u8).collect();
        Pixels::new(width, height, channels, data).unwrap()
    }

    fn at(pixels: &Pixels, x: usize, y: usize) -> &[u8] {
        &pixels.data[(y * pixels.width + x) * pixels.channels..][..pixels.channels]
    }

    #[test]
    fn a_whole_shift_moves_pixels_and_leaves_black_behind() {
        let before = picture(5, 4, 3);
        let after = warp(&before, [2.0, -1.0], 0.0, 1.0, 0.0);
        for (x, y) in [(2, 0), (4, 2), (3, 1)] {
            assert_eq!(at(&after, x, y), at(&before, x - 2, y + 1));
        }
        assert_eq!((at(&after, 1, 0), at(&after, 4, 3)), (&[0; 3][..], &[0; 3][..]));
    }

    #[test]
    fn far_outside_is_black() {
        let white = Pixels { data: vec![255; 75], ..Pixels::black(5, 5, 3) };
        for shift in [[9.0, 0.0], [0.0, -9.0], [1e4, 1e4], [-1e9, 0.0]] {
            assert_eq!(warp(&white, shift, 0.3, 1.0, 0.0).data.iter().max(), Some(&0), "{shift:?}");
        }
    }

    #[test]
    fn half_a_pixel_mixes_two() {
        let line = Pixels::new(3, 1, 1, vec![0, 100, 200]).unwrap();
        assert_eq!(warp(&line, [0.5, 0.0], 0.0, 1.0, 0.0).data, [0, 50, 150]);
    }

    #[test]
    fn a_quarter_turn_moves_the_top_to_the_right() {
        let before = picture(5, 5, 1);
        let after = warp(&before, [0.0; 2], FRAC_PI_2, 1.0, 0.0);
        for (x, y) in [(0, 0), (4, 0), (1, 3), (2, 2)] {
            assert!(at(&after, 4 - y, x)[0].abs_diff(at(&before, x, y)[0]) <= 1);
        }
        let twice = warp(&before, [0.0; 2], PI, 1.0, 0.0);
        assert!(at(&twice, 4, 4)[0].abs_diff(at(&before, 0, 0)[0]) <= 1);
    }

    #[test]
    fn a_factor_of_two_spreads_the_middle() {
        let mut before = Pixels::black(9, 9, 1);
        for (x, y) in [(4, 4), (3, 4), (5, 4)] {
            before.data[y * 9 + x] = 200;
        }
        let after = warp(&before, [0.0; 2], 0.0, 2.0, 0.0);
        let row: Vec<u8> = (0..9).map(|x| at(&after, x, 4)[0]).collect();
        assert_eq!(row, [0, 100, 200, 200, 200, 200, 200, 100, 0]);
    }

    #[test]
    fn a_shear_of_45_degrees_makes_a_stroke_lean() {
        let mut before = Pixels::black(5, 5, 1);
        (0..5).for_each(|y| before.data[y * 5 + 2] = 255);
        let after = warp(&before, [0.0; 2], 0.0, 1.0, 1.0);
        (0..5).for_each(|y| assert_eq!(at(&after, y, y), [255]));
        assert_eq!(after.data.iter().filter(|value| **value > 0).count(), 5);
    }

    #[test]
    fn the_stream_alone_decides() {
        let augment = Augment { shift: 2.0, rotate: 15.0, scale: 0.1, shear: 5.0 };
        let before = picture(28, 28, 1);
        let after = |key: &[u64]| augment.apply(&before, &mut Random::new(key));
        assert_eq!(after(&[1, 2, 3]), after(&[1, 2, 3]));
        assert_ne!(after(&[1, 2, 3]), after(&[1, 2, 4]));
    }

    #[test]
    fn limits_without_a_meaning_are_refused_by_their_key() {
        for (bad, message) in [
            (
                Augment { shift: -1.0, ..Augment::default() },
                "augment.shift: -1; 0 to 10000 are possible",
            ),
            (
                Augment { rotate: f32::NAN, ..Augment::default() },
                "augment.rotate: NaN; 0 to 180 are possible",
            ),
            (
                Augment { scale: 1.0, ..Augment::default() },
                "augment.scale: 1; 0 to 0.95 are possible",
            ),
            (
                Augment { shear: 90.0, ..Augment::default() },
                "augment.shear: 90; 0 to 80 are possible",
            ),
        ] {
            assert_eq!(bad.check().unwrap_err().to_string(), message);
        }
        assert!(Augment { shift: 2.0, rotate: 10.0, scale: 0.1, shear: 0.0 }.check().is_ok());
    }

    proptest! {
        #[test]
        fn nothing_to_do_changes_nothing(width in 1..9_usize, height in 1..9_usize, seed: u64) {
            let before = picture(width, height, 3);
            prop_assert_eq!(&Augment::default().apply(&before, &mut Random::new(&[seed])), &before);
            prop_assert_eq!(&warp(&before, [0.0; 2], 0.0, 1.0, 0.0), &before);
        }

        #[test]
        fn any_size_and_limit_keeps_the_size(
            width in 1..9_usize, height in 1..9_usize, seed: u64, shift in 0.0_f32..50.0, scale in 0.0_f32..0.95,
        ) {
            let augment = Augment { shift, rotate: 180.0, scale, shear: 80.0 };
            let after = augment.apply(&picture(width, height, 1), &mut Random::new(&[seed]));
            prop_assert_eq!((after.width, after.height, after.data.len()), (width, height, width * height));
        }
    }
}
