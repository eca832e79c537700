//! Which instruction set runs, and the process-wide switches.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// An instruction set the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// 512-bit vectors in matrix products, and thirty-two registers everywhere (x86-64 from Skylake's servers and Zen 4 on).
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 256-bit vectors with fused multiply-add (x86-64 from Haswell and Zen on).
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Plain Rust; every target has it.
    Portable,
}

impl Path {
    /// The best one this processor has; detected once. `KILN_KERNELS=portable` in the environment makes it
    /// [`Path::Portable`], and `KILN_KERNELS=avx2` makes it [`Path::Avx2`]: to compare, or to find out whether an
    /// instruction set is to blame.
    #[must_use]
    pub fn best() -> Self {
        static BEST: OnceLock<Path> = OnceLock::new();
        *BEST.get_or_init(|| {
            let wanted = std::env::var("KILN_KERNELS").unwrap_or_default();
            let mut available = Self::available().into_iter();
            available
                .find(|path| wanted.is_empty() || path.name() == wanted)
                .unwrap_or_else(|| Self::available()[0])
        })
    }

    /// Every one this processor has, best first.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let mut paths = Vec::new();
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")
        {
            if std::arch::is_x86_feature_detected!("avx512f")
                && std::arch::is_x86_feature_detected!("avx512vl")
            {
                paths.push(Self::Avx512);
            }
            paths.push(Self::Avx2);
        }
        paths.push(Self::Portable);
        paths
    }

    /// Its name, as benches print it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        }
    }
}

static EXACT: AtomicBool = AtomicBool::new(false);
static PLAIN: AtomicBool = AtomicBool::new(false);

/// Turns Winograd convolution off (`true`) or on (`false`, the default) for the whole process.
///
/// Winograd computes a 3×3 convolution in a quarter of the multiplications at the price of rounding errors about ten
/// times as large (below 1e-4 of the largest output). With `true` every convolution adds its products one by one.
pub fn set_exact(exact: bool) {
    EXACT.store(exact, Ordering::Relaxed);
}

/// Whether Winograd convolution is off.
#[must_use]
pub fn exact() -> bool {
    EXACT.load(Ordering::Relaxed)
}

/// Turns all kernels of this crate off (`true`), so that every call is burn's own operations: to compare, or to find
/// out whether a kernel is to blame.
pub fn set_plain(plain: bool) {
    PLAIN.store(plain, Ordering::Relaxed);
}

/// Whether the kernels are off.
#[must_use]
pub fn plain() -> bool {
    PLAIN.load(Ordering::Relaxed)
}

/// Runs a generic kernel, `unsafe fn kernel<S: Simd>(args)`, compiled for the given [`Path`]:
/// `run_kernel!(path, kernel(arg: Type, ..) with (value, ..))`.
///
/// The kernel and all it calls must be `#[inline(always)]`, so that its body lands inside the function that carries the
/// instruction set.
#[cfg(feature = "flex")]
macro_rules! run_kernel {
    ($path:expr, $kernel:ident($($arg:ident: $type:ty),* $(,)?) with ($($value:expr),* $(,)?)) => {{
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        #[allow(clippy::too_many_arguments)]
        unsafe fn avx2($($arg: $type),*) {
            // SAFETY: this function carries the instruction set; the rest is the caller's contract.
            unsafe { $kernel::<$crate::simd::avx2::Avx2>($($arg),*) }
        }
        // The same arithmetic with twice the registers.
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma,avx512f,avx512vl")]
        #[allow(clippy::too_many_arguments)]
        unsafe fn avx512($($arg: $type),*) {
            // SAFETY: this function carries the instruction set; the rest is the caller's contract.
            unsafe { $kernel::<$crate::simd::avx2::Avx2>($($arg),*) }
        }
        match $path {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Path::Avx512` is only handed out by detection; the rest is the caller's contract.
            $crate::dispatch::Path::Avx512 => unsafe { avx512($($value),*) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Path::Avx2` is only handed out by detection; the rest is the caller's contract.
            $crate::dispatch::Path::Avx2 => unsafe { avx2($($value),*) },
            // SAFETY: needs no instruction set; the rest is the caller's contract.
            $crate::dispatch::Path::Portable => unsafe { $kernel::<$crate::simd::portable::Portable>($($value),*) },
        }
    }};
}
#[cfg(feature = "flex")]
pub(crate) use run_kernel;
