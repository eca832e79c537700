//! Convolution as a matrix product over pointers to input pixels: no copy of the input (no im2col), any geometry.
//!
//! With few channels a pixel's pointer leads to too little work; then the input is copied into a zero border and a whole
//! kernel row, which lies in one piece there, takes the place of a pixel.

use burn::backend::flex::FlexTensor;

use super::Geometry;
use super::run::{Destination, Epilogue};
use crate::buffer::Buffer;
use crate::dispatch::Path;
use crate::gemm::{self, Block, Rows, Target};
use crate::layout::{Map, to_channels_last};
use crate::pack::{Packed, panels};
use crate::parallel::{Shared, for_each, part};

/// The input as the pointers see it.
struct Source {
    pixels: *const f32,
    /// Floats between pixels of a row, rows of an image, images.
    steps: [usize; 3],
    /// What lies outside; as many zeros as a pixel has channels.
    outside: *const f32,
    size: [usize; 2],
    /// Zeros above and left that are not in memory.
    before: [usize; 2],
    /// Taps in x (one, where a kernel row is read in one piece).
    taps_x: usize,
}

impl Source {
    /// Fills `table[tap * count + i]` for output pixels `first + i`.
    ///
    /// # Safety
    /// The map must hold the geometry's input.
    unsafe fn fill(&self, g: &Geometry, first: usize, count: usize, table: &mut Vec<*const f32>) {
        table.clear();
        table.resize(g.kernel[0] * self.taps_x * count, self.outside);
        let [out_height, out_width] = g.output;
        let (mut ox, mut oy, mut image) =
            (first % out_width, first / out_width % out_height, first / out_width / out_height);
        for i in 0..count {
            for ky in 0..g.kernel[0] {
                let y = (oy * g.stride[0] + ky * g.dilation[0]).wrapping_sub(self.before[0]);
                if y >= self.size[0] {
                    continue;
                }
                let row = image * self.steps[2] + y * self.steps[1];
                for kx in 0..self.taps_x {
                    let x = (ox * g.stride[1] + kx * g.dilation[1]).wrapping_sub(self.before[1]);
                    if x < self.size[1] {
                        // SAFETY: the pixel lies within the map.
                        table[(ky * self.taps_x + kx) * count + i] =
                            unsafe { self.pixels.add(row + x * self.steps[0]) };
                    }
                }
            }
            ox += 1;
            if ox == out_width {
                ox = 0;
                oy += 1;
                if oy == out_height {
                    oy = 0;
                    image += 1;
                }
            }
        }
    }
}

// SAFETY: tasks only read through the pointers.
unsafe impl Sync for Source {}

/// Any convolution.
pub(super) fn run(
    path: Path,
    g: &Geometry,
    x: &Map,
    weights: &Packed,
    epilogue: &Epilogue,
    out: Destination,
) {
    if g.taps() == 1
        && g.stride == [1, 1]
        && g.before == [0, 0]
        && g.after == [0, 0]
        && g.groups == 1
    {
        let rows = Rows::Regular(x.pointer(), x.step);
        return pointwise(path, rows, g.pixels(), g.in_channels, weights, epilogue, out);
    }
    // Without a border in x, a kernel row of a dense map lies in one piece.
    let whole_rows = g.groups == 1
        && g.dilation[1] == 1
        && g.before[1] == 0
        && g.after[1] == 0
        && x.step == g.in_channels
        && g.kernel[1] > 1;
    let outside = Buffer::zeros(g.in_channels * if whole_rows { g.kernel[1] } else { 1 });
    let source = Source {
        pixels: x.pointer(),
        steps: [x.step, x.step * x.width, x.step * x.width * x.height],
        outside: outside.as_ptr(),
        size: g.input,
        before: g.before,
        taps_x: if whole_rows { 1 } else { g.kernel[1] },
    };
    product(path, g, &source, weights, epilogue, out);
}

