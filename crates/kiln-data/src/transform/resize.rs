//! Stretching and shrinking, antialiased as Pillow does (`BILINEAR`, the triangle filter).

use fast_image_resize::images::{TypedCroppedImage, TypedImage, TypedImageRef};
use fast_image_resize::pixels::{U8, U8x3};
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer};

use super::crop::{Region, crop};
use super::{Op, Scene};
use crate::{Error, Pixels};

/// Stretches `scene` to `width` × `height`.
pub(super) fn resize(scene: &mut Scene, width: usize, height: usize) -> Result<(), Error> {
    let region = Region::whole(&scene.pixels);
    resized_crop(scene, region, width, height)
}

/// Cuts `region` out and stretches it to `width` × `height`.
pub(super) fn resized_crop(
    scene: &mut Scene,
    region: Region,
    width: usize,
    height: usize,
) -> Result<(), Error> {
    let Pixels { width: wide, height: high, channels, .. } = scene.pixels;
    if (region.width, region.height) == (width, height) {
        crop(scene, region);
        return Ok(());
    }
    if !region.is_inside(wide, high) {
        crop(scene, region);
        let region = Region::whole(&scene.pixels);
        return resized_crop(scene, region, width, height);
    }
    let mut data = vec![0; width * height * channels];
    let done = match channels {
        1 => stretch::<U8>(&scene.pixels, region, width, height, &mut data),
        _ => stretch::<U8x3>(&scene.pixels, region, width, height, &mut data),
    };
    done.map_err(|reason| Error::setting(Op::RESIZE, reason))?;
    scene.pixels = Pixels { width, height, channels, data };

    let (left, top) = (region.left as usize, region.top as usize);
    let across = [width as f32 / region.width as f32, height as f32 / region.height as f32];
    let point = |[x, y]: [f32; 2]| [(x - left as f32) * across[0], (y - top as f32) * across[1]];
    scene.follow(point, |mask| {
        let nearest = |at: usize, to: usize, from: usize| {
            (((at as f64 + 0.5) * from as f64 / to as f64) as usize).min(from - 1)
        };
        mask.looked_up(width, height, |x, y| {
            let x = left + nearest(x, width, region.width);
            Some([x, top + nearest(y, height, region.height)])
        })
    });
    Ok(())
}

/// As [`resized_crop`], for pixels of type `P`. The crate's untyped entrance compiles its kernels for 13 pixel types.
fn stretch<P: PixelTrait>(
    pixels: &Pixels,
    region: Region,
    width: usize,
    height: usize,
    data: &mut [u8],
) -> Result<(), String> {
    let side = |side: usize| u32::try_from(side).map_err(|_| format!("a side of {side} pixels"));
    let words = |error: &dyn std::fmt::Display| format!("cannot be resized: {error}");
    let source =
        TypedImageRef::<P>::from_buffer(side(pixels.width)?, side(pixels.height)?, &pixels.data)
            .map_err(|error| words(&error))?;
    let mut target = TypedImage::<P>::from_buffer(side(width)?, side(height)?, data)
        .map_err(|error| words(&error))?;
    // A view and not the resizer's own box, whose filter would see what lies around it.
    let (left, top) = (side(region.left as usize)?, side(region.top as usize)?);
    let view =
        TypedCroppedImage::from_ref(&source, left, top, side(region.width)?, side(region.height)?)
            .map_err(|error| words(&error))?;
    let triangle = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    Resizer::new().resize_typed(&view, &mut target, &triangle).map_err(|error| words(&error))
}
