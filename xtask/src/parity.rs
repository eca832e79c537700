//! `cargo xtask parity [MODEL…]`: kiln's networks against PyTorch's, full size, both ways.
//!
//! `xtask/parity/parity.py` draws weights and images and computes scores; kiln reads the same weights and must give the
//! same scores within [`TOLERANCE`]. Then kiln converts the weights, and PyTorch must load them strictly and find every
//! tensor unchanged. docs/parity.md keeps the last result of each model.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::backends::comparison;
use crate::bench::Request;
use crate::ci::target;
use crate::command::{Call, root};
use crate::golden;
use crate::safetensors;
use crate::stamp::Stamp;

/// Largest difference of the scores, relative to the largest score.
const TOLERANCE: f64 = 1e-4;

const HEAD: &str = "\
# Parity with PyTorch

`cargo xtask parity` draws random weights and two random images for every network that torchvision, timm or a golden
script of ours has, and compares full-size scores. *Difference* is `max|a - b| / max|b|` of the scores that kiln
computes from PyTorch's file, at most 1e-4. *Back* is the number of tensors, counters of norms included, that
`kiln convert` wrote to a `.pth` and to a `.safetensors` file and that `load_state_dict(strict=True)` took with every
bit unchanged. The draws are such that PyTorch's single-precision scores lie within 3e-5 of its double-precision ones;
`parity.py` refuses others, which would compare roundings and not programs.

| model | PyTorch's | input | difference | back | with | date | commit | machine |
| --- | --- | --- | ---: | ---: | --- | --- | --- | --- |
";

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let request = request(arguments)?;
    let python = golden::python(request.venv.clone())?;
    let script = root().join("xtask/parity/parity.py").display().to_string();
    let list = Call::new(&python, [script.as_str(), "list"]).output()?;
    let list: Value = serde_json::from_str(&list).context("parity.py wrote no JSON")?;
    let twins = chosen(&list, &request.names)?;

    let stamp = Stamp::take()?;
    Call::cargo("build --release --locked").run()?;
    let kiln = target()?.join("release").join(if cfg!(windows) { "kiln.exe" } else { "kiln" });
    let sides = Sides { python, script, kiln: kiln.display().to_string() };
    let folder = target()?.join("xtask/parity");
    let page = root().join("docs/parity.md");

    let mut failures = Vec::new();
    for twin in twins {
        // A network's weights are half a gigabyte: one folder for all.
        std::fs::remove_dir_all(&folder).or_else(absent)?;
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let found = match sides.compare(&twin, &folder) {
            Ok(found) => found,
            Err(error) => {
                println!("{}: {error:#}", twin.name);
                failures.push(format!("{}: {error:#}", twin.name));
                continue;
            }
        };
        println!("{}: {}, {} tensors back", twin.name, found.shown(), found.tensors);
        if found.difference > TOLERANCE {
            failures.push(format!("{} differs by {}", twin.name, found.shown()));
        }
        let row = found.row(&twin, &list, &stamp)?;
        let old = std::fs::read_to_string(&page).unwrap_or_default();
        std::fs::create_dir_all(root().join("docs")).context("cannot make docs")?;
        std::fs::write(&page, merged(&old, &twin.name, &row, &names(&list)))
            .with_context(|| format!("cannot write {}", page.display()))?;
    }
    std::fs::remove_dir_all(&folder).or_else(absent)?;
    if !failures.is_empty() {
        bail!("{}", failures.join("; "));
    }
    Ok(())
}

/// Names of models and PyTorch's folder.
fn request(arguments: &[String]) -> Result<Request> {
    let request = Request::parse(arguments)?;
    if request.runs.is_some() {
        bail!("no option `--runs` here; there is --venv DIR");
    }
    Ok(request)
}

/// A missing folder is removed already.
fn absent(error: std::io::Error) -> Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound {
        return Ok(());
    }
    Err(error).context("cannot clear the folder of the comparison")
}

/// A network of PyTorch's that one of kiln's is held against.
#[derive(Clone, Debug, PartialEq)]
struct Twin {
    name: String,
    twin: String,
    size: Vec<u64>,
    options: Vec<String>,
}

/// The wanted models of parity.py's list, all of them without a wish.
fn chosen(list: &Value, wanted: &[String]) -> Result<Vec<Twin>> {
    let models = list["models"].as_array().context("parity.py lists no models")?;
    let twin = |model: &Value| {
        let text = |key: &str| model[key].as_str().unwrap_or_default().to_owned();
        let array = |key: &str| model[key].as_array().cloned().unwrap_or_default();
        Twin {
            name: text("name"),
            twin: text("twin"),
            size: array("size").iter().filter_map(Value::as_u64).collect(),
            options: array("options").iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        }
    };
    let mut twins: Vec<Twin> = models.iter().map(twin).collect();
    for name in wanted {
        if !twins.iter().any(|twin| twin.name == *name) {
            let names: Vec<&str> = twins.iter().map(|twin| twin.name.as_str()).collect();
            bail!("no twin of `{name}`; there are: {}", names.join(", "));
        }
    }
    twins.retain(|twin| wanted.is_empty() || wanted.contains(&twin.name));
    Ok(twins)
}

fn names(list: &Value) -> Vec<String> {
    let models = list["models"].as_array().into_iter().flatten();
    models.filter_map(|model| model["name"].as_str()).map(str::to_owned).collect()
}

