//! Golden files, for the tests: bytes and shape of each tensor.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::Pixels;

/// The shape and the bytes of a tensor.
pub(crate) type Tensor = (Vec<usize>, Vec<u8>);

/// The tensors of `golden/NAME.safetensors`, made by `cargo xtask golden NAME`.
pub(crate) fn read(name: &str) -> BTreeMap<String, Tensor> {
    // Cargo runs tests in the crate's folder.
    let file = fs::read(Path::new("golden").join(format!("{name}.safetensors"))).unwrap();
    let (length, rest) = file.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let header: Value = serde_json::from_slice(header).unwrap();
    let entries = header.as_object().unwrap().iter();
    let numbers = |value: &Value| -> Vec<usize> {
        value.as_array().unwrap().iter().map(|number| number.as_u64().unwrap() as usize).collect()
    };
    entries
        .filter(|(name, _)| *name != "__metadata__")
        .map(|(name, entry)| {
            let range = numbers(&entry["data_offsets"]);
            (name.clone(), (numbers(&entry["shape"]), data[range[0]..range[1]].to_vec()))
        })
        .collect()
}

/// An image: height, width and, unless it is grey, channels.
pub(crate) fn pixels((shape, data): &Tensor) -> Pixels {
    let channels = shape.get(2).copied().unwrap_or(1);
    Pixels::new(shape[1], shape[0], channels, data.clone()).unwrap()
}
