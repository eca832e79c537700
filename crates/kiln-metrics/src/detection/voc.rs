//! Average precision as the Pascal VOC challenge has it.
//!
//! Everingham et al. *The Pascal Visual Object Classes (VOC) Challenge.* IJCV 88(2), 2010, §4.2, and the development kits
//! of 2007 (eleven points) and of 2010 on (all points).

use serde::{Deserialize, Serialize};

use super::{Detection, Detections, Point, Truth, mean};
use crate::BoundingBox;

/// Where a precision-recall curve is sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Points {
    /// At the recalls 0, 0.1, …, 1, as until 2009.
    Eleven,
    /// Everywhere: the area under the curve.
    All,
}

/// How to measure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct VocConfig {
    /// Least overlap of a box that is right.
    pub iou: f64,
    /// Where the curve is sampled.
    pub points: Points,
    /// Whether edges name pixels that belong to the box, as VOC's do: a box from 3 to 3 is then one pixel wide.
    pub whole_pixels: bool,
}

impl Default for VocConfig {
    fn default() -> Self {
        Self { iou: 0.5, points: Points::All, whole_pixels: true }
    }
}

/// Average precision, class by class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Voc {
    /// The classes in order.
    pub classes: Vec<VocClass>,
}

/// What was measured of a class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VocClass {
    /// Average precision; none of a class that no image shows.
    pub ap: Option<f64>,
    /// Objects that count.
    pub objects: usize,
    /// Boxes that are right.
    pub right: usize,
    /// Boxes that are wrong.
    pub wrong: usize,
    /// The precision-recall curve, from the surest box on.
    pub curve: Vec<Point>,
}

impl Voc {
    /// The mean over the classes that images show; none if there are none.
    pub fn map(&self) -> Option<f64> {
        mean(self.classes.iter().map(|class| class.ap))
    }
}

impl Detections {
    /// Average precision as Pascal VOC has it.
    ///
    /// A box is right if the object that it overlaps most with is of its class, by at least the threshold, and no surer box
    /// has found that one. Ignored objects and crowds count neither way.
    pub fn voc(&self, config: VocConfig) -> Voc {
        Voc { classes: (0..self.classes).map(|class| self.voc_class(class, config)).collect() }
    }

    fn voc_class(&self, class: usize, config: VocConfig) -> VocClass {
        let images = self.of_class(class);
        let mut ranked: Vec<(usize, &Detection)> = Vec::new();
        for (image, (_, detections)) in images.iter().enumerate() {
            ranked.extend(detections.iter().map(|&detection| (image, detection)));
        }
        ranked.sort_by(|a, b| b.1.score.total_cmp(&a.1.score));

        let counts = |truth: &&Truth| !truth.ignored && !truth.crowd;
        let objects =
            images.iter().map(|(truths, _)| truths.iter().copied().filter(counts).count()).sum();
        let mut found: Vec<Vec<bool>> =
            images.iter().map(|(truths, _)| vec![false; truths.len()]).collect();
        let (mut right, mut wrong) = (0, 0);
        let mut curve = Vec::new();
        for (image, detection) in ranked {
            let truths = &images[image].0;
            let overlaps = truths
                .iter()
                .map(|truth| overlap(detection.bounds, truth.bounds, config.whole_pixels));
            let best = overlaps.enumerate().reduce(|a, b| if b.1 > a.1 { b } else { a });
            match best.filter(|&(_, iou)| iou >= config.iou) {
                Some((at, _)) if !counts(&truths[at]) => continue,
                Some((at, _)) if !found[image][at] => {
                    found[image][at] = true;
                    right += 1;
                }
                _ => wrong += 1,
            }
            let recall = if objects == 0 { 0.0 } else { right as f64 / objects as f64 };
            let precision = right as f64 / (right + wrong) as f64;
            curve.push(Point { score: detection.score, recall, precision });
        }
        let ap = (objects > 0).then(|| average(&curve, config.points));
        VocClass { ap, objects, right, wrong, curve }
    }
}

