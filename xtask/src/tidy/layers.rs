//! Who may import whom. The table of ARCHITECTURE.md, held against `cargo metadata`.

use anyhow::{Context, Result};
use serde_json::Value;

use super::Finding;

/// What a foreign crate is for, as far as a room may not know it. A crate of no family is free to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    /// Tensors, modules, optimizers.
    Burn,
    /// One backend by name.
    Backend,
    /// burn's own training loop and its terminal dashboard.
    BurnTrain,
    /// Pixels, fonts, plots.
    Pictures,
    /// Command lines, progress bars, colours, signals.
    Terminal,
    Network,
}

fn family(name: &str) -> Option<Family> {
    let family = match name {
        "burn-train" => Family::BurnTrain,
        "burn-flex" | "burn-ndarray" | "burn-wgpu" | "burn-cubecl" | "burn-cuda" | "burn-rocm"
        | "burn-cpu" | "burn-tch" | "burn-candle" | "burn-remote" | "burn-router" | "wgpu" => {
            Family::Backend
        }
        "image" | "imageproc" | "fast_image_resize" | "plotters" | "plotters-backend"
        | "ab_glyph" | "png" | "kamadak-exif" | "tiny-skia" | "resvg" => Family::Pictures,
        "clap" | "clap_complete" | "indicatif" | "anstream" | "anstyle" | "console"
        | "crossterm" | "ratatui" | "ctrlc" => Family::Terminal,
        "ureq" | "reqwest" | "hyper" | "curl" => Family::Network,
        _ if name == "burn" || name.starts_with("burn-") => Family::Burn,
        _ if name.starts_with("cubecl") => Family::Backend,
        _ => return None,
    };
    Some(family)
}

/// One room: the members it may import and the families it may know.
struct Room {
    name: &'static str,
    members: &'static [&'static str],
    families: &'static [Family],
}

const ROOMS: &[Room] = &[
    Room { name: "kiln-kernels", members: &[], families: &[Family::Burn, Family::Backend] },
    Room { name: "kiln-layers", members: &["kiln-kernels"], families: &[Family::Burn] },
    Room {
        name: "kiln-models",
        members: &["kiln-kernels", "kiln-layers"],
        families: &[Family::Burn],
    },
    Room {
        name: "kiln-data",
        members: &[],
        families: &[Family::Burn, Family::Pictures, Family::Network],
    },
    Room { name: "kiln-metrics", members: &[], families: &[] },
    Room { name: "kiln-viz", members: &[], families: &[Family::Pictures] },
    Room {
        name: "kiln-train",
        members: &[
            "kiln-kernels",
            "kiln-layers",
            "kiln-models",
            "kiln-data",
            "kiln-metrics",
            "kiln-viz",
        ],
        families: &[Family::Burn, Family::Pictures],
    },
    Room {
        name: "kiln",
        members: &[
            "kiln-kernels",
            "kiln-layers",
            "kiln-models",
            "kiln-data",
            "kiln-metrics",
            "kiln-viz",
            "kiln-train",
        ],
        families: &[Family::Burn, Family::Backend, Family::Pictures],
    },
    Room {
        name: "kiln-cli",
        members: &["kiln"],
        families: &[Family::BurnTrain, Family::Pictures, Family::Terminal],
    },
    Room {
        name: "kiln-testkit",
        members: &[
            "kiln-kernels",
            "kiln-layers",
            "kiln-models",
            "kiln-data",
            "kiln-metrics",
            "kiln-viz",
            "kiln-train",
        ],
        families: &[Family::Burn, Family::Pictures],
    },
    Room { name: "xtask", members: &[], families: &[] },
];

/// The features a dev-dependency on burn may name. Another one would build burn a second time for the tests.
const TEST_FEATURES: &[&str] = &["flex"];

pub(super) fn check(metadata: &Value) -> Result<Vec<Finding>> {
    let packages = metadata["packages"].as_array().context("`cargo metadata` lists no packages")?;
    let mut findings = Vec::new();
    for package in packages {
        let name = package["name"].as_str().context("a package has no name")?;
        let path = if name == "xtask" {
            "xtask/Cargo.toml".to_owned()
        } else {
            format!("crates/{name}/Cargo.toml")
        };
        let Some(room) = ROOMS.iter().find(|room| room.name == name) else {
            findings.push(Finding::file(
                &path,
                format!("`{name}` is no room of the layer table (ARCHITECTURE.md)"),
            ));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            if let Some(message) = broken(room, dependency) {
                findings.push(Finding::file(&path, message));
            }
        }
    }
    Ok(findings)
}

