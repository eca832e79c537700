//! What the tests of this crate share: reproducible numbers and a tolerance.

/// `len` numbers in −1..1 that depend on `seed` only.
pub(crate) fn floats(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

/// Fails unless the largest difference is below `tolerance` times the largest expected value (at least one).
#[track_caller]
pub(crate) fn assert_close(actual: &[f32], expected: &[f32], tolerance: f32) {
    assert_within(actual, expected, tolerance * scale(expected));
}

/// The largest finite magnitude, at least one.
pub(crate) fn scale(values: &[f32]) -> f32 {
    values.iter().filter(|x| x.is_finite()).fold(1f32, |a, x| a.max(x.abs()))
}

/// Fails unless the largest difference is below `bound`; infinities and NaN must be where they are expected.
#[track_caller]
pub(crate) fn assert_within(actual: &[f32], expected: &[f32], bound: f32) {
    assert_eq!(actual.len(), expected.len());
    for (i, (a, e)) in actual.iter().zip(expected).enumerate() {
        let same = a == e || (a.is_nan() && e.is_nan());
        assert!(same || (a - e).abs() <= bound, "element {i}: {a}, expected {e} within {bound}");
    }
}
