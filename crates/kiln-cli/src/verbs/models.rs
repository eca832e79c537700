//! `kiln models`: what can be trained.

use clap::Args;
use kiln::models::{
    Detectors, Entry, Options, Registry, Segmenters, Task, Zoo, did_you_mean, nearest,
};
use serde_json::{Value, json};

use crate::errors::{Failure, Verb};
use crate::numbers::{count, shape};
use crate::output::{self, Output};
use crate::table::{Side, Table};

const EXAMPLES: &str = "\x1b[1;32mExamples:\x1b[0m
  kiln models              All of them
  kiln models net          Those with `net` in their name, task or description

JSON: {models: [{name, task, parameters, input, features: [{stride, channels}], dataset, summary}]}
`parameters` counts trainable numbers at the default options; `input` is
[channels, height, width]; `features` are the maps that detection and segmentation heads can take,
`stride` in pixels of the image; those of a detector or of a network for segmentation are taken.

The heads of YOLO and for segmentation go on any network with the maps that they need:
yolov3-resnet50, yolov2-vgg16, fcn8s-resnet50, fcn-resnet34 and so on are names too, listed or not.";

/// List the networks that kiln knows
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Models {
    /// Show only models that mention this
    filter: Option<String>,
}

impl Models {
    /// Prints the list.
    pub fn run(self, output: Output) -> Verb {
        let filter = self.filter.unwrap_or_default().to_lowercase();
        let all = || Zoo.entries().iter().chain(Detectors.entries()).chain(Segmenters.entries());
        let shown: Vec<&Entry> = all().filter(|entry| mentions(entry, &filter)).collect();
        if shown.is_empty() {
            let names = all().map(|entry| entry.name);
            let near = did_you_mean(nearest(&filter, names));
            output::note(&format!("no model mentions `{filter}`{near}"));
        }

        let models: Vec<_> = shown.iter().map(|entry| object(entry)).collect::<Result<_, _>>()?;
        let object = json!({ "models": models });
        output.result(&object, |to| {
            let mut table = Table::new(&[
                ("model", Side::Left),
                ("task", Side::Left),
                ("parameters", Side::Right),
                ("input", Side::Left),
                ("data", Side::Left),
                ("", Side::Left),
            ]);
            for entry in &shown {
                table.row([
                    entry.name.to_owned(),
                    entry.task.to_string(),
                    count(entry.parameters as u64),
                    shape(&entry.input),
                    entry.dataset.to_owned(),
                    entry.summary.to_owned(),
                ]);
            }
            if shown.is_empty() { Ok(()) } else { table.write(to) }
        })
    }
}

fn object(entry: &Entry) -> Result<Value, Failure> {
    let features = match entry.task {
        Task::Classification => Zoo.features(entry.name, &Options::new())?,
        _ => Vec::new(),
    };
    Ok(json!({
        "name": entry.name,
        "task": entry.task.to_string(),
        "parameters": entry.parameters,
        "input": entry.input,
        "features": features
            .iter()
            .map(|map| json!({ "stride": map.stride, "channels": map.channels }))
            .collect::<Vec<_>>(),
        "dataset": entry.dataset,
        "summary": entry.summary,
    }))
}

fn mentions(entry: &Entry, filter: &str) -> bool {
    [entry.name, &entry.task.to_string(), entry.summary]
        .iter()
        .any(|text| text.to_lowercase().contains(filter))
}
