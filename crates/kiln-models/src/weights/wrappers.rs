//! The tables and wrappers that PyTorch's users put around a network's tensors.

use std::fmt;

use super::Entry;
use crate::is_below;

/// What PyTorch's batch norms keep beside their statistics.
pub(super) const COUNTER: &str = "num_batches_tracked";

/// Tables of weights in a training checkpoint, the one that counts first: torchvision's own scripts
/// write `model`, timm's `state_dict`.
const TABLES: [&str; 3] = ["state_dict", "model_state_dict", "model"];

/// Their running averages, which count where nothing else is there.
const AVERAGES: [&str; 2] = ["state_dict_ema", "model_ema"];

/// What PyTorch's averaged models count beside their weights.
const AVERAGED: &str = "n_averaged";

/// A table of weights that was taken from a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Its name, such as `state_dict`.
    pub name: &'static str,
    /// Other tables of weights in the file.
    pub others: Vec<&'static str>,
}

impl Table {
    /// Whether somebody may have wanted another one: the file has more, or only running averages.
    pub fn is_choice(&self) -> bool {
        !self.others.is_empty() || AVERAGES.contains(&self.name)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let average = if AVERAGES.contains(&self.name) { ", a running average," } else { "" };
        write!(f, "the weights of `{}`{average} are taken", self.name)?;
        match &self.others[..] {
            [] => Ok(()),
            others => write!(f, ", not those of `{}`", others.join("`, `")),
        }
    }
}

/// PyTorch's tensors without the tables and wrappers around them, and without the counters that
/// its batch norms keep.
pub(super) fn unwrapped(mut tensors: Vec<Entry>) -> (Vec<Entry>, Option<Table>) {
    tensors.retain(|tensor| !tensor.name.ends_with(COUNTER));
    let there = |table: &&str| {
        tensors.iter().any(|tensor| tensor.name != *table && is_below(&tensor.name, table))
    };
    let mut found = TABLES.into_iter().chain(AVERAGES).filter(there);
    let table = found.next().map(|name| Table { name, others: found.collect() });
    if let Some(Table { name, .. }) = table {
        // Beside the weights such a file holds an optimizer's state.
        tensors.retain(|tensor| is_below(&tensor.name, name));
        strip(&mut tensors, name);
        tensors.retain(|tensor| tensor.name != AVERAGED);
    }
    for wrapper in ["state_dict", "model_state_dict", "module", "model"] {
        if tensors.iter().all(|tensor| is_below(&tensor.name, wrapper)) {
            strip(&mut tensors, wrapper);
        }
    }
    (tensors, table)
}

/// Takes `wrapper` and the dot after it off names that begin so.
fn strip(tensors: &mut [Entry], wrapper: &str) {
    for tensor in tensors {
        let end = (wrapper.len() + 1).min(tensor.name.len());
        tensor.name.drain(..end);
    }
}
