//! One build: the tests of the whole workspace must resolve every crate to the features the product gives it.
//!
//! Cargo unifies features over what is selected. Where a dev-dependency adds one to a crate that burn stands on, the
//! workspace's tests compile burn a second time (minutes), and every edited line of ours compiles twice.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::Finding;
use crate::command::Call;

/// A resolved graph: each crate with the feature lists it is built with.
type Features = BTreeMap<String, BTreeSet<String>>;

pub(super) struct Trees {
    /// `cargo build --release`: the default member alone.
    product: Features,
    /// `cargo test --workspace`.
    tests: Features,
}

/// Asks `cargo tree`; builds nothing.
pub(super) fn trees() -> Result<Trees> {
    let ask = |words: &str| -> Result<Features> {
        let call =
            Call::cargo("tree --locked --prefix none --no-dedupe --format").argument("{p}|{f}");
        Ok(parse(&words.split_whitespace().fold(call, Call::argument).output()?))
    };
    Ok(Trees { product: ask("-e normal,build")?, tests: ask("--workspace -e normal,build,dev")? })
}

/// Lines `name v1.2.3 (path)|feature,feature`.
fn parse(text: &str) -> Features {
    let mut graph = Features::new();
    for line in text.lines() {
        let Some((package, features)) = line.split_once('|') else { continue };
        // Ours with a path, procedural macros with a remark: name and version are enough.
        let package: Vec<&str> = package.split_whitespace().take(2).collect();
        // `--no-dedupe` is off in old cargos: the remark (*) would be a feature then.
        let features = features.trim_end_matches("(*)").trim();
        graph.entry(package.join(" ")).or_default().insert(features.to_owned());
    }
    graph
}

pub(super) fn check(trees: &Trees) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (package, product) in &trees.product {
        let Some(tests) = trees.tests.get(package) else { continue };
        if tests == product {
            continue;
        }
        let words = |lists: &BTreeSet<String>| -> BTreeSet<String> {
            lists
                .iter()
                .flat_map(|list| list.split(','))
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect()
        };
        let (in_tests, in_product) = (words(tests), words(product));
        let extra: Vec<String> = in_tests.symmetric_difference(&in_product).cloned().collect();
        findings.push(Finding::file(
            "Cargo.toml",
            format!(
                "{package} is built twice: the workspace's tests and `cargo build` differ in [{}]; \
                 ask `cargo tree --workspace -e features -i {}` who switches it on",
                extra.join(", "),
                package.split(' ').next().unwrap_or_default()
            ),
        ));
    }
    let flex = trees.tests.iter().filter(|(package, _)| package.starts_with("burn-flex "));
    let copies: usize = flex.map(|(_, lists)| lists.len()).sum();
    if copies != 1 {
        findings
            .push(Finding::file("Cargo.toml", format!("{copies} burn-flex units instead of one")));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(product: &str, tests: &str) -> Vec<String> {
        check(&Trees { product: parse(product), tests: parse(tests) })
            .into_iter()
            .map(|f| f.message)
            .collect()
    }

    #[test]
    fn equal_features_pass() {
        let product = "kiln v0.1.0 (somewhere)|flex\nburn-flex v0.22.1|std\nserde v1.0.0|derive";
        let tests = "burn-flex v0.22.1|std\nkiln v0.1.0 (somewhere)|flex\nserde v1.0.0|derive\nproptest v1.0.0|std";
        assert_eq!(messages(product, tests), [""; 0]);
    }

    #[test]
    fn a_feature_only_tests_want_is_named() {
        let found = messages(
            "burn-flex v0.22.1|std\nregex v1.0.0|perf",
            "burn-flex v0.22.1|std\nregex v1.0.0|perf,std",
        );
        assert!(
            found.len() == 1 && found[0].contains("regex v1.0.0") && found[0].contains("[std]"),
            "{found:?}"
        );
    }

    #[test]
    fn host_and_target_copies_are_one_list_each() {
        // A crate used by build scripts and by the product appears twice, with its own features.
        let both = "burn-flex v0.22.1|std\nserde v1.0.0|derive\nserde v1.0.0|std";
        assert_eq!(messages(both, both), [""; 0]);
    }

    #[test]
    fn two_copies_of_burn_flex_are_too_many() {
        let twice = "burn-flex v0.22.1|std\nburn-flex v0.22.1|std,simd";
        assert_eq!(messages(twice, twice), ["2 burn-flex units instead of one"]);
        assert_eq!(messages("", ""), ["0 burn-flex units instead of one"]);
    }
}
