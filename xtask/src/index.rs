//! `cargo xtask index [--check]`: the model table of README.md, from `kiln models --json`.

use std::fmt::Write;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::command::{Call, root};

const START: &str = "<!-- models:begin -->";
const END: &str = "<!-- models:end -->";

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let check = match arguments {
        [] => false,
        [option] if option == "--check" => true,
        _ => bail!("usage: cargo xtask index [--check]"),
    };
    let json = Call::cargo("run --release --quiet --locked -- models --json").output()?;
    let models: Value =
        serde_json::from_str(&json).context("`kiln models --json` wrote no JSON")?;
    let cards = cards()?;
    let table = table(&models, &cards)?;

    let path = root().join("README.md");
    let old = std::fs::read_to_string(&path).context("cannot read README.md")?;
    let new = between_markers(&old, &table)?;
    if old == new {
        return Ok(());
    }
    if check {
        bail!("the model table of README.md is stale; run `cargo xtask index`");
    }
    std::fs::write(&path, new).context("cannot write README.md")?;
    println!("README.md: the model table is new");
    Ok(())
}

/// The cards: (architecture's folder, text), sorted.
fn cards() -> Result<Vec<(String, String)>> {
    let mut cards = Vec::new();
    let folder = root().join("models");
    for entry in std::fs::read_dir(&folder).context("cannot list models/")? {
        let entry = entry?;
        if let (Ok(name), Ok(text)) = (
            entry.file_name().into_string(),
            std::fs::read_to_string(entry.path().join("README.md")),
        ) {
            cards.push((name, text));
        }
    }
    cards.sort();
    Ok(cards)
}

/// A Markdown table, in the registry's order. The first column links the card that names the model.
fn table(models: &Value, cards: &[(String, String)]) -> Result<String> {
    let models =
        models["models"].as_array().context("`kiln models --json` has no list `models`")?;
    if models.is_empty() {
        bail!("`kiln models --json` lists no model");
    }
    let mut table = String::from("| model | task | trainable parameters |\n| --- | --- | ---: |\n");
    for model in models {
        let name =
            model["name"].as_str().context("a model of `kiln models --json` has no `name`")?;
        let task = model["task"].as_str().with_context(|| format!("{name} has no `task`"))?;
        let parameters =
            model["parameters"].as_u64().with_context(|| format!("{name} has no `parameters`"))?;
        let code = format!("`{name}`");
        let own = cards.iter().find(|(folder, _)| folder == name);
        let card = own.or_else(|| cards.iter().find(|(_, text)| text.contains(&code)));
        let (folder, _) =
            card.with_context(|| format!("no card in models/*/README.md names `{name}`"))?;
        writeln!(
            table,
            "| [{code}](models/{folder}/README.md) | {task} | {} |",
            grouped(parameters)
        )?;
    }
    Ok(table)
}

/// `61750` as `61,750`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `document` with `table` between the markers.
fn between_markers(document: &str, table: &str) -> Result<String> {
    let (Some(start), Some(end)) = (document.find(START), document.find(END)) else {
        bail!(
            "README.md lacks the lines `{START}` and `{END}`; put them where the model table belongs"
        );
    };
    let start = start + START.len();
    if end < start {
        bail!("README.md has `{END}` before `{START}`");
    }
    Ok(format!("{}\n\n{table}\n{}", &document[..start], &document[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cards_of(names: &[(&str, &str)]) -> Vec<(String, String)> {
        names.iter().map(|&(folder, text)| (folder.to_owned(), text.to_owned())).collect()
    }

    #[test]
    fn the_table_links_each_card() {
        let models = serde_json::json!({"models": [
            {"name": "lenet5", "task": "classification", "parameters": 61750},
            {"name": "resnet50", "task": "classification", "parameters": 25_557_032},
        ]});
        let cards = cards_of(&[("lenet5", "# LeNet-5"), ("resnet", "`resnet18`, `resnet50`")]);
        let table = table(&models, &cards).unwrap();
        assert!(
            table.contains("| [`lenet5`](models/lenet5/README.md) | classification | 61,750 |"),
            "{table}"
        );
        assert!(
            table.contains("(models/resnet/README.md) | classification | 25,557,032 |"),
            "{table}"
        );
    }

    #[test]
    fn a_model_without_a_card_is_named() {
        let models = serde_json::json!({"models": [{"name": "vgg16", "task": "classification", "parameters": 1}]});
        let error = table(&models, &cards_of(&[("resnet", "`resnet18`")])).unwrap_err().to_string();
        assert!(error.contains("vgg16"), "{error}");
    }

    #[test]
    fn a_second_run_changes_nothing() {
        let document = format!("# kiln\n\n{START}\nold\n{END}\n\nmore\n");
        let once = between_markers(&document, "| a |\n").unwrap();
        assert_eq!(between_markers(&once, "| a |\n").unwrap(), once);
        assert!(
            once.ends_with(&format!("| a |\n\n{END}\n\nmore\n")) && !once.contains("old"),
            "{once}"
        );
    }

    #[test]
    fn missing_markers_are_named() {
        assert!(between_markers("# kiln", "").unwrap_err().to_string().contains(START));
        assert!(between_markers(&format!("{END} {START}"), "").is_err());
    }
}