/// Intersection over union in either convention.
fn overlap(a: BoundingBox, b: BoundingBox, whole_pixels: bool) -> f64 {
    let wider = |b: BoundingBox| match whole_pixels {
        true => BoundingBox { right: b.right + 1.0, bottom: b.bottom + 1.0, ..b },
        false => b,
    };
    wider(a).iou(wider(b))
}

/// The mean precision of a curve, of which each recall has the best precision from there on.
fn average(curve: &[Point], points: Points) -> f64 {
    let mut best = 0.0;
    let mut steps: Vec<(f64, f64)> = Vec::new(); // recall and precision, from the last to the first
    for point in curve.iter().rev() {
        best = f64::max(best, point.precision);
        steps.push((point.recall, best));
    }
    match points {
        Points::Eleven => {
            // The best from a recall on is the last step of at least that recall.
            let at = |recall: f64| {
                let reached = steps.iter().take_while(|step| step.0 >= recall).last();
                reached.map_or(0.0, |step| step.1)
            };
            (0..=10).map(|tenth| at(f64::from(tenth) / 10.0)).sum::<f64>() / 11.0
        }
        Points::All => {
            let before = steps.iter().skip(1).map(|step| step.0).chain([0.0]);
            steps.iter().zip(before).map(|(step, before)| (step.0 - before) * step.1).sum()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(x: f64) -> BoundingBox {
        BoundingBox::from_origin([x, 0.0, 10.0, 10.0])
    }

    fn found(class: usize, x: f64, score: f64) -> Detection {
        Detection { class, score, bounds: square(x) }
    }

    const PLAIN: VocConfig = VocConfig { iou: 0.5, points: Points::All, whole_pixels: false };

    #[test]
    fn a_curve_worked_by_hand() {
        let mut all = Detections::new(1);
        all.record(
            vec![Truth::new(0, square(0.0)), Truth::new(0, square(50.0))],
            vec![found(0, 0.0, 0.9), found(0, 1.0, 0.8), found(0, 51.0, 0.7)],
        );

        let voc = all.voc(PLAIN);

        // Right, twice found, right: recall ½ at precision 1, recall 1 at precision ⅔.
        assert_eq!(voc.map(), Some(0.5 + 0.5 * 2.0 / 3.0));
        let eleven = all.voc(VocConfig { points: Points::Eleven, ..PLAIN }).map().unwrap();
        assert!((eleven - (6.0 + 5.0 * 2.0 / 3.0) / 11.0).abs() < 1e-15);
        let class = &voc.classes[0];
        assert_eq!((class.objects, class.right, class.wrong, class.curve.len()), (2, 2, 1, 3));
    }

    #[test]
    fn nothing_there_and_nothing_found_have_defined_values() {
        let mut all = Detections::new(3);
        assert_eq!(all.voc(PLAIN).map(), None);
        all.record(vec![Truth::new(0, square(0.0))], vec![found(1, 0.0, 0.5)]);
        let voc = all.voc(PLAIN);
        let aps: Vec<_> = voc.classes.iter().map(|class| class.ap).collect();
        assert_eq!(aps, [Some(0.0), None, None]);
        assert_eq!(voc.map(), Some(0.0));
        assert_eq!(voc.classes[1].curve[0].precision, 0.0);
    }

    #[test]
    fn an_ignored_object_counts_neither_way() {
        let mut all = Detections::new(1);
        let difficult = Truth { ignored: true, ..Truth::new(0, square(50.0)) };
        all.record(
            vec![Truth::new(0, square(0.0)), difficult],
            vec![found(0, 50.0, 0.9), found(0, 0.0, 0.5)],
        );

        assert_eq!(all.voc(PLAIN).map(), Some(1.0));
    }

    #[test]
    fn scores_that_are_no_numbers_are_left_out() {
        let mut all = Detections::new(1);
        all.record(vec![Truth::new(0, square(0.0))], vec![found(0, 0.0, f64::NAN)]);
        assert_eq!(all.voc(PLAIN).map(), Some(0.0));
    }

    #[test]
    fn whole_pixels_make_a_box_of_equal_edges_one_pixel_wide() {
        let point = BoundingBox::from_corners([3.0; 4]);
        assert_eq!(overlap(point, point, true), 1.0);
        assert_eq!(overlap(point, point, false), 0.0);
    }
}
