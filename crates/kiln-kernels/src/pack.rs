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
        let work = groups * padded(columns) * depth;
        Self::by_panels_worth(work, groups, depth, columns, fill)
    }

    /// The same, in parallel if so many floats are worth it.
    fn by_panels_worth(
        work: usize,
        groups: usize,
        depth: usize,
        columns: usize,
        fill: impl Fn(usize, usize, usize, &mut [f32]) + Sync,
    ) -> Self {
        let size = padded(columns) * depth;
        let mut data = Buffer::new(groups * size);
        let target = Shared::new(data.pointer());
        let per_group = panels(columns);
        for_each(groups * per_group, work, |i| {
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
        strides: [isize; 2],
    ) -> Self {
        Self::by_panels(1, depth, columns, columns_of(columns, from, start, strides))
    }

    /// The same in this thread alone, which is one of several that do it.
    pub(crate) fn part_of_matrix(
        depth: usize,
        columns: usize,
        from: &[f32],
        start: usize,
        strides: [isize; 2],
    ) -> Self {
        Self::by_panels_worth(0, 1, depth, columns, columns_of(columns, from, start, strides))
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

/// Fills the panels of a matrix, `[down, right]` floats from one element to the next.
fn columns_of(
    columns: usize,
    from: &[f32],
    start: usize,
    [down, right]: [isize; 2],
) -> impl Fn(usize, usize, usize, &mut [f32]) + Sync {
    let at = move |k: usize, j: usize| {
        (start as isize + k as isize * down + j as isize * right) as usize
    };
    move |_, first, width, out| {
        let count = (columns - first).min(width);
        if count < width {
            out.fill(0.0);
        }
        if right == 1 {
            for (k, line) in out.chunks_exact_mut(width).enumerate() {
                line[..count].copy_from_slice(&from[at(k, first)..][..count]);
            }
        } else if down == 1 && count == PANEL {
            transposed(&from[at(0, first)..], right as usize, out);
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
    }
}

/// Fills a full panel from columns that lie in one piece each, `step` floats apart: sixteen streams
/// at a time, in squares that a compiler turns in registers.
fn transposed(from: &[f32], step: usize, out: &mut [f32]) {
    let depth = out.len() / PANEL;
    let columns: [&[f32]; PANEL] = std::array::from_fn(|j| &from[j * step..][..depth]);
    let (squares, rest) = out.as_chunks_mut::<{ PANEL * LANES }>();
    let whole = squares.len() * LANES;
    for (block, square) in squares.iter_mut().enumerate() {
        for (j, column) in columns.iter().enumerate() {
            let Some(values) = column[block * LANES..].first_chunk::<LANES>() else { return };
            for (k, value) in values.iter().enumerate() {
                square[k * PANEL + j] = *value;
            }
        }
    }
    for (k, line) in rest.chunks_exact_mut(PANEL).enumerate() {
        for (value, column) in line.iter_mut().zip(&columns) {
            *value = column[whole + k];
        }
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

    #[test]
    fn a_matrix_is_packed_the_same_from_rows_and_from_columns() {
        let (depth, columns) = (37, 50);
        let element = |k: usize, j: usize| (k * 1000 + j) as f32;
        let by_rows: Vec<f32> =
            (0..depth * columns).map(|i| element(i / columns, i % columns)).collect();
        let by_columns: Vec<f32> =
            (0..depth * columns).map(|i| element(i % depth, i / depth)).collect();

        let expected = Packed::new(1, depth, columns, |_, k, j| element(k, j));
        let rows = Packed::matrix(depth, columns, &by_rows, 0, [columns as isize, 1]);
        let turned = Packed::part_of_matrix(depth, columns, &by_columns, 0, [1, depth as isize]);

        assert!(rows.data[..] == expected.data[..]);
        assert!(turned.data[..] == expected.data[..]);
    }
}
