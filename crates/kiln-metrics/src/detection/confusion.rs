//! Which class is taken for which, and what is missed or made up.

use super::Detections;
use crate::Confusion;

impl Detections {
    /// Counts truth against detection, with the background as the last class: an object that nothing overlaps with is taken
    /// for background, and a box over no object is background taken for a class.
    ///
    /// Boxes of at least `score` are paired with objects by overlap, the largest first and whatever the classes, down to
    /// `iou`; ignored objects and crowds take their boxes out of the count.
    pub fn confusion(&self, score: f64, iou: f64) -> Confusion {
        let background = self.classes;
        let mut confusion = Confusion::new(self.classes + 1);
        for (truths, detections) in &self.images {
            let sure: Vec<_> = detections.iter().filter(|found| found.score >= score).collect();
            let mut pairs = Vec::new();
            for (t, truth) in truths.iter().enumerate() {
                for (d, found) in sure.iter().enumerate() {
                    let overlap = truth.bounds.iou(found.bounds);
                    if overlap >= iou && overlap > 0.0 {
                        pairs.push((overlap, truth.class == found.class, t, d));
                    }
                }
            }
            pairs.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
            let (mut seen, mut used) = (vec![false; truths.len()], vec![false; sure.len()]);
            for (_, _, t, d) in pairs {
                let skipped = truths[t].ignored || truths[t].crowd;
                if used[d] || (seen[t] && !skipped) {
                    continue;
                }
                (seen[t], used[d]) = (true, true);
                if !skipped {
                    confusion.record(truths[t].class, Some(sure[d].class));
                }
            }
            for (truth, seen) in truths.iter().zip(seen) {
                if !seen && !truth.ignored && !truth.crowd {
                    confusion.record(truth.class, Some(background));
                }
            }
            for (found, used) in sure.iter().zip(used) {
                if !used {
                    confusion.record(background, Some(found.class));
                }
            }
        }
        confusion
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BoundingBox, Detection, Truth};

    #[test]
    fn missed_made_up_and_mistaken_objects_each_have_their_cell() {
        let square = |x: f64| BoundingBox::from_origin([x, 0.0, 10.0, 10.0]);
        let found = |class, x, score| Detection { class, score, bounds: square(x) };
        let mut all = Detections::new(2);
        let crowd = Truth { crowd: true, ..Truth::new(0, square(90.0)) };
        all.record(
            vec![
                Truth::new(0, square(0.0)),
                Truth::new(1, square(20.0)),
                Truth::new(1, square(40.0)),
                crowd,
            ],
            vec![
                found(0, 0.0, 0.9),
                found(0, 1.0, 0.8),  // found twice
                found(0, 20.0, 0.7), // mistaken
                found(1, 60.0, 0.6), // made up
                found(1, 40.0, 0.1), // not sure enough
                found(0, 90.0, 0.6), // in a crowd
                found(0, 91.0, 0.6),
            ],
        );

        let confusion = all.confusion(0.5, 0.5);

        assert_eq!(confusion.counts(), [1, 0, 0, 1, 0, 1, 1, 1, 0]);
    }
}
