//! A depthwise convolution and the 1×1 convolution behind it, some rows at a time: what the first one gives is read by the
//! second while it is still in the second-level cache, and never as a whole in memory.

use super::run::{Destination, Epilogue};
use super::{Algorithm, Geometry, depthwise};
use crate::buffer::Buffer;
use crate::dispatch::Path;
use crate::gemm::{self, Block, Rows, Target};
use crate::layout::Map;
use crate::pack::{Packed, panels};
use crate::parallel::{for_each, part, threads};

/// Bytes of the map between the two that one task keeps.
const KEPT: usize = 256 * 1024;
/// How many times larger than the second convolution's weights the map between must be: every task reads all of them.
const LARGER: usize = 4;

/// Whether the two are computed together: a 1×1 convolution of every pixel behind a depthwise one, on a map that is
/// large beside its weights.
pub(super) fn worth(first: &Geometry, second: &Geometry) -> bool {
    let pointwise = second.taps() == 1
        && second.stride == [1, 1]
        && second.before == [0, 0]
        && second.after == [0, 0]
        && second.groups == 1;
    let rows = first.batch * first.output[0];
    first.groups > 1
        && Algorithm::Depthwise.possible(first)
        && pointwise
        && rows >= 4 * threads()
        && first.pixels() >= LARGER * second.out_channels
}

/// Both convolutions; `between` is the first one's bias and activation.
#[allow(clippy::too_many_arguments)]
pub(super) fn run(
    path: Path,
    first: &Geometry,
    x: &Map,
    filters: &Buffer,
    between: &Epilogue,
    second: &Geometry,
    weights: &Packed,
    epilogue: &Epilogue,
    out: Destination,
) {
    let depthwise = depthwise::forward(path, first, x, filters, between);
    let (width, channels, columns) = (first.output[1], first.out_channels, second.out_channels);
    assert_eq!((channels, first.output), (second.in_channels, second.input));
    let rows = first.batch * first.output[0];
    let tasks = (rows * width * channels * size_of::<f32>()).div_ceil(KEPT);
    // An even number per thread.
    let tasks = tasks.max(2 * threads()).next_multiple_of(threads()).min(rows);
    for_each(tasks, first.multiply_adds() + second.multiply_adds(), |i| {
        let rows = part(rows, tasks, i);
        let count = rows.len() * width;
        let mut middle = Buffer::new(count * channels);
        let mut table = Vec::new();
        for (at, row) in rows.clone().enumerate() {
            // SAFETY: the row lies within `middle`.
            unsafe {
                let to = middle.pointer().add(at * width * channels);
                depthwise.row(row, &mut table, to, channels);
            }
        }
        let start = rows.start * width;
        let residual = epilogue.residual.as_ref();
        let block = Block {
            rows: Rows::Regular(middle.as_ptr(), channels),
            count,
            taps: 1,
            depth: channels,
            weights: weights.group(0),
            columns,
            panels: (0, panels(columns)),
            target: Target {
                // SAFETY: the pixel lies within the output.
                out: unsafe { out.pointer.get().add(start * out.step) },
                step: out.step,
                bias: epilogue.bias.as_ptr(),
                residual: residual.map_or(std::ptr::null(), |r| {
                    // SAFETY: the residual has the output's shape.
                    unsafe { r.pointer().add(start * r.step) }
                }),
                residual_step: residual.map_or(0, |r| r.step),
                activation: epilogue.activation,
            },
        };
        // SAFETY: every row has `channels` floats; tasks write disjoint pixels.
        unsafe { gemm::run(path, &block) };
    });
}
