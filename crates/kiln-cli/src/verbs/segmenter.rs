//! What the verbs need of networks that give every pixel a class.

use std::path::Path;

use kiln::models::weights::{self, Keys};
use kiln::models::{AnySegmenter, Options, Segmenters};
use serde_json::Value;

use crate::errors::Failure;
use crate::numbers::{plural, shape};
use crate::output;
use crate::verbs::subject::{self, is_model};

/// Whether `text` names a network that gives every pixel a class.
pub fn is_segmenter(text: &str) -> bool {
    !is_model(text) && Segmenters.has(text)
}

/// Every option of the network `name`, with what `set` changes.
///
/// # Errors
///
/// If a key is unknown or a value doesn't fit.
pub fn changed(name: &str, set: &[String]) -> Result<Options, Failure> {
    subject::changed(Segmenters.defaults(name)?, set)
}

/// The size of the input of the network `name`: `wish`, else what it is listed with, with the channels of `options`.
///
/// # Errors
///
/// If `wish` has other channels than `options`.
pub fn input_size(
    name: &str,
    options: &Options,
    wish: Option<[usize; 3]>,
) -> Result<[usize; 3], Failure> {
    let [usual, height, width] = Segmenters.entry(name)?.input;
    let channels = options.get("in_channels").and_then(Value::as_u64);
    let channels = channels.map_or(usual, |channels| channels as usize);
    match wish {
        Some(wish) if wish[0] != channels => Err(Failure::usage(format!(
            "{name} takes images of {}, not of {}",
            plural(channels as u64, "channel"),
            shape(&wish)
        ))
        .hint(format!("add --set in_channels={}", wish[0]))),
        Some(wish) => Ok(wish),
        None => Ok([channels, height, width]),
    }
}

/// `network` with the weights of `file`, all of which must fit, and the names of those that only training uses and that it
/// has no place for.
///
/// # Errors
///
/// If the file can't be read or has other weights.
pub fn load(
    network: AnySegmenter,
    file: &Path,
    keys: &Keys,
) -> Result<(AnySegmenter, Vec<String>), Failure> {
    let (network, report) = weights::load_segmenter(network, file, keys)?;
    let report = report.exact(file)?;
    if let Some(table) = report.table.as_ref().filter(|table| table.is_choice()) {
        output::note(&format!("{}: {table}", file.display()));
    }
    Ok((network, report.left_out))
}
