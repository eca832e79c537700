//! From 8-bit pixels to the numbers a network eats.

use serde::{Deserialize, Serialize};

use crate::transform::{Op, Region, Scene, luma};
use crate::{Error, Pixels};

/// Channels, size, mean and deviation of a network's input; saved with every checkpoint.
///
/// Pixels are used as they are: a picture drawn dark on light is not inverted for a network that learned light on dark,
/// as the digits of MNIST are. Invert such a picture before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// Length in pixels to which an image's shorter side is brought before the middle is cut out; 0 stretches the whole
    /// image to the input's size instead, whatever its shape.
    #[serde(default)]
    pub resize: usize,
    /// Width in pixels of a black border that an image gets before it is resized: 2 make digits of 28×28 the 32×32 of
    /// LeNet-5's paper without stretching them.
    #[serde(default)]
    pub pad: usize,
    /// Mean of each channel, for values between 0 and 1.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel, for values between 0 and 1.
    pub std: Vec<f32>,
}

impl Preprocess {
    /// Values between 0 and 1, neither shifted nor scaled.
    pub fn plain(channels: usize, height: usize, width: usize) -> Self {
        let (mean, std) = (vec![0.0; channels], vec![1.0; channels]);
        Self { channels, height, width, resize: 0, pad: 0, mean, std }
    }

