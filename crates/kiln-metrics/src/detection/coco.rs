//! Average precision and recall as the COCO challenge has them.
//!
//! Lin et al. *Microsoft COCO: Common Objects in Context.* ECCV 2014, and <https://cocodataset.org/#detection-eval>.
//! Every figure is that of the challenge's own program, pycocotools; its −1 for what has no value is `None` here.

use serde::{Deserialize, Serialize};

use super::{Detection, Detections, Truth, mean};

/// Recalls at which the precision is read: 0, 0.01, …, 1.
const RECALLS: usize = 101;
/// An overlap this close to 1 is 1, as in pycocotools.
const NEARLY_ONE: f64 = 1.0 - 1e-10;

/// Objects of which size count, by their area in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Size {
    /// Any.
    All,
    /// At most 32².
    Small,
    /// From 32² to 96².
    Medium,
    /// At least 96².
    Large,
}

/// How to measure; the default is the challenge's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CocoConfig {
    /// Least overlaps of a box that is right.
    pub ious: Vec<f64>,
    /// Most boxes that count of a class in an image, ascending.
    pub most: [usize; 3],
}

impl Default for CocoConfig {
    fn default() -> Self {
        // The numbers that numpy's linspace gives, to the last bit.
        let step = (0.95 - 0.5) / 9.0;
        let ious = (0..10).map(|i| if i == 9 { 0.95 } else { f64::from(i) * step + 0.5 });
        Self { ious: ious.collect(), most: [1, 10, 100] }
    }
}

impl Size {
    const ALL: [Self; 4] = [Self::All, Self::Small, Self::Medium, Self::Large];

    fn contains(self, area: f64) -> bool {
        let [least, most] = match self {
            Self::All => [0.0, 1e10],
            Self::Small => [0.0, 1024.0],
            Self::Medium => [1024.0, 9216.0],
            Self::Large => [9216.0, 1e10],
        };
        (least..=most).contains(&area)
    }
}

/// Precision and recall at every overlap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Coco {
    config: CocoConfig,
    /// By class, then size, then number of boxes: the curves at each overlap.
    cells: Vec<[[Option<Cell>; 3]; 4]>,
}

/// What a class of a size reaches, at each overlap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Cell {
    /// Precision at the 101 recalls.
    precision: Vec<Vec<f64>>,
    recall: Vec<f64>,
}

impl Coco {
    /// AP@[.5:.95], the challenge's first figure; none if no image shows anything.
    pub fn ap(&self) -> Option<f64> {
        self.ap_of(Size::All)
    }

    /// AP at the overlap .5.
    pub fn ap50(&self) -> Option<f64> {
        self.ap_at(0.5)
    }

    /// AP at the overlap .75.
    pub fn ap75(&self) -> Option<f64> {
        self.ap_at(0.75)
    }

    /// AP at one of the overlaps that were measured; none for another.
    pub fn ap_at(&self, iou: f64) -> Option<f64> {
        let at = self.overlap(iou)?;
        mean(self.cells(Size::All, 2).map(|cell| Some(average(&cell?.precision[at]))))
    }

    /// AP@[.5:.95] of the objects of a size.
    pub fn ap_of(&self, size: Size) -> Option<f64> {
        mean(self.cells(size, 2).map(|cell| cell.map(Cell::ap)))
    }

    /// AR with at most the first, second or third number of boxes a class and image, 1, 10 and 100; none for another index.
    pub fn ar(&self, most: usize) -> Option<f64> {
        if most > 2 {
            return None;
        }
        mean(self.cells(Size::All, most).map(|cell| cell.map(Cell::ar)))
    }

    /// AR of the objects of a size.
    pub fn ar_of(&self, size: Size) -> Option<f64> {
        mean(self.cells(size, 2).map(|cell| cell.map(Cell::ar)))
    }

    /// AP@[.5:.95] of a class; none if no image shows it.
    ///
    /// # Panics
    ///
    /// Panics if `class` is not below the number of classes.
    pub fn class_ap(&self, class: usize) -> Option<f64> {
        self.cells[class][0][2].as_ref().map(Cell::ap)
    }

    /// The precision of a class at the recalls 0, 0.01, …, 1 at one of the overlaps; none if no image shows it.
    ///
    /// # Panics
    ///
    /// Panics if `class` is not below the number of classes.
    pub fn class_curve(&self, class: usize, iou: f64) -> Option<&[f64]> {
        let at = self.overlap(iou)?;
        self.cells[class][0][2].as_ref().map(|cell| &*cell.precision[at])
    }

