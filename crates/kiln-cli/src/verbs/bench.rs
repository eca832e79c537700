//! `kiln bench`: how fast a network runs here.

mod exact;
mod layers;

use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use kiln::burn::optim::momentum::MomentumConfig;
use kiln::burn::optim::{GradientsParams, ModuleOptimizer, SgdConfig};
use kiln::burn::tensor::{Device, Int, Tensor, TensorData};
use kiln::data::Random;
use kiln::models::{Classifier, Objective, Registry, Targets, Zoo};
use kiln::train::{Recipe, Use, peak_memory};
use serde_json::{Value, json};

use crate::device::On;
use crate::errors::{Failure, Verb};
use crate::memory;
use crate::numbers::{bytes, count, parse_input, parse_positive, parse_within, shape};
use crate::output::{self, Output};
use crate::progress::bar;
use crate::table::BOLD;
use crate::verbs::subject::{input_size, model_options};
use exact::Comparison;

const EXAMPLES: &str = "\x1b[1;32mExamples:\x1b[0m
  kiln bench lenet5 --batch 128
  kiln bench lenet5 --batch 128 --mode train     Forward, backward and optimizer
  kiln bench resnet18 --layers                   Where the time goes, and by which algorithm
  kiln bench vgg16 --exact                       What Winograd convolution gains and costs
  kiln bench lenet5 --threads 1

The network has random weights and the images are noise; reading them isn't measured.

JSON: {model, batch, mode, input, device, runs, median_ms, images_per_second, peak_memory_bytes,
winograd: {median_ms, score_difference, other_class}, peak_gflops, layers: [{name, kind, window,
output, algorithm, median_ms, gflops, of_peak}]}; `median_ms` is for one batch, `peak_memory_bytes`
is the most memory the process has had resident so far (Linux; null elsewhere; a GPU's own memory
isn't in it). `winograd` is there with --exact only: the time without it, and how far its scores lie
from the exact ones. `peak_gflops` (of a large matrix product) and `layers` are there with --layers
only; `algorithm` is null where burn's operations ran.";

/// Runs before the first that counts.
const WARM_UP: usize = 2;
/// Learning rate of training steps: the size of the step doesn't change its cost.
const RATE: f64 = 1e-3;

/// Measure the speed of a network
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Bench {
    /// A model's name
    model: String,
    /// Change an option of the model; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Images at a time
    #[arg(long, value_name = "N", default_value = "1", value_parser = parse_positive)]
    batch: usize,
    /// What is measured: infer (the forward pass) or train (forward, backward and optimizer)
    #[arg(long, value_name = "MODE", default_value = "infer", hide_possible_values = true)]
    mode: Mode,
    /// Size of an image: channels, height, width [default: the model's]
    #[arg(long, value_name = "CxHxW", value_parser = parse_input)]
    input: Option<[usize; 3]>,
    /// Batches to measure; the median counts
    #[arg(long, value_name = "N", default_value = "20", value_parser = parse_runs)]
    runs: u16,
    #[command(flatten)]
    device: On,
    /// Also show each layer's time, algorithm and speed
    #[arg(long)]
    layers: bool,
    /// Without Winograd convolution, and what it changes
    #[arg(long)]
    exact: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Mode {
    /// The forward pass
    Infer,
    /// Forward pass, backward pass and an optimizer step
    Train,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Mode::Infer => "infer",
            Mode::Train => "train",
        }
    }
}

fn parse_runs(text: &str) -> Result<u16, String> {
    parse_within(text, 1..=u64::from(u16::MAX)).map(|runs| runs as u16)
}

