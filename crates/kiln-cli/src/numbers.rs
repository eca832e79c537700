//! Numbers as people read them.

use std::time::Duration;

/// `61750` as `61,750`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 epoch`, `2 epochs`: a count with its noun.
pub fn plural(number: usize, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", count(number as u64))
}

/// The fraction `0.9924` as `99.24 %`; a number that isn't one as `–`.
pub fn percent(fraction: f64) -> String {
    if fraction.is_finite() { format!("{:.2} %", 100.0 * fraction) } else { "–".into() }
}

/// `1_290_000_000` as `1.29 G`.
pub fn short(number: u64) -> String {
    let units = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    let value = number as f64;
    match units.iter().find(|(unit, _)| value >= *unit) {
        Some((unit, letter)) => format!("{:.2} {letter}", value / unit),
        None => number.to_string(),
    }
}

/// Bytes in binary units: `1.5 MiB`.
pub fn bytes(number: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = number as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{number} B") } else { format!("{value:.1} {}", units[unit]) }
}

/// Seconds as `4.2 s`, `1 min 05 s` or `2 h 03 min`.
pub fn seconds(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs();
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
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
    fn thousands_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (61_750, "61,750"), (1_234_567, "1,234,567")]
        {
            assert_eq!(count(number), text);
        }
    }

    #[test]
    fn times_grow_units() {
        for (time, text) in
            [(4.21, "4.2 s"), (65.0, "1 min 05 s"), (7380.0, "2 h 03 min"), (f64::NAN, "NaN s")]
        {
            assert_eq!(seconds(time), text);
        }
    }

    #[test]
    fn inputs_are_three_positive_sides() {
        assert_eq!(parse_input("1x28x28"), Ok([1, 28, 28]));
        for wrong in ["", "28", "1x28", "1x28x28x1", "0x28x28", "ax28x28", "1x-2x3"] {
            assert!(parse_input(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_fraction_that_is_not_finite_shows_as_a_dash() {
        assert_eq!(percent(f64::NAN), "–");
        assert_eq!(percent(0.99), "99.00 %");
    }
}
