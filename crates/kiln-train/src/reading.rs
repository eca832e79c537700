//! How samples are read.

use kiln_data::{Policy, Sampling};
use serde::{Deserialize, Serialize};

/// How samples are read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Threads that read and augment.
    pub workers: usize,
    /// What an unreadable sample does: `fail` ends the run, `skip` counts and reports it.
    pub on_error: Policy,
    /// Which samples an epoch holds: `once` each, or `balanced`, drawn so that all classes come equally often.
    pub sampling: Sampling,
}

impl Default for Reading {
    fn default() -> Self {
        Reading { workers: 2, on_error: Policy::Fail, sampling: Sampling::Once }
    }
}