/// The two programs.
struct Sides {
    python: String,
    script: String,
    kiln: String,
}

struct Found {
    difference: f64,
    tensors: usize,
}

impl Sides {
    fn compare(&self, twin: &Twin, folder: &Path) -> Result<Found> {
        let file = |name: &str| folder.join(name).display().to_string();
        let python = |verb: &str| {
            let folder = folder.display().to_string();
            Call::new(&self.python, [self.script.as_str(), verb, &twin.name, &folder])
        };
        let kiln = |arguments: &[&str]| {
            let call = Call::new(&self.kiln, arguments);
            let options = twin.options.iter().flat_map(|option| ["--set", option]);
            options.fold(call, Call::argument).argument("--quiet").output()
        };

        python("make").output()?;
        let weights = file("weights.pth");
        let (input, output) = (file("input.safetensors"), file("output.safetensors"));
        let files = ["--weights", &weights, "--input", &input, "--output", &output, "--force"];
        kiln(&[&["forward", twin.name.as_str()], &files[..]].concat())?;
        let expected = safetensors::read(&folder.join("expected.safetensors"))?;
        let found = safetensors::read(&folder.join("output.safetensors"))?;
        let difference = comparison::compare(&expected, &found)?.relative;

        for back in ["back.pth", "back.safetensors"] {
            kiln(&["convert", &weights, &file(back), "--model", &twin.name, "--force"])?;
        }
        let accepted = python("accept").output()?;
        let tensors = accepted.trim().parse().context("parity.py counted no tensors")?;
        Ok(Found { difference, tensors })
    }
}

impl Found {
    fn shown(&self) -> String {
        format!("{:.1e}", self.difference)
    }

    /// The cells after the name.
    fn row(&self, twin: &Twin, list: &Value, stamp: &Stamp) -> Result<String> {
        let size: Vec<String> = twin.size.iter().map(u64::to_string).collect();
        let mut with = String::new();
        for (name, version) in list["versions"].as_object().into_iter().flatten() {
            let separator = if with.is_empty() { "" } else { ", " };
            let version = version.as_str().unwrap_or_default();
            let version = version.split('+').next().unwrap_or_default();
            write!(with, "{separator}{name} {version}")?;
        }
        let mark = if self.difference > TOLERANCE { "**" } else { "" };
        Ok(format!(
            "{} | {} | {mark}{}{mark} | {} | {with} | {}",
            twin.twin,
            size.join("×"),
            self.shown(),
            self.tensors,
            stamp.cells()
        ))
    }
}

/// The page with the new row; rows of other models stay, in the order of `names`.
fn merged(old: &str, name: &str, row: &str, names: &[String]) -> String {
    let mut rows: BTreeMap<usize, (&str, &str)> = BTreeMap::new();
    let kept = old.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    for (model, cells) in kept.chain([(name, row)]) {
        if let Some(place) = names.iter().position(|known| known == model) {
            rows.insert(place, (model, cells));
        }
    }
    let lines: String =
        rows.values().map(|(model, cells)| format!("| `{model}` | {cells}\n")).collect();
    format!("{HEAD}{lines}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::path::PathBuf;

    fn list() -> Value {
        json!({
            "versions": { "torch": "2.0+cpu" },
            "models": [
                { "name": "a", "twin": "timm `a`", "size": [3, 8, 8], "options": [] },
                { "name": "b", "twin": "timm `b`", "size": [3, 8, 8], "options": ["aux=true"] },
            ],
        })
    }

    #[test]
    fn without_a_wish_every_twin_is_chosen() {
        let twins = chosen(&list(), &[]).unwrap();
        assert_eq!(twins.len(), 2);
        assert_eq!(twins[1].options, ["aux=true"]);
    }

    #[test]
    fn a_model_without_a_twin_lists_those_that_have_one() {
        let error = chosen(&list(), &["c".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("`c`") && error.contains("a, b"), "{error}");
    }

    #[test]
    fn rows_stay_in_the_order_of_the_list_and_a_new_one_replaces_the_old() {
        let names = names(&list());
        let page = merged("", "b", "old |", &names);
        let page = merged(&page, "a", "first |", &names);
        let page = merged(&page, "b", "new |", &names);
        assert!(page.ends_with("| `a` | first |\n| `b` | new |\n"), "{page}");
    }

    #[test]
    fn a_row_marks_what_is_beyond_the_tolerance() {
        let twin = &chosen(&list(), &["a".to_owned()]).unwrap()[0];
        let stamp = Stamp::take().unwrap();
        let row = |difference| Found { difference, tensors: 7 }.row(twin, &list(), &stamp).unwrap();
        assert!(row(2e-3).starts_with("timm `a` | 3×8×8 | **2.0e-3** | 7 | torch 2.0 | "));
        assert!(row(2e-6).starts_with("timm `a` | 3×8×8 | 2.0e-6 | 7 | torch 2.0 | "));
    }

    #[test]
    fn options_are_understood() {
        let words: Vec<String> = ["vgg11", "--venv", "torch"].map(str::to_owned).to_vec();
        let request = request(&words).unwrap();
        assert_eq!(request.names, ["vgg11"]);
        assert_eq!(request.venv, Some(PathBuf::from("torch")));
        assert!(super::request(&["--runs", "3"].map(str::to_owned)).is_err());
    }
}
