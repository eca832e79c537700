//! What `cargo xtask bench infer` shows: times, and ratios beside their bars.

use std::fmt::Write;

use super::super::turns::Engine;
use super::{KILN, PLAIN, PYTORCH, RIVALS};

/// One network at one batch size.
pub(super) struct Row {
    pub(super) model: &'static str,
    pub(super) batch: usize,
    pub(super) peer_bar: f64,
    pub(super) plain_bar: f64,
    pub(super) engines: Vec<Engine>,
}

/// What kiln is held against, by how much it is ahead (of the least times, and of the medians), and the bar. No ratio
/// where the other can't run the network.
struct Comparison {
    name: &'static str,
    ratio: Option<[f64; 2]>,
    bar: f64,
}

impl Comparison {
    fn missed(&self) -> Option<f64> {
        let [_, middle] = self.ratio?;
        (middle < self.bar).then_some(middle)
    }
}

impl Row {
    fn times(&self, name: &str) -> Option<[f64; 3]> {
        let engine = self.engines.iter().find(|engine| engine.name == name && engine.able)?;
        Some(engine.times.spread().map(|seconds| seconds * 1e3))
    }

    fn comparison(&self, name: &'static str, bar: f64) -> Comparison {
        let ratio = self.times(KILN).zip(self.times(name));
        let ratio = ratio.map(|(ours, theirs)| [theirs[0] / ours[0], theirs[1] / ours[1]]);
        Comparison { name, ratio, bar }
    }

    /// The fastest of the engines that aren't burn.
    fn fastest(&self) -> &'static str {
        let peers =
            self.engines.iter().filter(|engine| engine.name != KILN && engine.name != PLAIN);
        let timed = peers.filter_map(|engine| Some((engine.name, self.times(engine.name)?[1])));
        timed.min_by(|a, b| a.1.total_cmp(&b.1)).map_or(KILN, |(name, _)| name)
    }

    fn comparisons(&self) -> Vec<Comparison> {
        let mut all = vec![
            self.comparison(self.fastest(), self.peer_bar),
            self.comparison("PyTorch", PYTORCH),
            self.comparison(PLAIN, self.plain_bar),
        ];
        all.extend(RIVALS.map(|(name, bar)| self.comparison(name, bar)));
        all
    }

    pub(super) fn missed(&self) -> Vec<String> {
        let told = |c: Comparison| {
            let ratio = c.missed()?;
            let Row { model, batch, .. } = self;
            Some(format!("{model} at {batch}: {ratio:.2} of {}, bar {}", c.name, c.bar))
        };
        self.comparisons().into_iter().filter_map(told).collect()
    }

    fn cells(&self) -> String {
        let mut line = format!("| `{}` | {} |", self.model, self.batch);
        for engine in &self.engines {
            match self.times(engine.name) {
                Some([least, middle, most]) => {
                    let _ = write!(line, " {middle:.1} ({least:.1} to {most:.1}) |");
                }
                None => line += " cannot run it |",
            }
        }
        line
    }

    pub(super) fn ratios(&self) -> String {
        let mut line = format!("| `{}` | {} |", self.model, self.batch);
        for (at, c) in self.comparisons().into_iter().enumerate() {
            let Some([least, middle]) = c.ratio else {
                line += " cannot run it |";
                continue;
            };
            let name = if at == 0 { format!("{} ", c.name) } else { String::new() };
            let mark = if c.missed().is_some() { "**" } else { "" };
            let _ = write!(line, " {name}{mark}{middle:.2}{mark} ({least:.2}), bar {} |", c.bar);
        }
        line
    }
}

