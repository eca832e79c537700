//! `cargo xtask bench load`: memory that loading VGG-16 takes.

use std::fmt::Write;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Bench, Request, page};
use crate::command::Call;
use crate::stamp::Stamp;

/// Largest peak until the network is loaded, in lengths of the file.
const BAR: f64 = 1.3;

pub(super) fn run(request: Request, stamp: &Stamp) -> Result<()> {
    let bench = Bench::new(&request, "vgg16")?;
    let (input, output) = (bench.file("input.safetensors"), bench.file("output.safetensors"));
    let mut rows = String::new();
    let mut worst: f64 = 0.0;
    for name in ["vgg16.pth", "vgg16.safetensors"] {
        let weights = bench.file(name);
        let length = std::fs::metadata(&weights).context("PyTorch wrote no weights")?.len() as f64;
        let arguments = ["forward", "vgg16", "--weights", &weights, "--input", &input];
        let call = Call::new(&bench.kiln, arguments);
        let text = call
            .argument("--output")
            .argument(&output)
            .argument("--force")
            .argument("--json")
            .output()?;
        let object: Value = serde_json::from_str(&text).context("kiln forward wrote no JSON")?;
        let peak =
            |key: &str| object[key].as_f64().with_context(|| format!("{key} is unknown here"));
        let (loaded, all) = (peak("loaded_memory_bytes")?, peak("peak_memory_bytes")?);
        worst = worst.max(loaded / length);
        let mega = |bytes: f64| format!("{:.0}", bytes / 1e6);
        writeln!(
            rows,
            "| `{name}` | {} | {} | {:.2} | {} |",
            mega(length),
            mega(loaded),
            loaded / length,
            mega(all)
        )?;
    }
    let body = format!(
        "`cargo xtask bench load`: the most memory resident in `kiln forward vgg16` until the network is loaded, and \
         until it has given the scores of one image, which adds packed convolution weights and maps. The program's own \
         pages are counted in.\n\n\
         | file | MB | loaded, MB | times the file | with a forward pass, MB |\n\
         | --- | ---: | ---: | ---: | ---: |\n{rows}\nThe bar is {BAR} times the file."
    );
    println!("{body}");
    page::renew(stamp, "Loading weights", &body)?;
    if worst >= BAR {
        bail!("loading peaks at {worst:.2} times the file; the bar is {BAR}");
    }
    Ok(())
}
