//! The register block, rows by vectors, summed in one fixed order over the depth: six rows by two vectors of eight, or twelve
//! by two of sixteen; few rows take more vectors.

use super::{Block, Chunk, Rows};
use crate::activation::Activation;
use crate::dispatch::Path;
use crate::pack::PANEL;
use crate::simd::Vector;
use crate::simd::portable::Portable;

/// A tile's function: block, first row, panel, part of the depth.
///
/// # Safety
/// As [`super::run`]; rows and panels must be the block's.
pub(super) type Tile = unsafe fn(&Block, usize, usize, Chunk);

/// Rows of the tallest tile.
pub(super) fn rows(path: Path) -> usize {
    match path {
        #[cfg(target_arch = "x86_64")]
        Path::Avx512 => 12,
        #[cfg(target_arch = "x86_64")]
        Path::Avx2 => 6,
        Path::Portable => 3,
    }
}

/// Panels that a tile of `rows` rows takes at once, where there are as many.
pub(super) fn wide(path: Path, rows: usize) -> usize {
    match path {
        // Few rows cannot hide the multiply-add's latency alone.
        #[cfg(target_arch = "x86_64")]
        Path::Avx512 if rows <= 2 => 4,
        #[cfg(target_arch = "x86_64")]
        Path::Avx512 => 2,
        _ if rows <= 2 => 2,
        _ => 1,
    }
}

/// The function for so many rows, each of which is compiled on its own, so that its sums stay in registers.
macro_rules! of_height {
    ($rows:expr, $function:ident, $vectors:literal, $($height:literal)*) => {
        match $rows {
            $($height => $function::<$height, $vectors>,)*
            _ => unreachable!("tiles have at least one row and at most the tallest's"),
        }
    };
}

/// The function for `rows` rows by `panels` panels; by half a panel where that is 0.
pub(super) fn tile(path: Path, rows: usize, panels: usize) -> Tile {
    match (path, panels) {
        #[cfg(target_arch = "x86_64")]
        (Path::Avx512, 0) => of_height!(rows, half, 1, 1 2 3 4 5 6 7 8 9 10 11 12),
        #[cfg(target_arch = "x86_64")]
        (Path::Avx512, 1) => of_height!(rows, avx512, 1, 1 2 3 4 5 6 7 8 9 10 11 12),
        #[cfg(target_arch = "x86_64")]
        (Path::Avx512, 2) => of_height!(rows, avx512, 2, 1 2 3 4 5 6 7 8 9 10 11 12),
        #[cfg(target_arch = "x86_64")]
        (Path::Avx512, _) => of_height!(rows, avx512, 4, 1 2),
        #[cfg(target_arch = "x86_64")]
        (Path::Avx2, 0) => of_height!(rows, avx2, 1, 1 2 3 4 5 6),
        #[cfg(target_arch = "x86_64")]
        (Path::Avx2, 1) => of_height!(rows, avx2, 2, 1 2 3 4 5 6),
        #[cfg(target_arch = "x86_64")]
        (Path::Avx2, _) => of_height!(rows, avx2, 4, 1 2),
        (Path::Portable, 0) => of_height!(rows, portable, 1, 1 2 3),
        (Path::Portable, 1) => of_height!(rows, portable, 2, 1 2 3),
        (Path::Portable, _) => of_height!(rows, portable, 4, 1 2),
    }
}

unsafe fn portable<const M: usize, const V: usize>(
    b: &Block,
    row: usize,
    panel: usize,
    chunk: Chunk,
) {
    // SAFETY: the caller's contract.
    unsafe { compute::<Portable, M, V>(b, row, panel, chunk) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f,avx512vl")]
unsafe fn avx512<const M: usize, const V: usize>(
    b: &Block,
    row: usize,
    panel: usize,
    chunk: Chunk,
) {
    // SAFETY: this function carries the instruction set; the rest is the caller's contract.
    unsafe { compute::<crate::simd::avx512::Avx512, M, V>(b, row, panel, chunk) }
}

/// AVX2's tile on the path of AVX-512, for as many rows as that has.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f,avx512vl")]
unsafe fn half<const M: usize, const V: usize>(b: &Block, row: usize, panel: usize, chunk: Chunk) {
    // SAFETY: this function carries the instruction set; the rest is the caller's contract.
    unsafe { compute::<crate::simd::avx2::Avx2, M, V>(b, row, panel, chunk) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<const M: usize, const V: usize>(b: &Block, row: usize, panel: usize, chunk: Chunk) {
    // SAFETY: this function carries the instruction set; the rest is the caller's contract.
    unsafe { compute::<crate::simd::avx2::Avx2, M, V>(b, row, panel, chunk) }
}

/// How far ahead of use weights are asked for, in floats: long panels come from beyond the second-level cache.
const AHEAD: usize = 16 * PANEL;

/// Computes `M` rows by `V` vectors, which span half a panel or several whole ones.
///
/// # Safety
/// As [`Tile`], and the instruction set must be there.
#[inline(always)]
unsafe fn compute<S: Vector, const M: usize, const V: usize>(
    b: &Block,
    row: usize,
    panel: usize,
    chunk: Chunk,
) {
    // SAFETY: rows, weights, bias, residual and output are readable and writable by the caller's contract; full
    // vectors of output are touched only where the block has that many columns, other ones go through an array.
    unsafe {
        let width = (V * S::LANES).min(PANEL);
        let total = b.taps * b.depth;
        let full = b.columns - panel * PANEL >= V * S::LANES;
        let columns = (b.columns - panel * PANEL).min(V * S::LANES);
        // The first panel's address may lie before the buffer; the block's own panels lie within.
        let out = b.target.out.wrapping_add(row * b.target.step + panel * PANEL);
        // The sums pass through memory before and after the loop, so that within it nothing but registers holds them:
        // a compiler that sees them indexed by a variable stores them at every step.
        let mut sums = [[[0f32; PANEL]; V]; M];
        let sums = sums.as_mut_ptr().cast::<f32>();
        let sum = |i: usize, v: usize| sums.wrapping_add((i * V + v) * S::LANES);
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
                    V * S::LANES,
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
                bias[v] = S::load(b.target.bias.add(panel * PANEL + v * S::LANES));
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
                if width == PANEL {
                    for p in 0..V * S::LANES / PANEL {
                        for u in 0..4 {
                            S::prefetch(weights.wrapping_add(p * second + AHEAD + u * width));
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
                            S::load(residual.add(i * b.target.residual_step + v * S::LANES)),
                        );
                    }
                }
            }
            let floor =
                S::splat(if activation == Activation::Relu { 0.0 } else { f32::NEG_INFINITY });
            for i in 0..M {
                for v in 0..V {
                    S::store(out.add(i * b.target.step + v * S::LANES), S::max(floor, acc[i][v]));
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
                                S::add(S::load(sum(i, v)), S::load(residual.add(v * S::LANES))),
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
                    S::store(out.add(v * S::LANES), S::load(sum(i, v)));
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
unsafe fn step<S: Vector, const M: usize, const V: usize>(
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
            let column = v * S::LANES;
            *w = S::load(weights.add(column / PANEL * second + column % PANEL));
        }
        for i in 0..M {
            let a = S::splat(*from[i].add(k));
            for v in 0..V {
                acc[i][v] = S::fma(a, w[v], acc[i][v]);
            }
        }
    }
}
