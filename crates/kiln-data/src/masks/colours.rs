//! Masks of colours, each of which means a class.

use std::collections::HashMap;

use crate::transform::Mask;
use crate::{Error, Pixels};

/// Which class each colour means.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Colours {
    /// By class.
    rows: Vec<(u8, [u8; 3])>,
}

impl Colours {
    /// A table of classes and their colours.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] if a colour means two classes.
    pub fn new(rows: Vec<(u8, [u8; 3])>) -> Result<Self, Error> {
        let mut known = HashMap::new();
        for &(class, colour) in &rows {
            let other = known.insert(colour, class).filter(|&other| other != class);
            if let Some(other) = other {
                let reason = format!("{} means both class {other} and {class}", hex(colour));
                return Err(Error::setting(Self::KEY, reason));
            }
        }
        Ok(Self { rows })
    }

    /// A table of lines `class name red green blue`, as CamVid has it; the name may be left away, and what stands behind
    /// `#` is for people.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] with the number of a line that is none, or as [`new`](Self::new).
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut rows = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = line
                .split(|c: char| c.is_whitespace() || c == ',')
                .filter(|w| !w.is_empty())
                .collect();
            let row = match words[..] {
                [] => continue,
                [class, .., red, green, blue] => [class, red, green, blue].map(str::parse::<u8>),
                _ => ["", "", "", ""].map(str::parse::<u8>),
            };
            let [Ok(class), Ok(red), Ok(green), Ok(blue)] = row else {
                let reason = format!(
                    "line {} is `{}`; expected `class name red green blue`, numbers from 0 to 255",
                    number + 1,
                    line.trim()
                );
                return Err(Error::setting(Self::KEY, reason));
            };
            rows.push((class, [red, green, blue]));
        }
        Self::new(rows)
    }

    /// Pascal VOC's colours of `classes` classes, background among them, and of its border, which means `void`.
    pub fn voc(classes: u8, void: u8) -> Self {
        let colour = |class: u8| {
            // The bits of the number in turn become the highest bits of red, green and blue.
            let channel = |first: u32| {
                let bits = (0..3).filter(|at| 3 * at + first < u8::BITS);
                bits.fold(0, |sum, at| sum | (class >> (3 * at + first) & 1) << (7 - at))
            };
            [channel(0), channel(1), channel(2)]
        };
        let border = (void, [224, 224, 192]);
        Self { rows: (0..classes).map(|class| (class, colour(class))).chain([border]).collect() }
    }

    /// The classes and their colours.
    pub fn rows(&self) -> &[(u8, [u8; 3])] {
        &self.rows
    }

    /// The colour of `class`, the first if it has several.
    pub fn colour(&self, class: u8) -> Option<[u8; 3]> {
        self.rows.iter().find(|row| row.0 == class).map(|row| row.1)
    }

    /// What it is called in messages.
    const KEY: &'static str = "colours";

    /// The classes of an image's colours; `name` is for the message.
    pub(super) fn mask(&self, image: &Pixels, name: &str, void: u8) -> Result<Mask, Error> {
        let classes: HashMap<[u8; 3], u8> =
            self.rows.iter().map(|&(class, colour)| (colour, class)).collect();
        let mut data = Vec::with_capacity(image.width * image.height);
        for (at, pixel) in image.data.chunks_exact(image.channels.max(1)).enumerate() {
            let colour = match *pixel {
                [red, green, blue] => [red, green, blue],
                _ => [pixel[0]; 3],
            };
            let Some(&class) = classes.get(&colour) else {
                let (x, y) = (at % image.width, at / image.width);
                let reason = format!(
                    "{} at column {x}, row {y} is in no row of the table of colours; files that change \
                     colours, such as JPEG, can't hold a mask",
                    hex(colour)
                );
                return Err(Error::decode(name, reason));
            };
            data.push(class);
        }
        Ok(Mask { width: image.width, height: image.height, data, outside: void })
    }
}

fn hex([red, green, blue]: [u8; 3]) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROADS: &str = "0 Sky 128 128 128\n1 Road marking 128 64 128 # drivable\n\n2,64,0,128\n";

    #[test]
    fn each_colour_becomes_its_class() {
        let table = Colours::parse(ROADS).unwrap();
        let data = vec![64, 0, 128, 128, 128, 128, 128, 64, 128, 64, 0, 128];
        let image = Pixels { width: 2, height: 2, channels: 3, data };

        let mask = table.mask(&image, "a.png", 9).unwrap();

        assert_eq!((mask.data, mask.outside), (vec![2, 0, 1, 2], 9));
        assert_eq!((table.colour(1), table.colour(3)), (Some([128, 64, 128]), None));
        let grey = Pixels { width: 1, height: 1, channels: 1, data: vec![128] };
        assert_eq!(table.mask(&grey, "a.png", 9).unwrap().data, [0]);
    }

    #[test]
    fn a_colour_that_means_nothing_is_refused_with_its_place() {
        let table = Colours::parse(ROADS).unwrap();
        let data = vec![64, 0, 128, 128, 128, 129];
        let image = Pixels { width: 1, height: 2, channels: 3, data };

        let message = table.mask(&image, "a.jpg", 9).unwrap_err().to_string();

        assert!(
            message.starts_with("cannot decode a.jpg: #808081 at column 0, row 1"),
            "{message}"
        );
    }

    #[test]
    fn the_colours_of_pascal_voc_are_those_of_its_development_kit() {
        let table = Colours::voc(21, 255);

        let known = [
            (0, [0, 0, 0]),
            (1, [128, 0, 0]),
            (2, [0, 128, 0]),
            (4, [0, 0, 128]),
            (7, [128, 128, 128]),
            (8, [64, 0, 0]),
            (15, [192, 128, 128]),
            (20, [0, 64, 128]),
            (255, [224, 224, 192]),
        ];
        for (class, colour) in known {
            assert_eq!(table.colour(class), Some(colour), "{class}");
        }
        assert_eq!(table.rows().len(), 22);
        assert!(Colours::new(Colours::voc(255, 255).rows).is_ok(), "no colour twice");
    }

    #[test]
    fn a_table_that_says_too_little_or_two_things_is_refused() {
        let refused = |text: &str| Colours::parse(text).unwrap_err().to_string();

        assert!(refused("0 0 0 0\n1 sky 3 4").contains("line 2 is `1 sky 3 4`"));
        assert!(refused("0 sky 1 2 300").contains("numbers from 0 to 255"));
        assert!(refused("0 9 9 9\n1 9 9 9").contains("#090909 means both class 0 and 1"));
    }
}
