//! What can go wrong while drawing and writing.

use std::path::PathBuf;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A slice whose length does not match the shape given with it.
    #[error("{what}: expected {expected} values for shape {shape}, found {found}")]
    Length {
        /// Which values.
        what: String,
        /// The shape, such as `6×1×5×5`.
        shape: String,
        /// Values the shape needs.
        expected: usize,
        /// Values there were.
        found: usize,
    },
    /// A picture that no file can hold.
    #[error("cannot make a PNG: {0}")]
    Encode(String),
    /// A file that could not be written.
    #[error("cannot write {}: {source}; check that the folder is writable and the disk not full", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Fails unless `found` values fill `shape`.
pub(crate) fn check_length(what: &str, shape: &[usize], found: usize) -> Result<(), Error> {
    let expected = shape.iter().try_fold(1usize, |product, &side| product.checked_mul(side));
    if expected == Some(found) {
        return Ok(());
    }
    let shape = shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("×");
    let expected = expected.unwrap_or(usize::MAX);
    Err(Error::Length { what: what.to_owned(), shape, expected, found })
}
