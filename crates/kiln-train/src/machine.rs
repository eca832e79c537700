//! What a result was measured on, and when.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use burn::prelude::*;
use kiln_viz::units;

/// The processor's name as far as the system tells, else its architecture.
pub fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

/// The processor, its cores and the system, in one line.
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{}, {}, {}", processor(), units::plural(cores as u64, "core"), std::env::consts::OS)
}

/// The most memory, in bytes, that this process has had so far; `None` where the system doesn't tell.
pub fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// The device in words, such as `CPU (flex)`.
pub fn device_name(device: &Device) -> String {
    let name = format!("{:?}", device.clone().inner().as_dispatch());
    match name.as_str() {
        "Flex(Cpu)" => "CPU (flex)".to_owned(),
        "NdArray(Cpu)" => "CPU (ndarray)".to_owned(),
        _ => name,
    }
}

/// The present time, such as `2026-11-24 05:31:07 UTC`.
pub fn now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    utc(seconds)
}

/// The calendar date of `seconds` since 1970 (after Fliegel, van Flandern. *A Machine Algorithm for
/// Processing Calendar Dates.* CACM 11(10), 1968).
fn utc(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let l = days as i64 + 2_440_588 + 68_569; // the Julian day of 1970-01-01 is 2,440,588
    let n = 4 * l / 146_097;
    let l = l - (146_097 * n + 3) / 4;
    let i = 4_000 * (l + 1) / 1_461_001;
    let l = l - 1_461 * i / 4 + 31;
    let j = 80 * l / 2_447;
    let day = l - 2_447 * j / 80;
    let month = j + 2 - 12 * (j / 11);
    let year = 100 * (n - 49) + i + j / 11;
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{:02} UTC", second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(utc(951_868_799 + 1), "2000-03-01 00:00:00 UTC");
        assert_eq!(utc(1_795_498_267), "2026-11-24 05:31:07 UTC");
        assert_eq!(utc(4_102_444_799), "2099-12-31 23:59:59 UTC");
    }
}
