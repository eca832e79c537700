//! `cargo xtask golden NAME… | --all`: golden files from PyTorch.
//!
//! `xtask/golden/NAME.py` builds a tiny member of a family in PyTorch and writes one small `.safetensors` beside the
//! crate that tests against it. PyTorch is needed here only: the tests read the files.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::command::{Call, root};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let scripts = scripts(&root().join("xtask/golden"))?;
    let request = Request::parse(arguments, &scripts)?;
    let python = python(request.venv)?;
    for name in &request.names {
        println!("golden {name}");
        Call::new(&python, [format!("xtask/golden/{name}.py")]).run()?;
    }
    Ok(())
}

#[derive(Debug, PartialEq)]
struct Request {
    names: Vec<String>,
    venv: Option<PathBuf>,
}

impl Request {
    fn parse(arguments: &[String], scripts: &[String]) -> Result<Request> {
        let mut request = Request { names: Vec::new(), venv: None };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--all" => request.names = scripts.to_vec(),
                "--venv" => {
                    let venv = arguments.next().context("--venv needs a folder")?;
                    request.venv = Some(PathBuf::from(venv));
                }
                option if option.starts_with('-') => {
                    bail!("no option `{option}`; there are --all and --venv DIR")
                }
                name if scripts.iter().any(|script| script == name) => {
                    request.names.push(name.to_owned());
                }
                name => bail!("no xtask/golden/{name}.py; there are: {}", scripts.join(", ")),
            }
        }
        if request.names.is_empty() {
            bail!("name what to make, or --all; there are: {}", scripts.join(", "));
        }
        Ok(request)
    }
}

/// The scripts by name, sorted. Files that start with `_` are shared by scripts and make nothing.
fn scripts(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in
        std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        let path = entry?.path();
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if path.extension().is_some_and(|extension| extension == "py") && !name.starts_with('_') {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// The Python of `--venv`, else of `$KILN_TORCH_VENV`, else of `.venv`.
pub(crate) fn python(venv: Option<PathBuf>) -> Result<String> {
    let venv = venv.or_else(|| std::env::var_os("KILN_TORCH_VENV").map(PathBuf::from));
    let venv = venv.unwrap_or_else(|| root().join(".venv"));
    let python = venv.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    if !python.is_file() {
        bail!(
            "no Python at {}; make one with PyTorch (1.5 GB less with the CPU wheels):\n  \
             python3 -m venv .venv\n  \
             .venv/bin/pip install torch --index-url https://download.pytorch.org/whl/cpu\n  \
             .venv/bin/pip install numpy safetensors\n\
             or name one that exists: --venv DIR, KILN_TORCH_VENV=DIR",
            python.display()
        );
    }
    Ok(python.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Request> {
        let arguments: Vec<String> =
            arguments.iter().map(|&argument| argument.to_owned()).collect();
        Request::parse(&arguments, &["lenet5".to_owned(), "subsample".to_owned()])
    }

    #[test]
    fn all_means_every_script() {
        let request = parse(&["--all", "--venv", "torch"]).unwrap();
        assert_eq!(request.names, ["lenet5", "subsample"]);
        assert_eq!(request.venv, Some(PathBuf::from("torch")));
    }

    #[test]
    fn an_unknown_name_lists_what_exists() {
        let error = parse(&["resnet"]).unwrap_err().to_string();
        assert!(error.contains("resnet.py") && error.contains("lenet5, subsample"), "{error}");
    }

    #[test]
    fn no_name_is_no_request() {
        assert!(parse(&[]).is_err());
        assert!(parse(&["--venv"]).is_err());
        assert!(parse(&["--fast"]).is_err());
    }

    #[test]
    fn a_missing_venv_explains_how_to_make_one() {
        let error = python(Some(PathBuf::from("no/such/venv"))).unwrap_err().to_string();
        assert!(error.contains("python3 -m venv"), "{error}");
    }
}
