//! Numbers as people read them: counts, percentages, durations.

/// Stands between a number and its unit: they must not be parted at a line's end.
const NO_BREAK: char = '\u{a0}';

/// A count with thousands separated: `61750` is `61,750`.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count with its noun, whose plural ends in s: `1 epoch`, `61,750 parameters`.
pub fn plural(number: u64, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", count(number))
}

/// A count in three or four digits: `416520` is `417 k`, `11_689_512` is `11.7 M`.
pub fn short(value: u64) -> String {
    let (scaled, unit) = match value {
        0..1_000 => return value.to_string(),
        1_000..999_500 => (value as f64 / 1e3, 'k'),
        999_500..999_500_000 => (value as f64 / 1e6, 'M'),
        999_500_000..999_500_000_000 => (value as f64 / 1e9, 'G'),
        _ => (value as f64 / 1e12, 'T'),
    };
    let decimals = if scaled < 9.995 { 2 } else { usize::from(scaled < 99.95) };
    format!("{scaled:.decimals$}{NO_BREAK}{unit}")
}

/// A fraction as a percentage with `decimals` decimals, `–` if it is not a number.
///
/// It never rounds up to 100 or down to 0: a network with one mistake in a million is not perfect.
pub fn percent(fraction: f64, decimals: usize) -> String {
    if !fraction.is_finite() {
        return "–".to_owned();
    }
    let step = 10f64.powi(-(decimals.min(9) as i32));
    let mut value = fraction * 100.0;
    if fraction < 1.0 && value > 100.0 - step {
        value = 100.0 - step;
    } else if fraction > 0.0 && value < step {
        return format!("<{NO_BREAK}{step:.decimals$}{NO_BREAK}%");
    }
    format!("{value:.decimals$}{NO_BREAK}%")
}

/// A duration given in seconds: `0.42 s`, `7.3 s`, `1 min 18 s`, `2 h 5 min`.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "–".to_owned();
    }
    let whole = seconds.round() as u64;
    match whole {
        0..10 if seconds < 0.995 => format!("{seconds:.2}{NO_BREAK}s"),
        0..10 => format!("{seconds:.1}{NO_BREAK}s"),
        10..60 => format!("{whole}{NO_BREAK}s"),
        60..3600 => format!("{}{NO_BREAK}min {}{NO_BREAK}s", whole / 60, whole % 60),
        _ => format!("{}{NO_BREAK}h {}{NO_BREAK}min", whole / 3600, whole % 3600 / 60),
    }
}

/// A number with about `digits` significant digits, in plain or scientific form, `–` if it is not finite.
pub fn number(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    let digits = digits.clamp(1, 12);
    let exponent = value.abs().log10().floor() as i32;
    let text = if (-4..7).contains(&exponent) {
        let decimals = (digits as i32 - 1 - exponent).max(0) as usize;
        format!("{value:.decimals$}")
    } else {
        format!("{value:.*e}", digits - 1)
    };
    text.replace('-', "−")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_in_threes() {
        let texts = [0, 999, 1_000, 61_750, 138_357_544].map(count);
        assert_eq!(texts, ["0", "999", "1,000", "61,750", "138,357,544"]);
    }

    #[test]
    fn only_one_is_singular() {
        let texts = [0, 1, 2, 1_000].map(|number| plural(number, "step"));
        assert_eq!(texts, ["0 steps", "1 step", "2 steps", "1,000 steps"]);
    }

    #[test]
    fn short_counts_keep_three_digits() {
        let texts = [999, 1_000, 416_520, 999_600, 11_689_512, 4_100_000_000].map(short);
        assert_eq!(
            texts.map(|t| t.replace('\u{a0}', " ")),
            ["999", "1.00 k", "417 k", "1.00 M", "11.7 M", "4.10 G"]
        );
    }

    #[test]
    fn a_network_with_one_mistake_never_reads_as_perfect() {
        assert_eq!(percent(0.999_999, 2), "99.99\u{a0}%");
        assert_eq!(percent(1.0, 2), "100.00\u{a0}%");
        assert_eq!(percent(0.000_001, 1), "<\u{a0}0.1\u{a0}%");
        assert_eq!(percent(0.0, 1), "0.0\u{a0}%");
        assert_eq!(percent(f64::NAN, 1), "–");
    }

    #[test]
    fn durations_use_the_unit_people_would() {
        let texts = [0.42, 7.26, 59.4, 78.0, 7_500.0, -1.0].map(duration);
        assert_eq!(
            texts.map(|t| t.replace('\u{a0}', " ")),
            ["0.42 s", "7.3 s", "59 s", "1 min 18 s", "2 h 5 min", "–"]
        );
    }

    #[test]
    fn numbers_keep_their_significant_digits() {
        assert_eq!(number(0.068_34, 3), "0.0683");
        assert_eq!(number(-12.34, 3), "−12.3");
        assert_eq!(number(1.5e-7, 2), "1.5e−7");
        assert_eq!(number(f64::INFINITY, 3), "–");
    }
}
