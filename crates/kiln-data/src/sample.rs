//! An image in memory, a sample, and what a data set must offer.

use image::{DynamicImage, GrayImage, RgbImage};

use crate::Error;

/// An 8-bit image: rows from the top, pixels from the left, channels interleaved (height × width × channels).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pixels {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// 1 for grey, 3 for red, green, blue.
    pub channels: usize,
    /// `height · width · channels` values.
    pub data: Vec<u8>,
}

impl Pixels {
    /// An image of the given size.
    ///
    /// # Errors
    ///
    /// [`Error::Sample`] if a side is 0, there are not 1 or 3 channels, or `data` has another length than they give.
    pub fn new(width: usize, height: usize, channels: usize, data: Vec<u8>) -> Result<Self, Error> {
        let pixels = Self { width, height, channels, data };
        pixels.fault().map_or(Ok(()), |reason| Err(Error::sample("of unknown name", reason)))?;
        Ok(pixels)
    }

    /// A black image.
    pub fn black(width: usize, height: usize, channels: usize) -> Self {
        Self { width, height, channels, data: vec![0; width * height * channels] }
    }

    /// The image for other programs: grey, or in colours. Values that are missing are black.
    pub fn to_image(&self) -> DynamicImage {
        let Self { width, height, channels, ref data } = *self;
        let mut values = data.clone();
        values.resize(width * height * if channels == 1 { 1 } else { 3 }, 0);
        let (width, height) = (width as u32, height as u32);
        let image = match channels {
            1 => GrayImage::from_raw(width, height, values).map(DynamicImage::from),
            _ => RgbImage::from_raw(width, height, values).map(DynamicImage::from),
        };
        image.expect("there are as many values as the sizes say")
    }

    /// The image in colours, whatever its own are.
    pub fn to_rgb(&self) -> RgbImage {
        self.to_image().into_rgb8()
    }

    /// What is wrong with the fields, which anybody may set.
    pub(crate) fn fault(&self) -> Option<String> {
        let Self { width, height, channels, .. } = *self;
        if width == 0 || height == 0 {
            return Some(format!("an image of {width}×{height} pixels has none"));
        }
        if channels != 1 && channels != 3 {
            return Some(format!("{channels} channels; 1 (grey) or 3 (RGB) are possible"));
        }
        let expected = width.checked_mul(height).and_then(|area| area.checked_mul(channels));
        let found = self.data.len();
        (expected != Some(found))
            .then(|| format!("{width}×{height} pixels of {channels} channels, but {found} values"))
    }
}

/// One image with its class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The image.
    pub pixels: Pixels,
    /// The class, below the number of classes.
    pub label: usize,
}

/// Labelled images that can be read in any order, by several threads at once.
///
/// ```
/// use kiln_data::{Dataset, Error, Pixels, Sample};
///
/// /// Black and white squares; the label says which.
/// struct Squares;
///
/// impl Dataset for Squares {
///     fn len(&self) -> usize {
///         100
///     }
///     fn sample(&self, index: usize) -> Result<Sample, Error> {
///         let label = self.label(index);
///         Ok(Sample { pixels: Pixels::new(8, 8, 1, vec![255 * label as u8; 64])?, label })
///     }
///     fn name(&self, index: usize) -> String {
///         format!("square {index}")
///     }
///     fn label(&self, index: usize) -> usize {
///         index % 2
///     }
/// }
/// ```
pub trait Dataset: Send + Sync {
    /// How many samples there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads the sample at `index`, which is below [`len`](Self::len).
    ///
    /// # Errors
    ///
    /// Any error that says why this sample cannot be used; [`Error::sample`] makes one.
    fn sample(&self, index: usize) -> Result<Sample, Error>;

    /// What messages call the sample: its path, or a name such as `mnist train/123`.
    fn name(&self, index: usize) -> String;

    /// The class of the sample, without reading its image.
    fn label(&self, index: usize) -> usize;

    /// Lengths of the parts that are read fastest from start to end, in order; none where any order is as fast.
    fn shards(&self) -> Vec<usize> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_contradicts_itself_is_refused() {
        assert!(Pixels::new(2, 3, 3, vec![0; 18]).is_ok());
        for (width, height, channels, length) in
            [(0, 3, 1, 0), (2, 2, 2, 8), (2, 2, 1, 3), (usize::MAX, 2, 1, 0)]
        {
            assert!(Pixels::new(width, height, channels, vec![0; length]).is_err());
        }
    }

    #[test]
    fn an_image_in_colours_has_the_same_pixels_and_none_where_values_are_missing() {
        let grey = Pixels::new(2, 1, 1, vec![3, 200]).unwrap();
        assert_eq!(grey.to_rgb().into_raw(), [3, 3, 3, 200, 200, 200]);
        assert_eq!(grey.to_image().into_bytes(), [3, 200]);
        let short = Pixels { width: 1, height: 2, channels: 3, data: vec![1, 2, 3, 4] };
        assert_eq!(short.to_rgb().into_raw(), [1, 2, 3, 4, 0, 0]);
    }
}
