//! What several verbs share: which network an argument means, and how a measurement reads.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use kiln::data::Preprocess;
use kiln::models::{Detectors, Options, Registry, Zoo, options};
use kiln::train::{ClassOrder, Evaluation, LARGEST_BATCH, PRETRAINED, Published, Subject, Weights};
use serde_json::{Value, json};

use crate::errors::Failure;
use crate::numbers::{count, percent, plural, shape};
use crate::output::Output;
use crate::progress::Progress;
use crate::table::BOLD;
use crate::verbs::segmenter;

/// Most frequent mistakes shown under a measurement.
const MISTAKES: usize = 5;

/// What helps where a batch doesn't fit into memory.
pub const SMALLER: &str = "take fewer images at a time: --set batch_size=N";

/// What --set says about a network that is used.
#[derive(Debug, Default)]
pub struct Settings {
    /// Images per forward pass.
    pub batch: Option<usize>,
    /// Values of `preprocess`.
    preprocess: Options,
    /// Which class each score stands for.
    class_order: Option<ClassOrder>,
    /// The assignments that are left: the network's options.
    pub options: Vec<String>,
}

impl Settings {
    /// All of `set` as options of the network.
    pub fn options(set: &[String]) -> Self {
        Settings { options: set.to_vec(), ..Settings::default() }
    }

    /// `preprocess` with the values that were named.
    ///
    /// # Errors
    ///
    /// If a value can't be used.
    pub fn over(&self, preprocess: &Preprocess) -> Result<Preprocess, Failure> {
        let mut table = json!(preprocess);
        options::overlay(&mut table, Value::Object(self.preprocess.clone()))?;
        let preprocess: Preprocess = options::read(table)?;
        preprocess.check()?;
        Ok(preprocess)
    }

    /// Sorts `set` by what it changes.
    ///
    /// # Errors
    ///
    /// If a key of `preprocess` is unknown or a value of it, or of another key, can't be used.
    pub fn parse(set: &[String]) -> Result<Self, Failure> {
        let mut settings = Settings::default();
        // The values don't matter: they say which keys there are, and of which type.
        let plain = Preprocess::plain(1, 1, 1);
        let mut table = json!({ BATCH: 1, PREPROCESS: plain });
        for assignment in set {
            let (key, value) = assignment.split_once('=').unwrap_or_default();
            let (key, value) = (key.trim(), value.trim());
            if key == ORDER {
                let order = ClassOrder::named(value.trim_matches('"'));
                let wrong = || {
                    Failure::usage(format!("{ORDER} is `dataset` or `darknet`, found `{value}`"))
                };
                settings.class_order = Some(order.ok_or_else(wrong)?);
                continue;
            }
            let inside = key.strip_prefix(PREPROCESS).and_then(|rest| rest.strip_prefix('.'));
            if key != BATCH && inside.is_none() {
                settings.options.push(assignment.clone());
                continue;
            }
            options::set(&mut table, assignment)?;
            match inside {
                Some(key) => {
                    settings.preprocess.insert(key.to_owned(), table[PREPROCESS][key].clone());
                }
                None => match table[BATCH].as_u64().and_then(|batch| usize::try_from(batch).ok()) {
                    Some(batch @ 1..=LARGEST_BATCH) => settings.batch = Some(batch),
                    _ => {
                        return Err(Failure::usage(format!(
                            "{BATCH} must lie in [1, {LARGEST_BATCH}], found {}",
                            table[BATCH]
                        )));
                    }
                },
            }
        }
        Ok(settings)
    }
}

/// Keys of a recipe that --set may name besides options.
const BATCH: &str = "batch_size";
const PREPROCESS: &str = "preprocess";
/// One that no recipe has.
const ORDER: &str = "class_order";

