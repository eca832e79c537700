//! The class of each pixel, from the files that people keep it in.
//!
//! A [`Coding`] says how: as numbers (grey values or places in a palette, which stay as they are whatever the palette shows),
//! as [`Colours`] of a table, or as polygons that LabelMe drew. Nothing here is ever smoothed: a class between two others is
//! another class.

mod colours;
mod index;
mod labelme;
mod pairs;

use std::fs;
use std::path::Path;

pub use colours::Colours;
pub use pairs::{MaskedImages, camvid};

use crate::transform::Mask;
use crate::{Error, decode};

/// The number that data sets give to pixels of no class, Pascal VOC's among them.
pub const VOID: u8 = 255;

/// Mask files of more bytes than this are refused: 1 GiB.
const MAX_BYTES: u64 = 1 << 30;

/// How a file says which class a pixel has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Coding {
    /// The numbers of a PNG of up to 8 bits: grey values, or places in its palette, as Pascal VOC has them.
    Index,
    /// Colours, each of which means a class.
    Colours(Colours),
    /// LabelMe's JSON.
    LabelMe {
        /// Names of the classes, by number.
        classes: Vec<String>,
        /// The class of what lies in no shape.
        background: u8,
    },
}

impl Coding {
    /// Reads the mask in the file at `path`. `void` stands for pixels of no class, and for what comes from outside the
    /// image when it is moved.
    ///
    /// # Errors
    ///
    /// Names the file, and what is wrong with it or where.
    pub fn read(&self, path: &Path, void: u8) -> Result<Mask, Error> {
        let name = path.display().to_string();
        if let Self::Colours(table) = self {
            return table.mask(&decode(path)?, &name, void);
        }
        let metadata = fs::metadata(path).map_err(Error::io("read", path))?;
        if metadata.is_dir() {
            return Err(Error::decode(name, "it is a folder"));
        }
        if metadata.len() > MAX_BYTES {
            let reason = format!("{} bytes; at most {MAX_BYTES} are read", metadata.len());
            return Err(Error::decode(name, reason));
        }
        let bytes = fs::read(path).map_err(Error::io("read", path))?;
        match self {
            Self::LabelMe { classes, background } => {
                labelme::mask(&bytes, &name, classes, *background, void)
            }
            _ => index::mask(&bytes, &name, void),
        }
    }
}

impl Mask {
    /// The same classes on `width` × `height` pixels: each looks at the pixel that its upper left corner lies in. Half as
    /// large is every other row and column, from the first on.
    ///
    /// # Panics
    ///
    /// Panics if one of the two has no pixels.
    #[must_use]
    pub fn to_size(&self, width: usize, height: usize) -> Self {
        assert!(width * height > 0 && !self.data.is_empty(), "a mask has pixels");
        if (width, height) == (self.width, self.height) {
            return self.clone();
        }
        self.looked_up(width, height, |x, y| {
            Some([x * self.width / width, y * self.height / height])
        })
    }

    /// Whether every number is below `classes`, or `void`.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] with `name`, the first other number and its place.
    pub fn check(&self, classes: usize, void: Option<u8>, name: &str) -> Result<(), Error> {
        let wrong = |&class: &u8| usize::from(class) >= classes && Some(class) != void;
        let Some(at) = self.data.iter().position(wrong) else { return Ok(()) };
        let (x, y) = (at % self.width.max(1), at / self.width.max(1));
        let most = classes.saturating_sub(1);
        let void = void.map_or_else(String::new, |void| format!(", or {void} for no class"));
        Err(Error::malformed(
            name,
            format!("class {} at column {x}, row {y}; expected 0 to {most}{void}", self.data[at]),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(width: usize, height: usize) -> Mask {
        let data = (0..width * height).map(|at| at as u8).collect();
        Mask { width, height, data, outside: VOID }
    }

    #[test]
    fn half_as_large_is_every_other_row_and_column_from_the_first_on() {
        let half = numbered(6, 4).to_size(3, 2);

        assert_eq!((half.width, half.height, half.outside), (3, 2, VOID));
        assert_eq!(half.data, [0, 2, 4, 12, 14, 16]);
        assert_eq!(numbered(3, 2).to_size(6, 2).data, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]);
        assert_eq!(numbered(3, 2).to_size(3, 2), numbered(3, 2));
    }

    #[test]
    fn no_size_has_a_class_that_was_not_there() {
        let mask = Mask { width: 5, height: 3, data: [7, 0, 7, 0, 7].repeat(3), outside: 0 };
        for (width, height) in [(1, 1), (4, 7), (13, 2), (100, 100)] {
            assert!(mask.to_size(width, height).data.iter().all(|class| [0, 7].contains(class)));
        }
    }

    #[test]
    fn a_class_that_is_none_is_refused_with_its_place() {
        let mask = numbered(4, 3);

        assert!(mask.check(12, None, "a.png").is_ok());
        assert!(mask.check(11, Some(11), "a.png").is_ok());
        let message = mask.check(9, Some(255), "a.png").unwrap_err().to_string();
        assert!(
            message.starts_with("a.png is damaged or of another kind: class 9 at column 1, row 2")
        );
        assert!(message.ends_with("expected 0 to 8, or 255 for no class"), "{message}");
    }
}
