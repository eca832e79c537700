//! The page of a run: its sections and the words between the pictures.

use super::{Epoch, LayerRow, Plates, Run, Status};
use crate::report::{Metric, Report};
use crate::{enlarged, units};

/// Seconds after which an open report of a running training loads itself again.
const REFRESH: u32 = 20;

impl Run {
    /// The page for what is known, with the pictures drawn of it.
    pub(super) fn compose(&self, plates: &Plates) -> Report {
        let mut report =
            Report::new(format!("{} on {}", self.model, self.dataset)).lead(self.summary.clone());
        report = report.footer(match self.status {
            Status::Running { .. } => {
                "Drawn by kiln. The page renews itself while the training runs."
            }
            _ => "Drawn by kiln. The pictures lie beside this file as PNG.",
        });
        report = match &self.status {
            Status::Running { epoch, epochs } => report
                .badge(format!("training: {epoch} of {epochs} epochs done"), true)
                .refresh(REFRESH),
            Status::Finished => report.badge("finished", false),
            Status::Stopped(reason) => report.badge(reason.clone(), false),
        };
        report = report.metrics(&self.metrics());
        report = self.learning(report, plates);
        report = self.judged(report, plates);
        report = self.learned(report, plates);
        self.settings(report)
    }

    fn metrics(&self) -> Vec<Metric> {
        let mut metrics = Vec::new();
        if let Some(e) = &self.evaluation {
            let samples = units::count(e.samples as u64);
            metrics.push(Metric::new(
                units::percent(e.top1, 2),
                "top-1 accuracy",
                format!("on {samples} {} images", e.split),
            ));
            if e.top1.is_finite() {
                let wrong = (e.samples as f64 * (1.0 - e.top1)).round() as u64;
                metrics.push(Metric::new(
                    units::count(wrong),
                    "mistakes",
                    format!("in {samples} images"),
                ));
            }
            if e.top5.is_finite() && self.classes.len() > 10 {
                metrics.push(Metric::new(
                    units::percent(e.top5, 2),
                    "top-5 accuracy",
                    "right class among five",
                ));
            }
            metrics.push(Metric::new(units::number(e.loss, 3), "loss", "mean cross entropy"));
        } else if let Some(e) = self.epochs.last() {
            metrics.push(Metric::new(
                units::percent(e.validation_top1, 2),
                "top-1 accuracy",
                format!("validation, epoch {}", e.epoch),
            ));
            metrics.push(Metric::new(
                units::number(e.train_loss, 3),
                "training loss",
                format!("epoch {}", e.epoch),
            ));
        }
        if !self.layers.is_empty() {
            let (parameters, macs) = self.totals();
            metrics.push(Metric::new(units::count(parameters), "parameters", "all trainable"));
            metrics.push(Metric::new(units::short(macs), "multiply-adds", "for one image"));
        }
        if self.seconds > 0.0 {
            let note = units::plural(self.epochs.len() as u64, "epoch");
            metrics.push(Metric::new(units::duration(self.seconds), "training time", note));
        }
        metrics
    }

    fn totals(&self) -> (u64, u64) {
        self.layers.iter().fold((0, 0), |(p, m), row| {
            (p.saturating_add(row.parameters), m.saturating_add(row.macs))
        })
    }

    fn learning(&self, report: Report, plates: &Plates) -> Report {
        let captions = [
            "How surprised the network is by the right answer; lower is better. Where the validation line rises while the training line falls, the network has begun to learn by heart.",
            "The share of images whose likeliest class is the right one. The training line is counted while the weights still change, and on augmented images where the recipe asks for them, so it may lie below the other.",
        ];
        let curves: Vec<_> = plates
            .curves
            .iter()
            .zip(captions)
            .map(|(p, caption)| (&p.picture, p.alt.as_str(), caption))
            .collect();
        let report = report.section("Learning curves").pictures(&curves);
        let row = |e: &Epoch| {
            vec![
                if e.best { format!("{} ✓", e.epoch) } else { e.epoch.to_string() },
                units::number(e.train_loss, 4),
                units::percent(e.train_top1, 2),
                units::number(e.validation_loss, 4),
                units::percent(e.validation_top1, 2),
                units::number(e.rate, 3),
                if e.images_per_second.is_finite() {
                    units::count(e.images_per_second as u64)
                } else {
                    "–".into()
                },
                units::duration(e.seconds),
            ]
        };
        let rows: Vec<_> = self.epochs.iter().map(row).collect();
        let headers = [
            "epoch",
            "train loss",
            "train top-1",
            "validation loss",
            "validation top-1",
            "rate",
            "images/s",
            "time",
        ];
        if rows.is_empty() {
            report
        } else {
            report.folded_table("Every epoch in numbers (✓ was the best so far)", &headers, &rows)
        }
    }