/// A convolution of few channels, over a padded copy of an input in any layout.
pub(super) fn run_rows(
    path: Path,
    g: &Geometry,
    x: FlexTensor,
    weights: &Packed,
    epilogue: &Epilogue,
    out: Destination,
) {
    if g.before == [0, 0] && g.after == [0, 0] {
        return run(path, g, &Map::of(x), weights, epilogue, out);
    }
    let (height, width) =
        (g.input[0] + g.before[0] + g.after[0], g.input[1] + g.before[1] + g.after[1]);
    let c = g.in_channels;
    let mut padded = Buffer::new(g.batch * height * width * c);
    to_channels_last(&x, &mut padded, [g.before[0], g.after[0], g.before[1], g.after[1]]);
    let source = Source {
        pixels: padded.as_ptr(),
        steps: [c, c * width, c * width * height],
        outside: padded.as_ptr(),
        size: [height, width],
        before: [0, 0],
        taps_x: 1,
    };
    product(path, g, &source, weights, epilogue, out);
}

fn product(
    path: Path,
    g: &Geometry,
    source: &Source,
    weights: &Packed,
    epilogue: &Epilogue,
    out: Destination,
) {
    let taps = g.kernel[0] * source.taps_x;
    let depth = weights.depth / taps;
    let pixels = g.pixels();
    let group_columns = weights.columns;
    // Bytes of input that belong to one output pixel.
    let row_bytes = g.in_channels
        * size_of::<f32>()
        * g.stride[0].min(g.kernel[0])
        * g.stride[1].min(g.kernel[1]);
    let (by_rows, by_columns) = gemm::split(pixels, row_bytes, weights);
    for_each(by_rows * by_columns, g.multiply_adds(), |task| {
        let rows = part(pixels, by_rows, task % by_rows);
        let columns = part(panels(group_columns), by_columns, task / by_rows);
        let mut table = Vec::new();
        // SAFETY: the source holds the input.
        unsafe { source.fill(g, rows.start, rows.len(), &mut table) };
        for group in 0..g.groups {
            let first = group * group_columns;
            let residual = epilogue.residual.as_ref();
            let block = Block {
                rows: Rows::Table(table.as_ptr(), group * (g.in_channels / g.groups)),
                count: rows.len(),
                taps,
                depth,
                weights: weights.group(group),
                columns: group_columns,
                panels: (columns.start, columns.end),
                target: Target {
                    // SAFETY: row and column lie within the output.
                    out: unsafe { out.pointer.get().add(rows.start * out.step + first) },
                    step: out.step,
                    bias: epilogue.bias[first..].as_ptr(),
                    // SAFETY: the residual has the output's shape.
                    residual: residual.map_or(std::ptr::null(), |r| unsafe {
                        r.pointer().add(rows.start * r.step + first)
                    }),
                    residual_step: residual.map_or(0, |r| r.step),
                    activation: epilogue.activation,
                },
            };
            // SAFETY: the table leads to `depth` floats per tap; tasks write disjoint rows or columns.
            unsafe { gemm::run(path, &block) };
        }
    });
}

/// A product whose rows are `step` apart: 1×1 convolutions and dense layers.
pub(crate) fn pointwise(
    path: Path,
    rows: Rows,
    count: usize,
    depth: usize,
    weights: &Packed,
    epilogue: &Epilogue,
    out: Destination,
) {
    let Rows::Regular(base, step) = rows else {
        unreachable!("pointwise products have regular rows")
    };
    let base = Shared::of(base);
    let columns = weights.columns;
    let (by_rows, by_columns) = gemm::split(count, depth * size_of::<f32>(), weights);
    for_each(by_rows * by_columns, count * depth * columns, |task| {
        let rows = part(count, by_rows, task % by_rows);
        let part = part(panels(columns), by_columns, task / by_rows);
        let residual = epilogue.residual.as_ref();
        let block = Block {
            // SAFETY: the row lies within the input.
            rows: Rows::Regular(unsafe { base.get().cast_const().add(rows.start * step) }, step),
            count: rows.len(),
            taps: 1,
            depth,
            weights: weights.group(0),
            columns,
            panels: (part.start, part.end),
            target: Target {
                // SAFETY: the row lies within the output.
                out: unsafe { out.pointer.get().add(rows.start * out.step) },
                step: out.step,
                bias: epilogue.bias.as_ptr(),
                residual: residual.map_or(std::ptr::null(), |r| {
                    // SAFETY: the residual has the output's shape.
                    unsafe { r.pointer().add(rows.start * r.step) }
                }),
                residual_step: residual.map_or(0, |r| r.step),
                activation: epilogue.activation,
            },
        };
        // SAFETY: every row has `depth` floats; tasks write disjoint rows or columns.
        unsafe { gemm::run(path, &block) };
    });
}
