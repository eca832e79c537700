//! When, of what and where something was measured: the last columns of every table in docs.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use crate::command::Call;

/// The commit, and whether the tree holds more than it.
pub(crate) fn commit() -> String {
    let Ok(hash) = Call::new("git", ["rev-parse", "--short", "HEAD"]).output() else {
        return "none yet".to_owned();
    };
    let changed = Call::new("git", ["status", "--porcelain"])
        .output()
        .is_ok_and(|list| !list.trim().is_empty());
    format!("{}{}", hash.trim(), if changed { " and changes" } else { "" })
}

/// The processor and its threads.
pub(crate) fn machine() -> String {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let list = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = list.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or(std::env::consts::ARCH, |(_, name)| name.trim());
    format!("{model}, {threads} threads")
}

/// Today in UTC, as `2026-01-31`.
pub(crate) fn today() -> Result<String> {
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
    fn days_become_dates() {
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(11_016), (2000, 2, 29));
        assert_eq!(date(11_017), (2000, 3, 1));
        assert_eq!(date(20_453), (2025, 12, 31));
    }
}
