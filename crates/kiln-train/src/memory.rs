//! What a network holds in memory at once, counted before any of it is there.

use burn::prelude::*;
use kiln_models::{Classifier, Row, is_below, parameters, summarize};

use crate::groups::Groups;
use crate::{Error, Recipe};

/// Bytes of a number.
const NUMBER: f64 = 4.0;

/// What is done with the images.
#[derive(Clone, Copy, Debug)]
pub enum Use<'a> {
    /// The forward pass: a layer's output is gone when the next one has read it.
    Infer,
    /// Forward, backward and step as a recipe has them: what learns keeps its layers' outputs, a gradient, and what the
    /// optimizer remembers. What is frozen keeps nothing.
    Train(&'a Recipe),
}

/// Bytes that a network and a batch of images take, at least; of a run, in the stage with most of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Memory {
    /// The batch.
    pub images: f64,
    /// Parameters and running statistics.
    pub weights: f64,
    /// Gradients.
    pub gradients: f64,
    /// What the optimizer remembers.
    pub moments: f64,
    /// Outputs of layers that are there at the same time.
    pub maps: f64,
    /// Copies of parameters: their moving average, and the gradients of parts that were computed before where a batch is
    /// computed in parts.
    pub copies: f64,
}

impl Memory {
    /// All of it, at the moment when there is most: the backward pass gives up outputs as it makes gradients of them.
    pub fn total(&self) -> f64 {
        self.images + self.weights + self.moments + self.copies + self.gradients.max(self.maps)
    }

    /// What `network` needs for `images`, `[batch, channels, height, width]`, the outputs of its layers left out.
    ///
    /// # Errors
    ///
    /// If the recipe's groups don't fit the network.
    pub fn without_maps<N: Classifier>(
        network: &N,
        images: [usize; 4],
        purpose: Use<'_>,
    ) -> Result<Memory, Error> {
        most(network, images, purpose, &[], 1.0)
    }

    /// As [`without_maps`](Self::without_maps), with the outputs. The layers are measured on one image of the size
    /// `measured`, height and width, and their maps taken to grow as the image does.
    ///
    /// # Errors
    ///
    /// As [`without_maps`](Self::without_maps), and if the network doesn't take such an image.
    pub fn of<N: Classifier>(
        network: &N,
        images: [usize; 4],
        purpose: Use<'_>,
        measured: [usize; 2],
        device: &Device,
    ) -> Result<Memory, Error> {
        let [_, channels, sides @ ..] = images;
        let [height, width] = measured;
        let rows = summarize(network, [channels, height, width], device)?.layers;
        let growth = numbers(&sides) / numbers(&measured);
        most(network, images, purpose, &rows, growth)
    }
}

/// The need in the stage that has most.
fn most<N: Classifier>(
    network: &N,
    images: [usize; 4],
    purpose: Use<'_>,
    rows: &[Row],
    growth: f64,
) -> Result<Memory, Error> {
    let batch = images[0] as f64;
    let all = parameters(network);
    let base = Memory {
        images: NUMBER * numbers(&images),
        weights: NUMBER * all.iter().map(|parameter| numbers(&parameter.shape)).sum::<f64>(),
        ..Memory::default()
    };
    let rows: Vec<&Row> = rows.iter().filter(|row| !row.output.is_empty()).collect();
    let map = |row: &&Row| {
        let growth = if grows(row) { growth } else { 1.0 };
        NUMBER * batch * growth * numbers(&row.output)
    };

    let Use::Train(recipe) = purpose else {
        let pairs = rows.windows(2).map(|pair| pair.iter().map(map).sum());
        return Ok(Memory { maps: pairs.fold(0.0, f64::max), ..base });
    };
    let groups = Groups::of(recipe, network)?;
    let needs = groups.stages().into_iter().map(|stage| {
        let (learning, frozen) = groups.parted(&all, stage.first - 1);
        let has = |row: &Row, paths: &[&str]| paths.iter().any(|path| is_below(path, &row.name));
        // Where frozen and learning layers alternate, what is kept in between depends on how they are connected.
        let after = rows.iter().rposition(|row| has(row, &frozen)).map_or(0, |last| last + 1);
        let kept = rows[after..].iter().skip_while(|row| !has(row, &learning));
        let gradients = NUMBER * stage.learning as f64;
        let moments = gradients * recipe.optimizer.moments() as f64;
        let (maps, copies) = match recipe.accumulate {
            0 | 1 => (kept.map(map).sum(), 0.0),
            parts => {
                let share = images[0].div_ceil(parts) as f64 / batch.max(1.0);
                (kept.map(map).sum::<f64>() * share, gradients)
            }
        };
        let average = if recipe.ema.is_on() { base.weights } else { 0.0 };
        Memory { gradients, moments, maps, copies: copies + average, ..base }
    });
    Ok(needs.max_by(|a, b| a.total().total_cmp(&b.total())).unwrap_or(base))
}

