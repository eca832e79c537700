//! What ran: the last kernel of this thread, for those who show where the time goes.

use std::cell::Cell;

thread_local! {
    static RAN: Cell<Option<Ran>> = const { Cell::new(None) };
}

/// A kernel that ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// A convolution as this algorithm.
    Convolution(crate::Algorithm),
    /// A matrix product with the weights packed before, or on the way.
    Dense,
}

impl Ran {
    /// In a word or two.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Convolution(algorithm) => algorithm.name(),
            Self::Dense => "matrix product",
        }
    }
}

/// The convolution or dense layer that ran last on this thread since the last question; nothing if burn's operations did
/// its work.
#[must_use]
pub fn take_ran() -> Option<Ran> {
    RAN.take()
}

#[cfg(feature = "flex")]
pub(crate) fn ran(what: Ran) {
    RAN.set(Some(what));
}
