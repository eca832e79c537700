//! One change at fixed parameters.

use super::{Affine, Region, Scene};
use super::{affine, colour, crop, erase, filter, hue, resize, tone};
use crate::Error;

/// A change of a [`Scene`] at fixed parameters, as torchvision's `transforms.v2.functional` does it on Pillow images.
///
/// Those of colours leave a grey image as it is where they have no meaning for one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Op {
    /// Stretches to a size, antialiased.
    Resize {
        /// In pixels.
        width: usize,
        /// In pixels.
        height: usize,
    },
    /// Cuts a region out; what lies outside is black.
    Crop(Region),
    /// Cuts a region out and stretches it.
    ResizedCrop {
        /// What is cut out.
        region: Region,
        /// In pixels.
        width: usize,
        /// In pixels.
        height: usize,
    },
    /// Mirrors left and right.
    Flip,
    /// Mirrors top and bottom.
    FlipVertical,
    /// Turns, shifts, scales and shears.
    Affine(Affine),
    /// Black at 0, the image at 1, and beyond.
    Brightness(f32),
    /// The mean luma at 0, the image at 1, and beyond.
    Contrast(f32),
    /// Grey at 0, the image at 1, and beyond.
    Saturation(f32),
    /// Turns the hue by a fraction of the circle, -0.5 to 0.5.
    Hue(f32),
    /// AlexNet's: adds so much of each principal component of ImageNet's colours.
    Lighting([f32; 3]),
    /// Grey, with as many channels as before.
    Grayscale,
    /// White for black.
    Invert,
    /// Keeps so many high bits of each value.
    Posterize(u8),
    /// Inverts what isn't below a threshold between 0 and 256.
    Solarize(f32),
    /// Stretches each channel from black to white.
    AutoContrast,
    /// Makes the values of each channel about equally frequent.
    Equalize,
    /// Smooth at 0, the image at 1, sharper beyond.
    Sharpness(f32),
    /// A Gaussian blur.
    Blur {
        /// Width and height of its kernel, an odd number of pixels.
        kernel: usize,
        /// Its standard deviation in pixels.
        sigma: f32,
    },
    /// Fills a region with a colour, a grey image with the first number of it.
    Erase {
        /// What is filled.
        region: Region,
        /// Red, green and blue.
        colour: [u8; 3],
    },
}

/// No side of a result is longer, in pixels: twice that of a stretched image, which may be bordered.
const MAX_SIDE: usize = 1 << 17;

/// No larger result is made, in pixels.
const MAX_AREA: usize = 1 << 29;

/// No wider kernel blurs, in pixels.
const MAX_KERNEL: usize = 1001;

impl Op {
    pub(super) const RESIZE: &'static str = "resize";

    /// Changes `scene`.
    ///
    /// # Errors
    ///
    /// [`Error::Sample`] if the fields of `scene` contradict each other, [`Error::Setting`] for parameters without a
    /// meaning.
    pub fn apply(&self, scene: &mut Scene) -> Result<(), Error> {
        if let Some(fault) = scene.fault() {
            return Err(Error::sample("of unknown name", fault));
        }
        self.check()?;
        let pixels = &mut scene.pixels;
        match *self {
            Self::Resize { width, height } => resize::resize(scene, width, height)?,
            Self::Crop(region) => crop::crop(scene, region),
            Self::ResizedCrop { region, width, height } => {
                resize::resized_crop(scene, region, width, height)?;
            }
            Self::Flip => crop::flip(scene),
            Self::FlipVertical => crop::flip_vertical(scene),
            Self::Affine(map) => affine::affine(scene, map),
            Self::Brightness(factor) => colour::brightness(pixels, factor),
            Self::Contrast(factor) => colour::contrast(pixels, factor),
            Self::Saturation(factor) => colour::saturation(pixels, factor),
            Self::Hue(turn) => hue::hue(pixels, turn),
            Self::Lighting(amounts) => colour::lighting(pixels, amounts),
            Self::Grayscale => colour::grayscale(pixels),
            Self::Invert => tone::invert(pixels),
            Self::Posterize(bits) => tone::posterize(pixels, bits),
            Self::Solarize(threshold) => tone::solarize(pixels, threshold),
            Self::AutoContrast => tone::autocontrast(pixels),
            Self::Equalize => tone::equalize(pixels),
            Self::Sharpness(factor) => filter::sharpness(pixels, factor),
            Self::Blur { kernel, sigma } => filter::blur(pixels, kernel, sigma),
            Self::Erase { region, colour } => erase::erase(pixels, region, colour),
        }
        Ok(())
    }

    /// Checks that the parameters have a meaning.
    fn check(&self) -> Result<(), Error> {
        let size = |width: usize, height: usize| {
            let sides = 1..=MAX_SIDE;
            let good = sides.contains(&width) && sides.contains(&height);
            if good && width * height <= MAX_AREA {
                return Ok(());
            }
            let most = format!("1 to {MAX_SIDE} each, {MAX_AREA} in all, are possible");
            Err(Error::setting(Self::RESIZE, format!("{width}×{height} pixels; {most}")))
        };
        match *self {
            Self::Resize { width, height } => size(width, height),
            Self::Crop(region) => size(region.width, region.height),
            Self::ResizedCrop { region, width, height } => {
                size(region.width, region.height).and_then(|()| size(width, height))
            }
            Self::Affine(Affine { scale, .. }) if scale.is_nan() || scale <= 0.0 => {
                Err(Error::setting("affine", format!("a scale of {scale}; it must be above 0")))
            }
            Self::Blur { kernel, sigma } => {
                let good = kernel % 2 == 1 && kernel <= MAX_KERNEL && sigma > 0.0;
                let found = format!("a kernel of {kernel} pixels and a sigma of {sigma}");
                let wanted = format!("an odd kernel up to {MAX_KERNEL} and a sigma above 0");
                if good {
                    return Ok(());
                }
                Err(Error::setting("blur", format!("{found}; {wanted} are possible")))
            }
            _ => Ok(()),
        }
    }
}
