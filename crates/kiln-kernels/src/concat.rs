//! Concatenation of channels into one channels-last buffer.

use burn::tensor::Tensor;

/// The maps side by side in their channels.
///
/// # Shapes
/// - maps: [batch, channels of each, height, width]
/// - output: [batch, sum of the channels, height, width]
///
/// # Panics
/// If there is none, or batch, height or width differ.
#[must_use]
pub fn concat_channels(maps: Vec<Tensor<4>>) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if let Some(out) = kernel::flex(&maps) {
        return out;
    }
    Tensor::cat(maps, 1)
}

#[cfg(feature = "flex")]
mod kernel {
    use super::Tensor;
    use crate::buffer::Buffer;
    use crate::extension::flex as primitive;
    use crate::layout::{self, Map};
    use crate::parallel::{Shared, for_ranges};

    pub(super) fn flex(maps: &[Tensor<4>]) -> Option<Tensor<4>> {
        let [batch, _, height, width] = maps.first()?.dims();
        let same = maps.iter().all(|m| {
            let [n, c, h, w] = m.dims();
            (n, h, w) == (batch, height, width) && n * c * h * w > 0
        });
        if !same {
            return None;
        }
        let maps = maps.iter().map(|m| primitive(m).map(Map::of)).collect::<Option<Vec<_>>>()?;
        let channels: usize = maps.iter().map(|m| m.channels).sum();
        let pixels = batch * height * width;
        let mut out = Buffer::new(pixels * channels);
        let target = Shared::new(out.pointer());
        for_ranges(pixels, channels, |range| {
            let mut first = 0;
            for map in &maps {
                let from = map.pointer();
                for pixel in range.clone() {
                    // SAFETY: the pixel lies within map and output; tasks write disjoint pixels.
                    unsafe {
                        std::ptr::copy_nonoverlapping(
                            from.add(pixel * map.step),
                            target.get().add(pixel * channels + first),
                            map.channels,
                        );
                    };
                }
                first += map.channels;
            }
        });
        Some(crate::extension::tensor(out, layout::layout([batch, channels, height, width])))
    }
}
