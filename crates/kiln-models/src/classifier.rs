//! What training, evaluation and prediction need to know of an image classifier.

use burn::prelude::*;
use kiln_layers::{Objective, Targets};

use crate::{ConvolutionalHead, Error, Feature};

/// A network that gives each class of an image a score.
pub trait Classifier: Module {
    /// The scores; the larger, the likelier.
    ///
    /// # Shapes
    ///
    /// - `images`: `[batch, channels, height, width]`
    /// - output: `[batch, classes]`
    fn forward(&self, images: Tensor<4>) -> Tensor<2>;

    /// The scores and the loss that training minimizes: here the `objective` of the scores.
    ///
    /// # Shapes
    ///
    /// - `images`: `[batch, channels, height, width]`
    /// - `targets`: `[batch]`, each in `0..classes`, or `[batch, classes]`
    /// - output: `[batch, classes]` and `[1]`
    fn loss(
        &self,
        images: Tensor<4>,
        targets: Targets,
        objective: &Objective,
    ) -> (Tensor<2>, Tensor<1>) {
        let scores = self.forward(images);
        let loss = objective.of(scores.clone(), targets);
        (scores, loss)
    }

    /// The maps on the way to the scores, in order, for detection and segmentation heads; none,
    /// unless the network says otherwise.
    ///
    /// # Shapes
    ///
    /// - `images`: `[batch, channels, height, width]`
    /// - output: each map as its [`Feature`] says
    fn features(&self, images: Tensor<4>) -> Vec<Feature> {
        let _ = images;
        Vec::new()
    }

    /// Where what lies behind the last of the [`features`](Self::features) is kept: the beginnings
    /// of its parameters' paths, with those of a dropout before it. The rest is the backbone. `head`,
    /// unless the network says otherwise.
    fn head_paths(&self) -> &'static [&'static str] {
        &["head"]
    }

    /// Where what only training uses is kept, if it is there at all: the beginnings of its
    /// parameters' paths. Files may have it where the network doesn't. Nothing, unless the network
    /// says otherwise.
    fn training_paths(&self) -> &'static [&'static str] {
        &[]
    }

    /// The network without what lies behind the last of the [`features`](Self::features), for a head of another task:
    /// it gives maps, and panics when it is asked for scores. `None`, unless the network says otherwise.
    fn into_backbone(self) -> Option<Self> {
        None
    }

    /// The layers behind the last of the [`features`](Self::features) as convolutions, with which
    /// [`Convolutional`](crate::Convolutional) gives a map of scores, for windows of which that feature
    /// is a map of `seen`×`seen` pixels; `None`, unless the network says otherwise.
    fn convolutional_head(&self, seen: usize) -> Option<ConvolutionalHead> {
        let _ = seen;
        None
    }

    /// The scores at every pixel of the map that [`convolutional_head`](Self::convolutional_head) gives: the map
    /// itself, unless the network says otherwise.
    ///
    /// # Shapes
    ///
    /// - `map`: `[batch, channels, height, width]`
    /// - output: `[batch, classes, height, width]`
    fn score_map(&self, map: Tensor<4>) -> Tensor<4> {
        map
    }

    /// Whether the network takes images of `[channels, height, width]`; any, unless it says
    /// otherwise.
    ///
    /// # Errors
    ///
    /// [`Error::Input`] names the shape that it takes.
    fn check_input(&self, image: [usize; 3]) -> Result<(), Error> {
        let _ = image;
        Ok(())
    }
}

/// The head of a network that still has it.
///
/// # Panics
///
/// Panics where [`into_backbone`](Classifier::into_backbone) has taken it away.
pub(crate) fn whole<T>(head: &Option<T>) -> &T {
    head.as_ref().expect("a backbone gives maps and no scores")
}
