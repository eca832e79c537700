//! What several verbs share: which network an argument means, and how a measurement reads.

use std::io::{self, Write};
use std::path::Path;

use kiln::models::{Options, Registry, Zoo, options};
use kiln::train::{Evaluation, PRETRAINED, Published, Subject, Weights};
use serde_json::Value;

use crate::errors::Failure;
use crate::numbers::{count, percent, plural, shape};
use crate::output::Output;
use crate::progress::Progress;
use crate::table::BOLD;

/// Most frequent mistakes shown under a measurement.
const MISTAKES: usize = 5;

/// The network that `text` means: a registry model, a checkpoint or a run folder. Published weights are downloaded if
/// they aren't there.
///
/// # Errors
///
/// Wrong use with the nearest name if it is neither, or if `weights` or `set` don't go with it; a download that fails.
pub fn subject(
    text: &str,
    weights: Option<&Path>,
    set: &[String],
    output: Output,
) -> Result<Subject, Failure> {
    if is_model(text) {
        let options = model_options(text, set)?;
        let weights = match weights {
            None => Weights::Random,
            Some(named) if named == Path::new(PRETRAINED) => {
                let mut progress = Progress::new(output, String::new());
                Weights::Published(Published::fetch(&Zoo, text, &mut progress)?)
            }
            Some(file) => Weights::File(file.to_owned()),
        };
        return Ok(Subject::Model { name: text.to_owned(), options, weights });
    }
    let path = Path::new(text);
    if !path.exists() {
        return Err(unknown(text));
    }
    if weights.is_some() || !set.is_empty() {
        return Err(Failure::usage(format!(
            "{text} is a checkpoint and brings its own weights and options"
        ))
        .hint("use --weights and --set with a model name only"));
    }
    let folder = if path.is_dir() { path } else { checkpoint_around(path)? };
    Ok(Subject::Checkpoint(folder.to_owned()))
}

/// The checkpoint that the file at `path` is part of: `RUN/checkpoints/best/model.safetensors` means its folder.
fn checkpoint_around(path: &Path) -> Result<&Path, Failure> {
    let (folder, shown) = (folder_of(path), path.display());
    let name = path.file_name().unwrap_or_default();
    if folder.join("state.toml").is_file() && (name == "model.safetensors" || name == "state.toml")
    {
        return Ok(folder);
    }
    let ending = path.extension().unwrap_or_default();
    if ["safetensors", "pth", "pt"].iter().any(|weights| ending == *weights) {
        return Err(Failure::usage(format!(
            "{shown} doesn't say which network its weights belong to"
        ))
        .hint(format!("name the network first: MODEL --weights {shown}")));
    }
    let around = folder.join("recipe.toml").is_file() || folder.join("state.toml").is_file();
    Err(Failure::usage(format!("{shown} is a file, and neither a run folder nor a checkpoint"))
        .hint(if around {
            format!("name its folder: {}", folder.display())
        } else {
            "name a model (`kiln models` lists them), a run folder or a checkpoint".to_owned()
        }))
}

/// The folder that the file at `path` lies in, `.` for a name alone.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Whether the registry has a model called `text`.
pub fn is_model(text: &str) -> bool {
    Zoo.entries().iter().any(|entry| entry.name == text)
}

/// Every option of `model`, with what `set` changes.
///
/// # Errors
///
/// If the model or a key is unknown or a value doesn't fit.
pub fn model_options(model: &str, set: &[String]) -> Result<Options, Failure> {
    let mut table = Value::Object(Zoo.defaults(model)?);
    for assignment in set {
        let assignment = assignment.strip_prefix("options.").unwrap_or(assignment);
        options::set(&mut table, assignment)?;
    }
    match table {
        Value::Object(table) => Ok(table),
        _ => Ok(Options::new()),
    }
}

/// The size of `model`'s input: `wish`, else the registry's with the channels of `options`.
///
/// # Errors
///
/// If `wish` has other channels than `options`.
pub fn input_size(
    model: &str,
    options: &Options,
    wish: Option<[usize; 3]>,
) -> Result<[usize; 3], Failure> {
    let [default, height, width] = Zoo.entry(model)?.input;
    let channels = options.get("in_channels").and_then(Value::as_u64);
    let channels = channels.map_or(default, |channels| channels as usize);
    match wish {
        Some(wish) if wish[0] != channels => Err(Failure::usage(format!(
            "{model} takes images of {}, not of {}",
            plural(channels as u64, "channel"),
            shape(&wish)
        ))
        .hint(format!("add --set in_channels={}", wish[0]))),
        Some(wish) => Ok(wish),
        None => Ok([channels, height, width]),
    }
}

fn unknown(text: &str) -> Failure {
    match Zoo.entry(text) {
        Err(error) if !looks_like_a_path(text) => Failure::from(error)
            .hint("name a model (`kiln models` lists them), a run folder or a checkpoint"),
        _ => Failure::failed(format!("{text}: no such run folder or checkpoint"))
            .hint("`kiln train` prints the folder that it writes"),
    }
}

/// Whether `text` is written as a path and not as a name.
pub fn looks_like_a_path(text: &str) -> bool {
    text.contains(['/', '\\']) || Path::new(text).extension().is_some()
}

/// Writes a measurement for people.
pub fn write_evaluation(evaluation: &Evaluation, to: &mut dyn Write) -> io::Result<()> {
    writeln!(
        to,
        "{BOLD}{} on {} ({}, {} images, {}){BOLD:#}",
        evaluation.model,
        evaluation.dataset,
        evaluation.split,
        count(evaluation.samples as u64),
        evaluation.source
    )?;
    writeln!(to, "top-1       {}", percent(evaluation.top1))?;
    writeln!(to, "top-5       {}", percent(evaluation.top5))?;
    writeln!(to, "loss        {:.4}", evaluation.loss)?;
    let name = |class: usize| evaluation.classes.get(class).map_or("?", String::as_str);
    let mistakes: Vec<String> = evaluation
        .confusion
        .mistakes(MISTAKES)
        .into_iter()
        .map(|(truth, taken, times)| format!("{}→{} ×{times}", name(truth), name(taken)))
        .collect();
    if !mistakes.is_empty() {
        writeln!(to, "mistakes    {}", mistakes.join(", "))?;
    }
    if evaluation.skipped > 0 {
        writeln!(to, "left out    {} unreadable images", count(evaluation.skipped as u64))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_may_be_named_as_in_a_recipe() {
        let options = |set: &str| model_options("lenet5", &[set.to_owned()]).unwrap();
        assert_eq!(options("num_classes=7"), options("options.num_classes=7"));
        assert_eq!(options("num_classes=7")["num_classes"], 7);
    }
}
