//! Darknet's `.weights`: a header, then the numbers of each layer, without names or shapes.
//!
//! A convolution has its biases, then, where it is normalized, scales, means and variances, then its weights; a connected
//! layer has biases, weights, scales, means and variances. The file may end after any layer, as those do that hold a
//! backbone: the layers behind keep the network's values.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use burn::prelude::*;
use burn::store::bridge;

use super::apply::Loader;
use super::{entries, write_file};
use crate::darknet_cfg::CfgNetwork;
use crate::{AnyDetector, Error, parameters};

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

/// A convolution of a network: where it is, and what the file has of it.
struct Layer {
    path: String,
    /// Of its kernel: channels out, channels in of a group, height, width.
    shape: [usize; 4],
    normalized: bool,
    /// Whether it is a connected layer, whose numbers lie in another order.
    dense: bool,
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
pub fn load(network: CfgNetwork, file: &Path) -> Result<(CfgNetwork, Read), Error> {
    let dense = network.dense();
    load_layers(network, &dense, file)
}

/// As [`load`], for a network whose convolutions are [`ConvBlock`](kiln_layers::ConvBlock)s and lie in darknet's order: a
/// detector of kiln's, its backbone, or the classifier that it comes from. What is no convolution is left alone, with all
/// that lies behind it.
///
/// # Errors
///
/// As [`load`].
pub fn load_module<M: Module>(network: M, file: &Path) -> Result<(M, Read), Error> {
    load_layers(network, &[], file)
}

/// As [`load`] or [`load_module`], whichever the detector wants.
///
/// # Errors
///
/// As [`load`].
pub fn load_any(network: AnyDetector, file: &Path) -> Result<(AnyDetector, Read), Error> {
    match network {
        AnyDetector::Cfg(network) => {
            load(network, file).map(|(network, read)| (AnyDetector::Cfg(network), read))
        }
        network => load_module(network, file),
    }
}

/// As [`save`] or [`save_module`], whichever the detector wants.
///
/// # Errors
///
/// As [`save`].
pub fn save_any(network: &AnyDetector, header: Header, file: &Path) -> Result<(), Error> {
    match network {
        AnyDetector::Cfg(network) => save(network, header, file),
        network => save_module(network, header, file),
    }
}

/// As [`load`], from memory.
///
/// # Errors
///
/// Says what is wrong with `bytes`.
pub fn from_bytes(network: CfgNetwork, bytes: &[u8]) -> Result<(CfgNetwork, Read), String> {
    let layers = layers(&network, &network.dense());
    fill(network, &layers, bytes)
}

/// As [`load_module`], from memory.
///
/// # Errors
///
/// Says what is wrong with `bytes`.
pub fn module_from_bytes<M: Module>(network: M, bytes: &[u8]) -> Result<(M, Read), String> {
    let layers = layers(&network, &[]);
    fill(network, &layers, bytes)
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

/// As [`save`], for a network as [`load_module`] takes it.
///
/// # Errors
///
/// As [`save`].
pub fn save_module<M: Module>(network: &M, header: Header, file: &Path) -> Result<(), Error> {
    let bytes = module_to_bytes(network, header);
    write_file(file, |out| out.write_all(&bytes))
}

/// The bytes that [`save`] writes.
///
/// # Panics
///
/// Panics if the device can't give its data back.
pub fn to_bytes(network: &CfgNetwork, header: Header) -> Vec<u8> {
    bytes_of(network, &layers(network, &network.dense()), header)
}

/// The bytes that [`save_module`] writes.
///
/// # Panics
///
/// Panics if the device can't give its data back.
pub fn module_to_bytes<M: Module>(network: &M, header: Header) -> Vec<u8> {
    bytes_of(network, &layers(network, &[]), header)
}

fn load_layers<M: Module>(network: M, dense: &[bool], file: &Path) -> Result<(M, Read), Error> {
    let failed = |source| Error::File { file: file.to_owned(), source };
    let wrong = |reason| Error::Format { file: file.to_owned(), tensor: None, reason };
    let layers = layers(&network, dense);
    let expected: usize = layers.iter().map(|layer| 4 * layer.floats()).sum();
    let length = fs::metadata(file).map_err(failed)?.len();
    if length > expected as u64 + 20 {
        return Err(wrong(format!(
            "{length} bytes; the network has {expected} after a header of 16 or 20"
        )));
    }
    let bytes = fs::read(file).map_err(failed)?;
    fill(network, &layers, &bytes).map_err(wrong)
}

/// The convolutions of `network` up to the first layer that is none, in order; `dense` says which are connected layers.
fn layers<M: Module>(network: &M, dense: &[bool]) -> Vec<Layer> {
    let mut layers: Vec<Layer> = Vec::new();
    for parameter in parameters(network) {
        let Some((path, name)) = parameter.path.rsplit_once('.') else { break };
        let Some((path, module)) = path.rsplit_once('.') else { break };
        match (module, name, <[usize; 4]>::try_from(&parameter.shape[..])) {
            ("conv", "weight", Ok(shape)) => {
                let dense = dense.get(layers.len()).is_some_and(|&dense| dense);
                layers.push(Layer { path: path.to_owned(), shape, normalized: false, dense });
            }
            ("conv", "bias", _) => {}
            ("norm", _, _) => match layers.last_mut() {
                Some(layer) if layer.path == path => layer.normalized = true,
                _ => break,
            },
            _ => break,
        }
    }
    layers
}

fn fill<M: Module>(network: M, layers: &[Layer], bytes: &[u8]) -> Result<(M, Read), String> {
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
    let of = layers.len();
    let old = header.version[0] > 1000 || header.version[1] > 1000;
    let mut left = values;
    let mut filled = 0;
    let mut tensors = Vec::new();
    for (at, layer) in layers.iter().enumerate() {
        if left.is_empty() {
            break;
        }
        if old && layer.dense {
            return Err("connected layers of this old version lie the other way round".to_owned());
        }
        let needed = layer.floats();
        let Some((own, after)) = left.split_at_checked(needed) else {
            let found = left.len();
            return Err(format!(
                "it ends within layer {} of {of} that have weights: {found} numbers of {needed}",
                at + 1
            ));
        };
        let mut own = own.iter().map(|bytes| f32::from_le_bytes(*bytes));
        for (name, shape) in layer.tensors() {
            let numbers: Vec<f32> = own.by_ref().take(shape.iter().product()).collect();
            tensors.push(bridge::from_data(TensorData::new(numbers, shape), name, None));
        }
        (left, filled) = (after, at + 1);
    }
    if !left.is_empty() {
        let (more, all) = (left.len(), values.len());
        return Err(format!("{more} of its {all} numbers are more than the network has"));
    }
    let mut loader = Loader::new(tensors, false);
    let network = network.map(&mut loader);
    let report = loader.finish().map_err(|(tensor, reason)| format!("{tensor}: {reason}"))?;
    if !report.unexpected.is_empty() || !report.misshapen.is_empty() {
        return Err(report.to_string());
    }
    Ok((network, Read { header, floats: values.len(), layers: filled, of }))
}

fn bytes_of<M: Module>(network: &M, layers: &[Layer], header: Header) -> Vec<u8> {
    let tensors = entries(network).into_iter();
    let mut tensors: BTreeMap<String, _> =
        tensors.map(|tensor| (tensor.name.clone(), tensor)).collect();
    let mut bytes = header.bytes();
    for (name, _) in layers.iter().flat_map(Layer::tensors) {
        let tensor = tensors.remove(&name).map(bridge::into_data);
        let Some(Ok(data)) = tensor else { panic!("{name} can't be read from its device") };
        bytes.extend(data.iter::<f32>().flat_map(f32::to_le_bytes));
    }
    bytes
}

impl Layer {
    fn floats(&self) -> usize {
        self.tensors().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }

    /// Path and shape of each of its tensors, in the order of the file.
    fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let vectors: &[&str] = match (self.normalized, self.dense) {
            (false, _) => &["conv.bias", WEIGHT],
            (true, false) => {
                &["norm.beta", "norm.gamma", "norm.running_mean", "norm.running_var", WEIGHT]
            }
            (true, true) => {
                &["norm.beta", WEIGHT, "norm.gamma", "norm.running_mean", "norm.running_var"]
            }
        };
        let shape = |name: &str| match name {
            WEIGHT => self.shape.to_vec(),
            _ => vec![self.shape[0]],
        };
        vectors.iter().map(|name| (format!("{}.{name}", self.path), shape(name))).collect()
    }
}

const WEIGHT: &str = "conv.weight";
