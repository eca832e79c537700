//! How often classes occur among pixels, and the weights that make up for it.
//!
//! Eigen, Fergus. *Predicting Depth, Surface Normals and Semantic Labels with a Common Multi-Scale Convolutional
//! Architecture.* ICCV 2015, §4.3 (median frequency balancing). <https://arxiv.org/abs/1411.4734>

/// Pixels of each class over the images of a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frequencies {
    pixels: Vec<u64>,
    /// All pixels that count, of the images in which the class is.
    around: Vec<u64>,
}

impl Frequencies {
    /// No image yet, of `classes` classes.
    pub fn new(classes: usize) -> Self {
        Self { pixels: vec![0; classes], around: vec![0; classes] }
    }

    /// Counts the pixels of an image; those of the class `ignore` count for nothing.
    ///
    /// # Panics
    ///
    /// Panics if another class is not below the number of classes.
    pub fn record(&mut self, image: &[u8], ignore: Option<u8>) {
        let mut own = vec![0; self.pixels.len()];
        for &class in image.iter().filter(|&&class| Some(class) != ignore) {
            assert!(usize::from(class) < own.len(), "class {class} of {} classes", own.len());
            own[usize::from(class)] += 1;
        }
        let all: u64 = own.iter().sum();
        let sums = self.pixels.iter_mut().zip(&mut self.around);
        for ((pixels, around), own) in sums.zip(own).filter(|(_, own)| *own > 0) {
            *pixels += own;
            *around += all;
        }
    }

    /// Pixels of each class.
    pub fn pixels(&self) -> &[u64] {
        &self.pixels
    }

    /// Which part of the images that it is in each class fills; nothing for a class that is nowhere.
    pub fn share(&self, class: usize) -> Option<f64> {
        let (pixels, around) = (self.pixels[class], self.around[class]);
        (around > 0).then(|| pixels as f64 / around as f64)
    }

    /// Weights with which each class counts as much as the one in the middle: the median of the shares over its own; 1 for a
    /// class that is nowhere.
    pub fn median_weights(&self) -> Vec<f64> {
        let shares: Vec<_> = (0..self.pixels.len()).map(|class| self.share(class)).collect();
        let mut sorted: Vec<f64> = shares.iter().copied().flatten().collect();
        sorted.sort_by(f64::total_cmp);
        let middle = match sorted.len() {
            0 => 1.0,
            odd if odd % 2 == 1 => sorted[odd / 2],
            even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
        };
        shares.iter().map(|share| share.map_or(1.0, |share| middle / share)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_counts_as_the_median_over_its_share_of_the_images_that_it_is_in() {
        let mut seen = Frequencies::new(4);
        seen.record(&[0, 0, 0, 1], Some(255));
        seen.record(&[0, 2, 255, 255, 2, 2], Some(255));

        assert_eq!(seen.pixels(), [4, 1, 3, 0]);
        let shares = [0, 1, 2, 3].map(|class| seen.share(class));
        assert_eq!(shares, [Some(0.5), Some(0.25), Some(0.75), None]);
        assert_eq!(seen.median_weights(), [1.0, 2.0, 0.5 / 0.75, 1.0]);
    }

    #[test]
    fn of_an_even_number_of_classes_the_two_in_the_middle_are_averaged() {
        let mut seen = Frequencies::new(2);
        seen.record(&[0, 1, 1, 1], None);

        assert_eq!(seen.median_weights(), [2.0, 0.5 / 0.75]);
        assert_eq!(Frequencies::new(2).median_weights(), [1.0, 1.0]);
    }

    #[test]
    #[should_panic(expected = "class 3 of 2 classes")]
    fn a_class_that_does_not_exist_is_refused() {
        Frequencies::new(2).record(&[3], Some(255));
    }
}
