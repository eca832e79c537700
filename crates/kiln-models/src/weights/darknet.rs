//! Darknet's `.weights`: a header, then the numbers of each layer, without names or shapes.
//!
//! A convolution has its biases, then, where it is normalized, scales, means and variances, then its weights; a connected
//! layer has biases, weights, scales, means and variances. The file may end after any layer, as those do that hold a
//! backbone: the layers behind keep the network's values.

use std::fs;
use std::io::Write;
use std::path::Path;

use burn::module::{Param, RunningState};
use burn::prelude::*;
use kiln_layers::ConvBlock;

use super::write_file;
use crate::Error;
use crate::darknet_cfg::CfgNetwork;

/// What a file of weights says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Version: major, minor, revision.
    pub version: [i32; 3],
    /// Images that the network had seen in training.
    pub seen: u64,
}

/// What was read from a file of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// What the file says of itself.
    pub header: Header,
    /// Numbers after the header; all of them found their place.
    pub floats: usize,
    /// Layers that the file filled, of those with weights.
    pub layers: usize,
    /// Layers with weights.
    pub of: usize,
}

/// A layer to fill.
pub(crate) struct Block<'a> {
    pub conv: &'a mut ConvBlock,
    /// Whether it is a connected layer.
    pub dense: bool,
}

impl Default for Header {
    /// What darknet's last versions write, of a network that has seen nothing.
    fn default() -> Self {
        Self { version: [0, 2, 5], seen: 0 }
    }
}

impl Header {
    /// Whether the number of images has 64 bits.
    fn is_wide([major, minor, _]: [i32; 3]) -> bool {
        i64::from(major) * 10 + i64::from(minor) >= 2 && major < 1000 && minor < 1000
    }

    fn bytes(self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.version.iter().flat_map(|part| part.to_le_bytes()).collect();
        if Self::is_wide(self.version) {
            bytes.extend(self.seen.to_le_bytes());
        } else {
            bytes.extend((self.seen as u32).to_le_bytes());
        }
        bytes
    }

    /// The header and what follows.
    fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (version, rest) = bytes.split_first_chunk::<12>()?;
        let part = |at: usize| i32::from_le_bytes([0, 1, 2, 3].map(|byte| version[4 * at + byte]));
        let version = [part(0), part(1), part(2)];
        if Self::is_wide(version) {
            let (seen, rest) = rest.split_first_chunk()?;
            Some((Self { version, seen: u64::from_le_bytes(*seen) }, rest))
        } else {
            let (seen, rest) = rest.split_first_chunk()?;
            Some((Self { version, seen: u32::from_le_bytes(*seen).into() }, rest))
        }
    }
}

/// `network` with the weights of `file`, as far as they reach, and how far that is.
///
/// # Errors
///
/// Names the file that can't be read, that ends within a layer, or that has more than the network.
pub fn load(mut network: CfgNetwork, file: &Path) -> Result<(CfgNetwork, Read), Error> {
    let failed = |source| Error::File { file: file.to_owned(), source };
    let expected: usize = network.blocks().iter().map(|block| 4 * block.floats()).sum();
    let length = fs::metadata(file).map_err(failed)?.len();
    if length > expected as u64 + 20 {
        let reason =
            format!("{length} bytes; the network has {expected} after a header of 16 or 20");
        return Err(Error::Format { file: file.to_owned(), tensor: None, reason });
    }
    let bytes = fs::read(file).map_err(failed)?;
    let read = fill(network.blocks(), &bytes).map_err(|reason| Error::Format {
        file: file.to_owned(),
        tensor: None,
        reason,
    })?;
    Ok((network, read))
}

/// As [`load`], from memory.
///
/// # Errors
///
/// Says what is wrong with `bytes`.
pub fn from_bytes(mut network: CfgNetwork, bytes: &[u8]) -> Result<(CfgNetwork, Read), String> {
    let read = fill(network.blocks(), bytes)?;
    Ok((network, read))
}

/// Writes the weights of `network` to `file`, replacing it only when everything is on disk: the bytes that were read,
/// if nothing has changed.
///
/// # Errors
///
/// Names the file that can't be written.
pub fn save(network: &CfgNetwork, header: Header, file: &Path) -> Result<(), Error> {
    let bytes = to_bytes(network, header);
    write_file(file, |out| out.write_all(&bytes))
}

