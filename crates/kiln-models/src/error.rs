//! What can go wrong with a network, its options or its weights.

use std::path::PathBuf;

use crate::suggest::did_you_mean;
use crate::weights::Report;

/// An error of this crate; its message is one line that says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No network of this name is registered.
    #[error("unknown model `{name}`{}", did_you_mean(nearest.as_deref()))]
    UnknownModel {
        /// The name that was asked for.
        name: String,
        /// The registered name most like it.
        nearest: Option<String>,
    },
    /// No option of this name exists.
    #[error("unknown key `{key}`{}{}", did_you_mean(nearest.as_deref()), beside(key, known))]
    UnknownKey {
        /// The full path of the key.
        key: String,
        /// The existing key most like it.
        nearest: Option<String>,
        /// The keys of its table, if none of them is like it.
        known: Vec<String>,
    },
    /// A value of the wrong type.
    #[error("`{key}` takes {expected}, not {found}")]
    WrongType {
        /// The full path of the key.
        key: String,
        /// What the key takes.
        expected: &'static str,
        /// The value that was given.
        found: String,
    },
    /// A name that is none of those possible.
    #[error("`{key}` takes {}, not {found:?}{}", either(known), did_you_mean(nearest.as_deref()))]
    UnknownValue {
        /// The full path of the key.
        key: String,
        /// The name that was given.
        found: String,
        /// The names that are possible.
        known: &'static [&'static str],
        /// The one of them most like it.
        nearest: Option<String>,
    },
    /// A value that a key can't hold, though its type is right.
    #[error("`{key}`: {reason}")]
    Unfit {
        /// The full path of the key.
        key: String,
        /// What was found and what was expected.
        reason: String,
    },
    /// An assignment that isn't one.
    #[error("`{text}` is not an assignment; write key.path=value")]
    Assignment {
        /// What was given.
        text: String,
    },
    /// Options that don't describe a network.
    #[error("impossible options: {reason}")]
    Options {
        /// What is wrong.
        reason: String,
    },
    /// Images that the network can't take.
    #[error(
        "the network takes images of {}, not {}; name another size, with --input or in the recipe's [preprocess]",
        shape(expected),
        shape(found)
    )]
    Input {
        /// Channels, height and width that the network takes.
        expected: [usize; 3],
        /// Channels, height and width that were given.
        found: [usize; 3],
    },
    /// Images too small for the network, or of other channels.
    #[error(
        "the network takes images of at least {}, not {}; name another size, with --input or in the recipe's [preprocess]",
        shape(smallest),
        shape(found)
    )]
    Small {
        /// Channels that the network takes, least height and width.
        smallest: [usize; 3],
        /// Channels, height and width that were given.
        found: [usize; 3],
    },
    /// Images whose sides can't be halved often enough, or of other channels.
    #[error(
        "the network takes images of {channels} channels whose sides are multiples of {stride}, not {}; name another size, with --input or in the recipe's [preprocess]",
        shape(found)
    )]
    Multiple {
        /// Channels that the network takes.
        channels: usize,
        /// Pixels that both sides are multiples of.
        stride: usize,
        /// Channels, height and width that were given.
        found: [usize; 3],
    },
    /// A head that needs maps which the network doesn't offer.
    #[error(
        "{head} needs {} {}, and the network offers {}; `kiln models --json` lists what each offers",
        if missing.len() == 1 { "a map of the stride" } else { "maps of the strides" },
        listed(missing),
        listed(offered)
    )]
    Strides {
        /// What the head is called.
        head: String,
        /// The strides that are missing, in pixels of the image.
        missing: Vec<usize>,
        /// The strides that the network offers.
        offered: Vec<usize>,
    },
    /// A file that can't be read or written.
    #[error("{}: {source}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file that is not what it claims to be.
    #[error("{}: {}{reason}", file.display(), of_tensor(tensor.as_deref()))]
    Format {
        /// The file.
        file: PathBuf,
        /// The tensor that is wrong, unless it is the file as a whole.
        tensor: Option<String>,
        /// What is wrong.
        reason: String,
    },
    /// Weights of another network.
    #[error("{}: the weights don't fit the network: {report}", file.display())]
    Mismatch {
        /// The file.
        file: PathBuf,
        /// Every tensor that doesn't fit.
        report: Box<Report>,
    },
}

