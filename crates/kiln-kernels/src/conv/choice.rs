//! Which algorithm a convolution runs as. Decided from its sizes alone: a timed trial would make results depend on the
//! machine's mood.

use super::Geometry;

/// How a convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Matrix product over pointers to pixels (implicit GEMM).
    Indirect,
    /// The same over whole kernel rows of a zero-padded input: for few channels, as in a network's first layer.
    Rows,
    /// Winograd's F(4×4, 3×3).
    Winograd,
    /// One filter per channel.
    Depthwise,
}

/// Winograd's transforms take whole vectors of channels.
const VECTOR: usize = 8;
/// Up to this many channels, kernel rows are worth a padded copy of the input.
const FEW_CHANNELS: usize = 8;
/// Multiply-adds in which a core reads one byte of weights from the third-level cache, and from memory.
const CACHE_BYTE: f64 = 1.2;
const MEMORY_BYTE: f64 = 3.0;
/// Weights beyond this do not stay in the third-level cache.
const CACHE: usize = 12 << 20;
/// Cost of the transforms, in multiply-adds per tile and channel.
const TRANSFORM: f64 = 420.0;

fn reading(bytes: usize) -> f64 {
    bytes as f64 * if bytes > CACHE { MEMORY_BYTE } else { CACHE_BYTE }
}

impl Algorithm {
    /// The one that should be fastest.
    #[must_use]
    pub fn choose(g: &Geometry, exact: bool) -> Self {
        if g.groups > 1 && g.groups == g.in_channels && g.groups == g.out_channels {
            return Self::Depthwise;
        }
        if g.groups == 1 && g.dilation[1] == 1 && g.kernel[1] > 1 && g.in_channels <= FEW_CHANNELS {
            return Self::Rows;
        }
        if !exact && Self::Winograd.possible(g) {
            let (c, k) = (g.in_channels as f64, g.out_channels as f64);
            let tiles = (g.batch * g.output[0].div_ceil(4) * g.output[1].div_ceil(4)) as f64;
            let bytes = g.in_channels * g.out_channels * size_of::<f32>();
            let direct = (g.multiply_adds() as f64).max(reading(9 * bytes));
            let products = (36.0 * tiles * c * k).max(reading(36 * bytes));
            if products + tiles * (c + k) * TRANSFORM < direct * 0.92 {
                return Self::Winograd;
            }
        }
        Self::Indirect
    }

    /// As tables show it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Indirect => "implicit product",
            Self::Rows => "kernel rows",
            Self::Winograd => "Winograd 4×4",
            Self::Depthwise => "depthwise",
        }
    }

    /// Whether it can compute this convolution at all.
    #[must_use]
    pub fn possible(self, g: &Geometry) -> bool {
        match self {
            Self::Indirect => true,
            Self::Rows => g.groups == 1 && g.dilation[1] == 1,
            Self::Depthwise => g.groups == g.in_channels && g.groups == g.out_channels,
            Self::Winograd => {
                g.kernel == [3, 3]
                    && g.stride == [1, 1]
                    && g.dilation == [1, 1]
                    && g.groups == 1
                    && g.in_channels.is_multiple_of(VECTOR)
                    && g.out_channels.is_multiple_of(VECTOR)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::ops::ConvOptions;

    fn geometry(batch: usize, channels: usize, out: usize, size: usize, kernel: usize) -> Geometry {
        let pad = kernel / 2;
        let options = ConvOptions::new([1, 1], [pad, pad], [1, 1], 1);
        Geometry::new([batch, channels, size, size], [out, channels, kernel, kernel], &options)
            .unwrap()
    }

    #[test]
    fn winograd_serves_wide_maps_and_large_batches() {
        assert_eq!(Algorithm::choose(&geometry(1, 64, 64, 56, 3), false), Algorithm::Winograd);
        assert_eq!(Algorithm::choose(&geometry(1, 256, 256, 14, 3), false), Algorithm::Winograd);
        assert_eq!(Algorithm::choose(&geometry(8, 512, 512, 7, 3), false), Algorithm::Winograd);
        assert_eq!(Algorithm::choose(&geometry(1, 512, 512, 7, 3), false), Algorithm::Indirect);
    }

    #[test]
    fn exact_never_chooses_winograd() {
        assert_eq!(Algorithm::choose(&geometry(1, 64, 64, 56, 3), true), Algorithm::Indirect);
    }

    #[test]
    fn a_stem_runs_over_rows() {
        assert_eq!(Algorithm::choose(&geometry(1, 3, 64, 224, 7), false), Algorithm::Rows);
    }
}
