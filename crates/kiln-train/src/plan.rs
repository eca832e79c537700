//! What a run would do, told before it does it.

use kiln_models::{Registry, summarize, trainable};

use crate::parts::{Prepared, prepare};
use crate::train::Notes;
use crate::{Error, Job, Memory, Recipe, Stage, Use, published, run};

/// Points of the curve of learning rates.
const POINTS: usize = 60;

/// What a run would do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The recipe with every default.
    pub recipe: Recipe,
    /// Trainable parameters.
    pub parameters: usize,
    /// Samples trained on, choosing the best epoch, and held out.
    pub samples: [usize; 3],
    /// Optimizer steps in an epoch.
    pub steps_per_epoch: usize,
    /// Shape of a batch: `[batch, channels, height, width]`.
    pub input: [usize; 4],
    /// Learning rate at each epoch's last step, as `results.csv` has it.
    pub rates: Vec<f64>,
    /// Learning rate at steps evenly over the run, as a picture of the schedule; what `plateau` will do isn't known before.
    pub curve: Vec<f64>,
    /// The layers of one image, in order: name, and shape of what comes out.
    pub shapes: Vec<(String, Vec<usize>)>,
    /// What a user should know of the recipe, its data and the weights that it starts from.
    pub notes: Vec<String>,
    /// Which parameters learn when.
    pub stages: Vec<Stage>,
    /// Bytes of parameters, gradients and optimizer state, in the stage with most of them.
    pub parameter_bytes: usize,
    /// Bytes of the layer outputs of a batch, which training keeps for the gradients.
    pub activation_bytes: usize,
}

/// Says what [`train`](crate::train) would do with `job`, without writing anything. The weights that it starts from are
/// read, if they are on this machine, so that a file that doesn't fit is refused here.
///
/// # Errors
///
/// As [`train`](crate::train), as far as that shows before the first step.
pub fn plan<R: Registry>(registry: &R, job: &Job) -> Result<Plan, Error> {
    let mut notes = Notes::default();
    let Prepared { parts, recipe, stages } = prepare(registry, job, &mut notes)?;
    let device = job.device.clone().inner();
    let network = registry.build(&recipe.model, &recipe.options, &device)?;
    let samples = parts.samples();
    let images = recipe.input(recipe.batch_size.min(samples[0]));
    let [_, _, sides @ ..] = images;
    let memory = Memory::of(&network, images, Use::Train(&recipe), sides, &device)?;

    match published::pending(registry, &recipe) {
        Some(entry) => notes.0.push(format!("the weights will be downloaded from {}", entry.url())),
        None if recipe.weights.is_some() && !job.resume => {
            run::start(registry, &recipe, job, &mut notes).map(drop)?;
        }
        None => {}
    }

    let [_, image @ ..] = recipe.input(1);
    let layers = summarize(&network, image, &device)?.layers.into_iter();
    let steps_per_epoch = parts.loader(&recipe)?.batches();
    let steps = recipe.epochs * steps_per_epoch;
    Ok(Plan {
        parameters: trainable(&network),
        samples,
        steps_per_epoch,
        input: recipe.input(recipe.batch_size),
        rates: (0..recipe.epochs)
            .map(|epoch| {
                let step = ((epoch + 1) * steps_per_epoch).saturating_sub(1) as u64;
                recipe.learning_rate(step, steps_per_epoch, &[])
            })
            .collect(),
        curve: (0..POINTS.min(steps))
            .map(|point| {
                // The first and the last step are among them.
                let step = point * (steps - 1) / (POINTS.min(steps) - 1).max(1);
                recipe.learning_rate(step as u64, steps_per_epoch, &[])
            })
            .collect(),
        shapes: layers.map(|layer| (layer.name, layer.output)).collect(),
        notes: notes.0,
        stages,
        parameter_bytes: (memory.weights + memory.gradients + memory.moments + memory.copies)
            as usize,
        activation_bytes: memory.maps as usize,
        recipe,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, Observer, train};
    use burn::prelude::*;
    use kiln_models::Zoo;

    #[test]
    fn a_plan_counts_what_a_run_would_do() {
        /// Counts and rates of a run, as it reports them.
        #[derive(Default)]
        struct Seen {
            counts: Option<([usize; 5], usize)>,
            rates: Vec<f64>,
        }

        impl Observer for Seen {
            fn event(&mut self, event: Event<'_>) {
                match event {
                    Event::Started(it) => {
                        let samples = [it.parameters, it.train, it.validation, it.test, it.epochs];
                        self.counts = Some((samples, it.steps_per_epoch));
                    }
                    Event::Epoch(row) => self.rates.push(row.learning_rate),
                    _ => {}
                }
            }
        }

        let folder = tempfile::tempdir().unwrap();
        let mut recipe = Recipe::named(&Zoo, "lenet5").unwrap();
        recipe.epochs = 3;
        let out = folder.path().join("none");
        let job = Job::new(recipe, out, Device::default());

        let plan = plan(&Zoo, &job).unwrap();

        assert_eq!(plan.parameters, 61_750);
        assert_eq!(plan.parameter_bytes, 3 * 4 * 61_750);
        assert_eq!(plan.activation_bytes, plan.input[0] * 4 * 8_094);
        assert_eq!(plan.input[1..], [1, 28, 28]);
        assert_eq!(plan.rates.len(), 3);
        assert_eq!(plan.curve.len(), 60.min(3 * plan.steps_per_epoch));
        assert_eq!(plan.curve.last(), plan.rates.last());
        assert_eq!(plan.shapes.last().unwrap().1, [10]);
        assert_eq!(plan.steps_per_epoch, plan.samples[0].div_ceil(plan.input[0]));
        assert!(!job.out.exists(), "a plan writes nothing");

        let mut seen = Seen::default();
        train(&Zoo, &job, &mut seen).unwrap();

        let [train, validation, test] = plan.samples;
        let counts = [plan.parameters, train, validation, test, 3];
        assert_eq!(seen.counts, Some((counts, plan.steps_per_epoch)));
        assert_eq!(seen.rates, plan.rates);
    }
}
