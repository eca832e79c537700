//! What training, evaluation and prediction need to know of an object detector.

use burn::prelude::*;

use crate::Error;
use crate::yolo::{Candidate, Head};

/// A network that gives boxes with a class each.
pub trait Detector: Module {
    /// The maps of its heads, in the order of [`heads`](Self::heads).
    ///
    /// # Shapes
    ///
    /// - `images`: `[batch, channels, height, width]`
    /// - output: `[batch, boxes · (5 + classes), height / stride, width / stride]` each
    fn forward(&self, images: Tensor<4>) -> Vec<Tensor<4>>;

    /// What its maps mean, for images of that height and width.
    fn heads(&self, image: [usize; 2]) -> Vec<Head>;

    /// Whether the network takes images of `[channels, height, width]`.
    ///
    /// # Errors
    ///
    /// Names the shapes that it takes.
    fn check_input(&self, image: [usize; 3]) -> Result<(), Error>;

    /// The boxes of each image whose score is above `least`, head by head, in the order of cells; many of them are of the
    /// same object.
    ///
    /// # Shapes
    ///
    /// - `images`: `[batch, channels, height, width]`
    fn candidates(&self, images: Tensor<4>, least: f32) -> Vec<Vec<Candidate>> {
        let [batch, _, height, width] = images.dims();
        let mut found = vec![Vec::new(); batch];
        for (head, map) in self.heads([height, width]).iter().zip(self.forward(images)) {
            for (all, more) in found.iter_mut().zip(head.candidates(map, least)) {
                all.extend(more);
            }
        }
        found
    }
}
