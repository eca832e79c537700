//! Non-maximum suppression: of boxes that mean the same object, the best one stays.
//!
//! Bodla, Singh, Chellappa, Davis. *Soft-NMS: Improving Object Detection With One Line of Code.* ICCV 2017.
//! <https://arxiv.org/abs/1704.04503>
//!
//! Coordinates and overlaps are computed in `f32`, as detectors give them. Boxes and scores that are not numbers are
//! never kept.

use serde::{Deserialize, Serialize};

use crate::BoundingBox;

/// Boxes compared at a time, so that a processor's vectors are full; a last block is filled with boxes that overlap nothing.
const BLOCK: usize = 16;

/// How the score of a box falls that overlaps with a better one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Decay {
    /// Times 1 − IoU where the overlap is above the threshold (eq. 2).
    Linear,
    /// Times exp(−IoU² / `sigma`), without a threshold (eq. 3).
    Gaussian {
        /// Width of the bell; the paper has .5.
        sigma: f32,
    },
}

/// The boxes that stay, best first: none overlaps with a better one by more than `iou`.
///
/// Of equal scores the earlier box is the better one.
///
/// # Panics
///
/// Panics if there aren't as many scores as boxes.
pub fn suppress(boxes: &[BoundingBox], scores: &[f32], iou: f32) -> Vec<usize> {
    assert_eq!(boxes.len(), scores.len(), "every box needs a score");
    greedy(boxes, &ranked(boxes, scores), iou)
}

/// [`suppress`] within groups: boxes of two groups never suppress each other. A group is a class, or a class of an image
/// where the boxes of a whole batch come at once.
///
/// # Panics
///
/// Panics if there aren't as many scores and groups as boxes.
pub fn suppress_grouped(
    boxes: &[BoundingBox],
    scores: &[f32],
    groups: &[usize],
    iou: f32,
) -> Vec<usize> {
    assert_eq!(boxes.len(), scores.len(), "every box needs a score");
    assert_eq!(boxes.len(), groups.len(), "every box needs a group");
    let order = ranked(boxes, scores);
    let mut by_group: Vec<(usize, usize)> =
        order.iter().enumerate().map(|(rank, &index)| (groups[index], rank)).collect();
    by_group.sort_unstable();
    let mut ranks: Vec<usize> = Vec::new();
    for group in by_group.chunk_by(|a, b| a.0 == b.0) {
        let members: Vec<usize> = group.iter().map(|&(_, rank)| order[rank]).collect();
        let kept = greedy(boxes, &members, iou);
        // Both lists are in the same order.
        let mut kept = kept.into_iter().peekable();
        ranks.extend(
            group.iter().map(|&(_, rank)| rank).filter(|&r| kept.next_if_eq(&order[r]).is_some()),
        );
    }
    ranks.sort_unstable();
    ranks.into_iter().map(|rank| order[rank]).collect()
}

/// Lowers the scores of boxes that overlap with better ones, instead of dropping them; gives those that are left with at
/// least `floor`, best first, with their new scores.
///
/// # Panics
///
/// Panics if there aren't as many scores and groups as boxes.
pub fn suppress_softly(
    boxes: &[BoundingBox],
    scores: &[f32],
    groups: &[usize],
    iou: f32,
    decay: Decay,
    floor: f32,
) -> Vec<(usize, f32)> {
    assert_eq!(boxes.len(), scores.len(), "every box needs a score");
    assert_eq!(boxes.len(), groups.len(), "every box needs a group");
    let mut left: Vec<(usize, f32)> =
        ranked(boxes, scores).into_iter().map(|index| (index, scores[index])).collect();
    let mut kept = Vec::new();
    // The first of the best: a stable choice.
    while let Some(best) =
        (0..left.len()).reduce(|best, at| if left[at].1 > left[best].1 { at } else { best })
    {
        let (index, score) = left.remove(best);
        if score < floor {
            break;
        }
        kept.push((index, score));
        for (other, score) in &mut left {
            if groups[*other] == groups[index] {
                let overlap = boxes[index].iou(boxes[*other]) as f32;
                *score *= match decay {
                    Decay::Linear if overlap > iou => 1.0 - overlap,
                    Decay::Linear => 1.0,
                    Decay::Gaussian { sigma } => (-overlap * overlap / sigma).exp(),
                };
            }
        }
    }
    kept
}

/// The boxes that are boxes, best first.
fn ranked(boxes: &[BoundingBox], scores: &[f32]) -> Vec<usize> {
    let usable = |&index: &usize| boxes[index].is_finite() && !scores[index].is_nan();
    let mut order: Vec<usize> = (0..boxes.len()).filter(usable).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order
}

/// Edges and areas of some boxes, each in a row of its own.
#[derive(Default)]
struct Rows {
    rows: [Vec<f32>; 5],
    len: usize,
}

/// Left, top, right, bottom and area.
type Edges = [f32; 5];

fn edges(b: BoundingBox) -> Edges {
    let [left, top, right, bottom] = b.to_corners().map(|edge| edge as f32);
    [left, top, right, bottom, (right - left) * (bottom - top)]
}