fn broken(room: &Room, dependency: &Value) -> Option<String> {
    let name = dependency["name"].as_str().unwrap_or_default();
    let kind = dependency["kind"].as_str();
    let optional = dependency["optional"].as_bool().unwrap_or(false);
    if kind == Some("dev") {
        let features =
            dependency["features"].as_array().into_iter().flatten().filter_map(Value::as_str);
        // The workspace's own list comes through inheritance and adds nothing; a backend would.
        let extra = features
            .clone()
            .find(|feature| BACKENDS.contains(feature) && !TEST_FEATURES.contains(feature));
        return extra.filter(|_| matches!(family(name), Some(Family::Burn | Family::Backend))).map(
            |feature| {
                format!(
                    "the dev-dependency {name} switches on `{feature}`, which builds burn twice"
                )
            },
        );
    }
    if name == "kiln-testkit" {
        return Some("kiln-testkit is for dev-dependencies only".to_owned());
    }
    if ROOMS.iter().any(|other| other.name == name) {
        let allowed = room.members.contains(&name);
        return (!allowed).then(|| {
            format!("{} may not import {name} (layer table, ARCHITECTURE.md)", room.name)
        });
    }
    let family = family(name)?;
    if !room.families.contains(&family) {
        return Some(format!("{} may not know {name} (layer table, ARCHITECTURE.md)", room.name));
    }
    if family == Family::BurnTrain && !optional {
        return Some(format!("{name} must be optional, behind the feature `dashboard`"));
    }
    None
}

const BACKENDS: &[&str] =
    &["flex", "ndarray", "wgpu", "vulkan", "metal", "webgpu", "cuda", "rocm", "cpu", "tch"];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn findings(package: &str, dependency: &Value) -> Vec<String> {
        let metadata = json!({"packages": [{"name": package, "dependencies": [dependency]}]});
        check(&metadata).unwrap().into_iter().map(|finding| finding.message).collect()
    }

    fn normal(name: &str) -> Value {
        json!({"name": name, "kind": null, "optional": false, "features": []})
    }

    #[test]
    fn the_table_lets_its_own_edges_pass() {
        for (package, dependency) in [
            ("kiln-layers", "kiln-kernels"),
            ("kiln-models", "burn"),
            ("kiln-data", "image"),
            ("kiln-metrics", "rayon"),
            ("kiln-cli", "clap"),
            ("kiln", "burn-wgpu"),
        ] {
            assert_eq!(
                findings(package, &normal(dependency)),
                [""; 0],
                "{package} -> {dependency}"
            );
        }
    }

    #[test]
    fn edges_up_and_sideways_are_refused() {
        for (package, dependency) in [
            ("kiln-kernels", "kiln-layers"),
            ("kiln-data", "kiln-models"),
            ("kiln-train", "kiln"),
            ("kiln-cli", "kiln-models"),
            ("xtask", "kiln"),
            ("kiln", "kiln-testkit"),
        ] {
            assert_eq!(
                findings(package, &normal(dependency)).len(),
                1,
                "{package} -> {dependency}"
            );
        }
    }

    #[test]
    fn foreign_crates_stay_in_their_rooms() {
        for (package, dependency) in [
            ("kiln-metrics", "burn"),
            ("kiln-viz", "burn-core"),
            ("kiln-layers", "image"),
            ("kiln-models", "ureq"),
            ("kiln-train", "clap"),
            ("kiln-train", "burn-ndarray"),
            ("kiln-cli", "burn"),
            ("xtask", "burn"),
        ] {
            let messages = findings(package, &normal(dependency));
            assert!(
                messages.len() == 1 && messages[0].contains(dependency),
                "{package} -> {dependency}: {messages:?}"
            );
        }
    }

    #[test]
    fn tests_may_use_the_testkit_but_no_other_backend() {
        let dev =
            |name: &str, feature: &str| json!({"name": name, "kind": "dev", "features": [feature]});
        assert!(findings("kiln-layers", &dev("kiln-testkit", "x")).is_empty());
        assert!(findings("kiln-layers", &dev("burn", "flex")).is_empty());
        assert_eq!(findings("kiln-layers", &dev("burn", "ndarray")).len(), 1);
    }

    #[test]
    fn the_dashboard_stays_optional() {
        assert_eq!(findings("kiln-cli", &normal("burn-train")).len(), 1);
        let optional =
            json!({"name": "burn-train", "kind": null, "optional": true, "features": []});
        assert!(findings("kiln-cli", &optional).is_empty());
    }

    #[test]
    fn a_crate_outside_the_table_is_named() {
        let messages = findings("kiln-utils", &normal("serde"));
        assert!(messages.len() == 1 && messages[0].contains("kiln-utils"), "{messages:?}");
    }
}
