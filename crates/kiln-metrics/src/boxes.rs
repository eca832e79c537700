//! Boxes that stand upright in an image, and how much two of them are one.
//!
//! Rezatofighi et al. *Generalized Intersection over Union.* CVPR 2019. <https://arxiv.org/abs/1902.09630>
//!
//! Zheng et al. *Distance-IoU Loss: Faster and Better Learning for Bounding Box Regression.* AAAI 2020 (DIoU and CIoU).
//! <https://arxiv.org/abs/1911.08287>
//!
//! Departure from the papers: a measure that has no value, such as the overlap of two boxes without area, is 0 for that
//! term and never NaN. Boxes whose sides are not numbers overlap with nothing.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// A box in pixels, from its left edge to its right one and from top to bottom.
///
/// Pixels are points here, so a box of one pixel is from 3 to 4; [`VocConfig`](crate::VocConfig) knows the other convention.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BoundingBox {
    /// Left edge.
    pub left: f64,
    /// Upper edge.
    pub top: f64,
    /// Right edge.
    pub right: f64,
    /// Lower edge.
    pub bottom: f64,
}

impl BoundingBox {
    /// From left, top, right and bottom, as Pascal VOC writes boxes.
    pub const fn from_corners([left, top, right, bottom]: [f64; 4]) -> Self {
        Self { left, top, right, bottom }
    }

    /// From left, top, width and height, as COCO writes boxes.
    pub const fn from_origin([left, top, width, height]: [f64; 4]) -> Self {
        Self { left, top, right: left + width, bottom: top + height }
    }

    /// From the middle, width and height, as YOLO writes boxes.
    pub const fn from_centre([x, y, width, height]: [f64; 4]) -> Self {
        let (w, h) = (width / 2.0, height / 2.0);
        Self { left: x - w, top: y - h, right: x + w, bottom: y + h }
    }

    /// Left, top, right and bottom.
    pub const fn to_corners(self) -> [f64; 4] {
        [self.left, self.top, self.right, self.bottom]
    }

    /// Left, top, width and height.
    pub const fn to_origin(self) -> [f64; 4] {
        [self.left, self.top, self.right - self.left, self.bottom - self.top]
    }

    /// The middle, width and height.
    pub const fn to_centre(self) -> [f64; 4] {
        let [x, y] = self.centre();
        [x, y, self.right - self.left, self.bottom - self.top]
    }

    /// Its middle.
    pub const fn centre(self) -> [f64; 2] {
        [(self.left + self.right) / 2.0, (self.top + self.bottom) / 2.0]
    }

    /// Its width; 0 if its edges are the wrong way round.
    pub fn width(self) -> f64 {
        (self.right - self.left).max(0.0)
    }

    /// Its height; 0 if its edges are the wrong way round.
    pub fn height(self) -> f64 {
        (self.bottom - self.top).max(0.0)
    }

    /// Its area; 0 if its edges are the wrong way round.
    pub fn area(self) -> f64 {
        self.width() * self.height()
    }

    /// Whether all its edges are numbers.
    pub fn is_finite(self) -> bool {
        self.to_corners().into_iter().all(f64::is_finite)
    }

    /// The part of it within an image.
    #[must_use]
    pub fn clipped(self, width: f64, height: f64) -> Self {
        let [x, y] = [width, height].map(|side| move |edge: f64| edge.max(0.0).min(side));
        Self { left: x(self.left), top: y(self.top), right: x(self.right), bottom: y(self.bottom) }
    }

    /// The area that both have.
    pub fn intersection(self, other: Self) -> f64 {
        self.common(other).area()
    }

    /// The area that both have over the area that either has: 1 for the same box, 0 for boxes that don't touch.
    pub fn iou(self, other: Self) -> f64 {
        let both = self.intersection(other);
        fraction(both, self.area() + other.area() - both)
    }

    /// Intersection over union less the part of the smallest box around both that neither has (Rezatofighi et al., algorithm 1):
    /// from −1 to 1.
    pub fn giou(self, other: Self) -> f64 {
        let both = self.intersection(other);
        let union = self.area() + other.area() - both;
        let around = self.around(other).area();
        fraction(both, union) - fraction(around - union, around)
    }

    /// Intersection over union less the squared distance of the middles, in units of the diagonal around both (Zheng et al.,
    /// eq. 7): from −1 to 1.
    pub fn diou(self, other: Self) -> f64 {
        let around = self.around(other);
        let ([a, b], [c, d]) = (self.centre(), other.centre());
        let distance = (a - c).powi(2) + (b - d).powi(2);
        let diagonal = around.width().powi(2) + around.height().powi(2);
        self.iou(other) - fraction(distance, diagonal)
    }

