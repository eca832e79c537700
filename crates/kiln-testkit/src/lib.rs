//! Golden values, tolerances, gradient checks and a server to download from, for the tests of kiln.

mod golden;
mod gradients;
pub mod server;
mod tensors;

pub use golden::Golden;
pub use gradients::assert_gradients;
pub use tensors::{assert_close, device, far_apart, largest_difference, noise, nothing, zeroed};
