//! The maps that a network offers to detection and segmentation heads.

use burn::prelude::*;

use crate::Error;

/// A map that a network computes on its way to the scores.
#[derive(Clone, Debug)]
pub struct Feature {
    /// Pixels of the image per pixel of the map, in both directions.
    pub stride: usize,
    /// Channels of the map.
    pub channels: usize,
    /// `[batch, channels, height / stride, width / stride]`, give or take a border.
    pub map: Tensor<4>,
}

/// What is known of a [`Feature`] before there is an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureInfo {
    /// Pixels of the image per pixel of the map, in both directions.
    pub stride: usize,
    /// Channels of the map.
    pub channels: usize,
}

impl Feature {
    /// A map in which neighbours are `stride` pixels of the image apart.
    pub fn new(stride: usize, map: Tensor<4>) -> Self {
        Self { stride, channels: map.dims()[1], map }
    }

    /// The maps that `run` shows to the function that it is given, in order, with their strides.
    pub(crate) fn shown(run: impl FnOnce(&mut dyn FnMut(usize, &Tensor<4>))) -> Vec<Feature> {
        let mut features = Vec::new();
        run(&mut |stride, map| features.push(Feature::new(stride, map.clone())));
        features
    }
}

impl FeatureInfo {
    /// Maps of these channels, the first with the stride `first` and each next one with twice the
    /// stride before.
    pub fn halved(first: usize, channels: &[usize]) -> Vec<FeatureInfo> {
        let strides = std::iter::successors(Some(first), |stride| Some(2 * stride));
        strides.zip(channels).map(|(stride, &channels)| FeatureInfo { stride, channels }).collect()
    }

    /// Where among the `offered` maps those of the wanted `strides` are, for a head that is called `head`.
    ///
    /// # Errors
    ///
    /// [`Error::Strides`] names the strides that are missing.
    pub fn find(
        offered: &[FeatureInfo],
        strides: &[usize],
        head: &str,
    ) -> Result<Vec<usize>, Error> {
        let at = |stride: usize| offered.iter().rposition(|map| map.stride == stride);
        let missing: Vec<usize> =
            strides.iter().copied().filter(|&stride| at(stride).is_none()).collect();
        if missing.is_empty() {
            return Ok(strides.iter().copied().filter_map(at).collect());
        }
        let offered = offered.iter().map(|map| map.stride).collect();
        Err(Error::Strides { head: head.to_owned(), missing, offered })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_double_from_the_first() {
        let offered = FeatureInfo::halved(4, &[8, 6]);
        let pairs: Vec<_> = offered.iter().map(|map| (map.stride, map.channels)).collect();
        assert_eq!(pairs, [(4, 8), (8, 6)]);
    }

    #[test]
    fn a_head_finds_its_maps_or_hears_which_strides_are_missing() {
        let offered = FeatureInfo::halved(2, &[16, 32, 64]);

        assert_eq!(FeatureInfo::find(&offered, &[8, 2], "a head").unwrap(), [2, 0]);
        let refused = FeatureInfo::find(&offered, &[8, 16, 32], "fcn8s").unwrap_err().to_string();
        assert_eq!(
            refused,
            "fcn8s needs maps of the strides 16 and 32, and the network offers 2, 4 and 8; \
             `kiln models --json` lists what each offers"
        );
        let refused = FeatureInfo::find(&[], &[8], "fcn8s").unwrap_err().to_string();
        assert!(
            refused.starts_with("fcn8s needs a map of the stride 8, and the network offers none")
        );
    }
}
