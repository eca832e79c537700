//! Pooling: burn's layers, seen by the trace.

use burn::prelude::*;
use burn::tensor::module::adaptive_avg_pool2d;
use burn::tensor::ops::{AvgPoolOptions, MaxPoolOptions};
use kiln_kernels as kernels;

use crate::trace;

/// Configuration of a [`MaxPool`].
#[derive(Config, Debug)]
pub struct MaxPoolConfig {
    /// Side of the square window, in pixels.
    pub kernel: usize,
    /// Distance between windows, in pixels.
    pub stride: usize,
    /// Border on each side that no window's maximum comes from, in pixels.
    #[config(default = 0)]
    pub padding: usize,
    /// Whether a last window may reach beyond the border.
    #[config(default = false)]
    pub ceil: bool,
}

/// The largest value in each window, per channel.
///
/// Built by [`MaxPoolConfig`].
#[derive(Module, Debug)]
pub struct MaxPool {
    kernel: usize,
    stride: usize,
    padding: usize,
    ceil: bool,
}

/// Configuration of an [`AvgPool`].
#[derive(Config, Debug)]
pub struct AvgPoolConfig {
    /// Side of the square window, in pixels.
    pub kernel: usize,
    /// Distance between windows, in pixels.
    pub stride: usize,
    /// Zeros on each side, in pixels.
    #[config(default = 0)]
    pub padding: usize,
    /// Whether the zeros of the padding count in the mean.
    #[config(default = true)]
    pub count_padding: bool,
    /// Whether a last window may reach beyond the border.
    #[config(default = false)]
    pub ceil: bool,
}

/// The mean of each window, per channel.
///
/// Built by [`AvgPoolConfig`].
#[derive(Module, Debug)]
pub struct AvgPool {
    kernel: usize,
    stride: usize,
    padding: usize,
    count_padding: bool,
    ceil: bool,
}

impl MaxPoolConfig {
    /// Builds the layer; it has no parameters.
    pub fn init(&self) -> MaxPool {
        let Self { kernel, stride, padding, ceil } = *self;
        MaxPool { kernel, stride, padding, ceil }
    }
}

impl AvgPoolConfig {
    /// Builds the layer; it has no parameters.
    pub fn init(&self) -> AvgPool {
        let Self { kernel, stride, padding, count_padding, ceil } = *self;
        AvgPool { kernel, stride, padding, count_padding, ceil }
    }
}

impl MaxPool {
    /// Takes the largest value of each window.
    ///
    /// # Shapes
    ///
    /// - `x`: `[batch, channels, height, width]`
    /// - output: `[batch, channels, h, w]`, `h = (height + 2 padding - kernel) / stride + 1`,
    ///   rounded as configured
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let options = MaxPoolOptions::new([self.kernel; 2])
            .with_stride([self.stride; 2])
            .with_padding([self.padding; 2])
            .with_ceil_mode(self.ceil);
        noted("max_pool", kernels::max_pool2d(x, options))
    }
}

impl AvgPool {
    /// Takes the mean of each window.
    ///
    /// # Shapes
    ///
    /// - `x`: `[batch, channels, height, width]`
    /// - output: `[batch, channels, h, w]`, `h = (height + 2 padding - kernel) / stride + 1`,
    ///   rounded as configured
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let options = AvgPoolOptions::new([self.kernel; 2])
            .with_stride([self.stride; 2])
            .with_padding([self.padding; 2])
            .with_count_include_pad(self.count_padding)
            .with_ceil_mode(self.ceil);
        noted("avg_pool", kernels::avg_pool2d(x, options))
    }
}

/// The mean of each whole map: any image size becomes one value per channel.
///
/// Lin, Chen, Yan. *Network In Network.* ICLR 2014, §3.2. <https://arxiv.org/abs/1312.4400>
///
/// # Shapes
///
/// - `x`: `[batch, channels, height, width]`
/// - output: `[batch, channels]`
pub fn global_avg_pool(x: Tensor<4>) -> Tensor<2> {
    let y = kernels::global_avg_pool(x).flatten(1, 3);

    trace::note(|| trace::Layer::new("global_avg_pool", &y));
    y
}

/// The means of `side`×`side` windows that cover the map evenly, whatever its size.
///
/// Window `i` of a row reaches from `floor(i · width / side)` to `ceil((i + 1) · width / side)`, as
/// in PyTorch: windows may overlap by a pixel, and a map of that size stays as it is.
///
/// # Shapes
///
/// - `x`: `[batch, channels, height, width]`
/// - output: `[batch, channels, side, side]`
pub fn adaptive_avg_pool(x: Tensor<4>, side: usize) -> Tensor<4> {
    let [.., height, width] = x.dims();
    let y = if [height, width] == [side; 2] {
        x
    } else if height.is_multiple_of(side) && width == height {
        let kernel = height / side;
        kernels::avg_pool2d(x, AvgPoolOptions::new([kernel; 2]).with_stride([kernel; 2]))
    } else {
        adaptive_avg_pool2d(x, [side; 2])
    };
    noted("adaptive_avg_pool", y)
}

