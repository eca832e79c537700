//! Depthwise max pooling: the largest of neighbouring maps, pixel by pixel.
//!
//! Goodfellow, Warde-Farley, Mirza, Courville, Bengio. *Maxout Networks.* ICML 2013, §3 (maxout over the maps of a
//! convolution). <https://arxiv.org/abs/1302.4389>
//!
//! Where the maps of a group have learned turned, thicker or brighter versions of one pattern, their maximum doesn't
//! change when the image does so: an invariance that pooling over pixels can't give.

use burn::prelude::*;

use crate::trace;

/// Configuration of a [`DepthMaxPool`].
#[derive(Config, Debug)]
pub struct DepthMaxPoolConfig {
    /// Maps in a group; it must divide the channels of the input.
    pub size: usize,
}

/// The largest value at each pixel among each `size` neighbouring maps.
///
/// Built by [`DepthMaxPoolConfig`].
#[derive(Module, Debug)]
pub struct DepthMaxPool {
    size: usize,
}

impl DepthMaxPoolConfig {
    /// Builds the layer; it has no parameters.
    ///
    /// # Panics
    ///
    /// Panics if `size` is zero.
    pub fn init(&self) -> DepthMaxPool {
        assert!(self.size > 0, "a group of maps needs at least one map");
        DepthMaxPool { size: self.size }
    }
}

impl DepthMaxPool {
    /// Takes the largest value of each group of maps.
    ///
    /// # Shapes
    ///
    /// - `x`: `[batch, channels, height, width]`
    /// - output: `[batch, channels / size, height, width]`
    ///
    /// # Panics
    ///
    /// Panics if `size` doesn't divide the channels.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, channels, height, width] = x.dims();
        let size = self.size;
        assert!(channels.is_multiple_of(size), "{channels} maps don't part into groups of {size}");
        let groups = x.reshape([batch, channels / size, size, height, width]);
        let y = groups.max_dim(2).reshape([batch, channels / size, height, width]);

        trace::note(|| trace::Layer::new("depth_max_pool", &y));
        y
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_testkit::{Golden, assert_gradients, device, far_apart, noise, nothing};

    #[test]
    fn matches_pytorch() {
        let golden = Golden::open("pooling");
        let pooled = DepthMaxPoolConfig::new(3).init().forward(golden.tensor("input"));

        golden.assert_close("depth_max", pooled);
    }

    #[test]
    fn the_order_of_the_maps_of_a_group_does_not_matter() {
        let pool = DepthMaxPoolConfig::new(2).init();
        let x = noise([2, 6, 3, 4], 1, &device());
        let swapped = x.clone().select(1, Tensor::from_ints([1, 0, 3, 2, 5, 4], &device()));

        let pooled = pool.forward(x.clone());

        pooled.to_data().assert_eq(&pool.forward(swapped).to_data(), true);
        let other = x.select(1, Tensor::from_ints([2, 1, 0, 3, 4, 5], &device()));
        assert!(pooled.to_data() != pool.forward(other).to_data());
    }

    #[test]
    fn pixels_do_not_mix_and_groups_of_one_change_nothing() {
        let x = noise([1, 4, 3, 3], 1, &device());
        let strong = x.clone().slice_assign(s![.., 1, 0, 2], Tensor::full([1; 4], 9.0, &device()));
        let pool = DepthMaxPoolConfig::new(2).init();

        let (before, after) = (pool.forward(x.clone()), pool.forward(strong));

        let changed = before.not_equal(after.clone()).int().sum().into_scalar::<i64>();
        assert_eq!(changed, 1);
        assert_eq!(after.slice(s![.., 0, 0, 2]).into_scalar::<f32>(), 9.0);
        let alone = DepthMaxPoolConfig::new(1).init().forward(x.clone());
        alone.to_data().assert_eq(&x.to_data(), true);
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let device = device().autodiff();
        let pool = DepthMaxPoolConfig::new(3).init();

        assert_gradients(&nothing(), far_apart([2, 6, 2, 3], &device), |_, x| pool.forward(x));
    }
}
