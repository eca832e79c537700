//! The order in which people sort names: `class2` before `class10`.

use std::cmp::Ordering;

/// Compares two names, runs of digits by their value and all else by code point. Names that differ are never equal.
pub(crate) fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    while let (Some(l), Some(r)) = (left.chars().next(), right.chars().next()) {
        let order = if l.is_ascii_digit() && r.is_ascii_digit() {
            let (x, y) = (digits(&mut left), digits(&mut right));
            x.len().cmp(&y.len()).then_with(|| x.cmp(y))
        } else {
            left = &left[l.len_utf8()..];
            right = &right[r.len_utf8()..];
            l.cmp(&r)
        };
        if order.is_ne() {
            return order;
        }
    }
    left.len().cmp(&right.len()).then_with(|| a.cmp(b))
}

/// Takes the digits from the beginning of `text`; returns them without leading zeros.
fn digits<'a>(text: &mut &'a str) -> &'a str {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    *text = rest;
    number.trim_start_matches('0')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_sorted_by_their_value() {
        let mut names = ["10", "x10", "9", "x", "b2c", "x9", "B2", "b2", "007", "7", "b12"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["007", "7", "9", "10", "B2", "b2", "b2c", "b12", "x", "x9", "x10"]);
    }

    #[test]
    fn numbers_too_long_for_a_register_have_an_order_too() {
        let (small, large) = ("9".repeat(40), format!("1{}", "0".repeat(40)));
        assert_eq!(natural(&small, &large), Ordering::Less);
    }

    fn name() -> impl Strategy<Value = String> {
        let letter = prop::sample::select(vec!['a', 'é', '0', '1', '2']);
        prop::collection::vec(letter, 0..6).prop_map(|letters| letters.into_iter().collect())
    }

    proptest! {
        #[test]
        fn it_is_a_total_order(a in name(), b in name(), c in name()) {
            prop_assert_eq!(natural(&a, &b), natural(&b, &a).reverse());
            prop_assert_eq!(natural(&a, &b).is_eq(), a == b);
            if natural(&a, &b).is_le() && natural(&b, &c).is_le() {
                prop_assert!(natural(&a, &c).is_le());
            }
        }
    }
}
