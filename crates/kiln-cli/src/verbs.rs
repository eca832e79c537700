//! One file per verb.

pub mod bench;
pub mod compare;
pub mod completions;
pub mod convert;
pub mod data;
mod detector;
pub mod devices;
pub mod eval;
pub mod forward;
pub mod models;
pub mod predict;
pub mod summary;
pub mod train;

mod segmenter;
mod subject;
mod thumbnail;
