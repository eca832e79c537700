//! `kiln train --dry-run`: what training would do.

use std::path::Path;

use kiln::train::Plan;
use serde_json::json;

use crate::errors::Verb;
use crate::numbers::{bytes, count, plural, shape};
use crate::output::Output;
use crate::table::{BOLD, FAINT};

/// Prints the plan of a run in the folder `run`, or of runs with so many `seeds` in folders inside it.
pub fn show(plan: &Plan, run: &Path, seeds: Option<u64>, device: &str, output: Output) -> Verb {
    let [train, validation, test] = plan.samples;
    let recipe = &plan.recipe;
    let object = json!({
        "run": run.display().to_string(),
        "seeds": (0..seeds.unwrap_or(1)).map(|place| recipe.seed + place).collect::<Vec<_>>(),
        "model": recipe.model,
        "dataset": recipe.dataset,
        "device": device,
        "parameters": plan.parameters,
        "input": plan.input,
        "samples": { "train": train, "validation": validation, "test": test },
        "epochs": recipe.epochs,
        "steps_per_epoch": plan.steps_per_epoch,
        "learning_rates": plan.rates,
        "curve": plan.curve,
        "shapes": plan.shapes,
        "notes": plan.notes,
        "stages": plan.stages.iter().map(|stage| json!({
            "first": stage.first,
            "last": stage.last,
            "learning": stage.learning,
            "frozen": stage.frozen,
        })).collect::<Vec<_>>(),
        "parameter_bytes": plan.parameter_bytes,
        "activation_bytes": plan.activation_bytes,
        "recipe": recipe.to_toml(),
    });

    output.result(&object, |to| {
        let number = |number: usize| count(number as u64);
        let stages: Vec<String> = plan.stages.iter().map(ToString::to_string).collect();
        let folder = match seeds {
            None => run.display().to_string(),
            Some(seeds) => {
                format!("{}: {}, each in a folder of its own", run.display(), plural(seeds, "seed"))
            }
        };
        let lines = [
            ("run", folder),
            ("model", format!("{}, {} parameters", recipe.model, number(plan.parameters))),
            (
                "data",
                format!(
                    "{}: {} training, {} validation, {} test images",
                    recipe.dataset,
                    number(train),
                    number(validation),
                    number(test)
                ),
            ),
            (
                "steps",
                format!(
                    "{} epochs of {} = {}",
                    recipe.epochs,
                    number(plan.steps_per_epoch),
                    number(recipe.epochs * plan.steps_per_epoch)
                ),
            ),
            ("learns", stages.join("\n        ")),
            ("batch", shape(&plan.input)),
            ("shapes", shapes(plan)),
            ("rate", [vec![rates(&plan.curve)], drawn(&plan.curve)].concat().join("\n        ")),
            (
                "memory",
                format!(
                    "about {} for parameters, gradients and optimizer, {} for a batch's layers",
                    bytes(plan.parameter_bytes as u64),
                    bytes(plan.activation_bytes as u64)
                ),
            ),
            ("device", device.to_owned()),
            ("notes", plan.notes.join("\n        ")),
        ];
        for (what, text) in lines.iter().filter(|(_, text)| !text.is_empty()) {
            writeln!(to, "{BOLD}{what:<7}{BOLD:#} {text}")?;
        }
        writeln!(to, "\n{FAINT}{}{FAINT:#}", recipe.to_toml().trim_end())
    })
}

/// The rate of the first step, the highest and that of the last.
fn rates(curve: &[f64]) -> String {
    let highest = curve.iter().copied().fold(0.0, f64::max);
    let [first, last] = [curve.first(), curve.last()].map(|rate| rate.copied().unwrap_or_default());
    format!("{first:.2e} in the first step, {highest:.2e} at most, {last:.2e} in the last")
}

/// Lines of a drawing of the learning rate.
const HEIGHT: usize = 4;

/// A curve from 0 to its highest value, in blocks, from the top.
fn drawn(curve: &[f64]) -> Vec<String> {
    const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let highest = curve.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let row = |line: usize| {
        let filled = |value: &f64| {
            // Eighths of a line. What is above nothing at all is seen.
            let eighths = (value / highest * (HEIGHT * 8) as f64).ceil() as usize;
            BLOCKS[eighths.saturating_sub(8 * (HEIGHT - 1 - line)).min(8)]
        };
        let text: String = curve.iter().map(filled).collect();
        text.trim_end().to_owned()
    };
    (0..HEIGHT).map(row).collect()
}

/// The shapes on the way through the network, each named once.
fn shapes(plan: &Plan) -> String {
    let mut all: Vec<String> = plan
        .shapes
        .iter()
        .filter(|(_, output)| !output.is_empty())
        .map(|(_, output)| shape(output))
        .collect();
    all.dedup();
    all.insert(0, shape(&plan.input[1..]));
    all.join(" → ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_is_drawn_to_its_highest_value() {
        let drawn = drawn(&[0.0, 1e-9, 0.5, 1.0, 0.75]);
        assert_eq!(drawn, ["   █", "   ██", "  ███", " ▁███"]);
    }
}
