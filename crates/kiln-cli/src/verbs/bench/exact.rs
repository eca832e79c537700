//! What Winograd convolution gains and what it costs: `kiln bench --exact`.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use kiln::burn::tensor::Tensor;
use kiln::kernels::set_exact;
use kiln::models::Classifier;
use serde_json::{Value, json};

use super::{WARM_UP, median, milliseconds};

/// Passes with every product added one by one, and passes as they run without `--exact`.
pub struct Comparison {
    pub exact: Vec<Duration>,
    pub usual: Duration,
    /// Largest difference of a score, relative to the largest score.
    pub difference: f64,
    /// Images whose likeliest class is another one.
    pub other_class: usize,
}

impl Comparison {
    /// Both take turns. Winograd is left off.
    pub fn of<N: Classifier>(
        network: &N,
        images: &Tensor<4>,
        runs: usize,
        tick: &dyn Fn(),
    ) -> Comparison {
        let once = |exact| {
            set_exact(exact);
            let start = Instant::now();
            let scores = network.forward(images.clone()).into_data();
            (start.elapsed(), scores.iter::<f32>().collect::<Vec<_>>())
        };
        let (_, ours) = once(false);
        let (_, exact) = once(true);
        let classes = (exact.len() / images.dims()[0]).max(1);
        let (difference, other_class) = differences(&exact, &ours, classes);

        let (mut usual, mut slow) = (Vec::new(), Vec::new());
        for run in 0..WARM_UP + runs {
            let times = [false, true].map(|exact| once(exact).0);
            tick();
            if run >= WARM_UP {
                usual.push(times[0]);
                slow.push(times[1]);
            }
        }
        Comparison { exact: slow, usual: median(&mut usual), difference, other_class }
    }

    /// Writes it for people; `exact` is the median without Winograd.
    pub fn write(&self, exact: Duration, batch: usize, to: &mut dyn Write) -> io::Result<()> {
        let (exact, usual) = (milliseconds(exact), milliseconds(self.usual));
        writeln!(
            to,
            "Winograd     {usual:.3} ms with it, {:.2} times as fast; its scores differ by {:.1e} of the \
             largest, and {} of {batch} images get another class",
            exact / usual,
            self.difference,
            self.other_class
        )
    }

    /// For `--json`.
    pub fn json(&self) -> Value {
        json!({
            "median_ms": milliseconds(self.usual),
            "score_difference": self.difference,
            "other_class": self.other_class,
        })
    }
}

/// The largest difference relative to the largest score, and the rows whose largest value is elsewhere.
fn differences(exact: &[f32], usual: &[f32], classes: usize) -> (f64, usize) {
    let largest = exact.iter().fold(0f32, |most, score| most.max(score.abs()));
    let apart = exact.iter().zip(usual).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
    let best = |row: &[f32]| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]));
    let rows = exact.chunks(classes).zip(usual.chunks(classes));
    let others = rows.filter(|(a, b)| best(a) != best(b)).count();
    (f64::from(apart) / f64::from(largest).max(f64::MIN_POSITIVE), others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_relative_to_the_largest_score() {
        let exact = [1.0, -4.0, 0.5, 0.0, 2.0, 1.0];
        let usual = [1.0, -4.0, 1.5, 0.0, 2.0, 1.0];
        assert_eq!(differences(&exact, &usual, 3), (0.25, 1));
        assert_eq!(differences(&exact, &exact, 3), (0.0, 0));
    }
}
