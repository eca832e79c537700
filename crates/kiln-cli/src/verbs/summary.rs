//! `kiln summary`: the layers of a network and what they cost.

use clap::Args;
use kiln::models::{
    Classifier, Detectors, Registry, Segmenters, Zoo, summarize, summarize_detector,
    summarize_segmenter,
};
use kiln::train::Use;
use serde_json::json;

use crate::device::{self, Choice};
use crate::errors::{Failure, Verb};
use crate::memory;
use crate::numbers::{count, parse_input, shape, short};
use crate::output::Output;
use crate::table::{BOLD, Side, Table};
use crate::verbs::segmenter;
use crate::verbs::subject::{detector_options, input_size, is_model, model_options, sized};

const EXAMPLES: &str = "\x1b[1;32mExamples:\x1b[0m
  kiln summary lenet5
  kiln summary lenet5 --set num_classes=100
  kiln summary yolov3 --input 3x608x608
  kiln summary fcn8s --input 3x360x480

JSON: {model, input, parameters, macs, depth, layers: [{name, kind, output, parameters, macs}]}
`parameters` are trainable numbers, without running statistics; `macs` are the multiply-adds of
convolutions and dense layers for one image; `depth` counts those layers on the longest way.";

/// Show a network's layers, parameters and multiply-adds
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Summary {
    /// A model's name
    model: String,
    /// Change an option of the model; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Size of the input: channels, height, width [default: the model's]
    #[arg(long, value_name = "CxHxW", value_parser = parse_input)]
    input: Option<[usize; 3]>,
}

impl Summary {
    /// Prints the table.
    pub fn run(self, output: Output) -> Verb {
        let opened = device::open(Choice::Cpu).or_else(|_| device::open(Choice::Auto))?;
        let smaller = |failure: Failure| failure.hint("make --input smaller");
        let (input, summary) = if !is_model(&self.model) && Detectors.has(&self.model) {
            let options = detector_options(&self.model, &self.set)?;
            let network = Detectors.build(&self.model, &options, &opened.device)?;
            let usual = Detectors.entry(&self.model)?.input;
            let input = sized(&self.model, usual, &options, self.input)?;
            memory::check_detector(&self.model, &network, usual, input, &opened)
                .map_err(smaller)?;
            (input, summarize_detector(&network, input, &opened.device)?)
        } else if segmenter::is_segmenter(&self.model) {
            let options = segmenter::changed(&self.model, &self.set)?;
            let input = segmenter::input_size(&self.model, &options, self.input)?;
            let network = Segmenters.build(&self.model, &options, &opened.device)?;
            let [channels, height, width] = input;
            let images = [1, channels, height, width];
            memory::check_segmenter(&self.model, &network, images, &opened).map_err(smaller)?;
            (input, summarize_segmenter(&network, input, &opened.device)?)
        } else {
            let options = model_options(&self.model, &self.set)?;
            let input = input_size(&self.model, &options, self.input)?;
            let network = Zoo.build(&self.model, &options, &opened.device)?;
            network.check_input(input)?;
            let [channels, height, width] = input;
            let images = [1, channels, height, width];
            memory::check(&self.model, &network, images, Use::Infer, &opened).map_err(smaller)?;
            (input, summarize(&network, input, &opened.device)?)
        };

        let object = json!({
            "model": self.model,
            "input": input,
            "parameters": summary.parameters,
            "macs": summary.macs,
            "depth": summary.depth,
            "layers": summary.layers.iter().map(|layer| json!({
                "name": layer.name,
                "kind": layer.kind,
                "output": layer.output,
                "parameters": layer.parameters,
                "macs": layer.macs,
            })).collect::<Vec<_>>(),
        });
        output.result(&object, |to| {
            writeln!(to, "{BOLD}{}{BOLD:#} on {}\n", self.model, shape(&input))?;
            let mut table = Table::new(&[
                ("layer", Side::Left),
                ("kind", Side::Left),
                ("output", Side::Right),
                ("parameters", Side::Right),
                ("multiply-adds", Side::Right),
            ]);
            for layer in &summary.layers {
                table.row([
                    layer.name.clone(),
                    layer.kind.to_owned(),
                    shape(&layer.output),
                    count(layer.parameters as u64),
                    count(layer.macs),
                ]);
            }
            table.total([
                "total".into(),
                String::new(),
                String::new(),
                count(summary.parameters as u64),
                count(summary.macs),
            ]);
            table.write(to)?;
            writeln!(
                to,
                "\n{} trainable parameters · {} multiply-adds an image · depth {}",
                count(summary.parameters as u64),
                short(summary.macs),
                summary.depth
            )
        })
    }
}
