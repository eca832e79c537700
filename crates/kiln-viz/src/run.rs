//! The report of a training run.
//!
//! A [`Run`] holds what is known so far as plain numbers; whatever is empty is left out, so that the same call serves the
//! first epoch and the finished run.

mod page;

use std::path::Path;

use image::RgbImage;

use crate::error::Error;
use crate::html::slug;
use crate::report::Report;
use crate::{Card, Chart, Picture, Values, confusion, contact_sheet, filters, maps, scores, units};

/// How a run stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Status {
    /// `epoch` of `epochs` are done.
    Running {
        /// Epochs done.
        epoch: usize,
        /// Epochs planned.
        epochs: usize,
    },
    /// All is done.
    #[default]
    Finished,
    /// Ended before its time, with the reason, such as `stopped early: no better for 10 epochs`.
    Stopped(String),
}

/// One line of the history. A number that was not measured is NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Epoch {
    /// From 1.
    pub epoch: usize,
    /// Mean loss over the epoch's training batches.
    pub train_loss: f64,
    /// Share of training images classified right during the epoch, 0 to 1.
    pub train_top1: f64,
    /// Loss on the validation images after the epoch.
    pub validation_loss: f64,
    /// Share of validation images classified right after the epoch, 0 to 1.
    pub validation_top1: f64,
    /// Learning rate at the end of the epoch.
    pub rate: f64,
    /// Training speed.
    pub images_per_second: f64,
    /// Seconds the epoch took, validation included.
    pub seconds: f64,
    /// Whether this was the best epoch when it ended.
    pub best: bool,
}

impl Default for Epoch {
    fn default() -> Self {
        let unknown = f64::NAN;
        Self {
            epoch: 0,
            train_loss: unknown,
            train_top1: unknown,
            validation_loss: unknown,
            validation_top1: unknown,
            rate: unknown,
            images_per_second: unknown,
            seconds: unknown,
            best: false,
        }
    }
}

/// The result on one split.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Which images, such as `test`.
    pub split: String,
    /// How many.
    pub samples: usize,
    /// Share whose likeliest class is right, 0 to 1.
    pub top1: f64,
    /// Share whose right class is among the five likeliest, 0 to 1; NaN to leave it out.
    pub top5: f64,
    /// Mean loss.
    pub loss: f64,
    /// Rows are true, columns predicted classes: `classes × classes` counts, or empty to leave it out.
    pub confusion: Vec<u64>,
}

/// The weights of one convolution.
#[derive(Debug, Clone, PartialEq)]
pub struct Filters {
    /// The layer's name.
    pub name: String,
    /// In the order of `shape`.
    pub weights: Vec<f32>,
    /// `[filters, inputs, height, width]`.
    pub shape: [usize; 4],
}

/// What one layer made of one image.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The layer's name.
    pub name: String,
    /// What it is: `conv`, `subsample`, `dense`…
    pub kind: String,
    /// In the order of `shape`.
    pub maps: Vec<f32>,
    /// `[channels, height, width]`.
    pub shape: [usize; 3],
}

/// One layer of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerRow {
    /// The layer's name.
    pub name: String,
    /// What it is: `conv`, `subsample`, `dense`…
    pub kind: String,
    /// Shape of its output for one image.
    pub output: Vec<usize>,
    /// Trainable parameters.
    pub parameters: u64,
    /// Multiply-adds for one image.
    pub macs: u64,
}

/// Everything a run's report can show.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// The network's name, such as `LeNet-5`.
    pub model: String,
    /// The data's name, such as `MNIST`.
    pub dataset: String,
    /// The sentence below the title.
    pub summary: String,
    /// How things stand.
    pub status: Status,
    /// Names of the classes, in order.
    pub classes: Vec<String>,
    /// The history so far.
    pub epochs: Vec<Epoch>,
    /// The result, once there is one.
    pub evaluation: Option<Evaluation>,
    /// Images classified right.
    pub right: Vec<Card>,
    /// Images classified wrong, the surest mistakes first.
    pub wrong: Vec<Card>,
    /// Filters of every convolution, in order.
    pub filters: Vec<Filters>,
    /// The image whose way through the network is shown.
    pub specimen: Option<RgbImage>,
    /// What each layer made of that image, in order.
    pub steps: Vec<Step>,
    /// The classes the network found likeliest for that image, with their probabilities.
    pub scores: Vec<(String, f64)>,
    /// The layers of the network.
    pub layers: Vec<LayerRow>,
    /// The resolved recipe, TOML.
    pub recipe: String,
    /// Machine, device, versions, date: names and values.
    pub facts: Vec<(String, String)>,
    /// Seconds of training so far.
    pub seconds: f64,
}

