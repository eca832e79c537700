//! Scores of an image that is too large for the memory, window by window.
//!
//! Windows overlap by so much that nothing is seen of their edges: each gives the scores of its middle alone. Where the
//! margin is as wide as what a score sees, and windows begin where the coarsest map has a pixel, the scores are those of
//! the whole image.

use std::ops::Range;

use burn::config::Config;
use burn::prelude::*;

use crate::{Error, Segmenter};

/// How an image is divided.
#[derive(Config, Debug, Copy)]
pub struct Windows {
    /// Side of the part of a window whose scores count, in pixels.
    #[config(default = 512)]
    pub middle: usize,
    /// Pixels around it that the network sees too, where the image has them.
    #[config(default = 320)]
    pub margin: usize,
    /// What both are multiples of: the pixels of the image per pixel of the network's coarsest map.
    #[config(default = 32)]
    pub stride: usize,
}

/// A part of an image whose scores count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its rows in the image.
    pub rows: Range<usize>,
    /// Its columns in the image.
    pub columns: Range<usize>,
}

impl Windows {
    /// Whether an image can be divided so.
    ///
    /// # Errors
    ///
    /// [`Error::Options`] if a side is no multiple of the stride, or there is no middle.
    pub fn check(&self) -> Result<(), Error> {
        let Self { middle, margin, stride } = *self;
        if stride > 0 && middle > 0 && [middle, margin].iter().all(|s| s.is_multiple_of(stride)) {
            return Ok(());
        }
        let reason = format!(
            "windows of {middle} pixels with a margin of {margin} must be multiples of the stride {stride}, \
             and above 0"
        );
        Err(Error::Options { reason })
    }