    fn judged(&self, mut report: Report, plates: &Plates) -> Report {
        if plates.confusion.is_none() && self.wrong.is_empty() && self.right.is_empty() {
            return report;
        }
        report = report.section("Right and wrong");
        if let (Some(plate), Some(evaluation)) = (&plates.confusion, &self.evaluation) {
            report = report.picture(&plate.picture, &plate.alt, &self.worst(&evaluation.confusion));
        }
        if !self.wrong.is_empty() {
            report = report.subsection("Wrong predictions").gallery(
                &self.wrong,
                "What the network said and how sure it was, then the label. Look at the surest mistakes first: some of these images would puzzle people too, and now and then the label is wrong.",
            );
        }
        if !self.right.is_empty() {
            report = report.subsection("Right predictions").gallery(
                &self.right,
                "A sample of the images classified right, with the network's confidence.",
            );
        }
        report
    }

    /// A sentence about the most frequent mistakes.
    pub(super) fn worst(&self, counts: &[u64]) -> String {
        let n = self.classes.len().max(1);
        let mut pairs: Vec<_> = counts
            .iter()
            .enumerate()
            .map(|(i, &c)| (c, i / n, i % n))
            .filter(|&(c, row, column)| c > 0 && row != column)
            .collect();
        pairs.sort_by_key(|&(count, row, column)| (std::cmp::Reverse(count), row, column));
        let name = |i: usize| self.classes.get(i).map_or("?", String::as_str);
        let told: Vec<_> = pairs
            .iter()
            .take(3)
            .map(|&(count, row, column)| {
                let times = units::plural(count, "time");
                format!("{} for {} ({times})", name(row), name(column))
            })
            .collect();
        match told.as_slice() {
            [] => "No mistakes: every image lies on the diagonal.".to_owned(),
            [one] => format!("The only kind of mistake: {one}."),
            _ => format!("Most often mistaken: {}.", told.join(", ")),
        }
    }

    fn learned(&self, mut report: Report, plates: &Plates) -> Report {
        if !plates.filters.is_empty() {
            report = report.section("What the network learned").text(
                "A filter is a small pattern of weights. Slid over its input, it answers strongly where the input looks like it: bright where the pattern is orange, dark where it is blue. Nobody drew these patterns; training found them.",
            );
            for (i, plate) in plates.filters.iter().enumerate() {
                let caption = match i {
                    0 => {
                        "The first layer sees the image itself. Its filters look for edges, strokes and spots: low-level features."
                    }
                    1 => {
                        "The second layer does not see the image but the maps of the layer before. Each of its filters weighs several of them: a corner is two edges, an arc a row of strokes."
                    }
                    _ => {
                        "Later layers combine combinations. What their filters stand for can no longer be read off the weights alone."
                    }
                };
                // The same caption below every further layer would teach nothing.
                report =
                    report.picture(&plate.picture, &plate.alt, if i < 3 { caption } else { "" });
            }
        }
        if !plates.steps.is_empty() {
            report = report.section("One image, layer by layer").text(
                "Each layer turns its input into maps, one for every filter. A map lights up where its filter finds what it looks for. From layer to layer the maps get smaller and their meaning larger: from where there is an edge to what this is.",
            );
            if let Some(image) = &self.specimen {
                let picture = enlarged(image, 168);
                report = report.picture(
                    &picture,
                    "The image given to the network.",
                    "The image as the network is given it.",
                );
            }
            for plate in &plates.steps {
                report = report.picture(&plate.picture, &plate.alt, "");
            }
            if !self.scores.is_empty() {
                report = report.bars(
                    &self.scores,
                    "The network's verdict: the scores of the last layer as probabilities.",
                );
            }
        }
        report
    }

    fn settings(&self, mut report: Report) -> Report {
        if !self.layers.is_empty() {
            let shape = |output: &[usize]| {
                output.iter().map(ToString::to_string).collect::<Vec<_>>().join("×")
            };
            let row = |l: &LayerRow| {
                vec![
                    l.name.clone(),
                    l.kind.clone(),
                    shape(&l.output),
                    units::count(l.parameters),
                    units::count(l.macs),
                ]
            };
            let rows: Vec<_> = self.layers.iter().map(row).collect();
            let (parameters, macs) = self.totals();
            let caption = format!(
                "{} trainable parameters and {} multiply-adds for one image.",
                units::count(parameters),
                units::count(macs)
            );
            report = report.section("The network").table(
                &["layer", "kind", "output", "parameters", "multiply-adds"],
                &rows,
                &caption,
            );
        }
        if !self.recipe.trim().is_empty() {
            report = report.section("Recipe").code(
                &self.recipe,
                "The resolved recipe: every value this run used, defaults included.",
            );
        }
        if !self.facts.is_empty() {
            report = report.section("Machine and time").facts(&self.facts);
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_mistakes_are_told_in_order() {
        let run = Run { classes: vec!["4".into(), "9".into()], ..Run::default() };
        assert_eq!(
            run.worst(&[8, 2, 1, 9]),
            "Most often mistaken: 4 for 9 (2 times), 9 for 4 (1 time)."
        );
        assert_eq!(run.worst(&[8, 0, 0, 9]), "No mistakes: every image lies on the diagonal.");
    }
}
