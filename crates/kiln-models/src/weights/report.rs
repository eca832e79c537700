//! What happened to the tensors of a file.

use std::fmt;
use std::path::Path;

use super::Table;
use crate::Error;

/// Which tensors of a file found their place in a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Paths of the parameters that were loaded.
    pub loaded: Vec<String>,
    /// Paths of the network's tensors that the file doesn't have.
    pub missing: Vec<String>,
    /// Names of the file's tensors that the network doesn't have.
    pub unexpected: Vec<String>,
    /// Tensors that both have, in different shapes. They keep the network's values.
    pub misshapen: Vec<Misshapen>,
    /// Names of the file's tensors of auxiliary heads, which only training uses, where the network
    /// has none.
    pub left_out: Vec<String>,
    /// Whether kiln wrote the file, under its own names.
    pub native: bool,
    /// The table that the tensors were taken from, where the file has any.
    pub table: Option<Table>,
}

/// A tensor whose shape in the file isn't the network's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misshapen {
    /// The path of the parameter.
    pub path: String,
    /// The network's shape.
    pub expected: Vec<usize>,
    /// The file's shape, in kiln's layout.
    pub found: Vec<usize>,
}

impl Report {
    /// Whether file and network have the same tensors in the same shapes, but for auxiliary heads.
    pub fn is_exact(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.misshapen.is_empty()
    }

    /// Whether the file has tensors that somebody may have wanted: of auxiliary heads, or of another
    /// table of weights.
    pub fn has_choices(&self) -> bool {
        !self.left_out.is_empty() || self.table.as_ref().is_some_and(Table::is_choice)
    }

    /// This report of `file`, if all its tensors found their places.
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`] with every missing, unexpected and misshapen tensor.
    pub fn exact(self, file: &Path) -> Result<Self, Error> {
        if self.is_exact() {
            Ok(self)
        } else {
            Err(Error::Mismatch { file: file.to_owned(), report: Box::new(self) })
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tensors loaded", self.loaded.len())?;
        if let Some(table) = self.table.as_ref().filter(|table| table.is_choice()) {
            write!(f, "; {table}")?;
        }
        for (what, names) in [("missing", &self.missing), ("unexpected", &self.unexpected)] {
            if !names.is_empty() {
                write!(f, "; {what}: {}", names.join(", "))?;
            }
        }
        for (i, Misshapen { path, expected, found }) in self.misshapen.iter().enumerate() {
            let lead = if i == 0 { "; misshapen: " } else { ", " };
            write!(f, "{lead}{path} ({found:?} in the file, {expected:?} here)")?;
        }
        if !self.left_out.is_empty() {
            write!(f, "; left out, of auxiliary heads: {}", self.left_out.join(", "))?;
        }
        Ok(())
    }
}