    /// How many numbers an image becomes.
    pub fn len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Whether there are none, which [`check`](Self::check) refuses.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Checks that the settings have a meaning.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] with the key, what is allowed and what was found.
    pub fn check(&self) -> Result<(), Error> {
        let Self { channels, height, width, resize, ref mean, ref std, .. } = *self;
        if channels != 1 && channels != 3 {
            let reason = format!("{channels}; 1 (grey) or 3 (RGB) are possible");
            return Err(Error::setting("preprocess.channels", reason));
        }
        for (key, side) in [("preprocess.height", height), ("preprocess.width", width)] {
            if !(1..=MAX_SIDE).contains(&side) {
                return Err(Error::setting(
                    key,
                    format!("{side} pixels; 1 to {MAX_SIDE} are possible"),
                ));
            }
        }
        if self.pad > MAX_SIDE {
            let reason = format!("{} pixels; 0 to {MAX_SIDE} are possible", self.pad);
            return Err(Error::setting("preprocess.pad", reason));
        }
        let side = height.max(width);
        if resize != 0 && !(side..=MAX_SIDE).contains(&resize) {
            let reason = format!(
                "{resize} pixels; 0 (stretch) or {side} to {MAX_SIDE} (cut {height}×{width} out of the middle) are possible"
            );
            return Err(Error::setting("preprocess.resize", reason));
        }
        for (key, values) in [("preprocess.mean", mean), ("preprocess.std", std)] {
            if values.len() != channels {
                let reason = format!("{} values for {channels} channels", values.len());
                return Err(Error::setting(key, reason));
            }
        }
        for (key, values, least) in
            [("preprocess.mean", mean, -LARGEST), ("preprocess.std", std, SMALLEST_STD)]
        {
            if let Some(value) = values.iter().find(|value| !(least..=LARGEST).contains(*value)) {
                let reason = format!("{value}; {least} to {LARGEST} are possible");
                return Err(Error::setting(key, reason));
            }
        }
        Ok(())
    }

    /// `(value / 255 − mean) / std`, as `[channels, height, width]`.
    ///
    /// An image of another size is stretched to this one with antialiasing (the triangle filter, Pillow's `BILINEAR`),
    /// or with [`resize`](Self::resize) shrunk in its own shape and cut, as torchvision's `Resize` and `CenterCrop` do.
    /// Grey fills all three channels; colours become grey by their luma (ITU-R BT.601, as Pillow's `L`).
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] as [`check`](Self::check), [`Error::Sample`] if the fields of `pixels` contradict each other.
    pub fn apply(&self, pixels: &Pixels) -> Result<Vec<f32>, Error> {
        self.check()?;
        let mut values = vec![0.0; self.len()];
        self.apply_into(pixels.clone(), &mut values)?;
        Ok(values)
    }

    /// As [`apply`](Self::apply), for settings known to be good, into a slice of [`len`](Self::len).
    pub(crate) fn apply_into(&self, pixels: Pixels, values: &mut [f32]) -> Result<(), Error> {
        let scene = self.fit(Scene::of(pixels))?;
        self.normalize(&scene.pixels, values);
        Ok(())
    }

    /// Brings `scene` to the size and channels of the network's input, as evaluation does.
    ///
    /// # Errors
    ///
    /// [`Error::Sample`] if the fields of `scene` contradict each other or it is too long and thin.
    pub fn fit(&self, mut scene: Scene) -> Result<Scene, Error> {
        self.border(&mut scene)?;
        self.shrink(&mut scene)?;
        let middle = Region::middle(&scene.pixels, self.width, self.height);
        Op::Crop(middle).apply(&mut scene)?;
        Ok(scene)
    }

    /// The image whose numbers are `values`, as [`apply`](Self::apply) gives them.
    ///
    /// # Panics
    ///
    /// Panics if there are not [`len`](Self::len) values.
    pub fn pixels(&self, values: &[f32]) -> Pixels {
        assert_eq!(values.len(), self.len(), "values of an image");
        let Self { channels, height, width, .. } = *self;
        let mut pixels = Pixels::black(width, height, channels);
        for (at, value) in pixels.data.iter_mut().enumerate() {
            let (channel, place) = (at % channels, at / channels);
            let unit = values[channel * height * width + place] * self.std[channel];
            *value = ((unit + self.mean[channel]) * 255.0).round() as u8; // saturates
        }
        pixels
    }

    /// Gives `scene` its channels and its border.
    pub(crate) fn border(&self, scene: &mut Scene) -> Result<(), Error> {
        if let Some(fault) = scene.fault() {
            return Err(Error::sample("of unknown name", fault));
        }
        recolour(&mut scene.pixels, self.channels);
        Op::Crop(Region::bordered(&scene.pixels, self.pad)).apply(scene)
    }

    /// Resizes `scene` to what the input is cut out of.
    pub(crate) fn shrink(&self, scene: &mut Scene) -> Result<(), Error> {
        let [width, height] = match self.resize {
            0 => [self.width, self.height],
            resize => shrunk(scene.pixels.width, scene.pixels.height, resize)
                .map_err(|reason| Error::sample("of unknown name", reason))?,
        };
        Op::Resize { width, height }.apply(scene)
    }

    /// Writes the numbers of `pixels`, which has the size and channels of the input.
    pub(crate) fn normalize(&self, pixels: &Pixels, values: &mut [f32]) {
        let area = self.width * self.height;
        for (channel, plane) in values.chunks_exact_mut(area).enumerate() {
            let (mean, std) = (self.mean[channel], self.std[channel]);
            // 256 divisions instead of one per pixel.
            let table: [f32; 256] =
                std::array::from_fn(|value| (value as f32 / 255.0 - mean) / std);
            let look_up = |value: u8| table[usize::from(value)];
            if self.channels == 1 {
                plane.iter_mut().zip(&pixels.data).for_each(|(to, &from)| *to = look_up(from));
            } else {
                let pixels = pixels.data.as_chunks::<3>().0;
                plane.iter_mut().zip(pixels).for_each(|(to, from)| *to = look_up(from[channel]));
            }
        }
    }
}

/// Largest mean and deviation; pixels lie between 0 and 1, so these are far off already.
const LARGEST: f32 = 1e3;
/// Smallest deviation: numbers are divided by it.
const SMALLEST_STD: f32 = 1e-6;
/// No side of a network's input is longer, in pixels.
const MAX_SIDE: usize = 1 << 14;

/// Nor is a side of an image that is shrunk in its own shape: 32 times as long as ImageNet's shorter one is 8,192.
const MAX_LONGER: u64 = 1 << 16;

/// Gives `pixels` 1 or 3 channels.
fn recolour(pixels: &mut Pixels, channels: usize) {
    match (pixels.channels, channels) {
        (1, 3) => pixels.data = pixels.data.iter().flat_map(|&grey| [grey; 3]).collect(),
        (3, 1) => pixels.data = pixels.data.as_chunks().0.iter().map(|&rgb| luma(rgb)).collect(),
        _ => return,
    }
    pixels.channels = channels;
}