/// The network that `text` means: a registry model, a checkpoint or a run folder. Published weights are downloaded if
/// they aren't there.
///
/// # Errors
///
/// Wrong use with the nearest name if it is neither, or if `weights` or `set` don't go with it; a download that fails.
pub fn subject(
    text: &str,
    weights: Option<&Path>,
    set: &Settings,
    output: Output,
) -> Result<Subject, Failure> {
    if is_model(text) {
        let options = model_options(text, &set.options)?;
        let weights = match weights {
            None => Weights::Random,
            Some(named) if named == Path::new(PRETRAINED) => {
                let mut progress = Progress::new(output, String::new());
                Weights::Published(Published::fetch(&Zoo, text, &mut progress)?)
            }
            Some(file) => Weights::File(file.to_owned()),
        };
        let (name, preprocess) = (text.to_owned(), set.preprocess.clone());
        let class_order = set.class_order;
        return Ok(Subject::Model { name, options, preprocess, class_order, weights });
    }
    let path = Path::new(text);
    if !path.exists() {
        refuse_others(text)?;
        return Err(unknown(text));
    }
    let options = !set.options.is_empty() || !set.preprocess.is_empty();
    if weights.is_some() || options || set.class_order.is_some() {
        return Err(Failure::usage(format!(
            "{text} is a checkpoint and brings its own weights and options"
        ))
        .hint("use --weights and --set with a model name only, except --set batch_size"));
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

/// The names of the classes: a line each of `file`, else numbers.
///
/// # Errors
///
/// For a file that can't be read or has other classes.
pub fn class_names(file: Option<&Path>, classes: usize) -> Result<Vec<String>, Failure> {
    let Some(file) = file else {
        return Ok((0..classes).map(|class| format!("class {class}")).collect());
    };
    let text = fs::read_to_string(file).map_err(|error| Failure::file(file, &error))?;
    let names = text.lines().map(str::trim).filter(|name| !name.is_empty());
    let names: Vec<String> = names.map(str::to_owned).collect();
    if names.len() == classes {
        return Ok(names);
    }
    let (file, found) = (file.display(), names.len());
    Err(Failure::usage(format!("{file} names {found} classes, and the network has {classes}"))
        .hint("a line per class, in the network's order"))
}

/// Refuses `name` if it is a detector's or of a network for segmentation, where only classifiers will do.
///
/// # Errors
///
/// Wrong use, with the verbs that take such networks.
pub fn refuse_others(name: &str) -> Result<(), Failure> {
    let (what, verbs) = if is_model(name) {
        return Ok(());
    } else if Detectors.has(name) {
        (
            "a detector",
            "`kiln models`, `kiln summary`, `kiln predict` and `kiln eval` take detectors",
        )
    } else if segmenter::is_segmenter(name) {
        (
            "for segmentation",
            "`kiln models`, `summary`, `predict`, `kiln forward` and `convert` take it",
        )
    } else {
        return Ok(());
    };
    Err(Failure::usage(format!("{name} is {what}, and this verb is for classifiers")).hint(verbs))
}

/// Every option of the detector `name`, with what `set` changes.
///
/// # Errors
///
/// As [`model_options`].
pub fn detector_options(name: &str, set: &[String]) -> Result<Options, Failure> {
    changed(Detectors.defaults(name)?, set)
}

/// Every option of `model`, with what `set` changes.
///
/// # Errors
///
/// If the model or a key is unknown or a value doesn't fit.
pub fn model_options(model: &str, set: &[String]) -> Result<Options, Failure> {
    refuse_others(model)?;
    changed(Zoo.defaults(model)?, set)
}

/// `defaults` with what `set` changes.
///
/// # Errors
///
/// If a key is unknown or a value doesn't fit.
pub fn changed(defaults: Options, set: &[String]) -> Result<Options, Failure> {
    let mut table = Value::Object(defaults);
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
    sized(model, Zoo.entry(model)?.input, options, wish)
}

/// As [`input_size`], where the usual input is known.
///
/// # Errors
///
/// As [`input_size`].
pub fn sized(
    model: &str,
    usual: [usize; 3],
    options: &Options,
    wish: Option<[usize; 3]>,
) -> Result<[usize; 3], Failure> {
    let [default, height, width] = usual;
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
    writeln!(to, "calibration {} off", percent(evaluation.calibration.error()))?;
    if let Some(curve) = &evaluation.separation {
        let (roc, precision) = (curve.roc_auc(), curve.average_precision());
        writeln!(to, "ROC area    {roc:.4}, average precision {precision:.4}")?;
    }
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

    #[test]
    fn settings_are_sorted_by_what_they_change() {
        let parse = |set: &[&str]| {
            let set: Vec<String> = set.iter().map(|&text| text.to_owned()).collect();
            Settings::parse(&set)
        };
        let settings = parse(&["preprocess.mean=[0]", "batch_size=8", "num_classes=3"]).unwrap();
        assert_eq!(settings.batch, Some(8));
        assert_eq!(settings.preprocess["mean"], json!([0.0]));
        assert_eq!(
            (settings.preprocess.len(), &settings.options[..]),
            (1, &["num_classes=3".to_owned()][..])
        );
        assert_eq!(parse(&["class_order=dataset"]).unwrap().class_order, Some(ClassOrder::Dataset));
        for (wrong, near) in [
            ("preprocess.maen=[0]", "mean"),
            ("batch_size=0", "[1, 1048576]"),
            ("class_order=alphabet", "`dataset` or `darknet`, found `alphabet`"),
        ] {
            let failure = parse(&[wrong]).unwrap_err();
            assert!(failure.message().contains(near), "{}", failure.message());
        }
    }
}
