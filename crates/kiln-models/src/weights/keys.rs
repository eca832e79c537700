//! Tables that translate the parameter names of another framework.
//!
//! A row `(there, here)` translates the beginning of a dotted name, whole segments at a time; the
//! rest stays. `{n}` stands for a number, and `{n+1}` for one that is larger by one:
//! `("layer{s+1}.{b}.conv{c+1}", "stages.{s}.{b}.branch.{c}.conv")` makes
//! `stages.0.4.branch.1.conv.weight` of `layer1.4.conv2.weight`, and back. The first row that fits
//! wins, and a name that no row fits stays as it is.

use std::sync::{Mutex, PoisonError};

/// A table of rows `(there, here)`.
pub type Keys = [(&'static str, &'static str)];

/// A table with the rows `rows`, which a network's options decide. It is kept for as long as the program runs; equal rows
/// are kept once.
pub(crate) fn kept(rows: Vec<(String, String)>) -> &'static Keys {
    static MADE: Mutex<Vec<&'static Keys>> = Mutex::new(Vec::new());

    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let equal = |keys: &&&'static Keys| {
        let pairs = keys.iter().zip(&rows);
        keys.len() == rows.len() && pairs.into_iter().all(|(a, b)| *a == (&b.0[..], &b.1[..]))
    };
    if let Some(known) = made.iter().find(equal) {
        return known;
    }
    let leaked = |(there, here): (String, String)| (&*there.leak(), &*here.leak());
    let keys: &'static Keys = rows.into_iter().map(leaked).collect::<Vec<_>>().leak();
    made.push(keys);
    keys
}

/// Which way a table is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the other framework's names to kiln's.
    Here,
    /// From kiln's names to the other framework's.
    There,
}

/// `name`, translated.
pub fn translate(name: &str, keys: &Keys, direction: Direction) -> String {
    let rows = keys.iter().map(|&(there, here)| match direction {
        Direction::Here => (there, here),
        Direction::There => (here, there),
    });
    rows.into_iter()
        .find_map(|(from, to)| replaced(name, from, to))
        .unwrap_or_else(|| name.to_owned())
}

/// `name` with `to` in place of its beginning `from`, if it begins so.
fn replaced(name: &str, from: &str, to: &str) -> Option<String> {
    let mut segments = name.split('.');
    let mut numbers: Vec<(&str, usize)> = Vec::new();
    for pattern in from.split('.') {
        let segment = segments.next()?;
        let (literal, variable) = parse(pattern);
        match variable {
            None if segment == literal => {}
            None => return None,
            Some((variable, offset)) => {
                let digits = segment.strip_prefix(literal)?;
                let number = digits.parse::<usize>().ok()?.checked_sub(offset)?;
                if numbers.iter().any(|&(known, value)| known == variable && value != number) {
                    return None;
                }
                numbers.push((variable, number));
            }
        }
    }

    let written = to.split('.').map(|pattern| match parse(pattern) {
        (literal, None) => Some(literal.to_owned()),
        (literal, Some((variable, offset))) => {
            let (_, number) = numbers.iter().find(|(known, _)| *known == variable)?;
            Some(format!("{literal}{}", number + offset))
        }
    });
    let written: Option<Vec<String>> =
        written.chain(segments.map(|rest| Some(rest.to_owned()))).collect();
    Some(written?.join("."))
}

/// A segment's literal beginning, and the variable and offset it may end with.
fn parse(segment: &str) -> (&str, Option<(&str, usize)>) {
    let Some((literal, variable)) = segment.strip_suffix('}').and_then(|s| s.split_once('{'))
    else {
        return (segment, None);
    };
    match variable.split_once('+') {
        Some((variable, offset)) => (literal, Some((variable, offset.parse().unwrap_or(0)))),
        None => (literal, Some((variable, 0))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &Keys = &[
        ("conv1", "stem.conv"),
        ("layer{s+1}.{b}.conv{c+1}", "stages.{s}.{b}.branch.{c}.conv"),
        ("layer{s+1}.{b}.downsample.0", "stages.{s}.{b}.shortcut.conv"),
        ("fc", "head"),
    ];

    #[test]
    fn translates_whole_segments_both_ways() {
        for (there, here) in [
            ("conv1.weight", "stem.conv.weight"),
            ("layer1.4.conv2.weight", "stages.0.4.branch.1.conv.weight"),
            ("layer4.0.downsample.0.weight", "stages.3.0.shortcut.conv.weight"),
            ("fc.bias", "head.bias"),
            ("fc2.bias", "fc2.bias"),
            ("layer0.0.conv1.weight", "layer0.0.conv1.weight"),
            ("layerx.0.conv1.weight", "layerx.0.conv1.weight"),
        ] {
            assert_eq!(translate(there, TABLE, Direction::Here), here);
            assert_eq!(translate(here, TABLE, Direction::There), there);
        }
    }

    #[test]
    fn a_variable_used_twice_must_be_the_same_number() {
        let table: &Keys = &[("a{n}.b{n}", "c{n}")];

        assert_eq!(translate("a2.b2.weight", table, Direction::Here), "c2.weight");
        assert_eq!(translate("a2.b3.weight", table, Direction::Here), "a2.b3.weight");
    }
}
