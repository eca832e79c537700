//! `kiln convert` of detectors: from darknet's `.weights` and `.cfg` to files of other programs, and back to the same bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use kiln::burn::tensor::Device;
use kiln::models::darknet_cfg::DarknetCfg;
use kiln::models::weights::{self, darknet};
use kiln::models::{AnyDetector, Detectors, Options, parameters, trainable};
use serde_json::json;

use super::{Convert, Names};
use crate::errors::{Failure, Verb};
use crate::numbers::count;
use crate::output::{self, Output};
use crate::verbs::subject::{detector_options, is_model};

/// What a `.safetensors` of kiln's has of darknet's files beside the numbers: the `.cfg`, and the header of the `.weights`.
const CFG: &str = "darknet.cfg";
const HEADER: &str = "darknet.header";

type Notes = BTreeMap<String, String>;

/// Whether a detector is meant: by a file of darknet's, by the network's name, or by what a file says of itself.
pub fn is_meant(convert: &Convert) -> bool {
    let ends = |path: &Path, ending: &str| path.extension().is_some_and(|found| found == ending);
    ends(&convert.input, "weights")
        || ends(&convert.output, "weights")
        || ends(&convert.output, "cfg")
        || convert.model.as_deref().is_some_and(|model| {
            ends(Path::new(model), "cfg") || Detectors.has(model) && !is_model(model)
        })
        || notes(&convert.input).contains_key(CFG)
}

/// What the file says of itself; nothing if it is no safetensors file.
fn notes(file: &Path) -> Notes {
    let named = file.extension().is_some_and(|ending| ending == "safetensors");
    let notes = if named && file.is_file() { weights::notes(file).ok() } else { None };
    notes.unwrap_or_default()
}

/// A network that is known, and not built yet.
enum Plan {
    Cfg(Box<DarknetCfg>, Vec<u8>),
    Native(String, Options),
}

/// Reads, writes and says what it did.
pub fn run(convert: &Convert, output: Output) -> Verb {
    let (input, out) = (convert.input.as_path(), convert.output.as_path());
    let shown = input.display();
    if !input.is_file() {
        return Err(Failure::failed(format!("{shown} isn't there"))
            .hint("name a file of weights: .weights, .safetensors, .pth or .pt"));
    }
    let notes = notes(input);
    let plan = plan(convert, &notes)?;
    let ending = out.extension().unwrap_or_default().to_string_lossy().into_owned();
    match (ending.as_str(), convert.names) {
        ("weights" | "cfg" | "safetensors", _) | ("pth" | "pt", Names::Pytorch) => {
            convert.force.file(out)?;
        }
        ("pth" | "pt", Names::Kiln) => {
            return Err(Failure::usage(format!("{} can't hold kiln's names", out.display()))
                .hint("write a .safetensors file, or leave --names away"));
        }
        _ => {
            return Err(Failure::usage(format!(
                "{} has no format that kiln writes",
                out.display()
            ))
            .hint("end it with .weights, .cfg, .safetensors, .pth or .pt"));
        }
    }
    if ending == "cfg" {
        let Plan::Cfg(_, bytes) = &plan else {
            return Err(Failure::usage("a network of kiln has no .cfg")
                .hint("name a .safetensors that was made of one, or the .cfg itself"));
        };
        kiln::train::write_atomically(out, bytes)?;
        return told(convert, output, "cfg", 0, 0);
    }

    let device = Device::default();
    let (network, header) = load(&plan, input, &notes, &device)?;
    let tensors = parameters(&network).len();
    if ending == "weights" {
        darknet::save_any(&network, header, out)?;
    } else {
        let mut notes = Notes::from([(HEADER.to_owned(), words(header))]);
        if let Plan::Cfg(_, bytes) = &plan {
            notes.insert(CFG.to_owned(), text_of(bytes));
        }
        match (ending.as_str(), convert.names) {
            ("safetensors", Names::Kiln) => weights::save_with(&network, &notes, out)?,
            _ => {
                weights::export_with(&network, out, &[], &notes)?;
                if ending != "safetensors" {
                    output::note(&format!(
                        "{} holds the numbers alone; a .safetensors has the .cfg and the header too",
                        out.display()
                    ));
                }
            }
        }
    }
    told(convert, output, convert.names.word(), tensors, trainable(&network))
}