/// Whether the output of a layer grows with the image.
fn grows(row: &Row) -> bool {
    matches!(row.output[..], [_, height, width] if height * width > 1)
}

fn numbers(sides: &[usize]) -> f64 {
    sides.iter().map(|&side| side as f64).product()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Algorithm, Group};
    use kiln_models::{Registry, Zoo};
    use kiln_testkit::device;

    /// Outputs of LeNet-5's layers, in order.
    const MAPS: [f64; 7] = [4704.0, 1176.0, 1600.0, 400.0, 120.0, 84.0, 10.0];

    fn need(purpose: Use<'_>) -> Memory {
        let network = Zoo.build("lenet5", &Zoo.defaults("lenet5").unwrap(), &device()).unwrap();
        Memory::of(&network, [1000, 1, 28, 28], purpose, [28, 28], &device()).unwrap()
    }

    #[test]
    fn training_keeps_what_inference_drops() {
        let recipe = Recipe::defaults(&Zoo, "lenet5").unwrap();
        let infer = need(Use::Infer);
        assert_eq!(infer.weights, 4.0 * 61_750.0);
        assert_eq!(infer.maps, 4000.0 * (MAPS[0] + MAPS[1]));
        assert_eq!((infer.gradients, infer.moments), (0.0, 0.0));
        let train = need(Use::Train(&recipe));
        assert_eq!(train.maps, 4000.0 * MAPS.iter().sum::<f64>());
        assert_eq!((train.gradients, train.moments), (infer.weights, infer.weights));
        assert_eq!(train.total(), 2.0 * train.weights + train.images + train.maps);
    }

    #[test]
    fn a_batch_in_parts_keeps_the_maps_of_one_and_gradients_of_those_before() {
        let mut recipe = Recipe::defaults(&Zoo, "lenet5").unwrap();
        let whole = need(Use::Train(&recipe));
        recipe.accumulate = 4;
        let parts = need(Use::Train(&recipe));
        assert_eq!((parts.maps, parts.copies), (whole.maps / 4.0, whole.gradients));
        assert_eq!((parts.images, whole.copies), (whole.images, 0.0));
    }

    #[test]
    fn what_an_optimizer_remembers_is_its_own_affair() {
        let mut recipe = Recipe::defaults(&Zoo, "lenet5").unwrap();
        recipe.optimizer.momentum = 0.0;
        assert_eq!(need(Use::Train(&recipe)).moments, 0.0);
        recipe.optimizer.name = Algorithm::AdamW;
        assert_eq!(need(Use::Train(&recipe)).moments, 8.0 * 61_750.0);
    }

    #[test]
    fn what_is_frozen_throughout_keeps_no_outputs_gradients_or_moments() {
        let mut recipe = Recipe::defaults(&Zoo, "lenet5").unwrap();
        let all = need(Use::Train(&recipe));
        let backbone = Group { matches: "backbone".into(), frozen: true, ..Group::default() };
        recipe.groups = vec![backbone.clone()];
        let head = need(Use::Train(&recipe));
        assert_eq!(head.weights, all.weights);
        assert!(head.gradients < all.gradients && head.gradients > 0.0, "{head:?}");
        assert_eq!(head.moments, head.gradients);
        assert!(head.maps < 4000.0 * MAPS[2..].iter().sum::<f64>() && head.maps > 0.0, "{head:?}");

        // Thawed after a while, it needs as much as one that never was frozen.
        recipe.groups = vec![Group { frozen: false, frozen_epochs: 1, ..backbone }];
        assert_eq!(need(Use::Train(&recipe)), all);
    }
}