fn overlap(a: &Edges, b: &Edges) -> f32 {
    let width = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
    let height = (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
    let both = width * height;
    both / (a[4] + b[4] - both)
}

impl Rows {
    fn push(&mut self, edges: Edges) {
        if self.len.is_multiple_of(BLOCK) {
            // A box that nothing overlaps with: its right edge is left of every other box.
            for (row, edge) in self.rows.iter_mut().zip([f32::MAX, 0.0, f32::MIN, 0.0, 0.0]) {
                row.resize(self.len + BLOCK, edge);
            }
        }
        for (row, edge) in self.rows.iter_mut().zip(edges) {
            row[self.len] = edge;
        }
        self.len += 1;
    }

    /// Whether a box overlaps with one of these by more than `iou`.
    fn covers(&self, one: &Edges, iou: f32) -> bool {
        // A division decides, as everywhere; a product that is surely larger finds the few blocks where it must.
        let least = iou - iou.abs() * 1e-5 - 1e-6;
        let blocks = self.rows.each_ref().map(|row| row.as_chunks::<BLOCK>().0);
        (0..blocks[0].len()).any(|block| {
            let [left, top, right, bottom, area] = blocks.map(|row| &row[block]);
            let mut near = [false; BLOCK];
            for i in 0..BLOCK {
                let width = less(one[2], right[i]) - more(one[0], left[i]);
                let height = less(one[3], bottom[i]) - more(one[1], top[i]);
                let both = more(width, 0.0) * more(height, 0.0);
                near[i] = both > least * (one[4] + area[i] - both);
            }
            near.contains(&true)
                && (0..BLOCK).any(|i| {
                    let other = [left[i], top[i], right[i], bottom[i], area[i]];
                    block * BLOCK + i < self.len && overlap(one, &other) > iou
                })
        })
    }
}

// One instruction each, which `f32::min` and `max` with their care for NaN are not.
fn less(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

fn more(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// Of boxes in the order of their scores those that stay.
fn greedy(boxes: &[BoundingBox], order: &[usize], iou: f32) -> Vec<usize> {
    let mut rows = Rows::default();
    let mut kept = Vec::new();
    for &index in order {
        let edges = edges(boxes[index]);
        if !rows.covers(&edges, iou) {
            rows.push(edges);
            kept.push(index);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn boxes(corners: &[[f64; 4]]) -> Vec<BoundingBox> {
        corners.iter().copied().map(BoundingBox::from_corners).collect()
    }

    /// Two that overlap by 9/11, one apart, one that is no box.
    fn four() -> (Vec<BoundingBox>, [f32; 4]) {
        let corners = [
            [0.0, 0.0, 10.0, 10.0],
            [1.0, 0.0, 11.0, 10.0],
            [50.0, 50.0, 60.0, 60.0],
            [f64::NAN, 0.0, 10.0, 10.0],
        ];
        (boxes(&corners), [0.8, 0.9, 0.3, 1.0])
    }

    #[test]
    fn the_best_of_two_that_overlap_stays() {
        let (boxes, scores) = four();
        assert_eq!(suppress(&boxes, &scores, 0.5), [1, 2]);
        assert_eq!(suppress(&boxes, &scores, 0.9), [1, 0, 2]);
        assert_eq!(suppress(&[], &[], 0.5), [0; 0]);
    }

    #[test]
    fn groups_do_not_see_each_other() {
        let (boxes, scores) = four();
        assert_eq!(suppress_grouped(&boxes, &scores, &[0, 1, 0, 1], 0.5), [1, 0, 2]);
        assert_eq!(suppress_grouped(&boxes, &scores, &[3, 3, 0, 1], 0.5), [1, 2]);
    }

    #[test]
    fn softly_suppressed_boxes_stay_with_a_lower_score() {
        let (boxes, scores) = four();
        let linear = suppress_softly(&boxes, &scores, &[0; 4], 0.5, Decay::Linear, 0.01);
        assert_eq!(linear.iter().map(|kept| kept.0).collect::<Vec<_>>(), [1, 2, 0]);
        assert!((linear[2].1 - 0.8 * (1.0 - 9.0 / 11.0)).abs() < 1e-6, "{linear:?}");

        let bell = Decay::Gaussian { sigma: 0.5 };
        // The second falls to 0.8 · exp(−2 · (9/11)²), about .21.
        let soft = suppress_softly(&boxes, &scores, &[0; 4], 0.5, bell, 0.22);
        assert_eq!(soft.iter().map(|kept| kept.0).collect::<Vec<_>>(), [1, 2]);
        let apart = suppress_softly(&boxes, &scores, &[0, 1, 0, 0], 0.5, bell, 0.2);
        assert_eq!(apart, [(1, 0.9), (0, 0.8), (2, 0.3)]);
    }

    #[test]
    fn boxes_without_area_suppress_nothing() {
        let points = boxes(&[[1.0; 4], [1.0; 4], [0.0, 0.0, 2.0, 2.0]]);
        assert_eq!(suppress(&points, &[0.5; 3], 0.5), [0, 1, 2]);
    }

    proptest! {
        #[test]
        fn what_stays_is_apart_and_what_goes_is_covered_by_a_better_one(
            sides in prop::collection::vec((0..40_u8, 0..40_u8, 1..20_u8, 1..20_u8, 0..9_u8), 0..60),
            iou in 0.0..1.0_f32,
        ) {
            let boxes: Vec<_> = sides.iter().map(|&(x, y, w, h, _)| {
                BoundingBox::from_origin([x, y, w, h].map(f64::from))
            }).collect();
            let scores: Vec<f32> = sides.iter().map(|side| f32::from(side.4)).collect();
            let kept = suppress(&boxes, &scores, iou);
            let overlap = |a: usize, b: usize| overlap(&edges(boxes[a]), &edges(boxes[b]));
            for (rank, &a) in kept.iter().enumerate() {
                prop_assert!(kept[..rank].iter().all(|&b| overlap(a, b) <= iou));
            }
            for index in (0..boxes.len()).filter(|index| !kept.contains(index)) {
                let better = |&b: &usize| scores[b] >= scores[index] && overlap(index, b) > iou;
                prop_assert!(kept.iter().any(better));
            }
        }
    }
}