/// The bytes that [`save`] writes.
pub fn to_bytes(network: &CfgNetwork, header: Header) -> Vec<u8> {
    let mut network = network.valid();
    let mut bytes = header.bytes();
    for block in network.blocks() {
        for values in block.values() {
            bytes.extend(values.into_iter().flat_map(f32::to_le_bytes));
        }
    }
    bytes
}

fn fill(blocks: Vec<Block<'_>>, bytes: &[u8]) -> Result<Read, String> {
    let Some((header, rest)) = Header::split(bytes) else {
        return Err(format!(
            "{} bytes are no darknet weights: the header has 16 or 20",
            bytes.len()
        ));
    };
    let (values, odd) = rest.as_chunks::<4>();
    if !odd.is_empty() {
        return Err(format!("{} bytes after the header are no whole numbers of 4", rest.len()));
    }
    let of = blocks.len();
    let old = header.version[0] > 1000 || header.version[1] > 1000;
    let mut left = values;
    let mut layers = 0;
    for (at, block) in blocks.into_iter().enumerate() {
        if left.is_empty() {
            break;
        }
        if old && block.dense {
            return Err("connected layers of this old version lie the other way round".to_owned());
        }
        let needed = block.floats();
        let Some((own, after)) = left.split_at_checked(needed) else {
            let found = left.len();
            return Err(format!(
                "it ends within layer {} of {of} that have weights: {found} numbers of {needed}",
                at + 1
            ));
        };
        block.fill(own);
        (left, layers) = (after, at + 1);
    }
    if !left.is_empty() {
        let (more, all) = (left.len(), values.len());
        return Err(format!("{more} of its {all} numbers are more than the network has"));
    }
    Ok(Read { header, floats: values.len(), layers, of })
}

impl Block<'_> {
    fn shape(&self) -> [usize; 4] {
        self.conv.conv.weight.lazy_shape().dims()
    }

    fn floats(&self) -> usize {
        let [to, rest @ ..] = self.shape();
        let vectors = if self.conv.norm.is_some() { 4 } else { 1 };
        to * vectors + to * rest.iter().product::<usize>()
    }

    fn fill(self, values: &[[u8; 4]]) {
        let shape @ [to, ..] = self.shape();
        let device = self.conv.conv.weight.lazy_device();
        let mut left = values;
        let mut next = |count: usize| {
            let (own, after) = left.split_at(count);
            left = after;
            own.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect::<Vec<f32>>()
        };
        let vector =
            |values: Vec<f32>| Tensor::<1>::from_data(TensorData::new(values, [to]), &device);
        let biases = vector(next(to));
        let size = shape.iter().product();
        let dense = if self.dense { Some(next(size)) } else { None };
        match &mut self.conv.norm {
            Some(norm) => {
                norm.beta = Param::from_tensor(biases);
                norm.gamma = Param::from_tensor(vector(next(to)));
                norm.running_mean = RunningState::new(vector(next(to)));
                norm.running_var = RunningState::new(vector(next(to)));
            }
            None => self.conv.conv.bias = Some(Param::from_tensor(biases)),
        }
        let weights = dense.unwrap_or_else(|| next(size));
        let weights = Tensor::<4>::from_data(TensorData::new(weights, shape), &device);
        self.conv.conv.weight = Param::from_tensor(weights);
    }

    /// Its numbers in the order of the file.
    fn values(&self) -> Vec<Vec<f32>> {
        fn of<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
            tensor.into_data().iter().collect()
        }
        let weights = of(self.conv.conv.weight.val());
        let (biases, rest) = match &self.conv.norm {
            Some(norm) => {
                let statistics = [&norm.running_mean, &norm.running_var];
                let [mean, variance] = statistics.map(|state| of(state.value_sync()));
                (of(norm.beta.val()), vec![of(norm.gamma.val()), mean, variance])
            }
            None => {
                let bias = self.conv.conv.bias.as_ref();
                (bias.map_or_else(Vec::new, |bias| of(bias.val())), Vec::new())
            }
        };
        match self.dense {
            true => [biases, weights].into_iter().chain(rest).collect(),
            false => [biases].into_iter().chain(rest).chain([weights]).collect(),
        }
    }
}
