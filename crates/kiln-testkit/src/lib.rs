//! Golden values, tolerances and gradient checks for the tests of kiln.

mod golden;
mod gradients;
mod tensors;

pub use golden::Golden;
pub use gradients::assert_gradients;
pub use tensors::{assert_close, device, largest_difference, noise, nothing, zeroed};