    /// The twelve figures that pycocotools prints, in its order: AP, AP50, AP75, AP of small, medium and large objects, AR
    /// with 1, 10 and 100 boxes, AR of small, medium and large objects.
    pub fn figures(&self) -> [Option<f64>; 12] {
        let sizes = [Size::Small, Size::Medium, Size::Large];
        let [small, medium, large] = sizes.map(|size| self.ap_of(size));
        let [few, some, many] = [0, 1, 2].map(|most| self.ar(most));
        let [r_small, r_medium, r_large] = sizes.map(|size| self.ar_of(size));
        [
            self.ap(),
            self.ap50(),
            self.ap75(),
            small,
            medium,
            large,
            few,
            some,
            many,
            r_small,
            r_medium,
            r_large,
        ]
    }

    fn overlap(&self, iou: f64) -> Option<usize> {
        self.config.ious.iter().position(|other| (other - iou).abs() < 1e-9)
    }

    fn cells(&self, size: Size, most: usize) -> impl Iterator<Item = Option<&Cell>> {
        self.cells.iter().map(move |sizes| sizes[size as usize][most].as_ref())
    }
}

impl Cell {
    fn ap(&self) -> f64 {
        let values = self.precision.len() * RECALLS;
        self.precision.iter().flatten().sum::<f64>() / values.max(1) as f64
    }

    fn ar(&self) -> f64 {
        self.recall.iter().sum::<f64>() / self.recall.len().max(1) as f64
    }
}

fn average(precision: &[f64]) -> f64 {
    precision.iter().sum::<f64>() / RECALLS as f64
}

