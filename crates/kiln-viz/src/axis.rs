//! Where the ticks of an axis stand and what they say.

/// Values larger than this are no data: their differences would overflow.
pub(crate) const LARGEST: f64 = 1e300;

/// One axis: its range in drawing coordinates, and ticks with labels.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Axis {
    pub from: f64,
    pub to: f64,
    /// Position and label, rising.
    pub ticks: Vec<(f64, String)>,
}

/// What the numbers of an axis are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Integer,
    Number,
    Percent,
    /// Drawn in decades; positions are base-ten logarithms.
    Log,
}

/// The axis for values between `low` and `high` with at most about `count` ticks.
pub(crate) fn axis(low: f64, high: f64, kind: Kind, count: usize) -> Axis {
    if kind == Kind::Log {
        return log_axis(low, high, count);
    }
    let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
    let spread = if high > low { high - low } else { (high.abs() * 0.1).max(0.5) };
    let (from, to) = if high > low { (low, high) } else { (low - spread, high + spread) };
    let mut step = nice_step((to - from) / count.max(2) as f64);
    if kind == Kind::Integer {
        step = step.max(1.0).round();
    }
    let first = (from / step - 1e-9).ceil();
    let last = (to / step + 1e-9).floor();
    let ticks = (0..=(last - first).clamp(0.0, 60.0) as i64)
        .map(|i| (first + i as f64) * step)
        .map(|value| (value, label(value, step, kind)))
        .collect();
    Axis { from, to, ticks }
}

/// 1, 2 or 5 times a power of ten, at least `least`.
fn nice_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|&s| s >= least * 0.999);
    step.unwrap_or(least)
}

fn label(value: f64, step: f64, kind: Kind) -> String {
    let (value, step, sign) = if kind == Kind::Percent {
        (value * 100.0, step * 100.0, "\u{a0}%")
    } else {
        (value, step, "")
    };
    let value = if value.abs() < step * 1e-6 { 0.0 } else { value };
    let text = if value != 0.0 && (value.abs() >= 1e6 || step < 1e-5) {
        format!("{value:.1e}").replace(".0e", "e")
    } else {
        let decimals = (-(step * 1.001).log10().floor()).clamp(0.0, 6.0) as usize;
        format!("{value:.decimals$}")
    };
    text.replace('-', "−") + sign
}

fn log_axis(low: f64, high: f64, count: usize) -> Axis {
    let (low, high) = if low <= high { (low, high) } else { (0.1, 1.0) };
    let (from, to) = (low.max(1e-300).log10(), high.max(1e-300).log10());
    let (from, to) = if to - from > 1e-3 { (from, to) } else { (from - 0.3, to + 0.3) };
    // The first set of marks that is not too many: every decade's 1-2-5, 1-3, 1, then every n-th decade.
    let decades = (from.floor() as i64)..=(to.ceil() as i64);
    let inside = |marks: &[f64], every: i64| -> Vec<f64> {
        let starts = decades.clone().filter(|d| d.rem_euclid(every) == 0);
        let all = starts.flat_map(|d| marks.iter().map(move |m| d as f64 + m.log10()));
        all.filter(|p| (from - 1e-9..=to + 1e-9).contains(p)).collect()
    };
    let finest = inside(&[1.0, 2.0, 5.0], 1);
    let mut ticks = finest.clone();
    let coarser: [(&[f64], i64); 5] =
        [(&[1.0, 3.0], 1), (&[1.0], 1), (&[1.0], 2), (&[1.0], 5), (&[1.0], 50)];
    for (marks, every) in coarser {
        if ticks.len() <= count.max(2) {
            break;
        }
        ticks = inside(marks, every);
    }
    if ticks.is_empty() {
        ticks = finest;
    }
    let ticks = ticks.into_iter().map(|p| (p, crate::units::number(10f64.powf(p), 1))).collect();
    Axis { from, to, ticks }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(low: f64, high: f64, kind: Kind, count: usize) -> Vec<String> {
        axis(low, high, kind, count)
            .ticks
            .into_iter()
            .map(|(_, label)| label.replace('\u{a0}', " "))
            .collect()
    }

    #[test]
    fn steps_are_one_two_or_five() {
        assert_eq!(labels(0.0, 2.3, Kind::Number, 5), ["0.0", "0.5", "1.0", "1.5", "2.0"]);
        assert_eq!(labels(0.91, 0.991, Kind::Percent, 5), ["92 %", "94 %", "96 %", "98 %"]);
        assert_eq!(labels(0.985, 0.991, Kind::Percent, 3), ["98.6 %", "98.8 %", "99.0 %"]);
        assert_eq!(labels(-1.0, 1.0, Kind::Number, 4), ["−1.0", "−0.5", "0.0", "0.5", "1.0"]);
    }

    #[test]
    fn epochs_get_whole_ticks_even_when_there_is_one() {
        assert_eq!(labels(1.0, 3.0, Kind::Integer, 8), ["1", "2", "3"]);
        assert_eq!(labels(1.0, 1.0, Kind::Integer, 8), ["1"]);
        assert_eq!(labels(0.0, 90.0, Kind::Integer, 8), ["0", "20", "40", "60", "80"]);
    }

    #[test]
    fn a_log_axis_marks_decades_evenly() {
        assert_eq!(
            labels(0.02, 2.3, Kind::Log, 8),
            ["0.02", "0.05", "0.1", "0.2", "0.5", "1", "2"]
        );
        assert_eq!(labels(0.02, 2.3, Kind::Log, 4), ["0.03", "0.1", "0.3", "1"]);
        assert!(labels(1e-30, 1e30, Kind::Log, 6).len() <= 13);
    }

    #[test]
    fn nothing_is_a_range_too_wide_or_too_small() {
        for (low, high) in [
            (f64::MAX, f64::MIN),
            (0.0, 0.0),
            (-1e300, 1e300),
            (1.0, 1.0 + 1e-15),
            (1e-320, 2e-320),
        ] {
            for kind in [Kind::Integer, Kind::Number, Kind::Percent, Kind::Log] {
                let axis = axis(low, high, kind, 5);
                assert!(
                    axis.from.is_finite() && axis.to > axis.from,
                    "{low} {high} {kind:?} {axis:?}"
                );
                assert!(axis.ticks.len() < 70);
            }
        }
    }
}