pub(super) fn section(rows: &[Row], runs: usize) -> String {
    let mut body = format!(
        "`cargo xtask bench infer`: milliseconds of one forward pass in f32 on all cores, the median of {runs} timings \
         and their range. Each engine is a process of its own with the same weights (its scores must agree); they take \
         turns. A timing is the median of passes that fill 120 ms, after one that doesn't count. *burn on flex* is kiln \
         with its kernels off; rten, tract and candle are built as kiln is, for any processor of this family.\n\n\
         | network | images |"
    );
    let names: Vec<&str> = rows
        .first()
        .map_or(Vec::new(), |row| row.engines.iter().map(|engine| engine.name).collect());
    names.iter().for_each(|name| _ = write!(body, " {name} |"));
    let _ = writeln!(body, "\n| --- | ---: |{}", " ---: |".repeat(names.len()));
    rows.iter().for_each(|row| _ = writeln!(body, "{}", row.cells()));
    body += "\nHow many times as fast kiln is, by medians and in brackets by least times; bold where the bar is missed:\n\n\
             | network | images | than the fastest peer | than PyTorch | than burn on flex |";
    RIVALS.iter().for_each(|(name, _)| _ = write!(body, " than {name} |"));
    let _ = writeln!(body, "\n| --- | ---: |{}", " ---: |".repeat(3 + RIVALS.len()));
    rows.iter().for_each(|row| _ = writeln!(body, "{}", row.ratios()));
    for row in rows {
        for engine in row.engines.iter().filter(|engine| !engine.able) {
            let _ = write!(body, "\n{} with `{}`: {}.\n", engine.name, row.model, engine.about);
        }
    }
    body += "\nSettings: ";
    let mut settings = Vec::new();
    for name in names.iter().filter(|name| **name != PLAIN) {
        // The fastest way of some differs from network to network.
        let mut ways: Vec<&str> = Vec::new();
        let engines = rows.iter().flat_map(|row| &row.engines);
        for engine in engines.filter(|engine| engine.name == *name && engine.able) {
            if !ways.contains(&engine.about.as_str()) {
                ways.push(&engine.about);
            }
        }
        settings.push(format!("{name} {}", ways.join(" or ")));
    }
    body + &settings.join("; ") + "."
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::super::Times;
    use super::*;

    fn row(milliseconds: [u64; 5]) -> Row {
        let names = [KILN, PLAIN, "ONNX Runtime", "OpenVINO", "PyTorch"];
        let engine = |(name, time): (&'static str, u64)| Engine {
            name,
            about: "1.0".to_owned(),
            able: true,
            times: Times(vec![Duration::from_millis(time)]),
        };
        Row {
            model: "resnet18",
            batch: 8,
            peer_bar: 1.35,
            plain_bar: 2.5,
            engines: names.into_iter().zip(milliseconds).map(engine).collect(),
        }
    }

    #[test]
    fn the_fastest_peer_is_the_measure_and_burn_is_none() {
        let row = row([100, 110, 150, 140, 200]);
        assert_eq!(row.fastest(), "OpenVINO");
        assert!(row.ratios().contains("OpenVINO 1.40 (1.40), bar 1.35"), "{}", row.ratios());
        assert_eq!(row.missed(), ["resnet18 at 8: 1.10 of burn on flex, bar 2.5"]);
    }

    #[test]
    fn a_section_shows_every_engine_and_marks_what_is_missed() {
        let body = section(&[row([100, 300, 120, 140, 200])], 9);
        assert!(
            body.contains("| kiln | burn on flex | ONNX Runtime | OpenVINO | PyTorch |"),
            "{body}"
        );
        assert!(body.contains("ONNX Runtime **1.20** (1.20), bar 1.35"), "{body}");
    }

    #[test]
    fn an_engine_that_cannot_is_named_and_never_the_measure() {
        let mut row = row([100, 300, 120, 140, 200]);
        row.engines[2].able = false;
        row.engines[2].about = "cannot: Conv".to_owned();
        assert_eq!(row.fastest(), "OpenVINO");
        let body = section(&[row], 9);
        assert!(body.contains("| cannot run it | 140.0 (140.0 to 140.0) |"), "{body}");
        assert!(body.contains("ONNX Runtime with `resnet18`: cannot: Conv."), "{body}");
    }
}
