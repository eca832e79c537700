//! Golden values, tolerances, gradient checks and a server to download from, for the tests of kiln.

mod golden;
mod gradients;
mod real;
pub mod server;
mod tensors;

pub use golden::Golden;
pub use gradients::assert_gradients;
pub use real::real_data;
pub use tensors::{assert_close, device, far_apart, largest_difference, noise, nothing, zeroed};
