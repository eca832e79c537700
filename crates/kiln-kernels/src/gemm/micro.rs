//! The register block: up to six rows by two vectors (or two rows by four), summed in one fixed order over the depth.

use super::{Block, Chunk, Rows};
use crate::activation::Activation;
use crate::dispatch::Path;
use crate::pack::PANEL;
use crate::simd::portable::Portable;
use crate::simd::{LANES, Simd};

/// A tile's function: block, first row, panel, part of the depth.
///
/// # Safety
/// As [`super::run`]; rows and panels must be the block's.
pub(super) type Tile = unsafe fn(&Block, usize, usize, Chunk);

/// Rows of the tallest tile.
pub(super) fn rows(path: Path) -> usize {
    match path {
        #[cfg(target_arch = "x86_64")]
        Path::Avx2 => 6,
        Path::Portable => 3,
    }
}

/// The function for `rows` rows by `vectors` vectors; each is compiled on its own, so that its sums stay in registers.
pub(super) fn tile(path: Path, rows: usize, vectors: usize) -> Tile {
    match path {
        #[cfg(target_arch = "x86_64")]
        Path::Avx2 => match (rows, vectors) {
            (1, 4) => avx2::<1, 4>,
            (2, 4) => avx2::<2, 4>,
            (1, 2) => avx2::<1, 2>,
            (2, 2) => avx2::<2, 2>,
            (3, 2) => avx2::<3, 2>,
            (4, 2) => avx2::<4, 2>,
            (5, 2) => avx2::<5, 2>,
            (6, 2) => avx2::<6, 2>,
            (1, 1) => avx2::<1, 1>,
            (2, 1) => avx2::<2, 1>,
            (3, 1) => avx2::<3, 1>,
            (4, 1) => avx2::<4, 1>,
            (5, 1) => avx2::<5, 1>,
            (6, 1) => avx2::<6, 1>,
            _ => unreachable!("tiles have one to six rows"),
        },
        Path::Portable => match (rows, vectors) {
            (1, 4) => compute::<Portable, 1, 4>,
            (2, 4) => compute::<Portable, 2, 4>,
            (1, 2) => compute::<Portable, 1, 2>,
            (2, 2) => compute::<Portable, 2, 2>,
            (3, 2) => compute::<Portable, 3, 2>,
            (1, 1) => compute::<Portable, 1, 1>,
            (2, 1) => compute::<Portable, 2, 1>,
            (3, 1) => compute::<Portable, 3, 1>,
            _ => unreachable!("portable tiles have one to three rows"),
        },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<const M: usize, const V: usize>(b: &Block, row: usize, panel: usize, chunk: Chunk) {
    // SAFETY: this function carries the instruction set; the rest is the caller's contract.
    unsafe { compute::<crate::simd::avx2::Avx2, M, V>(b, row, panel, chunk) }
}

/// How far ahead of use weights are asked for, in floats: long panels come from beyond the second-level cache.
const AHEAD: usize = 16 * PANEL;

/// Computes `M` rows by `V` vectors (four vectors span two panels).
///
/// # Safety
/// As [`Tile`], and the instruction set must be there.
#[inline(always)]
unsafe fn compute<S: Simd, const M: usize, const V: usize>(
    b: &Block,
    row: usize,
    panel: usize,
    chunk: Chunk,
) {
    // SAFETY: rows, weights, bias, residual and output are readable and writable by the caller's contract; full
    // vectors of output are touched only where the block has that many columns, other ones go through an array.
    unsafe {
        let width = if V == 1 { LANES } else { PANEL };
        let total = b.taps * b.depth;
        let full = b.columns - panel * PANEL >= V * LANES;
        let columns = (b.columns - panel * PANEL).min(V * LANES);
        // The first panel's address may lie before the buffer; the block's own panels lie within.
        let out = b.target.out.wrapping_add(row * b.target.step + panel * PANEL);
        // The sums pass through memory before and after the loop, so that within it nothing but registers holds them:
        // a compiler that sees them indexed by a variable stores them at every step.
        let mut sums = [[[0f32; LANES]; V]; M];
        let sums = sums.as_mut_ptr().cast::<f32>();
        let sum = |i: usize, v: usize| sums.wrapping_add((i * V + v) * LANES);
        let activation = b.target.activation;
        // The common case in registers from bias to output: all of the depth, all columns, ReLU or nothing.
        let whole = full
            && chunk.first
            && chunk.last
            && matches!(activation, Activation::Identity | Activation::Relu);
        for i in 0..M {
            if whole {
                break;
            }
            if chunk.first {
                std::ptr::copy_nonoverlapping(
                    b.target.bias.add(panel * PANEL),
                    sum(i, 0),
                    V * LANES,
                );
            } else {
                std::ptr::copy_nonoverlapping(
                    out.wrapping_add(i * b.target.step),
                    sum(i, 0),
                    columns,
                );
            }
        }
        let mut acc = [[S::splat(0.0); V]; M];
        if whole {
            let mut bias = [S::splat(0.0); V];
            for v in 0..V {
                bias[v] = S::load(b.target.bias.add(panel * PANEL + v * LANES));
            }
            for i in 0..M {
                acc[i] = bias;
            }
        } else {
            for i in 0..M {
                for v in 0..V {
                    acc[i][v] = S::load(sum(i, v));
                }
            }
        }

        let mut weights =
            b.weights.add(panel * PANEL * total + (chunk.taps.0 * b.depth + chunk.depth.0) * width);
        let second = PANEL * total;
        let depth = chunk.depth.1 - chunk.depth.0;
        for tap in chunk.taps.0..chunk.taps.1 {
            let mut from = [std::ptr::null::<f32>(); M];
            for (i, from) in from.iter_mut().enumerate() {
                *from = match b.rows {
                    Rows::Regular(base, step) => base.add((row + i) * step + chunk.depth.0),
                    Rows::Table(table, offset) => {
                        (*table.add(tap * b.count + row + i)).add(offset + chunk.depth.0)
                    }
                };
            }
            let mut k = 0;
            while k + 4 <= depth {
                for u in 0..4 {
                    step::<S, M, V>(&mut acc, &from, k + u, weights.add(u * width), second);
                }
                if V >= 2 {
                    for u in 0..4 {
                        S::prefetch(weights.wrapping_add(AHEAD + u * width));
                        if V == 4 {
                            S::prefetch(weights.wrapping_add(second + AHEAD + u * width));
                        }
                    }
                }
                weights = weights.add(4 * width);
                k += 4;
            }
            while k < depth {
                step::<S, M, V>(&mut acc, &from, k, weights, second);
                weights = weights.add(width);
                k += 1;
            }
        }

        if whole {
            if !b.target.residual.is_null() {
                let residual = b.target.residual.add(row * b.target.residual_step + panel * PANEL);
                for i in 0..M {
                    for v in 0..V {
                        acc[i][v] = S::add(
                            acc[i][v],
                            S::load(residual.add(i * b.target.residual_step + v * LANES)),
                        );
                    }
                }
            }
            let floor =
                S::splat(if activation == Activation::Relu { 0.0 } else { f32::NEG_INFINITY });
            for i in 0..M {
                for v in 0..V {
                    S::store(out.add(i * b.target.step + v * LANES), S::max(floor, acc[i][v]));
                }
            }
            return;
        }
        for i in 0..M {
            for v in 0..V {
                S::store(sum(i, v), acc[i][v]);
            }
        }
        for i in 0..M {
            let out = out.wrapping_add(i * b.target.step);
            if chunk.last {
                if !b.target.residual.is_null() {
                    let residual =
                        b.target.residual.add((row + i) * b.target.residual_step + panel * PANEL);
                    if full {
                        for v in 0..V {
                            S::store(
                                sum(i, v),
                                S::add(S::load(sum(i, v)), S::load(residual.add(v * LANES))),
                            );
                        }
                    } else {
                        for j in 0..columns {
                            *sum(i, 0).add(j) += *residual.add(j);
                        }
                    }
                }
                for v in 0..V {
                    S::store(sum(i, v), activation.cheap_vector::<S>(S::load(sum(i, v))));
                }
            }
            if full {
                for v in 0..V {
                    S::store(out.add(v * LANES), S::load(sum(i, v)));
                }
            } else {
                std::ptr::copy_nonoverlapping(sum(i, 0).cast_const(), out, columns);
            }
            if chunk.last {
                crate::activation::in_place(S::PATH, activation, out, columns);
            }
        }
    }
}

/// One step of depth: a column of the rows times a line of the weights.
#[inline(always)]
unsafe fn step<S: Simd, const M: usize, const V: usize>(
    acc: &mut [[S::V; V]; M],
    from: &[*const f32; M],
    k: usize,
    weights: *const f32,
    second: usize,
) {
    // SAFETY: the tile's contract.
    unsafe {
        let mut w = [S::splat(0.0); V];
        for (v, w) in w.iter_mut().enumerate() {
            *w = S::load(if v < 2 {
                weights.add(v * LANES)
            } else {
                weights.add(second + (v - 2) * LANES)
            });
        }
        for i in 0..M {
            let a = S::splat(*from[i].add(k));
            for v in 0..V {
                acc[i][v] = S::fma(a, w[v], acc[i][v]);
            }
        }
    }
}
