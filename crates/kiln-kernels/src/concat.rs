//! Concatenation of channels into one channels-last buffer.

use burn::tensor::Tensor;

/// The maps side by side in their channels.
///
/// # Shapes
/// - maps: `[batch, channels of each, height, width]`
/// - output: `[batch, sum of the channels, height, width]`
///
/// # Panics
/// If there is none, or batch, height or width differ.
#[must_use]
pub fn concat_channels(maps: Vec<Tensor<4>>) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if let Some(out) = kernel::flex(&maps) {
        return out;
    }
    #[cfg(feature = "flex")]
    if let Some(out) = crate::grad::concat_channels(&maps) {
        return out;
    }
    Tensor::cat(maps, 1)
}

#[cfg(feature = "flex")]
pub(crate) mod kernel {
    use super::Tensor;
    use burn::backend::Flex;
    use burn::backend::flex::FlexTensor;
    use burn::tensor::DType;

    use crate::buffer::Buffer;
    use crate::extension::flex as primitive;
    use crate::layout::{self, Map};
    use crate::parallel::{Shared, for_ranges};

    pub(super) fn flex(maps: &[Tensor<4>]) -> Option<Tensor<4>> {
        let maps = maps.iter().map(primitive).collect::<Option<Vec<_>>>()?;
        join(maps).map(Tensor::from_primitive::<Flex>)
    }

    /// The maps side by side; nothing if they do not fit together or have no elements.
    pub(crate) fn join(maps: Vec<FlexTensor>) -> Option<FlexTensor> {
        let [batch, _, height, width] = layout::dims(maps.first()?);
        let same = maps.iter().all(|m| {
            let [n, c, h, w] = layout::dims(m);
            (n, h, w) == (batch, height, width) && n * c * h * w > 0
        });
        if !same {
            return None;
        }
        let maps: Vec<Map> = maps.into_iter().map(Map::of).collect();
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
        let layout = layout::layout([batch, channels, height, width]);
        Some(FlexTensor::new(out.into_bytes(), layout, DType::F32))
    }
}
