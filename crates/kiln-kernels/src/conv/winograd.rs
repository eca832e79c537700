//! Winograd's F(4×4, 3×3): sixteen outputs from thirty-six products instead of a hundred and forty-four.
//!
//! A. Lavin, S. Gray, *Fast Algorithms for Convolutional Neural Networks*, CVPR 2016, <https://arxiv.org/abs/1509.09308>,
//! with interpolation points 0, ±1, ±2, ∞. The input's 6×6 patches are transformed, each of the 36 places becomes a matrix
//! product [tiles, channels] × [channels, outputs], and the sums are transformed back. Two ways to cut the work: blocks
//! of tiles, each all the way through (large maps); or all transforms first and then parts of the outputs (small maps
//! with large weights, where blocks of tiles would read the weights again and again).

mod transform;

use burn::backend::flex::FlexTensor;

use super::Geometry;
use super::run::{Destination, Epilogue, reader};
use crate::activation::Activation;
use crate::buffer::Buffer;
use crate::dispatch::Path;
use crate::gemm::{self, Block, Rows, Target};
use crate::layout::Map;
use crate::pack::{PANEL, Packed, padded, panels};
use crate::parallel::{Shared, for_each, part, threads};

/// Places of a transformed tile.
const PLACES: usize = 36;

/// The transformed weights, each output's times its factor: 36 matrices of channels × outputs.
pub(super) fn transform(path: Path, weight: &FlexTensor, g: &Geometry, factors: &[f32]) -> Packed {
    let read = reader(weight);
    let (channels, outputs) = (g.in_channels, g.out_channels);
    let (packed, target) = Packed::unfilled(PLACES, channels, outputs);
    let group = padded(outputs) * channels;
    for_each(panels(outputs), PLACES * channels * outputs, |panel| {
        let first = panel * PANEL;
        let width = (padded(outputs) - first).min(PANEL);
        let count = (outputs - first).min(width);
        let mut filters = [[0f32; PANEL]; 9];
        for c in 0..channels {
            for j in 0..count {
                for (tap, line) in filters.iter_mut().enumerate() {
                    line[j] = read(first + j, c, tap / 3, tap % 3) * factors[first + j];
                }
            }
            // SAFETY: line `c` of this panel lies within every place's weights and is this task's alone.
            unsafe {
                transform::filters(
                    path,
                    &filters,
                    width,
                    target.get().add(first * channels + c * width),
                    group,
                );
            };
        }
    });
    packed
}

/// Sizes shared by all tasks.
struct Plan<'a> {
    path: Path,
    g: &'a Geometry,
    /// Tiles down and right, and in the whole batch.
    down: usize,
    right: usize,
    tiles: usize,
    source: Shared<f32>,
    step: usize,
    outside: Shared<f32>,
    weights: &'a Packed,
    epilogue: &'a Epilogue,
    out: Destination,
    no_bias: &'a Buffer,
}

/// Floats between the places of a block of `tiles` × `channels`: a line more than needed, lest all 36 fall on the same
/// lines of the cache.
fn place_step(tiles: usize, channels: usize) -> usize {
    (tiles * channels).next_multiple_of(PANEL) + PANEL
}

