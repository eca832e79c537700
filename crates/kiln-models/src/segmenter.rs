//! What training, evaluation and prediction need to know of a network that gives every pixel a class.

use burn::prelude::*;
use kiln_layers::PixelObjective;

use crate::Error;

/// A network that gives each class of every pixel a score.
pub trait Segmenter: Module {
    /// The scores, at the image's own size; the larger, the likelier.
    ///
    /// # Shapes
    ///
    /// - `images`: `[batch, channels, height, width]`
    /// - output: `[batch, classes, height, width]`
    fn forward(&self, images: Tensor<4>) -> Tensor<4>;

    /// The scores, and those of auxiliary heads, whose losses help earlier layers in training; none, unless the network
    /// says otherwise.
    ///
    /// # Shapes
    ///
    /// - `images`: `[batch, channels, height, width]`
    /// - output: `[batch, classes, height, width]` each
    fn forward_all(&self, images: Tensor<4>) -> (Tensor<4>, Vec<Tensor<4>>) {
        (self.forward(images), Vec::new())
    }

    /// The scores and the loss that training minimizes: the `objective` of the scores, and of auxiliary heads.
    ///
    /// # Shapes
    ///
    /// - `images`: `[batch, channels, height, width]`
    /// - `classes`: `[batch, height, width]`, each in `0..classes` or what the objective ignores
    /// - output: `[batch, classes, height, width]` and `[1]`
    fn loss(
        &self,
        images: Tensor<4>,
        classes: Tensor<3, Int>,
        objective: &PixelObjective,
    ) -> (Tensor<4>, Tensor<1>) {
        let (scores, others) = self.forward_all(images);
        let loss = objective.of_all(scores.clone(), others, classes);
        (scores, loss)
    }

    /// Where what lies behind the backbone is kept: the beginnings of its parameters' paths. `head`, unless the network
    /// says otherwise.
    fn head_paths(&self) -> &'static [&'static str] {
        &["head"]
    }

    /// Where what only training uses is kept, if it is there at all: the beginnings of its parameters' paths. Files may
    /// have it where the network doesn't. Nothing, unless the network says otherwise.
    fn training_paths(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether the network takes images of `[channels, height, width]`.
    ///
    /// # Errors
    ///
    /// Names the shapes that it takes.
    fn check_input(&self, image: [usize; 3]) -> Result<(), Error>;
}

/// `[height, width]` pixels of `map` from the pixel `[at, at]` on, with zeros where it ends before.
pub(crate) fn cut(map: Tensor<4>, at: usize, [height, width]: [usize; 2]) -> Tensor<4> {
    let [_, _, rows, columns] = map.dims();
    let (below, right) = ((at + height).saturating_sub(rows), (at + width).saturating_sub(columns));
    let map = if below + right > 0 { map.pad((0, right, 0, below), 0.0) } else { map };
    let map = if rows + below > height { map.narrow(2, at, height) } else { map };
    if columns + right > width { map.narrow(3, at, width) } else { map }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_testkit::{assert_close, device, noise};

    #[test]
    fn a_map_is_cut_where_it_is_larger_and_filled_up_where_it_is_smaller() {
        let map = noise([1, 2, 4, 5], 1, &device());

        let same = cut(map.clone(), 0, [4, 5]);
        let inner = cut(map.clone(), 1, [2, 3]);
        let wider = cut(map.clone(), 0, [3, 7]);

        assert_close(same, map.clone());
        assert_close(inner, map.clone().slice(s![.., .., 1..3, 1..4]));
        assert_eq!(wider.dims(), [1, 2, 3, 7]);
        assert_close(wider.clone().narrow(3, 0, 5), map.narrow(2, 0, 3));
        assert_close(wider.narrow(3, 5, 2), Tensor::zeros([1, 2, 3, 2], &device()));
    }
}
