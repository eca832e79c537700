//! How much of the processor other programs take.

/// Ticks of all cores together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Ticks {
    busy: u64,
    all: u64,
}

impl Ticks {
    /// Since the machine started; zeros where the system doesn't tell.
    pub(super) fn now() -> Ticks {
        let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        Ticks::parse(&text).unwrap_or_default()
    }

    fn parse(text: &str) -> Option<Ticks> {
        let line = text.lines().next()?.strip_prefix("cpu ")?;
        let ticks: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
        // The guests' ticks, from the ninth on, are in the first two as well.
        let all = ticks.iter().take(8).sum();
        let idle: u64 = ticks.iter().skip(3).take(2).sum();
        Some(Ticks { busy: all - idle, all })
    }

    /// Counts the ticks from `start` to `end` in.
    pub(super) fn add(&mut self, start: Ticks, end: Ticks) {
        self.busy += end.busy.saturating_sub(start.busy);
        self.all += end.all.saturating_sub(start.all);
    }

    /// Nothing where the system doesn't tell.
    pub(super) fn busy_share(&self) -> Option<f64> {
        (self.all > 0).then(|| self.busy as f64 / self.all as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_ticks_and_waiting_are_not_busy() {
        let start = Ticks::parse("cpu  10 0 10 100 20 0 0 0 5 0\ncpu0 1\n").unwrap();
        let end = Ticks::parse("cpu  40 0 10 160 30 0 0 0 9 0").unwrap();
        let mut between = Ticks::default();
        between.add(start, end);
        assert_eq!(between, Ticks { busy: 30, all: 100 });
        assert_eq!(between.busy_share(), Some(0.3));
        assert_eq!(Ticks::default().busy_share(), None);
    }
}