/// The boxes of an image, best first, and what each is at each overlap.
struct Matched {
    scores: Vec<f64>,
    /// By overlap, then box.
    verdicts: Vec<Vec<Verdict>>,
    objects: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Verdict {
    Right,
    Wrong,
    /// It counts neither way.
    Ignored,
}

impl Detections {
    /// Average precision and recall as COCO has them.
    pub fn coco(&self, config: CocoConfig) -> Coco {
        let cells = (0..self.classes).map(|class| {
            let images = self.of_class(class);
            Size::ALL.map(|size| {
                let matched: Vec<Matched> = images
                    .iter()
                    .map(|(truths, found)| {
                        let found = &found[..found.len().min(config.most[2])];
                        assign(truths, found, size, &config.ious)
                    })
                    .collect();
                config.most.map(|most| accumulate(&matched, most, config.ious.len()))
            })
        });
        Coco { cells: cells.collect(), config }
    }
}

/// Gives each box an object, the surest box first: the one of the largest overlap that is free and counts, else one that
/// doesn't count.
fn assign(truths: &[&Truth], found: &[&Detection], size: Size, ious: &[f64]) -> Matched {
    let area = |truth: &Truth| truth.area.unwrap_or_else(|| truth.bounds.area());
    let skipped = |truth: &Truth| truth.ignored || truth.crowd || !size.contains(area(truth));
    let mut truths: Vec<(&Truth, bool)> = truths.iter().map(|&t| (t, skipped(t))).collect();
    truths.sort_by_key(|&(_, skipped)| skipped);
    let overlaps: Vec<Vec<f64>> = found
        .iter()
        .map(|found| truths.iter().map(|(truth, _)| overlap(found, truth)).collect())
        .collect();

    let verdicts = ious.iter().map(|&iou| {
        let mut free = vec![true; truths.len()];
        let verdict = |(found, overlaps): (&&Detection, &Vec<f64>)| {
            let mut least = iou.min(NEARLY_ONE);
            let mut chosen: Option<usize> = None;
            for (at, &(truth, skipped)) in truths.iter().enumerate() {
                if !free[at] && !truth.crowd {
                    continue;
                }
                if skipped && chosen.is_some_and(|chosen| !truths[chosen].1) {
                    break; // those that count come first
                }
                if overlaps[at] >= least {
                    (least, chosen) = (overlaps[at], Some(at));
                }
            }
            match chosen {
                Some(at) => {
                    free[at] = false;
                    if truths[at].1 { Verdict::Ignored } else { Verdict::Right }
                }
                None if size.contains(found.bounds.area()) => Verdict::Wrong,
                None => Verdict::Ignored,
            }
        };
        found.iter().zip(&overlaps).map(verdict).collect()
    });
    Matched {
        scores: found.iter().map(|found| found.score).collect(),
        verdicts: verdicts.collect(),
        objects: truths.iter().filter(|(_, skipped)| !skipped).count(),
    }
}

/// Intersection over union; of a crowd, the part of the box that lies in it.
fn overlap(found: &Detection, truth: &Truth) -> f64 {
    let (a, b) = (found.bounds, truth.bounds);
    if !truth.crowd {
        return a.iou(b);
    }
    let both = a.intersection(b);
    if both > 0.0 { both / a.area() } else { 0.0 }
}

/// The curves over all images, of at most so many boxes in each; none without an object.
fn accumulate(images: &[Matched], most: usize, overlaps: usize) -> Option<Cell> {
    let objects: usize = images.iter().map(|image| image.objects).sum();
    if objects == 0 {
        return None;
    }
    let mut ranked: Vec<(f64, usize, usize)> = Vec::new();
    for (image, matched) in images.iter().enumerate() {
        let scores = matched.scores.iter().take(most).enumerate();
        ranked.extend(scores.map(|(at, &score)| (score, image, at)));
    }
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));

    let mut cell = Cell { precision: Vec::new(), recall: Vec::new() };
    for iou in 0..overlaps {
        let (mut right, mut wrong) = (0_usize, 0_usize);
        let mut curve = Vec::with_capacity(ranked.len());
        for &(_, image, at) in &ranked {
            match images[image].verdicts[iou][at] {
                Verdict::Right => right += 1,
                Verdict::Wrong => wrong += 1,
                Verdict::Ignored => {}
            }
            // pycocotools adds the smallest number, lest it divide by zero.
            let precision = right as f64 / ((right + wrong) as f64 + f64::EPSILON);
            curve.push((right as f64 / objects as f64, precision));
        }
        cell.recall.push(curve.last().map_or(0.0, |last| last.0));
        for at in (1..curve.len()).rev() {
            curve[at - 1].1 = f64::max(curve[at - 1].1, curve[at].1);
        }
        let at = |step: usize| {
            // numpy's linspace again.
            let recall = if step == RECALLS - 1 { 1.0 } else { step as f64 * 0.01 };
            let first = curve.partition_point(|point| point.0 < recall);
            curve.get(first).map_or(0.0, |point| point.1)
        };
        cell.precision.push((0..RECALLS).map(at).collect());
    }
    Some(cell)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BoundingBox;

    fn found(x: f64, score: f64) -> Detection {
        Detection { class: 0, score, bounds: BoundingBox::from_origin([x, 0.0, 10.0, 10.0]) }
    }

    fn truth(x: f64) -> Truth {
        Truth::new(0, found(x, 0.0).bounds)
    }

    fn measured(truths: Vec<Truth>, found: Vec<Detection>) -> Coco {
        let mut all = Detections::new(2);
        all.record(truths, found);
        all.coco(CocoConfig::default())
    }

    #[test]
    fn what_is_found_exactly_is_all_right() {
        let coco = measured(vec![truth(0.0), truth(50.0)], vec![found(0.0, 0.9), found(50.0, 0.8)]);

        let [ap, ap50, ap75, small, medium, large, one, ten, ..] = coco.figures();
        for value in [ap, ap50, ap75, small, ten, coco.class_ap(0)] {
            assert!((value.unwrap() - 1.0).abs() < 1e-12, "{value:?}");
        }
        assert_eq!((medium, large, coco.class_ap(1)), (None, None, None));
        assert_eq!(one, Some(0.5));
        assert_eq!(coco.class_curve(0, 0.5).unwrap().len(), 101);
    }

    #[test]
    fn nothing_there_and_nothing_found_have_defined_values() {
        assert_eq!(measured(vec![], vec![found(0.0, 0.5)]).figures(), [None; 12]);
        let nothing = measured(vec![truth(0.0)], vec![]).figures();
        assert_eq!((nothing[0], nothing[8], nothing[4]), (Some(0.0), Some(0.0), None));
        assert_eq!(Detections::new(0).coco(CocoConfig::default()).ap(), None);
    }

    #[test]
    fn any_number_of_boxes_may_lie_in_a_crowd() {
        let bounds = BoundingBox::from_origin([50.0, 0.0, 20.0, 10.0]);
        let crowd = Truth { crowd: true, ..Truth::new(0, bounds) };
        let boxes = vec![found(0.0, 0.3), found(50.0, 0.9), found(51.0, 0.8)];

        let coco = measured(vec![truth(0.0), crowd], boxes);

        assert!((coco.ap().unwrap() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_looser_box_is_right_at_fewer_overlaps() {
        // 8 of 12 pixels: .667, right at .5, .55, .6 and .65.
        let coco = measured(vec![truth(0.0)], vec![found(2.0, 0.9)]);

        assert!((coco.ap().unwrap() - 0.4).abs() < 1e-9);
        assert_eq!((coco.ap75(), coco.ap_at(0.51)), (Some(0.0), None));
    }
}
