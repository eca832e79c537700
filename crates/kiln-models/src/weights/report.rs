//! What happened to the tensors of a file.

use std::fmt;
use std::path::Path;

use super::Table;
use crate::Error;

/// Names of each kind in a message; [`Report::lines`] has all.
const NAMED: usize = 5;

/// Which tensors of a file found their place in a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Paths of the parameters that were loaded.
    pub loaded: Vec<String>,
    /// The network's tensors that the file doesn't have.
    pub missing: Vec<Missing>,
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

/// A tensor of the network that a file doesn't have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The path of the parameter.
    pub path: String,
    /// What the file would call it.
    pub name: String,
    /// The shape that it would have in the file.
    pub shape: Vec<usize>,
}

/// A tensor whose shape in the file isn't the network's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misshapen {
    /// The path of the parameter.
    pub path: String,
    /// Its name in the file.
    pub name: String,
    /// The network's shape, as the file would lay it out.
    pub expected: Vec<usize>,
    /// The file's shape.
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

    /// Every tensor that is missing, unexpected, misshapen or left out, a line each, as the file names it.
    pub fn lines(&self) -> Vec<String> {
        let missing = self.missing.iter().map(|tensor| format!("missing {tensor}"));
        let unexpected = self.unexpected.iter().map(|name| format!("unexpected {name}"));
        let misshapen = self.misshapen.iter().map(|tensor| format!("misshapen {tensor}"));
        let left_out = self.left_out.iter().map(|name| format!("left out {name}"));
        missing.chain(unexpected).chain(misshapen).chain(left_out).collect()
    }

    /// How many tensors were loaded, and how many were not for which reason.
    pub fn counts(&self) -> String {
        let Self { loaded, missing, unexpected, misshapen, .. } = self;
        let kinds = [
            (missing.len(), "missing"),
            (unexpected.len(), "unexpected"),
            (misshapen.len(), "misshapen"),
        ];
        let told = kinds.iter().filter(|(count, _)| *count > 0);
        let told = told.map(|(count, kind)| format!(", {count} {kind}")).collect::<String>();
        format!("{} tensors loaded{told}", loaded.len())
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

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.name, self.shape)
    }
}

impl fmt::Display for Misshapen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?} in the file, {:?} wanted)", self.name, self.found, self.expected)
    }
}

/// One line, with the first names of each kind.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tensors loaded", self.loaded.len())?;
        if let Some(table) = self.table.as_ref().filter(|table| table.is_choice()) {
            write!(f, "; {table}")?;
        }
        listed(f, "missing", &self.missing)?;
        listed(f, "unexpected", &self.unexpected)?;
        listed(f, "misshapen", &self.misshapen)?;
        listed(f, "left out, of auxiliary heads", &self.left_out)
    }
}

/// The first of `items`, and how many more there are.
fn listed(f: &mut fmt::Formatter<'_>, what: &str, items: &[impl fmt::Display]) -> fmt::Result {
    for (place, item) in items.iter().take(NAMED).enumerate() {
        match place {
            0 => write!(f, "; {what}: {item}")?,
            _ => write!(f, ", {item}")?,
        }
    }
    match items.len().saturating_sub(NAMED) {
        0 => Ok(()),
        more => write!(f, " and {more} more"),
    }
}