    /// Shows `each` the scores of every part of the images, row by row: no two parts overlap, and together they are the
    /// whole. The most memory is what a window takes.
    ///
    /// # Shapes
    ///
    /// - `images`: `[batch, channels, height, width]`
    /// - what `each` is shown: `[batch, classes, rows, columns]`
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check), or as the network's [`check_input`](Segmenter::check_input) for a window; nothing has been
    /// shown then.
    pub fn scores<S: Segmenter>(
        &self,
        network: &S,
        images: &Tensor<4>,
        mut each: impl FnMut(Part, Tensor<4>),
    ) -> Result<(), Error> {
        self.check()?;
        let [_, channels, height, width] = images.dims();
        let [rows, columns] = [height, width].map(|side| self.spans(side));
        for ((_, seen_rows), (_, seen_columns)) in
            rows.iter().flat_map(|row| columns.iter().map(move |column| (row, column)))
        {
            network.check_input([channels, seen_rows.len(), seen_columns.len()])?;
        }
        for (rows, seen_rows) in &rows {
            let band = images.clone().narrow(2, seen_rows.start, seen_rows.len());
            for (columns, seen_columns) in &columns {
                let window = band.clone().narrow(3, seen_columns.start, seen_columns.len());
                let scores = network
                    .forward(window)
                    .narrow(2, rows.start - seen_rows.start, rows.len())
                    .narrow(3, columns.start - seen_columns.start, columns.len());
                each(Part { rows: rows.clone(), columns: columns.clone() }, scores);
            }
        }
        Ok(())
    }

    /// Along a side of so many pixels: what counts of each window, and what it sees.
    fn spans(&self, side: usize) -> Vec<(Range<usize>, Range<usize>)> {
        let Self { middle, margin, .. } = *self;
        let starts = (0..side).step_by(middle);
        let span = |start: usize| {
            let end = (start + middle).min(side);
            (start..end, start.saturating_sub(margin)..(end + margin).min(side))
        };
        starts.map(span).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fcn::FcnConfig;
    use crate::resnet::{Branch, ResNetConfig};
    use crate::unet::UNetConfig;
    use crate::vgg::VggConfig;
    use burn::module::{ModuleMapper, Param};
    use kiln_testkit::{assert_close, device, largest_difference, noise};

    /// Scores begin at zero; here all weights count.
    fn stirred<M: Module>(module: M) -> M {
        struct Stir(u64);
        impl ModuleMapper for Stir {
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
                self.0 += 1;
                // Running statistics too: a variance stays positive.
                param.map(|x| x.clone() + (noise(x.dims(), self.0, &device()) + 1.0) * 0.05)
            }
        }
        module.map(&mut Stir(0))
    }

    /// The scores of all parts, put together.
    fn together<S: Segmenter>(windows: Windows, network: &S, images: &Tensor<4>) -> Tensor<4> {
        let mut all =
            Tensor::<4>::full(network.forward(images.clone()).dims(), f32::NAN, &device());
        let [batch, classes, ..] = all.dims();
        let place = |part: Part| [0..batch, 0..classes, part.rows, part.columns];
        let put = |part, scores| all = all.clone().slice_assign(place(part), scores);
        windows.scores(network, images, put).unwrap();
        all
    }

    fn check<S: Segmenter>(windows: Windows, network: &S, channels: usize) {
        let images = noise([1, channels, 620, 701], 1, &device());
        let whole = network.forward(images.clone());
        assert!(whole.clone().abs().max().into_scalar::<f32>() > 1e-2);

        assert_close(together(windows, network, &images), whole.clone());

        let blind = Windows { margin: 0, ..windows };
        assert!(largest_difference(together(blind, network, &images), whole) > 1e-3);
    }

    #[test]
    fn with_a_margin_beyond_what_a_score_sees_the_parts_are_the_whole() {
        // A score sees 98 pixels to each side through the backbone, and 56 through the upsampling.
        let resnet = ResNetConfig::new(Branch::Basic, [1; 4]).with_width(4);
        let head = FcnConfig::fcn8s().with_num_classes(3).with_hidden(0).with_pooled(false);
        let network = head.init(resnet.init(&device()), &resnet.features(), 3, &device()).unwrap();
        check(Windows::new().with_middle(128).with_margin(192), &stirred(network), 3);

        // 171 and 48.
        let vgg = VggConfig::vgg11().with_width(2).with_ceil(true);
        let head = FcnConfig::fcn16s().with_num_classes(3).with_hidden(4);
        let network = head.init(vgg.init(&device()), &vgg.features(), 3, &device()).unwrap();
        check(Windows::new().with_middle(160).with_margin(256), &stirred(network), 3);

        // 22 in all.
        let network = UNetConfig::new().with_width(2).with_depth(2).init(&device());
        let windows = Windows::new().with_middle(64).with_margin(24).with_stride(4);
        check(windows, &stirred(network), 1);
    }

    #[test]
    fn every_pixel_belongs_to_one_part_however_the_sides_divide() {
        let network = UNetConfig::new().with_width(2).with_depth(1).init(&device());
        for [height, width] in [[1, 1], [8, 8], [9, 23], [16, 31]] {
            let images = noise([2, 1, height, width], 2, &device());
            let mut seen = vec![0; height * width];
            let windows = Windows::new().with_middle(8).with_margin(4).with_stride(2);
            let count = |part: Part, scores: Tensor<4>| {
                assert_eq!(scores.dims(), [2, 2, part.rows.len(), part.columns.len()]);
                for (y, x) in part.rows.flat_map(|y| part.columns.clone().map(move |x| (y, x))) {
                    seen[y * width + x] += 1;
                }
            };
            windows.scores(&network, &images, count).unwrap();
            assert!(seen.iter().all(|&times| times == 1), "{height}x{width}");
        }
    }

    #[test]
    fn windows_that_begin_between_pixels_of_the_coarsest_map_are_refused() {
        let network = UNetConfig::new().with_width(2).with_depth(1).init(&device());
        let images = noise([1, 1, 8, 8], 2, &device());
        for windows in [
            Windows::new().with_middle(100),
            Windows::new().with_margin(33),
            Windows::new().with_middle(0),
            Windows::new().with_stride(0),
        ] {
            let mut shown = 0;
            let refused = windows.scores(&network, &images, |_, _| shown += 1).unwrap_err();
            assert!(refused.to_string().contains("multiples of the stride"), "{refused}");
            assert_eq!(shown, 0);
        }
        assert!(
            Windows::new().scores(&network, &noise([1, 3, 8, 8], 2, &device()), |_, _| ()).is_err()
        );
    }
}