/// The network that `--model` names, or that the input was made of.
fn plan(convert: &Convert, notes: &Notes) -> Result<Plan, Failure> {
    let Some(model) = &convert.model else {
        let Some(text) = notes.get(CFG) else {
            return Err(Failure::usage(format!(
                "{} doesn't say which network its weights belong to",
                convert.input.display()
            ))
            .hint("add --model NETWORK.cfg, or a detector's name; `kiln models yolo` lists them"));
        };
        refuse_options(convert)?;
        let bytes = bytes_of(text);
        let cfg = DarknetCfg::parse(&String::from_utf8_lossy(&bytes), &convert.input)?;
        return Ok(Plan::Cfg(Box::new(cfg), bytes));
    };
    let path = Path::new(model);
    if path.extension().is_some_and(|ending| ending == "cfg") {
        refuse_options(convert)?;
        let cfg = DarknetCfg::open(path)?;
        let bytes = fs::read(path).map_err(|error| Failure::file(path, &error))?;
        return Ok(Plan::Cfg(Box::new(cfg), bytes));
    }
    if is_model(model) {
        return Err(Failure::usage(format!(
            "{model} is a classifier; darknet's files fill detectors"
        ))
        .hint("name its .cfg: --model NETWORK.cfg"));
    }
    Ok(Plan::Native(model.clone(), detector_options(model, &convert.set)?))
}

fn refuse_options(convert: &Convert) -> Result<(), Failure> {
    match convert.set.is_empty() {
        true => Ok(()),
        false => Err(Failure::usage("a .cfg says all of its network itself")
            .hint("leave --set away, or change the .cfg")),
    }
}

fn load(
    plan: &Plan,
    input: &Path,
    notes: &Notes,
    device: &Device,
) -> Result<(AnyDetector, darknet::Header), Failure> {
    let theirs = input.extension().is_some_and(|ending| ending == "weights");
    let network = match plan {
        Plan::Cfg(cfg, _) => AnyDetector::Cfg(cfg.init(device)),
        Plan::Native(name, options) => Detectors.build(name, options, device)?,
    };
    if !theirs {
        let header = notes.get(HEADER).and_then(|text| header_of(text)).unwrap_or_default();
        return Ok((weights::load_exact(network, input, &[])?, header));
    }
    let (network, read) = darknet::load_any(network, input)?;
    if read.layers == read.of {
        return Ok((network, read.header));
    }
    let (shown, layers, of) = (input.display(), read.layers, read.of);
    Err(Failure::failed(format!(
        "{shown} ends after {layers} of the {of} layers that have weights"
    ))
    .hint("it is the backbone alone; name the file of the whole network"))
}

fn told(convert: &Convert, output: Output, names: &str, tensors: usize, parameters: usize) -> Verb {
    let model = convert.model.clone().unwrap_or_else(|| "the network of its .cfg".to_owned());
    let object = json!({
        "model": model,
        "input": convert.input.display().to_string(),
        "output": convert.output.display().to_string(),
        "names": names,
        "tensors": tensors,
        "parameters": parameters,
        "left_out": [],
    });
    output.result(&object, |to| {
        write!(to, "{model}: {} → {}", convert.input.display(), convert.output.display())?;
        match tensors {
            0 => writeln!(to),
            _ => writeln!(
                to,
                ", {} parameters in {} tensors",
                count(parameters as u64),
                count(tensors as u64)
            ),
        }
    })
}

fn words(header: darknet::Header) -> String {
    let [major, minor, revision] = header.version;
    format!("{major} {minor} {revision} {}", header.seen)
}

fn header_of(text: &str) -> Option<darknet::Header> {
    let mut words = text.split(' ');
    let mut part = || words.next()?.parse().ok();
    let version = [part()?, part()?, part()?];
    Some(darknet::Header { version, seen: words.next()?.parse().ok()? })
}

/// What marks a text whose characters are bytes: darknet asks for no encoding.
const BYTES: char = '\u{0}';

/// `bytes` as a text, from which [`bytes_of`] makes them again.
fn text_of(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.starts_with(BYTES) => text.to_owned(),
        _ => [BYTES].into_iter().chain(bytes.iter().map(|&byte| char::from(byte))).collect(),
    }
}

fn bytes_of(text: &str) -> Vec<u8> {
    match text.strip_prefix(BYTES) {
        Some(bytes) => bytes.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect(),
        None => text.as_bytes().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_come_back_from_a_text() {
        for bytes in [&b"[net]\r\n"[..], b"# caf\xe9\n[net]", "# é\n".as_bytes(), b"\0[net]", b""]
        {
            assert_eq!(bytes_of(&text_of(bytes)), bytes);
        }
    }

    #[test]
    fn a_header_comes_back_from_words() {
        let header = darknet::Header { version: [0, -1, 5], seen: u64::MAX };
        assert_eq!(header_of(&words(header)), Some(header));
        assert_eq!(header_of("0 2 5"), None);
    }
}
