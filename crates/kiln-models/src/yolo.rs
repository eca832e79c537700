//! What the maps of YOLO's heads mean: from offsets in cells and factors of anchors to boxes.
//!
//! Redmon, Farhadi. *YOLO9000: Better, Faster, Stronger.* CVPR 2017, §2 (region). <https://arxiv.org/abs/1612.08242>
//!
//! Redmon, Farhadi. *YOLOv3: An Incremental Improvement.* 2018, §2.1 to 2.3 (yolo). <https://arxiv.org/abs/1804.02767>

use burn::prelude::*;

/// What the sides of anchors are counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Units {
    /// Pixels of the network's input, as in YOLOv3.
    Pixels,
    /// Cells of the head's map, as in YOLOv2.
    Cells,
}

/// How the classes of a box get their scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scores {
    /// Each on its own, as in YOLOv3: a box may be of several classes.
    Logistic,
    /// One from all, as in YOLOv2.
    Softmax,
}

/// A head: boxes at every cell of a map, one per anchor.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// Width and height of each box where the network says nothing.
    pub anchors: Vec<[f32; 2]>,
    /// What they are counted in.
    pub units: Units,
    /// Classes to tell apart.
    pub classes: usize,
    /// How they get their scores.
    pub scores: Scores,
    /// How far a box's middle may leave its cell: 1 for not at all (darknet's `scale_x_y`).
    pub scale_xy: f32,
    /// Height and width of the network's input that anchors in pixels refer to.
    pub input: [usize; 2],
}

/// A box that a head gives, of one class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Left, top, right and bottom as parts of the network's input, 0 to 1 within it.
    pub bounds: [f32; 4],
    /// Its class.
    pub class: usize,
    /// How sure the network is that there is an object, times how sure of its class.
    pub score: f32,
}

impl Head {
    /// Channels of its map.
    pub fn channels(&self) -> usize {
        self.anchors.len() * (5 + self.classes)
    }

    /// The boxes of each image whose score is above `least`, in the order of cells.
    ///
    /// # Shapes
    ///
    /// - `map`: `[batch, boxes · (5 + classes), height, width]`
    ///
    /// # Panics
    ///
    /// Panics if the map has other channels.
    pub fn candidates(&self, map: Tensor<4>, least: f32) -> Vec<Vec<Candidate>> {
        let [batch, channels, height, width] = map.dims();
        assert_eq!(channels, self.channels(), "the map is of another head");
        let values: Vec<f32> = map.into_data().iter().collect();
        let image = channels * height * width;
        let images =
            (0..batch).map(|at| self.image(&values[at * image..][..image], height, width, least));
        images.collect()
    }

    fn image(&self, values: &[f32], height: usize, width: usize, least: f32) -> Vec<Candidate> {
        let area = height * width;
        let mut candidates = Vec::new();
        let mut scores = vec![0.0; self.classes];
        for (anchor, values) in self.anchors.iter().zip(values.chunks(area * (5 + self.classes))) {
            for cell in 0..area {
                let at = |channel: usize| values[channel * area + cell];
                let object = logistic(at(4));
                // No class can be surer than the object is.
                if object.is_nan() || object <= least {
                    continue;
                }
                self.classes_of(|class| at(5 + class), &mut scores);
                let bounds = self.bounds(
                    [at(0), at(1), at(2), at(3)],
                    *anchor,
                    [cell % width, cell / width],
                    [width, height],
                );
                for (class, &score) in scores.iter().enumerate() {
                    let score = object * score;
                    if score > least && bounds.iter().all(|edge| edge.is_finite()) {
                        candidates.push(Candidate { bounds, class, score });
                    }
                }
            }
        }
        candidates
    }

    fn classes_of(&self, at: impl Fn(usize) -> f32, scores: &mut [f32]) {
        for (class, score) in scores.iter_mut().enumerate() {
            *score = at(class);
        }
        match self.scores {
            Scores::Logistic => scores.iter_mut().for_each(|score| *score = logistic(*score)),
            Scores::Softmax => {
                let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                scores.iter_mut().for_each(|score| *score = (*score - most).exp());
                let sum: f32 = scores.iter().sum();
                scores.iter_mut().for_each(|score| *score /= sum);
            }
        }
    }

    fn bounds(
        &self,
        [x, y, w, h]: [f32; 4],
        anchor: [f32; 2],
        cell: [usize; 2],
        cells: [usize; 2],
    ) -> [f32; 4] {
        let middle = |offset: f32, axis: usize| {
            let within = logistic(offset) * self.scale_xy - (self.scale_xy - 1.0) / 2.0;
            (cell[axis] as f32 + within) / cells[axis] as f32
        };
        let side = |factor: f32, axis: usize| {
            let whole = match self.units {
                Units::Pixels => self.input[1 - axis] as f32,
                Units::Cells => cells[axis] as f32,
            };
            factor.exp() * anchor[axis] / whole
        };
        let (x, y) = (middle(x, 0), middle(y, 1));
        let (w, h) = (side(w, 0) / 2.0, side(h, 1) / 2.0);
        [x - w, y - h, x + w, y + h]
    }
}

fn logistic(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_testkit::device;

    fn head(units: Units, scores: Scores) -> Head {
        let anchors = vec![[2.0, 4.0], [8.0, 8.0]];
        Head { anchors, units, classes: 2, scores, scale_xy: 1.0, input: [32, 64] }
    }

    /// A map of 2×4 cells where nothing is but for `box 1` of cell (row 1, column 2).
    fn map(values: [f32; 7]) -> Tensor<4> {
        let mut map = vec![-20.0; 14 * 8];
        for (channel, value) in values.into_iter().enumerate() {
            map[(7 + channel) * 8 + 6] = value;
        }
        Tensor::from_data(TensorData::new(map, [1, 14, 2, 4]), &device())
    }

    #[test]
    fn a_box_is_its_cell_and_its_anchor() {
        let ln2 = 2.0_f32.ln();
        let found = head(Units::Pixels, Scores::Logistic)
            .candidates(map([0.0, 0.0, 0.0, ln2, 20.0, -20.0, 1.0]), 0.1);

        let [one] = found[0][..] else { panic!("{found:?}") };
        // Its middle is that of the cell, (2.5 / 4, 1.5 / 2), and it is 8 of 64 by 16 of 32 pixels.
        let expected = [0.625 - 0.0625, 0.75 - 0.25, 0.625 + 0.0625, 0.75 + 0.25];
        assert!(one.bounds.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{one:?}");
        assert!(one.class == 1 && (one.score - logistic(1.0)).abs() < 1e-6);
    }

    #[test]
    fn anchors_in_cells_and_one_class_of_all() {
        let found = head(Units::Cells, Scores::Softmax)
            .candidates(map([0.0, 0.0, 0.0, 0.0, 20.0, 3.0, 3.0]), 0.1);

        assert_eq!(found[0].len(), 2);
        assert!((found[0][0].score - 0.5).abs() < 1e-6);
        let [left, top, right, bottom] = found[0][0].bounds;
        assert!((right - left - 2.0).abs() < 1e-5 && (bottom - top - 4.0).abs() < 1e-5);
    }

    #[test]
    fn what_is_no_number_is_no_box() {
        let head = head(Units::Pixels, Scores::Logistic);
        for values in [
            [f32::NAN; 7],
            [0.0, 0.0, 0.0, 0.0, f32::NAN, 9.0, 9.0],
            [0.0, 0.0, 200.0, 0.0, 9.0, 9.0, 9.0],
        ] {
            assert!(
                head.candidates(map(values), 0.0)[0].iter().all(|one| one.bounds[0].is_finite())
            );
        }
    }
}
