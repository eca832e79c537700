//! Lists the recipes under `models/` so that the library can embed them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=models");
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let mut recipes = Vec::new();
    for folder in fs::read_dir(root.join("models"))? {
        let folder = folder?.path();
        if folder.is_dir() {
            println!("cargo::rerun-if-changed={}", folder.display());
            collect(&folder, &mut recipes)?;
        }
    }
    recipes.sort();

    let mut table = String::from("&[\n");
    for recipe in &recipes {
        let name = recipe.file_stem().expect("a file has a stem").to_string_lossy();
        writeln!(table, "    ({name:?}, include_str!({recipe:?})),").expect("a string grows");
    }
    table.push_str("]\n");

    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("recipes.rs"), table)
}

fn collect(folder: &Path, recipes: &mut Vec<PathBuf>) -> io::Result<()> {
    for file in fs::read_dir(folder)? {
        let file = file?.path();
        if file.extension().is_some_and(|extension| extension == "toml") {
            println!("cargo::rerun-if-changed={}", file.display());
            recipes.push(file);
        }
    }
    Ok(())
}
