//! Weights in the order the matrix kernel reads them: panels of sixteen outputs, each one stream from start to end.
//!
//! The last panel is eight wide if at most eight outputs are left. Missing outputs are zeros.

use crate::buffer::Buffer;
use crate::parallel::{Shared, for_each};
use crate::simd::LANES;

/// Outputs in a full panel.
pub(crate) const PANEL: usize = 2 * LANES;

/// Packed weights of `groups` matrices of `depth` × `columns`.
pub(crate) struct Packed {
    data: Buffer,
    pub(crate) depth: usize,
    pub(crate) columns: usize,
    pub(crate) groups: usize,
}

/// Outputs with the padding of the last panel.
pub(crate) fn padded(columns: usize) -> usize {
    let rest = columns % PANEL;
    columns - rest
        + match rest {
            0 => 0,
            1..=LANES => LANES,
            _ => PANEL,
        }
}

/// Panels that hold `columns` outputs.
pub(crate) fn panels(columns: usize) -> usize {
    columns.div_ceil(PANEL)
}

impl Packed {
    /// Packs; `weight(group, index in depth, output)` reads one. Convenient, not fast.
    pub(crate) fn new(
        groups: usize,
        depth: usize,
        columns: usize,
        weight: impl Fn(usize, usize, usize) -> f32 + Sync,
    ) -> Self {
        Self::by_panels(groups, depth, columns, |group, first, width, out| {
            for (k, line) in out.chunks_exact_mut(width).enumerate() {
                for (j, value) in line.iter_mut().enumerate() {
                    *value = if first + j < columns { weight(group, k, first + j) } else { 0.0 };
                }
            }
        })
    }

    /// Packs; `fill(group, first output, width, panel)` writes a panel, `width` floats per index in depth.
    pub(crate) fn by_panels(
        groups: usize,
        depth: usize,
        columns: usize,
        fill: impl Fn(usize, usize, usize, &mut [f32]) + Sync,
    ) -> Self {
        let size = padded(columns) * depth;
        let mut data = Buffer::new(groups * size);
        let target = Shared::new(data.pointer());
        let per_group = panels(columns);
        for_each(groups * per_group, groups * size, |i| {
            let (group, panel) = (i / per_group, i % per_group);
            let first = panel * PANEL;
            let width = (padded(columns) - first).min(PANEL);
            // SAFETY: panels are disjoint and lie within the buffer: `first * depth + width * depth <= size`.
            let out = unsafe {
                std::slice::from_raw_parts_mut(
                    target.get().add(group * size + first * depth),
                    width * depth,
                )
            };
            fill(group, first, width, out);
        });
        Self { data, depth, columns, groups }
    }

    /// Packs the matrix whose element (k, j) is `from[start + k * down + j * right]`.
    pub(crate) fn matrix(
        depth: usize,
        columns: usize,
        from: &[f32],
        start: usize,
        [down, right]: [isize; 2],
    ) -> Self {
        let at =
            |k: usize, j: usize| (start as isize + k as isize * down + j as isize * right) as usize;
        Self::by_panels(1, depth, columns, |_, first, width, out| {
            let count = (columns - first).min(width);
            if count < width {
                out.fill(0.0);
            }
            if right == 1 {
                for (k, line) in out.chunks_exact_mut(width).enumerate() {
                    line[..count].copy_from_slice(&from[at(k, first)..][..count]);
                }
            } else {
                // Some of the depth at a time: the lines written stay near while each column passes.
                for (block, lines) in out.chunks_mut(width * 64).enumerate() {
                    for j in 0..count {
                        for (k, line) in lines.chunks_exact_mut(width).enumerate() {
                            line[j] = from[at(block * 64 + k, first + j)];
                        }
                    }
                }
            }
        })
    }

    /// Room for weights that the caller writes through the pointer: panel by panel, group by group.
    pub(crate) fn unfilled(groups: usize, depth: usize, columns: usize) -> (Self, Shared<f32>) {
        let mut data = Buffer::new(groups * padded(columns) * depth);
        let pointer = Shared::new(data.pointer());
        (Self { data, depth, columns, groups }, pointer)
    }

    /// The first panel of a group.
    pub(crate) fn group(&self, group: usize) -> *const f32 {
        assert!(group < self.groups);
        self.data[group * padded(self.columns) * self.depth..].as_ptr()
    }

    /// Bytes that one pass over a group's weights reads.
    pub(crate) fn bytes(&self) -> usize {
        padded(self.columns) * self.depth * size_of::<f32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_hold_sixteen_outputs_and_the_last_eight_or_sixteen() {
        assert_eq!([1, 8, 9, 16, 17, 24, 25, 32].map(padded), [8, 8, 16, 16, 24, 24, 32, 32]);
        let packed = Packed::new(1, 3, 18, |_, k, j| (k * 100 + j) as f32);
        let data = &packed.data;
        assert_eq!(data.len(), 24 * 3);
        assert_eq!((data[0], data[15], data[16], data[47]), (0.0, 15.0, 100.0, 215.0));
        assert_eq!(data[48..52], [16.0, 17.0, 0.0, 0.0]);
        assert_eq!(data[56..58], [116.0, 117.0]);
    }
}