/// Width and height of an image in its own shape whose shorter side is `shorter`, the longer one rounded down.
fn shrunk(width: usize, height: usize, shorter: usize) -> Result<[usize; 2], String> {
    let (short, long) = (width.min(height), width.max(height));
    let longer = shorter as u64 * long as u64 / short as u64;
    if longer > MAX_LONGER {
        return Err(format!(
            "{width}×{height} pixels would become {shorter} by {longer}: too long and thin"
        ));
    }
    let longer = longer as usize;
    Ok(if width <= height { [shorter, longer] } else { [longer, shorter] })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(width: usize, height: usize, data: Vec<u8>) -> Pixels {
        Pixels::new(width, height, 1, data).unwrap()
    }

    #[test]
    fn normalizes_as_the_formula_says() {
        let mnist =
            Preprocess { mean: vec![0.1307], std: vec![0.3081], ..Preprocess::plain(1, 1, 2) };
        let values = mnist.apply(&grey(2, 1, vec![0, 255])).unwrap();
        assert_eq!(values, [(0.0 - 0.1307) / 0.3081, (1.0 - 0.1307) / 0.3081]);
    }

    #[test]
    fn channels_become_planes_with_their_own_constants() {
        let rgb = Pixels::new(2, 1, 3, vec![0, 51, 102, 153, 204, 255]).unwrap();
        let plain = Preprocess::plain(3, 1, 2).apply(&rgb).unwrap();
        assert_eq!(plain, [0.0, 0.6, 0.2, 0.8, 0.4, 1.0]);

        let bordered = Preprocess { pad: 1, ..Preprocess::plain(1, 3, 4) };
        let dot = bordered.apply(&grey(2, 1, vec![51, 255])).unwrap();
        assert_eq!(dot[..4], [0.0; 4]);
        assert_eq!(dot[4..8], [0.0, 0.2, 1.0, 0.0]);
        assert_eq!(dot[8..], [0.0; 4]);

        let halves = Preprocess {
            mean: vec![0.0, 0.2, 0.4],
            std: vec![1.0, 0.5, 0.25],
            ..Preprocess::plain(3, 1, 2)
        };
        let values = halves.apply(&rgb).unwrap();
        assert_eq!((values[2], values[4], values[5]), (0.0, 0.0, (1.0 - 0.4) / 0.25));
    }

    #[test]
    fn grey_fills_three_channels_and_colours_become_luma() {
        let values = Preprocess::plain(3, 1, 1).apply(&grey(1, 1, vec![255])).unwrap();
        assert_eq!(values, [1.0; 3]);

        let colours = Pixels::new(4, 1, 3, vec![255, 0, 0, 0, 255, 0, 0, 0, 255, 7, 7, 7]).unwrap();
        let values = Preprocess::plain(1, 1, 4).apply(&colours).unwrap();
        assert_eq!(values, [76.0, 150.0, 29.0, 7.0].map(|luma: f32| luma / 255.0));
    }

    #[test]
    fn shrinking_averages_instead_of_picking() {
        // A checkerboard seen from afar is grey. Without antialiasing it would be black or white.
        let board =
            (0..64 * 64).map(|i| if (i / 64 + i % 64) % 2 == 0 { 255 } else { 0 }).collect();
        let values = Preprocess::plain(1, 8, 8).apply(&grey(64, 64, board)).unwrap();
        assert!(values.iter().all(|value| (value - 0.5).abs() < 0.02), "{values:?}");
    }

    #[test]
    fn a_flat_image_stays_flat_at_any_size() {
        for (width, height) in [(1, 1), (3, 7), (100, 2)] {
            let pixels = Pixels::new(width, height, 3, vec![200; width * height * 3]).unwrap();
            let values = Preprocess::plain(3, 5, 9).apply(&pixels).unwrap();
            assert_eq!(values, vec![200.0 / 255.0; 135]);
        }
    }

    /// A gradient in every channel with some texture, made by the formula that the expected values were made with.
    fn texture(width: usize, height: usize) -> Pixels {
        let value =
            |x: usize, y: usize, c: usize| ((x * 5 + y * 3 + c * 60 + x * y % 7 * 9) % 256) as u8;
        let data = (0..height * width * 3).map(|i| value(i / 3 % width, i / 3 / width, i % 3));
        Pixels::new(width, height, 3, data.collect()).unwrap()
    }

    #[test]
    fn resize_and_crop_are_torchvisions() {
        // torchvision's arithmetic with Pillow 13.0: `image.resize((int(16 * 45 / 31), 16), BILINEAR)`, a crop whose left
        // edge is `round((23 - 12) / 2.0)` = 6 and whose top is 2; rows 0 and 11 of the red channel.
        let preprocess = Preprocess { resize: 16, ..Preprocess::plain(3, 12, 12) };
        let values = preprocess.apply(&texture(45, 31)).unwrap();
        let bytes: Vec<u8> = values.iter().map(|value| (value * 255.0).round() as u8).collect();
        let close = |found: &[u8], expected: [u8; 12]| {
            let near = found.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 1);
            assert!(near, "{found:?} instead of {expected:?}");
        };
        close(&bytes[..12], [105, 101, 123, 137, 134, 149, 162, 177, 169, 191, 205, 206]);
        close(&bytes[132..144], [168, 165, 187, 202, 196, 214, 199, 168, 179, 132, 105, 63]);
    }

    #[test]
    fn what_is_cut_out_is_the_middle() {
        let wide = Pixels::new(6, 2, 1, vec![1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16]).unwrap();
        let cut = |width, height| {
            let mut scene = Scene::of(wide.clone());
            Op::Crop(Region::middle(&wide, width, height)).apply(&mut scene).unwrap();
            scene.pixels.data
        };
        assert_eq!(cut(3, 2), [3, 4, 5, 13, 14, 15], "1.5 is rounded to 2");
        assert_eq!(cut(5, 1), [1, 2, 3, 4, 5], "0.5 is rounded to 0");
        assert_eq!(shrunk(500, 375, 256).unwrap(), [341, 256]);
        assert_eq!(shrunk(375, 500, 256).unwrap(), [256, 341]);
        assert_eq!(shrunk(256, 256, 256).unwrap(), [256, 256]);
        assert!(shrunk(100_000, 1, 256).unwrap_err().contains("too long and thin"));
    }

    #[test]
    fn numbers_become_the_pixels_they_were_made_of() {
        let of = |channels: usize| vec![0.4; channels];
        for pixels in [texture(7, 5), grey(7, 5, (100..135).collect())] {
            let channels = pixels.channels;
            let plain = Preprocess::plain(channels, 5, 7);
            let to = Preprocess { mean: of(channels), std: of(channels), ..plain };
            assert_eq!(to.pixels(&to.apply(&pixels).unwrap()), pixels);
        }
    }

    #[test]
    fn a_state_from_before_there_was_resize_stretches() {
        let text = "channels = 1\nheight = 2\nwidth = 3\nmean = [0.0]\nstd = [1.0]\n";
        assert_eq!(toml::from_str::<Preprocess>(text).unwrap(), Preprocess::plain(1, 2, 3));
    }

    #[test]
    fn settings_without_a_meaning_are_refused_by_their_key() {
        let good = Preprocess::plain(1, 28, 28);
        for (bad, key) in [
            (Preprocess { channels: 2, ..good.clone() }, "preprocess.channels: 2;"),
            (Preprocess { height: 0, ..good.clone() }, "preprocess.height: 0 pixels;"),
            (Preprocess { width: 1 << 40, ..good.clone() }, "preprocess.width"),
            (
                Preprocess { resize: 27, ..good.clone() },
                "preprocess.resize: 27 pixels; 0 (stretch)",
            ),
            (Preprocess { mean: vec![0.5; 3], ..good.clone() }, "preprocess.mean: 3 values for 1"),
            (Preprocess { mean: vec![f32::NAN], ..good.clone() }, "preprocess.mean: NaN"),
            (
                Preprocess { std: vec![0.0], ..good.clone() },
                "preprocess.std: 0; 0.000001 to 1000 are possible",
            ),
        ] {
            let message = bad.apply(&Pixels::black(28, 28, 1)).unwrap_err().to_string();
            assert!(message.starts_with(key), "{message}");
        }
        let odd = Pixels { width: 3, ..Pixels::black(2, 2, 1) };
        assert!(good.apply(&odd).unwrap_err().to_string().contains("but 4 values"));
    }
}
