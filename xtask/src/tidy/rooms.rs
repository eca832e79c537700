//! The rooms without code: each network has a card and recipes, each data set its papers, each change its line.

use super::Finding;
use super::tree::Tree;

const REGISTRY: &str = "crates/kiln-models/src/zoo";

/// How the line of a card begins that says why there is no recipe yet.
const NO_RECIPE: &str = "\nNo recipe yet: ";

/// What the comment at the head of a recipe states about its last run.
const RECIPE_HEAD: &[&str] = &["command", "machine", "date", "commit", "result"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(models(tree));
    findings.extend(registry(tree));
    findings.extend(datasets(tree));
    findings.extend(changelog(tree));
    findings
}

fn models(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for folder in tree.folders("models/") {
        let room = format!("models/{folder}/");
        if !tree.contains(&format!("{room}README.md")) {
            findings.push(Finding::file(&room, "no card: README.md"));
        }
        let recipes: Vec<&str> = tree
            .paths()
            .filter(|path| path.starts_with(&room) && path.ends_with(".toml"))
            .collect();
        let card = tree.text(&format!("{room}README.md")).unwrap_or_default();
        if recipes.is_empty() && !card.contains(NO_RECIPE) {
            let message = "no recipe: <variant>-<dataset>.toml; what can't be trained yet says \
                so in its card, in a line `No recipe yet: WHY`";
            findings.push(Finding::file(&room, message));
        }
        for path in recipes {
            findings.extend(recipe(path, tree.text(path).unwrap_or_default()));
        }
        let code = tree.paths().find(|path| path.starts_with(&room) && path.ends_with(".rs"));
        findings.extend(code.map(|path| Finding::file(path, "code belongs into crates/")));
    }
    findings
}

fn recipe(path: &str, text: &str) -> Vec<Finding> {
    let head: Vec<&str> =
        text.lines().take_while(|line| line.starts_with('#') || line.trim().is_empty()).collect();
    let states = |key: &str| {
        head.iter().any(|line| {
            let line = line.trim_start_matches('#').trim_start();
            let value = line.strip_prefix(key).and_then(|rest| rest.trim_start().strip_prefix(':'));
            value.is_some_and(|value| !value.trim().is_empty())
        })
    };
    let missing: Vec<&str> = RECIPE_HEAD.iter().copied().filter(|key| !states(key)).collect();
    if missing.is_empty() {
        return Vec::new();
    }
    vec![Finding::line(
        path,
        1,
        format!("the head does not state: {} (`# command: …`)", missing.join(", ")),
    )]
}

/// Every registry name stands in a card, as code.
fn registry(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let files =
        tree.texts().filter(|(path, _)| path.starts_with(REGISTRY) && path.ends_with(".rs"));
    let mut names: Vec<(&str, usize, String)> = Vec::new();
    for (path, text) in files {
        let body = text.lines().take_while(|line| line.trim() != "#[cfg(test)]");
        let entries =
            body.enumerate().filter_map(|(index, line)| Some((path, index + 1, entry_name(line)?)));
        names.extend(entries);
    }
    if names.is_empty() {
        return vec![Finding::file(
            &format!("{REGISTRY}.rs"),
            "no entry found: a network is listed as `line(\"…\", …)`",
        )];
    }
    for (path, line, name) in names {
        let code = format!("`{name}`");
        let own = format!("models/{name}/README.md");
        let named = |(path, text): (&str, &str)| {
            path.starts_with("models/") && path.ends_with("/README.md") && text.contains(&code)
        };
        if !tree.contains(&own) && !tree.texts().any(named) {
            findings.push(Finding::line(
                path,
                line,
                format!("no card in models/*/README.md names `{name}`"),
            ));
        }
    }
    findings
}

/// `lenet5` of `line("lenet5", …`.
fn entry_name(line: &str) -> Option<String> {
    let (name, _) = line.trim_start().strip_prefix("line(\"")?.split_once('"')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    (!name.is_empty() && name.chars().all(plain)).then(|| name.to_owned())
}

fn datasets(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for folder in tree.folders("datasets/") {
        for file in ["README.md", "dataset.toml"] {
            if !tree.contains(&format!("datasets/{folder}/{file}")) {
                findings.push(Finding::file(&format!("datasets/{folder}/"), format!("no {file}")));
            }
        }
    }
    findings
}

