//! Images small enough for a sheet that holds many.

use image::RgbImage;
use image::imageops::thumbnail as shrink;
use kiln::data::Pixels;

/// No side is longer, in pixels: twice what a card shows.
const SIDE: usize = 384;

/// Pixels as a picture in colours, shrunk if it is large; small ones keep every pixel.
pub fn thumbnail(pixels: &Pixels) -> RgbImage {
    let image = pixels.to_rgb();
    let longer = pixels.width.max(pixels.height);
    if longer <= SIDE {
        return image;
    }
    let side = |side: usize| (side * SIDE / longer).max(1) as u32;
    shrink(&image, side(pixels.width), side(pixels.height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_pictures_shrink_in_their_shape_and_small_ones_stay() {
        let grey = Pixels::new(2, 1, 1, vec![3, 200]).unwrap();
        assert_eq!(thumbnail(&grey).into_raw(), [3, 3, 3, 200, 200, 200]);
        let size = |width, height| thumbnail(&Pixels::black(width, height, 3)).dimensions();
        assert_eq!(size(768, 400), (384, 200));
        assert_eq!(size(3, 4000), (1, 384));
    }
}
