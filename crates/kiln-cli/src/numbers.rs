//! Numbers as people read them.

use std::ops::RangeInclusive;

use kiln::viz::units;

pub use kiln::viz::units::{count, plural};

/// The fraction `0.9924` as `99.24 %`, `0.999999` as `99.99 %`; a number that isn't one as `–`.
pub fn percent(fraction: f64) -> String {
    plain(&units::percent(fraction, 2))
}

/// `1_290_000_000` as `1.29 G`.
pub fn short(number: u64) -> String {
    plain(&units::short(number))
}

/// Seconds as `4.2 s`, `1 min 5 s` or `2 h 3 min`.
pub fn seconds(seconds: f64) -> String {
    plain(&units::duration(seconds))
}

/// A report keeps a number and its unit on one line; in a terminal a blank is a blank.
fn plain(text: &str) -> String {
    text.replace('\u{a0}', " ")
}

/// Bytes in binary units: `1.5 MiB`.
pub fn bytes(number: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = number as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{number} B") } else { format!("{value:.1} {}", units[unit]) }
}

/// A shape as `1×28×28`.
pub fn shape(sides: &[usize]) -> String {
    sides.iter().map(usize::to_string).collect::<Vec<_>>().join("×")
}

/// Parses `1x28x28` into channels, height and width, each at least 1.
pub fn parse_input(text: &str) -> Result<[usize; 3], String> {
    let sides: Vec<usize> = text
        .split(['x', 'X', '×'])
        .map(|side| side.trim().parse().ok().filter(|&side| side > 0))
        .collect::<Option<_>>()
        .unwrap_or_default();
    sides.try_into().map_err(|_| "expected CHANNELSxHEIGHTxWIDTH, such as 1x28x28".to_owned())
}

/// Parses a whole number of at least 1.
pub fn parse_positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a whole number of at least 1".into()),
        Ok(number) => Ok(number),
    }
}

/// Parses a whole number within `range`, whose ends stand in the message.
pub fn parse_within(text: &str, range: RangeInclusive<u64>) -> Result<u64, String> {
    text.parse()
        .ok()
        .filter(|number| range.contains(number))
        .ok_or_else(|| format!("expected a whole number from {} to {}", range.start(), range.end()))
}

/// Parses a fraction from 0 to 1.
pub fn parse_fraction(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(fraction) if (0.0..=1.0).contains(&fraction) => Ok(fraction),
        _ => Err("expected a fraction from 0 to 1".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_terminal_and_the_report_say_the_same_with_plain_blanks() {
        assert_eq!(percent(0.999_999), "99.99 %");
        assert_eq!(seconds(65.0), "1 min 5 s");
        assert_eq!(short(416_520), "417 k");
        assert_eq!(percent(f64::NAN), "–");
    }

    #[test]
    fn inputs_are_three_positive_sides() {
        assert_eq!(parse_input("1x28x28"), Ok([1, 28, 28]));
        for wrong in ["", "28", "1x28", "1x28x28x1", "0x28x28", "ax28x28", "1x-2x3"] {
            assert!(parse_input(wrong).is_err(), "{wrong}");
        }
    }
}