    /// [`diou`](Self::diou) less how far the shapes differ (Zheng et al., eq. 8 to 11).
    pub fn ciou(self, other: Self) -> f64 {
        let angle = |b: Self| b.width().atan2(b.height());
        let shapes = 4.0 / PI.powi(2) * (angle(self) - angle(other)).powi(2);
        let weight = fraction(shapes, 1.0 - self.iou(other) + shapes);
        self.diou(other) - weight * shapes
    }

    fn common(self, other: Self) -> Self {
        Self {
            left: self.left.max(other.left),
            top: self.top.max(other.top),
            right: self.right.min(other.right),
            bottom: self.bottom.min(other.bottom),
        }
    }

    fn around(self, other: Self) -> Self {
        Self {
            left: self.left.min(other.left),
            top: self.top.min(other.top),
            right: self.right.max(other.right),
            bottom: self.bottom.max(other.bottom),
        }
    }
}

/// `part / whole`; 0 where that isn't a number.
fn fraction(part: f64, whole: f64) -> f64 {
    let value = part / whole;
    if value.is_finite() { value } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MEASURES: [fn(BoundingBox, BoundingBox) -> f64; 4] =
        [BoundingBox::iou, BoundingBox::giou, BoundingBox::diou, BoundingBox::ciou];

    fn any_box() -> impl Strategy<Value = BoundingBox> {
        let side = 0.0..100.0;
        (side.clone(), side.clone(), side.clone(), side)
            .prop_map(|(x, y, w, h)| BoundingBox::from_origin([x, y, w, h]))
    }

    #[test]
    fn the_measures_equal_those_worked_by_hand() {
        let a = BoundingBox::from_corners([0.0, 0.0, 2.0, 2.0]);
        let b = BoundingBox::from_corners([1.0, 1.0, 3.0, 3.0]);
        let wide = BoundingBox::from_corners([4.0, 0.0, 6.0, 1.0]);

        assert_eq!(a.iou(b), 1.0 / 7.0);
        assert!((a.giou(b) - (1.0 / 7.0 - 2.0 / 9.0)).abs() < 1e-15);
        assert!((a.diou(b) - (1.0 / 7.0 - 2.0 / 18.0)).abs() < 1e-15);
        assert_eq!(a.ciou(b), a.diou(b)); // both are square
        assert_eq!((a.iou(wide), a.giou(wide)), (0.0, -(12.0 - 6.0) / 12.0));
        assert!(a.ciou(wide) < a.diou(wide));
    }

    #[test]
    fn boxes_without_area_or_numbers_give_numbers() {
        let boxes = [
            [3.0, 3.0, 3.0, 3.0],
            [5.0, 1.0, 2.0, 4.0],
            [0.0, 0.0, 2.0, 2.0],
            [f64::NAN, 0.0, 1.0, 1.0],
            [f64::NEG_INFINITY, 0.0, f64::INFINITY, 1.0],
        ]
        .map(BoundingBox::from_corners);
        for a in boxes {
            for b in boxes {
                for measure in MEASURES {
                    let value = measure(a, b);
                    assert!(!value.is_nan(), "{a:?} {b:?}");
                }
            }
            assert!(a.iou(boxes[0]) == 0.0 && a.area() >= 0.0);
        }
    }

    #[test]
    fn clipping_keeps_what_is_inside() {
        let clipped = BoundingBox::from_corners([-5.0, 3.0, 20.0, 40.0]).clipped(10.0, 30.0);
        assert_eq!(clipped.to_corners(), [0.0, 3.0, 10.0, 30.0]);
        let outside = BoundingBox::from_corners([50.0, 3.0, 60.0, 4.0]).clipped(10.0, 30.0);
        assert_eq!(outside.area(), 0.0);
    }

    proptest! {
        #[test]
        fn measures_are_symmetric_and_ordered(a in any_box(), b in any_box()) {
            for measure in MEASURES {
                prop_assert!((measure(a, b) - measure(b, a)).abs() < 1e-12);
                prop_assert!((-1.5..=1.0 + 1e-12).contains(&measure(a, b)));
            }
            prop_assert!((0.0..=1.0 + 1e-12).contains(&a.iou(b)));
            prop_assert!(a.giou(b) <= a.iou(b) + 1e-12 && a.ciou(b) <= a.diou(b) + 1e-12);
        }

        #[test]
        fn a_box_is_one_with_itself(a in any_box()) {
            prop_assume!(a.area() > 1e-6);
            for measure in MEASURES {
                prop_assert!((measure(a, a) - 1.0).abs() < 1e-9);
            }
        }

        #[test]
        fn conversions_go_there_and_back(a in any_box()) {
            for again in [
                BoundingBox::from_corners(a.to_corners()),
                BoundingBox::from_origin(a.to_origin()),
                BoundingBox::from_centre(a.to_centre()),
            ] {
                for (x, y) in a.to_corners().into_iter().zip(again.to_corners()) {
                    prop_assert!((x - y).abs() < 1e-10);
                }
            }
        }
    }
}