fn noted(kind: &'static str, y: Tensor<4>) -> Tensor<4> {
    trace::note(|| trace::Layer::new(kind, &y));
    y
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_testkit::{Golden, assert_close, assert_gradients, device, far_apart, noise, nothing};

    #[test]
    fn matches_pytorch() {
        let golden = Golden::open("pooling");
        let x = golden.tensor("input");

        let max = MaxPoolConfig::new(3, 2);
        golden.assert_close("max", max.init().forward(x.clone()));
        let padded = max.with_padding(1).with_ceil(true);
        golden.assert_close("max_padded", padded.init().forward(x.clone()));
        let mean = AvgPoolConfig::new(3, 2).with_padding(1);
        golden.assert_close("mean", mean.init().forward(x.clone()));
        let inner = mean.with_count_padding(false).with_ceil(true);
        golden.assert_close("mean_inner", inner.init().forward(x.clone()));
        golden.assert_close("adaptive", adaptive_avg_pool(x.clone(), 3));
        golden.assert_close("global", global_avg_pool(x));
    }

    #[test]
    fn max_pooling_ignores_a_small_shift_of_a_lone_peak() {
        let pool = MaxPoolConfig::new(2, 2).init();
        let peak_at = |row, column| {
            Tensor::<4>::zeros([1, 1, 4, 4], &device())
                .slice_assign(s![.., .., row, column], Tensor::ones([1, 1, 1, 1], &device()))
        };

        let pooled = Tensor::from_floats([[[[0.0, 0.0], [0.0, 1.0]]]], &device());
        assert_close(pool.forward(peak_at(2, 2)), pooled.clone());
        assert_close(pool.forward(peak_at(3, 3)), pooled);
    }

    #[test]
    fn the_mean_of_a_constant_image_is_the_constant() {
        let x = Tensor::<4>::full([2, 3, 6, 4], 0.75, &device());

        let pooled = AvgPoolConfig::new(2, 2).init().forward(x.clone());

        assert_close(pooled, Tensor::full([2, 3, 3, 2], 0.75, &device()));
        assert_close(global_avg_pool(x), Tensor::full([2, 3], 0.75, &device()));
    }

    #[test]
    fn adaptive_windows_cover_the_map_evenly() {
        let row = Tensor::<1>::from_floats([1.0, 2.0, 3.0, 4.0, 5.0], &device());
        let x = row.reshape([1, 1, 1, 5]).repeat_dim(2, 4);

        let pooled = adaptive_avg_pool(x.clone(), 2).slice(s![.., .., 0..1, ..]).flatten(0, 3);
        assert_close(pooled, Tensor::<1>::from_floats([2.0, 4.0], &device()));

        let square = noise([1, 2, 4, 4], 1, &device());
        assert_close(adaptive_avg_pool(square.clone(), 4), square.clone());
        let halves = AvgPoolConfig::new(2, 2).init().forward(square.clone());
        assert_close(adaptive_avg_pool(square, 2), halves);
    }

    #[test]
    fn ceil_mode_keeps_the_last_column() {
        let x = noise([1, 1, 5, 5], 1, &device());
        let side = |ceil| MaxPoolConfig::new(2, 2).with_ceil(ceil).init().forward(x.clone()).dims();

        assert_eq!(side(false), [1, 1, 2, 2]);
        assert_eq!(side(true), [1, 1, 3, 3]);
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let device = device().autodiff();
        let x = noise([2, 2, 5, 4], 2, &device);
        let average = AvgPoolConfig::new(3, 2).with_padding(1).init();

        assert_gradients(&nothing(), x.clone(), |_, x| average.forward(x));
        assert_gradients(&nothing(), x, |_, x| global_avg_pool(x));
    }

    #[test]
    fn gradients_of_a_maximum_agree_with_finite_differences() {
        let device = device().autodiff();
        for (shape, kernel, stride, padding, ceil) in [
            ([1, 1, 5, 4], 2, 2, 0, false),
            // Overlapping windows share their maxima.
            ([1, 2, 3, 4], 3, 1, 1, false),
            ([2, 1, 3, 4], 3, 2, 1, false),
            ([1, 1, 3, 7], 2, 2, 0, true),
            ([1, 1, 4, 5], 2, 3, 1, true),
            // More channels than a vector has lanes.
            ([1, 17, 3, 3], 2, 1, 1, false),
            ([2, 3, 7, 5], 3, 2, 1, true),
        ] {
            println!("{shape:?} {kernel} {stride} {padding} {ceil}"); // shown when the test fails
            let pool =
                MaxPoolConfig::new(kernel, stride).with_padding(padding).with_ceil(ceil).init();

            assert_gradients(&nothing(), far_apart(shape, &device), |_, x| pool.forward(x));
        }
    }
}
