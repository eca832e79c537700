//! The register block: up to six rows by two vectors (or two rows by four), summed in one fixed order over the depth.

use super::{Block, Chunk, Rows};
use crate::pack::PANEL;
use crate::simd::{LANES, Simd};

/// How far ahead of use weights are asked for, in floats: long panels come from beyond the second-level cache.
const AHEAD: usize = 16 * PANEL;

/// Computes `M` rows by `V` vectors (four vectors span two panels).
///
/// # Safety
/// As [`super::run`]; only inside `run_kernel!`.
#[inline(always)]
pub(super) unsafe fn tile<S: Simd, const M: usize, const V: usize>(b: &Block, row: usize, panel: usize, chunk: Chunk) {
    // SAFETY: rows, weights, bias, residual and output are readable and writable by the caller's contract; full
    // vectors of output are touched only where the block has that many columns, other ones go through an array.
    unsafe {
        let width = if V == 1 { LANES } else { PANEL };
        let total = b.taps * b.depth;
        let full = b.columns - panel * PANEL >= V * LANES;
        let columns = (b.columns - panel * PANEL).min(V * LANES);
        // The first panel's address may lie before the buffer; the block's own panels lie within.
        let out = b.target.out.wrapping_add(row * b.target.step + panel * PANEL);
        let mut acc = [[S::splat(0.0); V]; M];
        if chunk.first {
            for v in 0..V {
                let bias = S::load(b.target.bias.add(panel * PANEL + v * LANES));
                for line in &mut acc {
                    line[v] = bias;
                }
            }
        } else if full {
            for (i, line) in acc.iter_mut().enumerate() {
                for (v, value) in line.iter_mut().enumerate() {
                    *value = S::load(out.add(i * b.target.step + v * LANES));
                }
            }
        } else {
            for (i, line) in acc.iter_mut().enumerate() {
                let mut part = [0f32; 2 * PANEL];
                std::ptr::copy_nonoverlapping(out.add(i * b.target.step), part.as_mut_ptr(), columns);
                for (v, value) in line.iter_mut().enumerate() {
                    *value = S::load(part.as_ptr().add(v * LANES));
                }
            }
        }

        let mut weights = b.weights.add(panel * PANEL * total + (chunk.taps.0 * b.depth + chunk.depth.0) * width);
        let second = PANEL * total;
        let depth = chunk.depth.1 - chunk.depth.0;
        for tap in chunk.taps.0..chunk.taps.1 {
            let mut from = [std::ptr::null::<f32>(); M];
            for (i, from) in from.iter_mut().enumerate() {
                *from = match b.rows {
                    Rows::Regular(base, step) => base.add((row + i) * step + chunk.depth.0),
                    Rows::Table(table, offset) => (*table.add(tap * b.count + row + i)).add(offset + chunk.depth.0),
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

        let activation = b.target.activation;
        for (i, line) in acc.iter().enumerate() {
            let out = out.add(i * b.target.step);
            let residual = b.target.residual;
            let residual = if residual.is_null() { residual } else { residual.add((row + i) * b.target.residual_step + panel * PANEL) };
            if full {
                for (v, &value) in line.iter().enumerate() {
                    let mut value = value;
                    if chunk.last {
                        if !residual.is_null() {
                            value = S::add(value, S::load(residual.add(v * LANES)));
                        }
                        if activation.cheap() {
                            value = activation.vector::<S>(value);
                        }
                    }
                    S::store(out.add(v * LANES), value);
                }
            } else {
                let mut part = [0f32; 2 * PANEL];
                if chunk.last && !residual.is_null() {
                    std::ptr::copy_nonoverlapping(residual, part.as_mut_ptr(), columns);
                }
                for (v, &value) in line.iter().enumerate() {
                    let at = part.as_mut_ptr().add(v * LANES);
                    let mut value = S::add(value, S::load(at));
                    if chunk.last && activation.cheap() {
                        value = activation.vector::<S>(value);
                    }
                    S::store(at, value);
                }
                std::ptr::copy_nonoverlapping(part.as_ptr(), out, columns);
            }
            if chunk.last {
                activation.finish::<S>(out, columns);
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
            *w = S::load(if v < 2 { weights.add(v * LANES) } else { weights.add(second + (v - 2) * LANES) });
        }
        for (line, from) in acc.iter_mut().zip(from) {
            let a = S::splat(*from.add(k));
            for (sum, &w) in line.iter_mut().zip(&w) {
                *sum = S::fma(a, w, *sum);
            }
        }
    }
}
