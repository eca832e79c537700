//! Draws a run as it goes: a bar on standard error where that is a terminal, a line per epoch.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};
use kiln::train::{EpochRow, Event, Observer, Stage, Started, Step};

use crate::numbers::{count, percent, plural, seconds};
use crate::output::Output;
use crate::table::{BOLD, FAINT};
use crate::{interrupt, output};

const BEST: Style = AnsiColor::Green.on_default().bold();
/// Unreadable samples named one by one; the rest are only counted.
const NAMED_SKIPS: usize = 5;

/// Watches one run.
pub struct Progress {
    output: Output,
    device: String,
    bar: ProgressBar,
    started: bool,
    training: bool,
    skipped: usize,
}

impl Progress {
    /// A watcher that speaks as `output` says of a run on `device`.
    pub fn new(output: Output, device: String) -> Self {
        Progress {
            output,
            device,
            bar: ProgressBar::hidden(),
            started: false,
            training: false,
            skipped: 0,
        }
    }

    /// Whether a training run got as far as its first step.
    pub fn has_started(&self) -> bool {
        self.started
    }

    fn line(&self, line: &str) {
        if !self.output.quiet {
            self.bar.suspend(|| self.output.line(line));
        }
    }

    fn note(&self, text: &str) {
        self.bar.suspend(|| output::note(text));
    }

    /// Replaces the bar by one of `length` ticks.
    fn start_bar(&mut self, length: u64) {
        self.bar.finish_and_clear();
        self.bar = if self.output.quiet { ProgressBar::hidden() } else { bar(length) };
    }

    fn started(&mut self, run: &Started<'_>) {
        self.line(&format!(
            "{BOLD}{}{BOLD:#} on {BOLD}{}{BOLD:#} ({}) · {} parameters · {}",
            run.model,
            run.dataset,
            run.source,
            count(run.parameters as u64),
            self.device
        ));
        self.line(&format!(
            "{} training, {} validation, {} test images · {} of {} · {}",
            count(run.train as u64),
            count(run.validation as u64),
            count(run.test as u64),
            plural(run.epochs as u64, "epoch"),
            plural(run.steps_per_epoch as u64, "step"),
            run.run.display()
        ));
        let steps = (run.epochs * run.steps_per_epoch) as u64;
        if run.resumed_at == Some(steps) {
            self.line("finished already: nothing is left to train, the best network is measured");
            self.line("");
        } else {
            if let Some(step) = run.resumed_at {
                self.line(&format!("continues after step {}", count(step)));
            }
            self.line("");
            self.line(&format!(
                "{FAINT}epoch      loss    top-1  val loss  val top-1      rate  images/s    time{FAINT:#}"
            ));
        }
        self.start_bar(steps);
        self.bar.set_position(run.resumed_at.unwrap_or(0));
        self.bar.reset_eta();
        self.bar.set_message("starting");
        self.training = true;
        self.started = true;
    }

    /// Says what learns, where not everything does all the time.
    fn stage(&self, stage: &Stage) {
        if stage.first > 1 || !stage.frozen.is_empty() {
            self.line(&format!("{FAINT}{stage}{FAINT:#}"));
        }
    }

    fn step(&mut self, step: &Step) {
        let done = (step.epoch - 1) * step.steps + step.step;
        self.training = step.epoch < step.epochs || step.step < step.steps;
        self.bar.set_position(done as u64);
        self.bar.set_message(format!(
            "epoch {}/{} · loss {:.4} · {} images/s",
            step.epoch,
            step.epochs,
            step.loss,
            count(step.images_per_second as u64)
        ));
    }

    fn epoch(&self, row: &EpochRow) {
        let or_dash = |value: Option<String>| value.unwrap_or_else(|| "–".into());
        let mut line = format!(
            "{:>5}  {:>8.4}  {:>7}  {:>8}  {:>9}  {:>8.2e}  {:>8}  {:>6}",
            row.epoch,
            row.train_loss,
            percent(row.train_top1),
            or_dash(row.validation_loss.map(|loss| format!("{loss:.4}"))),
            or_dash(row.validation_top1.map(percent)),
            row.learning_rate,
            count(row.images_per_second as u64),
            seconds(row.seconds)
        );
        if row.best {
            let _ = write!(line, "  {BEST}best{BEST:#}");
        }
        self.line(&line);
    }

    fn evaluated(&mut self, done: usize, of: usize) {
        if self.training {
            // The validation part between two epochs keeps the bar of the run.
            self.bar.set_message("validating");
            return;
        }
        if self.bar.length() != Some(of as u64) || self.bar.is_finished() {
            self.start_bar(of as u64);
        }
        self.bar.set_message("measuring");
        self.bar.set_position(done as u64);
        if done >= of {
            self.bar.finish_and_clear();
        }
    }

    fn fetching(&mut self, file: &str, have: u64, total: u64) {
        if self.bar.length() != Some(total) || self.bar.is_finished() {
            self.start_bar(total);
        }
        self.bar.set_message(file.to_owned());
        self.bar.set_position(have);
        if have >= total {
            self.bar.finish_and_clear();
        }
    }

    fn skip(&mut self, name: &str, reason: &str) {
        self.skipped += 1;
        if self.skipped <= NAMED_SKIPS {
            self.note(&format!("left out {name}: {reason}"));
        }
    }
}

impl Observer for Progress {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Started(run) => self.started(run),
            Event::Stage(stage) => self.stage(stage),
            Event::Step(step) => self.step(&step),
            Event::Epoch(row) => self.epoch(row),
            Event::Evaluated { done, of } => self.evaluated(done, of),
            Event::Skipped { name, reason } => self.skip(name, reason),
            Event::Fetching { file, have, total } => self.fetching(file, have, total),
            Event::Note(text) => self.note(text),
        }
    }

    fn interrupted(&self) -> bool {
        interrupt::asked()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        if self.skipped > NAMED_SKIPS {
            output::note(&format!("left out {} samples in all", count(self.skipped as u64)));
        }
    }
}

/// A bar on standard error; it draws nothing where that is no terminal.
pub fn bar(length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar:.cyan/dim} {msg} · {eta} left")
        .expect("the template is well-formed");
    ProgressBar::new(length).with_style(style.progress_chars("━╸─"))
}