/// There is a place for what comes next, and each family of networks has its line.
fn changelog(tree: &Tree) -> Vec<Finding> {
    let text = tree.text("CHANGELOG.md").unwrap_or_default();
    let mut findings = Vec::new();
    if !text.contains("\n## [Unreleased]") {
        findings.push(Finding::file("CHANGELOG.md", "no section `## [Unreleased]`"));
    }
    for folder in tree.folders("models/") {
        let code = format!("`models/{folder}`");
        if !text.contains(&code) {
            let message = format!("no line names the family {code}; say what it brought");
            findings.push(Finding::file("CHANGELOG.md", message));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "# LeNet-5 on MNIST.\n#\n# command: cargo train lenet5\n# machine: 2 cores\n# date: 2026-01-01\n\
        # commit: 1234567\n# result: top1 0.99\n\nmodel = \"lenet5\"\n";
    const GOOD: &[(&str, &str)] = &[
        ("models/lenet5/README.md", "# LeNet-5\n`lenet5`\n"),
        ("models/lenet5/lenet5-mnist.toml", HEAD),
        ("crates/kiln-models/src/zoo.rs", "        line(\"lenet5\", LeNet5Config::new(),\n"),
        ("datasets/mnist/README.md", ""),
        ("datasets/mnist/dataset.toml", ""),
        ("CHANGELOG.md", "# Changes\n\n## [Unreleased]\n\n- LeNet-5 (`models/lenet5`).\n"),
    ];

    fn without(path: &str) -> Vec<Finding> {
        let files: Vec<(&str, &str)> =
            GOOD.iter().copied().filter(|(other, _)| *other != path).collect();
        check(&Tree::of(&files))
    }

    fn with(path: &str, text: &str) -> Vec<Finding> {
        let mut files: Vec<(&str, &str)> =
            GOOD.iter().copied().filter(|(other, _)| *other != path).collect();
        files.push((path, text));
        check(&Tree::of(&files))
    }

    #[test]
    fn a_furnished_house_passes() {
        assert_eq!(check(&Tree::of(GOOD)), []);
    }

    #[test]
    fn each_missing_paper_is_found() {
        for (path, _) in GOOD {
            assert!(!without(path).is_empty(), "{path}");
        }
    }

    #[test]
    fn a_card_may_say_why_there_is_no_recipe_yet() {
        let told = "# FCN\n`lenet5`\n\nNo recipe yet: masks can't be trained on.\n";
        let mut files: Vec<(&str, &str)> = GOOD.to_vec();
        files.retain(|(path, _)| !path.starts_with("models/"));
        files.push(("models/lenet5/README.md", told));
        assert_eq!(check(&Tree::of(&files)), []);
    }

    #[test]
    fn a_recipe_states_how_it_was_measured() {
        let found = with(
            "models/lenet5/lenet5-mnist.toml",
            &HEAD.replace("# result: top1 0.99", "# result:"),
        );
        assert!(found.len() == 1 && found[0].message.contains("result"), "{found:?}");
        let late = format!("model = \"lenet5\"\n{HEAD}");
        assert_eq!(with("models/lenet5/lenet5-mnist.toml", &late).len(), 1);
    }

    #[test]
    fn a_registered_network_has_a_card() {
        let zoo = "line(\"lenet5\", x),\n// line(\"not-this\", x)\nline(\"vgg16_bn\", x),\n\
            #[cfg(test)]\nmod tests { fn a() { line(\"toy\", x) } }\n";
        let found = with("crates/kiln-models/src/zoo.rs", zoo);
        assert!(
            found.len() == 1 && found[0].message.contains("vgg16_bn") && found[0].line == 3,
            "{found:?}"
        );
    }

    #[test]
    fn a_family_has_its_line_in_the_changelog() {
        let found = with("CHANGELOG.md", "# Changes\n\n## [Unreleased]\n\n- LeNet-5.\n");
        assert!(found.len() == 1 && found[0].message.contains("`models/lenet5`"), "{found:?}");
    }

    #[test]
    fn code_stays_out_of_models() {
        assert_eq!(with("models/lenet5/train.rs", "").len(), 1);
    }
}
