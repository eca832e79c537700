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
    /// A global average over maps of `side`×`side` pixels, and the dense layer after it.
    pub fn global_average(side: usize, output: &Dense) -> Self {
        let pool = kiln_layers::AvgPoolConfig::new(side, 1).init();
        Self { pool: Some(pool), layers: vec![output.to_convolution(1)] }
    }
}

impl<N: Classifier> Convolutional<N> {
    /// The convolutional form of `network`, for inference: nothing is dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Options`] for a network that has no such form.
    pub fn new(network: N) -> Result<Self, Error> {
        match network.convolutional_head() {
            Some(head) => Ok(Self { network, head }),
            None => Err(Error::Options { reason: "the network has no convolutional form".into() }),
        }
    }

    /// The scores of every window of the training size, as far apart as the network's last stride.
    ///
    /// # Shapes
    ///
    /// - `images`: `[batch, channels, height, width]`
    /// - output: `[batch, classes, h, w]`, `h = 1` for the training size
    ///
    /// # Panics
    ///
    /// Panics for an image smaller than the training size.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let last = self.network.features(images).pop();
        let Some(last) = last else { unreachable!("a network with a convolutional head has maps") };
        let map = match &self.head.pool {
            Some(pool) => pool.forward(last.map),
            None => last.map,
        };
        self.head.layers.iter().fold(map, |map, layer| layer.forward(map))
    }
}
