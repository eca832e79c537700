//! What a result was measured on.

use std::fs;

use burn::prelude::*;

/// The processor, its cores and the system, in one line.
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let processor = fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            line.split_once(':').map(|(_, name)| name.trim().to_owned())
        })
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let plural = if cores == 1 { "core" } else { "cores" };
    format!("{processor}, {cores} {plural}, {}", std::env::consts::OS)
}

/// The device in words: the backend's name and its index.
pub fn device_name(device: &Device) -> String {
    format!("{:?}", device.clone().inner().as_dispatch())
}
