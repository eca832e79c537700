//! Matrix products: rows of activations, found through pointers, times packed weights. Convolution, dense layers and
//! Winograd's middle step all end here.

mod micro;

use crate::activation::Activation;
use crate::dispatch::Path;
use crate::pack::{PANEL, Packed, padded, panels};
use crate::parallel::threads;
use crate::simd::LANES;

/// Where the rows of the left matrix are.
#[derive(Clone, Copy)]
pub(crate) enum Rows {
    /// Row r starts `r * step` floats after this address.
    Regular(*const f32, usize),
    /// Row r's part for tap t starts `offset` floats after entry `t * rows + r` of this table.
    Table(*const *const f32, usize),
}

/// What happens to the sums, and where they go.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    /// Row 0, column 0 of the output.
    pub(crate) out: *mut f32,
    /// Floats from one row of the output to the next.
    pub(crate) step: usize,
    /// Added to every row; readable to the padded number of columns.
    pub(crate) bias: *const f32,
    /// Added after the bias, laid out as the output; null for none.
    pub(crate) residual: *const f32,
    /// Floats from one row of the residual to the next.
    pub(crate) residual_step: usize,
    pub(crate) activation: Activation,
}

/// One task's part of a product.
#[derive(Clone, Copy)]
pub(crate) struct Block {
    pub(crate) rows: Rows,
    /// Rows in this block.
    pub(crate) count: usize,
    pub(crate) taps: usize,
    /// Floats of a row per tap.
    pub(crate) depth: usize,
    /// Panel 0 of the packed weights.
    pub(crate) weights: *const f32,
    pub(crate) columns: usize,
    /// First and one-past-last panel to compute.
    pub(crate) panels: (usize, usize),
    pub(crate) target: Target,
}

/// A panel's weights stay in the second-level cache while rows pass; longer ones are cut.
const PANEL_BYTES: usize = 320 * 1024;

/// Weights of several panels that stay in the second-level cache beside the rows that pass.
const NEAR_BYTES: usize = 384 * 1024;

/// Floats of depth (and taps) that one pass over the rows takes.
#[derive(Clone, Copy)]
struct Chunk {
    taps: (usize, usize),
    depth: (usize, usize),
    first: bool,
    last: bool,
}

/// Computes one block.
///
/// # Safety
/// Every row must be readable for `depth` floats per tap, the weights for the padded columns of `taps * depth`, the
/// residual and the output for `count` rows of the block's columns, the bias for the padded columns; no other task may
/// touch this block's part of the output.
pub(crate) unsafe fn run(path: Path, b: &Block) {
    let groups = b.count.div_ceil(micro::rows(path)).max(1);
    let (base, taller) = (b.count / groups, b.count % groups);
    let panel_bytes = b.taps * b.depth * PANEL * size_of::<f32>();
    // Cut the depth only where rows pass more than once.
    let (tap_cuts, depth_cuts) = match (groups > 1).then(|| panel_bytes.div_ceil(PANEL_BYTES)) {
        Some(cuts) if cuts > 1 && b.taps > 1 => (cuts.min(b.taps), 1),
        Some(cuts) if cuts > 1 => (1, cuts.min(b.depth)),
        _ => (1, 1),
    };
    let cuts = tap_cuts * depth_cuts;
    // So many panels stay near while all rows pass: each row's outputs are then written in one piece, and its inputs read
    // once for all of them.
    let near = (NEAR_BYTES / panel_bytes.max(1)).max(micro::wide(path, b.count));
    let mut first = b.panels.0;
    while first < b.panels.1 {
        let last = (first + near).min(b.panels.1);
        for cut in 0..cuts {
            let cut_of = |total: usize, parts: usize| {
                (total * (cut % parts) / parts, total * (cut % parts + 1) / parts)
            };
            let chunk = Chunk {
                taps: if tap_cuts > 1 { cut_of(b.taps, tap_cuts) } else { (0, b.taps) },
                depth: if depth_cuts > 1 { cut_of(b.depth, depth_cuts) } else { (0, b.depth) },
                first: cut == 0,
                last: cut + 1 == cuts,
            };
            let mut row = 0;
            for group in 0..groups {
                // Groups of nearly equal size: a last group of one row would waste the registers.
                let rows = base + usize::from(group < taller);
                let mut panel = first;
                while panel < last {
                    let wide = width(path, b, panel, last);
                    let tile = micro::tile(path, rows, wide);
                    // SAFETY: the block's pointers are the caller's contract; rows and panels are in range.
                    unsafe { tile(b, row, panel, chunk) };
                    panel += wide.max(1);
                }
                row += rows;
            }
        }
        first = last;
    }
}

/// Panels that the tile at `panel` takes: several where there are as many before `last`, none of them half a one; 0 is a
/// half.
fn width(path: Path, b: &Block, panel: usize, last: usize) -> usize {
    let whole = (b.columns.next_multiple_of(LANES) - panel * PANEL) / PANEL;
    match micro::wide(path, b.count).min(last - panel).min(whole) {
        3 => 2,
        wide => wide,
    }
}

/// How to cut a product into tasks: parts of the rows and parts of the panels.
///
/// Every part of the rows reads all its panels' weights, every part of the panels reads all its rows: the cut that
/// reads least wins, among those with enough tasks and with rows that stay in the second-level cache.
pub(crate) fn split(rows: usize, row_bytes: usize, weights: &Packed) -> (usize, usize) {
    const ROW_BLOCK: usize = 192 * 1024;
    const TASK: usize = 600_000;
    let columns = panels(weights.columns);
    let work = rows.saturating_mul(padded(weights.columns) * weights.depth);
    let tasks = (work / TASK).clamp(1, threads() * 4);
    let least = (rows * row_bytes).div_ceil(ROW_BLOCK).clamp(1, rows.div_ceil(6).max(1));
    let mut best = (least, 1, usize::MAX);
    let mut by_columns = 1;
    while by_columns <= columns {
        let by_rows = least.max(tasks.div_ceil(by_columns)).min(rows.div_ceil(6).max(1));
        let cost = weights.bytes() * by_rows + rows * row_bytes * by_columns;
        let enough = by_rows * by_columns >= tasks;
        let cost = if enough { cost } else { cost.saturating_mul(4) };
        if cost < best.2 {
            best = (by_rows, by_columns, cost);
        }
        by_columns *= 2;
    }
    (best.0, best.1)
}
