//! `kiln models`: what can be trained.

use clap::Args;
use kiln::models::{Entry, Registry, Zoo, did_you_mean, nearest};
use serde_json::json;

use crate::errors::Verb;
use crate::numbers::{count, shape};
use crate::output::{self, Output};
use crate::table::{Side, Table};

const EXAMPLES: &str = "\x1b[1;32mExamples:\x1b[0m
  kiln models              All of them
  kiln models net          Those with `net` in their name, task or description

JSON: {models: [{name, task, parameters, input, dataset, summary}]}
`parameters` counts trainable numbers at the default options; `input` is
[channels, height, width].";

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
        let shown: Vec<&Entry> =
            Zoo.entries().iter().filter(|entry| mentions(entry, &filter)).collect();
        if shown.is_empty() {
            let names = Zoo.entries().iter().map(|entry| entry.name);
            let near = did_you_mean(nearest(&filter, names));
            output::note(&format!("no model mentions `{filter}`{near}"));
        }

        let object = json!({ "models": shown.iter().map(|entry| json!({
            "name": entry.name,
            "task": entry.task.to_string(),
            "parameters": entry.parameters,
            "input": entry.input,
            "dataset": entry.dataset,
            "summary": entry.summary,
        })).collect::<Vec<_>>() });
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

fn mentions(entry: &Entry, filter: &str) -> bool {
    [entry.name, &entry.task.to_string(), entry.summary]
        .iter()
        .any(|text| text.to_lowercase().contains(filter))
}
