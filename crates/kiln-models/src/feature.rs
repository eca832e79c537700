//! The maps that a network offers to detection and segmentation heads.

use burn::prelude::*;

/// A map that a network computes on its way to the scores.
#[derive(Clone, Debug)]
pub struct Feature {
    /// Pixels of the image per pixel of the map, in both directions.
    pub stride: usize,
    /// Channels of the map.
    pub channels: usize,
    /// `[batch, channels, height / stride, width / stride]`, give or take a border.
    pub map: Tensor<4>,
}

impl Feature {
    /// A map in which neighbours are `stride` pixels of the image apart.
    pub fn new(stride: usize, map: Tensor<4>) -> Self {
        Self { stride, channels: map.dims()[1], map }
    }
}