/// What the table of an unknown key has instead.
fn beside(key: &str, known: &[String]) -> String {
    match key.rsplit_once('.') {
        _ if known.is_empty() => String::new(),
        Some((table, _)) => format!("; `{table}` has {}", known.join(", ")),
        None => format!("; there are {}", known.join(", ")),
    }
}

impl Error {
    /// The same error where the options are the table `table` of something larger.
    pub fn within(mut self, table: &str) -> Self {
        if let Self::UnknownKey { key, .. }
        | Self::WrongType { key, .. }
        | Self::UnknownValue { key, .. }
        | Self::Unfit { key, .. } = &mut self
        {
            *key = format!("{table}.{key}");
        }
        if let Self::UnknownKey { nearest: Some(nearest), .. } = &mut self {
            *nearest = format!("{table}.{nearest}");
        }
        self
    }

    /// Whether something was asked for that does not exist or is impossible, rather than something
    /// that failed on the way.
    pub fn is_wrong_use(&self) -> bool {
        !matches!(self, Self::File { .. } | Self::Format { .. } | Self::Mismatch { .. })
    }
}

/// Whether images of `found` have the channels of `smallest` and at least its height and width.
pub(crate) fn at_least(smallest: [usize; 3], found: [usize; 3]) -> Result<(), Error> {
    let fits = found[0] == smallest[0] && found[1] >= smallest[1] && found[2] >= smallest[2];
    if fits { Ok(()) } else { Err(Error::Small { smallest, found }) }
}

/// Whether images of `found` have the shape `expected`.
pub(crate) fn exactly(expected: [usize; 3], found: [usize; 3]) -> Result<(), Error> {
    if expected == found { Ok(()) } else { Err(Error::Input { expected, found }) }
}

/// Whether images of `found` have so many `channels`, and sides that are multiples of `stride`.
pub(crate) fn multiples(channels: usize, stride: usize, found: [usize; 3]) -> Result<(), Error> {
    let sides = found[1..].iter().all(|&side| side > 0 && side.is_multiple_of(stride));
    if found[0] == channels && sides {
        return Ok(());
    }
    Err(Error::Multiple { channels, stride, found })
}

/// Whether `anchors` are boxes that can be shared out among so many maps.
pub(crate) fn anchors(anchors: &[[f32; 2]], maps: usize) -> Result<(), Error> {
    let usable = anchors.iter().flatten().all(|side| side.is_finite() && *side > 0.0);
    if usable && !anchors.is_empty() && anchors.len() <= 1000 && anchors.len().is_multiple_of(maps)
    {
        return Ok(());
    }
    let found = anchors.len();
    let reason = format!(
        "anchors must be pairs of numbers above 0, as many for each of {maps} maps and 1000 at most, found {found}"
    );
    Err(Error::Options { reason })
}

/// A backbone that can't be had without its scores.
pub(crate) fn headless() -> Error {
    let reason = "this network can't be taken without its head, as a backbone must".to_owned();
    Error::Options { reason }
}

/// `a, b or c`.
fn either(names: &[&str]) -> String {
    match names {
        [] => "no name".to_owned(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

/// Numbers as a sentence has them.
fn listed(numbers: &[usize]) -> String {
    let numbers: Vec<String> = numbers.iter().map(usize::to_string).collect();
    match &numbers[..] {
        [] => "none".to_owned(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

fn of_tensor(tensor: Option<&str>) -> String {
    tensor.map_or_else(String::new, |tensor| format!("tensor `{tensor}`: "))
}

fn shape(shape: &[usize]) -> String {
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}