impl Plan<'_> {
    /// Transforms the patches of `tiles` into `v`, whose tile 0 is `origin`.
    fn forward(&self, tiles: std::ops::Range<usize>, origin: usize, v: *mut f32, step: usize) {
        let g = self.g;
        for tile in tiles {
            let (image, place) = (tile / (self.down * self.right), tile % (self.down * self.right));
            let (ty, tx) = (place / self.right, place % self.right);
            let mut patch = [self.outside.get().cast_const(); PLACES];
            for i in 0..6 {
                let y = (ty * 4 + i).wrapping_sub(g.before[0]);
                if y >= g.input[0] {
                    continue;
                }
                for j in 0..6 {
                    let x = (tx * 4 + j).wrapping_sub(g.before[1]);
                    if x < g.input[1] {
                        let pixel = (image * g.input[0] + y) * g.input[1] + x;
                        // SAFETY: the pixel lies within the map.
                        patch[i * 6 + j] =
                            unsafe { self.source.get().cast_const().add(pixel * self.step) };
                    }
                }
            }
            // SAFETY: every patch entry leads to `in_channels` floats, and tile `tile - origin` of every place is ours.
            unsafe {
                transform::input(
                    self.path,
                    &patch,
                    g.in_channels,
                    v.add((tile - origin) * g.in_channels),
                    step,
                );
            };
        }
    }

    /// The 36 products of `count` tiles with panels `first..last`, into `m`.
    #[allow(clippy::too_many_arguments)]
    fn products(
        &self,
        v: *const f32,
        v_step: usize,
        count: usize,
        first: usize,
        last: usize,
        m: *mut f32,
        m_step: usize,
        width: usize,
    ) {
        for place in 0..PLACES {
            let block = Block {
                // SAFETY: `v` holds 36 places of `v_step` floats.
                rows: Rows::Regular(unsafe { v.add(place * v_step) }, self.g.in_channels),
                count,
                taps: 1,
                depth: self.g.in_channels,
                weights: self.weights.group(place),
                columns: self.g.out_channels,
                panels: (first, last),
                target: Target {
                    // The block writes from column `first * PANEL` on; `m` starts there.
                    out: m.wrapping_add(place * m_step).wrapping_sub(first * PANEL),
                    step: width,
                    bias: self.no_bias.as_ptr(),
                    residual: std::ptr::null(),
                    residual_step: 0,
                    activation: Activation::Identity,
                },
            };
            // SAFETY: `v` and `m` hold 36 places of so many tiles, and `m` is this task's own.
            unsafe { gemm::run(self.path, &block) };
        }
    }

    /// Transforms the sums in `m` back into outputs `columns` of `tiles`.
    fn back(
        &self,
        tiles: std::ops::Range<usize>,
        columns: std::ops::Range<usize>,
        m: *const f32,
        m_step: usize,
        width: usize,
    ) {
        let g = self.g;
        let k = self.out.step;
        for (i, tile) in tiles.enumerate() {
            let (image, place) = (tile / (self.down * self.right), tile % (self.down * self.right));
            let (y, x) = (place / self.right * 4, place % self.right * 4);
            let pixel = (image * g.output[0] + y) * g.output[1] + x;
            let residual = self.epilogue.residual.as_ref();
            let args = transform::Output {
                // SAFETY: tile `i` of place 0 lies within `m`.
                sums: unsafe { m.add(i * width) },
                place_step: m_step,
                channels: columns.len(),
                bias: self.epilogue.bias[columns.start..].as_ptr(),
                // SAFETY: the pixel lies within the residual, which has the output's shape.
                residual: residual.map_or(std::ptr::null(), |r| unsafe {
                    r.pointer().add(pixel * r.step + columns.start)
                }),
                residual_steps: residual.map_or([0, 0], |r| [r.step * r.width, r.step]),
                // SAFETY: the pixel lies within the output.
                out: unsafe { self.out.pointer.get().add(pixel * k + columns.start) },
                steps: [k * g.output[1], k],
                size: [(g.output[0] - y).min(4), (g.output[1] - x).min(4)],
                activation: self.epilogue.activation,
            };
            // SAFETY: the patch of `size` pixels lies within output and residual, and no other task writes it.
            unsafe { transform::output(self.path, &args) };
        }
    }

    /// Blocks of tiles, each task all the way through.
    fn by_tiles(&self, block: usize) {
        const PANELS: usize = 4;
        let g = self.g;
        let mut blocks = self.tiles.div_ceil(block);
        // An even number per thread, where there are few.
        if blocks < 4 * threads() {
            blocks = blocks.next_multiple_of(threads()).min(self.tiles);
        }
        for_each(blocks, g.multiply_adds(), |i| {
            let tiles = part(self.tiles, blocks, i);
            let count = tiles.len();
            let v_step = place_step(count, g.in_channels);
            let mut v = Buffer::new(PLACES * v_step);
            self.forward(tiles.clone(), tiles.start, v.pointer(), v_step);
            let width = g.out_channels.min(PANELS * PANEL);
            let m_step = place_step(count, width);
            let mut m = Buffer::new(PLACES * m_step);
            let mut first = 0;
            while first < panels(g.out_channels) {
                let last = (first + PANELS).min(panels(g.out_channels));
                let columns = first * PANEL..(last * PANEL).min(g.out_channels);
                self.products(v.as_ptr(), v_step, count, first, last, m.pointer(), m_step, width);
                self.back(tiles.clone(), columns, m.as_ptr(), m_step, width);
                first = last;
            }
        });
    }

    /// All patches transformed first, then each task some outputs of some tiles.
    fn by_outputs(&self) {
        const BLOCK: usize = 48;
        let g = self.g;
        let v_step = place_step(self.tiles, g.in_channels);
        let mut v = Buffer::new(PLACES * v_step);
        let shared = Shared::new(v.pointer());
        let parts = self.tiles.min(threads() * 4);
        for_each(parts, self.tiles * g.in_channels * 200, |i| {
            self.forward(part(self.tiles, parts, i), 0, shared.get(), v_step);
        });
        let all = panels(g.out_channels);
        // Outputs first: a task's weights are then read by as few tasks as possible.
        let parts = all.min(threads() * 4);
        let blocks = self.tiles.div_ceil(BLOCK);
        for_each(parts * blocks, g.multiply_adds(), |task| {
            let panel = part(all, parts, task / blocks);
            let tiles = part(self.tiles, blocks, task % blocks);
            let columns = panel.start * PANEL..(panel.end * PANEL).min(g.out_channels);
            let width = columns.len();
            let m_step = place_step(tiles.len(), width);
            let mut m = Buffer::new(PLACES * m_step);
            // SAFETY: the first tile lies within `v`.
            let from = unsafe { shared.get().cast_const().add(tiles.start * g.in_channels) };
            self.products(
                from,
                v_step,
                tiles.len(),
                panel.start,
                panel.end,
                m.pointer(),
                m_step,
                width,
            );
            self.back(tiles, columns, m.as_ptr(), m_step, width);
        });
    }
}

/// The convolution.
pub(super) fn run(
    path: Path,
    g: &Geometry,
    x: &Map,
    weights: &Packed,
    epilogue: &Epilogue,
    out: Destination,
) {
    let (down, right) = (g.output[0].div_ceil(4), g.output[1].div_ceil(4));
    let tiles = g.batch * down * right;
    let outside = Buffer::zeros(g.in_channels);
    let no_bias = Buffer::zeros(g.out_channels.next_multiple_of(PANEL));
    let plan = Plan {
        path,
        g,
        down,
        right,
        tiles,
        source: Shared::of(x.pointer()),
        step: x.step,
        outside: Shared::of(outside.as_ptr()),
        weights,
        epilogue,
        out,
        no_bias: &no_bias,
    };
    // Bytes read beyond the second-level cache by either way.
    let block = 36;
    let weight_bytes = PLACES * weights.bytes();
    let patch_bytes = PLACES * tiles * g.in_channels * size_of::<f32>();
    let by_tiles = weight_bytes * tiles.div_ceil(block).max(threads());
    let by_outputs = weight_bytes + patch_bytes * threads();
    if by_outputs < by_tiles && patch_bytes < 16 << 20 {
        plan.by_outputs();
    } else {
        plan.by_tiles(block);
    }
}
