//! When, of what and where something was measured: the last columns of every table in docs.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use crate::command::Call;

/// When, of what and where a program was built and measured. It is taken before the build, since the tree may change
/// while a measurement runs.
#[derive(Clone, Debug)]
pub(crate) struct Stamp {
    date: String,
    commit: String,
    machine: String,
}

impl Stamp {
    pub(crate) fn take() -> Result<Stamp> {
        Ok(Stamp { date: today()?, commit: commit(), machine: machine() })
    }

    /// The last three cells of a table's row.
    pub(crate) fn cells(&self) -> String {
        format!("{} | {} | {} |", self.date, self.commit, self.machine)
    }

    /// The line under a section.
    pub(crate) fn line(&self) -> String {
        format!("{}, commit {}, {}.", self.date, self.commit, self.machine)
    }
}

/// The commit, and whether the tree holds more than it.
fn commit() -> String {
    let Ok(hash) = Call::new("git", ["rev-parse", "--short", "HEAD"]).output() else {
        return "none yet".to_owned();
    };
    let changed =
        Call::new("git", ["status", "--porcelain"]).output().is_ok_and(|list| changed(&list));
    format!("{}{}", hash.trim(), if changed { " and changes" } else { "" })
}

/// Whether git's short list of changes names a file that isn't below docs, where measurements themselves are written.
fn changed(list: &str) -> bool {
    let paths = list.lines().filter_map(|line| line.get(3..));
    paths.flat_map(|path| path.split(" -> ")).any(|path| !path.starts_with("docs/"))
}

/// The processor and its threads.
fn machine() -> String {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let list = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = list.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or(std::env::consts::ARCH, |(_, name)| name.trim());
    format!("{model}, {threads} threads")
}

/// Today in UTC, as `2026-01-31`.
fn today() -> Result<String> {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock stands before 1970")?
        .as_secs();
    let (year, month, day) = date(seconds / 86_400);
    Ok(format!("{year}-{month:02}-{day:02}"))
}

/// Year, month and day of the Gregorian calendar, `days` after 1970-01-01. Years are counted from March, so that the
/// leap day comes last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_measurement_writes_is_no_change_of_what_it_measures() {
        assert!(!changed(""));
        assert!(!changed(" M docs/parity.md\n?? docs/new.md\n"));
        assert!(changed(" M docs/parity.md\n M crates/kiln/src/lib.rs\n"));
        assert!(changed("?? docsish.md\n"));
        assert!(changed("R  docs/a.md -> README.md\n"));
    }

    #[test]
    fn a_stamp_is_a_rows_last_cells_and_a_sections_last_line() {
        let text = |text: &str| text.to_owned();
        let stamp = Stamp { date: text("2026-01-31"), commit: text("0123abc"), machine: text("M") };
        assert_eq!(stamp.cells(), "2026-01-31 | 0123abc | M |");
        assert_eq!(stamp.line(), "2026-01-31, commit 0123abc, M.");
    }

    #[test]
    fn days_become_dates() {
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(11_016), (2000, 2, 29));
        assert_eq!(date(11_017), (2000, 3, 1));
        assert_eq!(date(20_453), (2025, 12, 31));
    }
}
