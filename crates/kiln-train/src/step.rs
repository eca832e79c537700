//! One optimizer step of a run.

use std::ops::Range;

use burn::optim::{GradientsAccumulator, GradientsParams};
use kiln_data::Batch;
use kiln_models::{Classifier, Targets};

use crate::run::Run;
use crate::{Checkpoint, Error, Event, Observer, identity, measure};

impl<N: Classifier> Run<'_, N> {
    /// One optimizer step on `batch`.
    pub(crate) fn step(
        &mut self,
        batch: &Batch,
        learning_rate: f64,
        observer: &mut dyn Observer,
    ) -> Result<(), Error> {
        for sample in &batch.skipped {
            observer.event(Event::Skipped { name: &sample.name, reason: &sample.reason });
        }
        if !batch.labels.is_empty() {
            self.device.seed(identity::mix(self.recipe.seed, self.state.progress.steps + 1));
            let (loss, scores, gradients) = self.gradients(batch)?;
            let gradients = self.recipe.optimizer.clip(self.network(), gradients);
            let gradients = gradients.map_err(|norm| {
                self.diverged(format!("the norm of the gradients became {norm}"))
            })?;
            let rates = self.groups.rates(learning_rate);
            self.network =
                self.network.take().map(|network| self.optimizer.step(rates, network, gradients));

            let step = self.state.progress.steps;
            if let Some(average) = self.average.take() {
                self.average = Some(self.recipe.ema.follow(average, self.network(), step));
            }

            let classes = self.state.classes.len();
            let running = &mut self.state.progress.running;
            running.loss_sum += loss * batch.labels.len() as f64;
            running.right += scores
                .chunks_exact(classes)
                .zip(&batch.labels)
                .filter(|&(row, &label)| kiln_metrics::best(row) == Some(label))
                .count();
            running.seen += batch.labels.len();
        }
        let progress = &mut self.state.progress;
        progress.running.skipped += batch.skipped.len();
        progress.steps += 1;
        progress.steps_in_epoch += 1;
        Ok(())
    }

    /// The mean loss of `batch`, its scores, and the gradients of that loss, computed in as many parts as the recipe
    /// says: each part counts as much as its samples do.
    fn gradients(&self, batch: &Batch) -> Result<(f64, Vec<f32>, GradientsParams), Error> {
        let objective = self.recipe.loss.objective();
        let classes = self.state.classes.len();
        let whole = batch.labels.len();
        let size = whole.div_ceil(self.recipe.accumulate);
        let images = batch.images(&self.device);
        // What a mean over samples is divided by: class weights count where each sample is of one class.
        let (targets, total): (_, &dyn Fn(Range<usize>) -> f64) = match batch.targets(&self.device)
        {
            Some(rows) => (Targets::Soft(rows), &|samples| samples.len() as f64),
            None => {
                let classes = Targets::Classes(batch.labels(&self.device));
                (classes, &|samples| objective.total(&batch.labels[samples]))
            }
        };

        let (mut mean, mut all) = (0.0, Vec::with_capacity(whole * classes));
        let mut sum = GradientsAccumulator::new();
        for start in (0..whole).step_by(size) {
            let length = size.min(whole - start);
            let (part, of) = if length == whole {
                (images.clone(), targets.clone())
            } else {
                (images.clone().narrow(0, start, length), targets.narrow(start, length))
            };
            let (scores, loss) = self.network().loss(part, of, &objective);
            all.extend(measure::scores(scores.inner(), classes)?);
            let value: f32 = loss.clone().into_scalar();
            if !value.is_finite() {
                return Err(self.diverged(format!("the loss became {value}")));
            }
            let share = total(start..start + length) / total(0..whole);
            mean += f64::from(value) * share;
            // A whole batch is not multiplied by 1.
            let loss = if length == whole { loss } else { loss * share };
            let gradients = GradientsParams::from_grads(loss.backward(), self.network());
            sum.accumulate(self.network(), gradients);
        }
        Ok((mean, all, sum.grads()))
    }

    fn diverged(&self, what: String) -> Error {
        let progress = &self.state.progress;
        Error::Diverged {
            what,
            epoch: progress.epochs + 1,
            step: progress.steps_in_epoch + 1,
            saved: Checkpoint::exists(&self.folder.last()),
        }
    }
}
