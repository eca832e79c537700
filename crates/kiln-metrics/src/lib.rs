//! Accuracy, confusion and other measures of kiln: plain numbers in, numbers out.
//!
//! Nothing here knows tensors, models or data sets. Scores are row-major slices `[samples, classes]`, targets are
//! class numbers, and every rate is a fraction between 0 and 1.
//!
//! - [`Classification`] gathers top-1, top-5, mean loss and a [`Confusion`] over the batches of an evaluation.
//! - [`Confusion`] counts truth against prediction, and gives precision, recall and F1 of each class.
//! - [`Calibration`] is how far confidence and accuracy are apart; [`Separation`] has the ROC and precision-recall curves of
//!   two classes.
//! - [`BoundingBox`] and its overlaps; [`suppress`] keeps the best of boxes that mean the same object.
//! - [`Detections`] gathers what a detector found, and measures it as Pascal VOC and COCO do.
//! - [`Segmentation`] counts pixels, and measures regions by accuracy and by overlap.
//! - [`Frequencies`] counts how often classes occur, and balances them.
//! - [`Spread`] is mean and standard deviation over repeated runs.
//! - [`softmax`] turns scores into confidences, and [`ranking`] orders classes by score.
//!
//! ```
//! use kiln_metrics::Classification;
//!
//! let mut seen = Classification::new(3);
//! seen.record(&[0.1, 0.7, 0.2, 0.9, 0.0, 0.1], &[1, 2], 0.8); // the second row is wrong
//! assert_eq!((seen.samples(), seen.top1(), seen.loss()), (2, 0.5, 0.4));
//! assert_eq!(seen.confusion().count(2, 0), 1);
//! ```

mod binary;
mod boxes;
mod calibration;
mod classification;
mod confusion;
mod detection;
mod frequency;
mod scores;
mod segmentation;
mod spread;
mod suppression;

pub use binary::{Operating, Separation};
pub use boxes::BoundingBox;
pub use calibration::{Bin, Calibration};
pub use classification::Classification;
pub use confusion::Confusion;
pub use detection::{
    Coco, CocoConfig, Detection, Detections, Point, Points, Size, Truth, Voc, VocClass, VocConfig,
};
pub use frequency::Frequencies;
pub use scores::{best, rank, ranking, softmax};
pub use segmentation::Segmentation;
pub use spread::Spread;
pub use suppression::{Decay, suppress, suppress_grouped, suppress_softly};
