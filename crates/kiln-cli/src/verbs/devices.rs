//! `kiln devices`: what this binary can compute on, here.

use clap::Args;
use serde_json::json;

use crate::device::{self, Backend, Opened};
use crate::errors::Verb;
use crate::output::Output;
use crate::table::{Side, Table};

const EXAMPLES: &str = "\x1b[1;32mExamples:\x1b[0m
  kiln devices
  cargo run --release --features wgpu -- devices     The same with GPUs built in

JSON: {auto, devices: [{name, compiled, available, adapter, software, reason, remedy}]}
`auto` is the name that --device auto stands for here.";

/// Show what this kiln can compute on, and which device `auto` takes
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Devices {}

impl Devices {
    /// Prints the list.
    pub fn run(self, output: Output) -> Verb {
        let tried: Vec<(Backend, Result<Opened, String>)> =
            Backend::ALL.into_iter().map(|backend| (backend, backend.open())).collect();
        let find = |backend| tried.iter().find(|(known, _)| *known == backend);
        let auto = device::auto(&mut |backend| match find(backend) {
            Some((_, result)) => result.clone(),
            None => Err("unknown".into()),
        });
        let auto = auto.ok().map(|(opened, _)| opened.backend);

        let list: Vec<_> = tried
            .iter()
            .map(|(backend, result)| {
                let opened = result.as_ref().ok();
                json!({
                    "name": backend.name(),
                    "compiled": backend.compiled(),
                    "available": opened.is_some(),
                    "adapter": opened.map(|opened| &opened.adapter),
                    "software": opened.map(|opened| opened.software),
                    "reason": result.as_ref().err(),
                    "remedy": remedy(*backend, result),
                })
            })
            .collect();
        let object = json!({ "auto": auto.map(Backend::name), "devices": list });

        output.result(&object, |to| {
            let mut table =
                Table::new(&[("--device", Side::Left), ("", Side::Left), ("adapter", Side::Left)]);
            for (backend, result) in &tried {
                let state = match result {
                    Ok(_) if auto == Some(*backend) => "auto",
                    Ok(_) => "ready",
                    Err(_) if backend.compiled() => "silent",
                    Err(_) => "–",
                };
                let words = match result {
                    Ok(opened) => opened.adapter.clone(),
                    Err(reason) => reason.clone(),
                };
                table.row([backend.name().to_owned(), state.to_owned(), words]);
            }
            table.write(to)?;
            for (backend, result) in &tried {
                if let Some(remedy) = remedy(*backend, result).filter(|_| backend.compiled()) {
                    writeln!(to, "{}: {remedy}", backend.name())?;
                }
            }
            Ok(())
        })
    }
}

fn remedy(backend: Backend, result: &Result<Opened, String>) -> Option<String> {
    match result {
        Ok(_) => None,
        Err(_) if backend.compiled() => Some(backend.remedy().to_owned()),
        Err(_) => Some(format!("cargo build --release --features {}", backend.name())),
    }
}
