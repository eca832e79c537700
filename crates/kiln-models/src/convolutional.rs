//! Classifiers as convolutions: one pass over a large image gives the scores of all its windows.
//!
//! LeCun, Bottou, Bengio, Haffner. *Gradient-Based Learning Applied to Document Recognition.*
//! Proceedings of the IEEE 86(11), 1998, §VII (space displacement neural networks).
//!
//! Long, Shelhamer, Darrell. *Fully Convolutional Networks for Semantic Segmentation.* CVPR 2015,
//! §3.1. <https://arxiv.org/abs/1411.4038>

use burn::prelude::*;
use kiln_layers::{AvgPool, ConvBlock, Dense};

use crate::{Classifier, Error};

/// The layers behind the last map of a network, as convolutions with the same weights.
#[derive(Module, Debug)]
pub struct ConvolutionalHead {
    /// Average over windows as large as the map of an image of the training size, one pixel apart,
    /// in place of a global average.
    pub pool: Option<AvgPool>,
    /// A convolution over windows as large as the map that the first dense layer sees, then 1×1.
    pub layers: Vec<ConvBlock>,
}

/// A classifier that gives a map of scores for an image of any size from the training size on.
#[derive(Module, Debug)]
pub struct Convolutional<N: Module> {
    network: N,
    head: ConvolutionalHead,
}

impl ConvolutionalHead {
    /// A global average over maps of `seen`×`seen` pixels, and the dense layer after it.
    pub fn global_average(seen: usize, output: &Dense) -> Self {
        let pool = kiln_layers::AvgPoolConfig::new(seen, 1).init();
        Self { pool: Some(pool), layers: vec![output.to_convolution(1, 1)] }
    }
}

impl<N: Classifier> Convolutional<N> {
    /// The convolutional form of `network`, for inference: nothing is dropped or learned. `window` is what it was
    /// trained on: channels, height and width. A head that sees averages of a map takes them along.
    ///
    /// # Errors
    ///
    /// [`Error::Options`] for a network that has no such form, or none for such windows; or as
    /// [`check_input`](Classifier::check_input).
    pub fn new(network: N, window: [usize; 3]) -> Result<Self, Error> {
        network.check_input(window)?;
        let network = network.valid();
        let [channels, height, width] = window;
        let device = network.devices().pop().unwrap_or_default();
        let image = Tensor::zeros([1, channels, height, width], &device);
        let last = network.features(image).pop().map(|feature| feature.map.dims());
        let refused = |reason: String| Error::Options { reason };
        let head = match last {
            Some([_, _, rows, columns]) if rows != columns => Err(refused(format!(
                "a convolutional form needs a square map, and windows of {height}x{width} pixels give one of \
                 {rows}x{columns}; name square windows"
            ))),
            Some([.., seen]) => network.convolutional_head(seen).ok_or_else(|| {
                refused(format!(
                    "the network has no convolutional form for windows of {height}x{width} pixels"
                ))
            }),
            None => Err(refused("the network offers no map, of which the form is made".to_owned())),
        };
        head.map(|head| Self { network, head })
    }

    /// The scores of every window, as far apart as the network's last stride.
    ///
    /// # Shapes
    ///
    /// - `images`: `[batch, channels, height, width]`
    /// - output: `[batch, classes, h, w]`, `h = 1` for the size of a window
    ///
    /// # Panics
    ///
    /// Panics for an image smaller than a window.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let last = self.network.features(images).pop();
        let Some(last) = last else { unreachable!("a network with a convolutional head has maps") };
        let map = match &self.head.pool {
            Some(pool) => pool.forward(last.map),
            None => last.map,
        };
        let map = self.head.layers.iter().fold(map, |map, layer| layer.forward(map));
        self.network.score_map(map)
    }
}