/// A picture with the name of its file and the words around it.
struct Plate {
    file: String,
    picture: Picture,
    alt: String,
}

/// The pictures of a run, by section.
struct Plates {
    curves: Vec<Plate>,
    confusion: Option<Plate>,
    filters: Vec<Plate>,
    steps: Vec<Plate>,
}

impl Run {
    /// The report as it stands.
    ///
    /// # Errors
    ///
    /// Fails if weights, maps or the confusion matrix do not fill their shapes.
    pub fn report(&self) -> Result<Report, Error> {
        Ok(self.compose(&self.plates()?))
    }

    /// Writes `report.html` and every picture as PNG into `folder`, which must exist.
    ///
    /// While the run is [`Running`](Status::Running) only the report is written, in a fraction of the time.
    ///
    /// # Errors
    ///
    /// Fails if weights, maps or the confusion matrix do not fill their shapes, or a file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), Error> {
        let plates = self.plates()?;
        self.compose(&plates).save(&folder.join("report.html"))?;
        if matches!(self.status, Status::Running { .. }) {
            return Ok(());
        }
        let Plates { curves, confusion, filters, steps } = &plates;
        for plate in curves.iter().chain(confusion).chain(filters).chain(steps) {
            plate.picture.save(&folder.join(format!("{}.png", plate.file)))?;
        }
        for (file, title, cards) in [
            ("wrong", "Wrong predictions", &self.wrong),
            ("right", "Right predictions", &self.right),
        ] {
            if !cards.is_empty() {
                contact_sheet(title, cards).save(&folder.join(format!("{file}.png")))?;
            }
        }
        Ok(())
    }

    fn plates(&self) -> Result<Plates, Error> {
        let numbered =
            |kind: &str, i: usize, name: &str| format!("{kind}-{:02}-{}", i + 1, slug(name));
        let mut plates = Plates {
            curves: self.curves(),
            confusion: None,
            filters: Vec::new(),
            steps: Vec::new(),
        };
        if let Some(evaluation) = self.evaluation.as_ref().filter(|e| !e.confusion.is_empty()) {
            let picture = confusion(&evaluation.confusion, &self.classes)?;
            let alt = format!(
                "Confusion matrix of {} classes. {}",
                self.classes.len(),
                self.worst(&evaluation.confusion)
            );
            plates.confusion = Some(Plate { file: "confusion".into(), picture, alt });
        }
        for (i, Filters { name, weights, shape }) in self.filters.iter().enumerate() {
            let [count, inputs, height, width] = shape;
            let alt = format!(
                "{count} filters of {name}, each {height} by {width} over {inputs} inputs."
            );
            plates.filters.push(Plate {
                file: numbered("filters", i, name),
                picture: filters(name, weights, *shape)?,
                alt,
            });
        }
        for (i, Step { name, kind, maps: values, shape }) in self.steps.iter().enumerate() {
            let title = if kind.is_empty() || kind == name {
                name.clone()
            } else {
                format!("{name} · {kind}")
            };
            let alt = format!(
                "Output of {name}: {} maps of {} by {} for one image.",
                shape[0], shape[1], shape[2]
            );
            plates.steps.push(Plate {
                file: numbered("maps", i, name),
                picture: if i + 1 == self.steps.len() && *shape == [self.classes.len(), 1, 1] {
                    scores(&title, values, &self.classes)?
                } else {
                    maps(&title, values, *shape)?
                },
                alt,
            });
        }
        Ok(plates)
    }

    fn curves(&self) -> Vec<Plate> {
        let line = |y: fn(&Epoch) -> f64| self.epochs.iter().map(move |e| (e.epoch as f64, y(e)));
        let best = self.epochs.iter().rfind(|e| e.best).map(|e| e.epoch);
        let chart = |title: &str,
                     y: &str,
                     values,
                     train: fn(&Epoch) -> f64,
                     validation: fn(&Epoch) -> f64| {
            let chart =
                Chart::new(title).x("epoch").y(y).values(values).series("train", line(train));
            let chart = chart.series("validation", line(validation));
            match best {
                Some(epoch) => chart.mark(epoch as f64, format!("best: epoch {epoch}")),
                None => chart,
            }
        };
        let spoken = |what: &str, value: fn(&Epoch) -> f64, say: fn(f64) -> String| match (
            self.epochs.first(),
            self.epochs.last(),
        ) {
            (Some(first), Some(last)) => format!(
                "{what} on the validation images, from {} after the first epoch to {} after epoch {}.",
                say(value(first)),
                say(value(last)),
                last.epoch
            ),
            _ => format!("{what}: no epoch is done yet."),
        };
        let loss = chart(
            "Loss",
            "cross entropy",
            Values::Logarithmic,
            |e| e.train_loss,
            |e| e.validation_loss,
        );
        let top1 = chart(
            "Accuracy",
            "classified right (top-1)",
            Values::Fractions,
            |e| e.train_top1,
            |e| e.validation_top1,
        );
        let plate = |file: &str, chart: &Chart, alt| Plate {
            file: file.into(),
            picture: chart.picture(400, 300),
            alt,
        };
        vec![
            plate(
                "curves-loss",
                &loss,
                spoken("Loss", |e| e.validation_loss, |v| units::number(v, 3)),
            ),
            plate(
                "curves-top1",
                &top1,
                spoken("Accuracy", |e| e.validation_top1, |v| units::percent(v, 2)),
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(epoch: usize) -> Epoch {
        let loss = 1.0 / epoch as f64;
        Epoch {
            epoch,
            train_loss: loss,
            train_top1: 1.0 - loss / 4.0,
            validation_loss: loss,
            best: true,
            ..Epoch::default()
        }
    }

    #[test]
    fn an_empty_run_is_a_page() {
        let page = Run::default().report().unwrap().render();
        assert!(
            page.contains("<h2 id=\"learning-curves\">") && page.contains("no epoch is done yet")
        );
    }

    #[test]
    fn one_epoch_of_a_running_training_is_a_page_that_renews_itself() {
        let run = Run {
            status: Status::Running { epoch: 1, epochs: 10 },
            epochs: vec![epoch(1)],
            ..Run::default()
        };
        let page = run.report().unwrap().render();
        assert!(
            page.contains("training: 1 of 10 epochs done")
                && page.contains("http-equiv=\"refresh\"")
        );
        let done = Run { epochs: vec![epoch(1)], ..Run::default() }.report().unwrap().render();
        assert!(!done.contains("http-equiv=\"refresh\""));
    }

    #[test]
    fn every_picture_lies_beside_the_report() {
        let folder = tempfile::tempdir().unwrap();
        let card = |truth| Card::prediction(RgbImage::new(28, 28), "7", truth, 0.9);
        let run = Run {
            classes: vec!["a".into(), "b".into()],
            evaluation: Some(Evaluation {
                split: "test".into(),
                samples: 4,
                top1: 0.75,
                top5: 1.0,
                loss: 0.5,
                confusion: vec![2, 1, 0, 1],
            }),
            filters: vec![Filters {
                name: "c1.conv".into(),
                weights: vec![0.1; 9],
                shape: [1, 1, 3, 3],
            }],
            steps: vec![Step {
                name: "c1".into(),
                kind: "conv".into(),
                maps: vec![0.1; 9],
                shape: [1, 3, 3],
            }],
            right: vec![card("7")],
            wrong: vec![card("9")],
            ..Run::default()
        };
        run.save(folder.path()).unwrap();
        let mut names: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let expected = [
            "confusion.png",
            "curves-loss.png",
            "curves-top1.png",
            "filters-01-c1-conv.png",
            "maps-01-c1.png",
            "report.html",
            "right.png",
            "wrong.png",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn weights_that_do_not_fill_their_shape_are_refused_by_name() {
        let run = Run {
            filters: vec![Filters {
                name: "c1".into(),
                weights: vec![0.1; 8],
                shape: [1, 1, 3, 3],
            }],
            ..Run::default()
        };
        assert!(run.report().unwrap_err().to_string().starts_with("c1: expected 9 values"));
    }
}