impl Bench {
    /// Measures and prints.
    pub fn run(self, output: Output) -> Verb {
        let options = model_options(&self.model, &self.set)?;
        let input = input_size(&self.model, &options, self.input)?;
        if self.layers && self.mode == Mode::Train {
            return Err(Failure::usage("--layers times the forward pass").hint("use --mode infer"));
        }
        if self.exact && self.mode == Mode::Train {
            return Err(Failure::usage("--exact compares forward passes").hint("use --mode infer"));
        }
        let opened = self.device.open()?;
        let device = match self.mode {
            Mode::Infer => opened.device.clone(),
            Mode::Train => opened.device.clone().autodiff(),
        };
        device.seed(1);
        let network = Zoo.build(&self.model, &options, &device)?;
        network.check_input(input)?;
        // Its optimizer is the one that is timed here.
        let recipe = Recipe::defaults(&Zoo, &self.model)?;
        let purpose = match self.mode {
            Mode::Infer => Use::Infer,
            Mode::Train => Use::Train(&recipe),
        };
        let [channels, height, width] = input;
        let images = [self.batch, channels, height, width];
        memory::check(&self.model, &network, images, purpose, &opened)
            .map_err(|failure| failure.hint("make --batch smaller, or --input"))?;
        let images = noise(images, &device);

        let progress = if output.quiet { indicatif::ProgressBar::hidden() } else { bar(1) };
        progress.set_length(WARM_UP as u64 + u64::from(self.runs));
        let tick = || progress.inc(1);
        let mut comparison = None;
        let mut times = match self.mode {
            Mode::Infer if self.exact => {
                let mut found = Comparison::of(&network, &images, usize::from(self.runs), &tick);
                let times = std::mem::take(&mut found.exact);
                comparison = Some(found);
                times
            }
            Mode::Infer => self.infer(&network, &images, &tick),
            Mode::Train => self.train(network.clone(), &images, &device, &tick),
        };
        progress.finish_and_clear();
        let median = median(&mut times);
        let rate = self.batch as f64 / median.as_secs_f64();
        let peak = peak_memory();
        if self.layers && !opened.backend.is_cpu() {
            output::note(
                "a GPU works on after a layer returns; the layers' times show its queueing",
            );
        }
        let layers = self.layers.then(|| {
            let layers = layers::time_layers(&network, &images, usize::from(self.runs));
            (layers, layers::peak(&device))
        });

        let mut object = json!({
            "model": self.model,
            "batch": self.batch,
            "mode": self.mode.name(),
            "input": input,
            "device": opened.backend.name(),
            "runs": self.runs,
            "median_ms": milliseconds(median),
            "images_per_second": rate,
            "peak_memory_bytes": peak,
        });
        if let Some(comparison) = &comparison {
            object["winograd"] = comparison.json();
        }
        if let Some((layers, peak)) = &layers {
            object["peak_gflops"] = json!(peak);
            object["layers"] =
                layers.iter().map(|layer| layer.json(*peak)).collect::<Vec<Value>>().into();
        }

        output.result(&object, |to| {
            writeln!(
                to,
                "{BOLD}{}{BOLD:#} {} · batch {} of {} · {}",
                self.model,
                self.mode.name(),
                self.batch,
                shape(&input),
                opened.words()
            )?;
            writeln!(to, "median       {:.3} ms over {} runs", milliseconds(median), self.runs)?;
            let (low, high) = (times.first(), times.last());
            if let Some((low, high)) = low.zip(high) {
                let (low, high) = (milliseconds(*low), milliseconds(*high));
                writeln!(to, "range        {low:.3} to {high:.3} ms")?;
            }
            writeln!(to, "throughput   {} images/s", count(rate as u64))?;
            if let Some(peak) = peak {
                writeln!(to, "peak memory  {}", bytes(peak))?;
            }
            if let Some(comparison) = &comparison {
                comparison.write(median, self.batch, to)?;
            }
            if let Some((layers, peak)) = &layers {
                writeln!(to)?;
                layers::write(layers, *peak, to)?;
            }
            Ok(())
        })
    }

    fn infer<N: Classifier>(
        &self,
        network: &N,
        images: &Tensor<4>,
        tick: &dyn Fn(),
    ) -> Vec<Duration> {
        let once = || {
            let start = Instant::now();
            // Reading the scores waits for a GPU to finish.
            network.forward(images.clone()).into_data();
            tick();
            start.elapsed()
        };
        (0..WARM_UP).for_each(|_| _ = once());
        (0..self.runs).map(|_| once()).collect()
    }

    fn train<N: Classifier>(
        &self,
        mut network: N,
        images: &Tensor<4>,
        device: &Device,
        tick: &dyn Fn(),
    ) -> Vec<Duration> {
        let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
        let mut optimizer: ModuleOptimizer = SgdConfig::new().with_momentum(Some(momentum)).init();
        let targets = Targets::Classes(Tensor::<1, Int>::zeros([self.batch], device));
        let objective = Objective::default();
        let mut once = || {
            let start = Instant::now();
            let (_, loss) = network.loss(images.clone(), targets.clone(), &objective);
            let gradients = GradientsParams::from_grads(loss.backward(), &network);
            network = optimizer.step(RATE, network.clone(), gradients);
            // An optimizer step returns before a GPU has done it.
            let _ = device.sync();
            tick();
            start.elapsed()
        };
        (0..WARM_UP).for_each(|_| _ = once());
        (0..self.runs).map(|_| once()).collect()
    }
}

/// Noise from −1 to 1, the same in every process.
fn noise(shape: [usize; 4], device: &Device) -> Tensor<4> {
    let mut random = Random::new(&[1]);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| random.between(-1.0, 1.0)).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Sorts `times` and returns the middle one, or the mean of the middle two.
fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    let half = times.len() / 2;
    match times.len() {
        0 => Duration::ZERO,
        odd if odd % 2 == 1 => times[half],
        _ => (times[half - 1] + times[half]) / 2,
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        let mut times = [5, 1, 3, 9].map(Duration::from_millis);
        assert_eq!(median(&mut times), Duration::from_millis(4));
        assert_eq!(median(&mut times[..3]), Duration::from_millis(3));
        assert_eq!(median(&mut []), Duration::ZERO);
    }
}
