//! Reads the small safetensors files that the comparison of backends writes: f32 only.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Name → values; shapes are compared as part of the name's entry.
pub(crate) type Tensors = BTreeMap<String, Tensor>;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tensor {
    pub(crate) shape: Vec<u64>,
    pub(crate) values: Vec<f32>,
}

pub(crate) fn read(path: &Path) -> Result<Tensors> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&bytes).with_context(|| format!("{} is no safetensors file of f32", path.display()))
}

fn parse(bytes: &[u8]) -> Result<Tensors> {
    let (length, rest) = bytes.split_first_chunk::<8>().context("shorter than its length field")?;
    let length = usize::try_from(u64::from_le_bytes(*length))?;
    let (header, data) = rest.split_at_checked(length).context("shorter than its header")?;
    let header: Value = serde_json::from_slice(header).context("the header is no JSON")?;
    let mut tensors = Tensors::new();
    for (name, entry) in header.as_object().context("the header is no object")? {
        if name == "__metadata__" {
            continue;
        }
        if entry["dtype"] != "F32" {
            bail!("{name} is {}, not F32", entry["dtype"]);
        }
        let numbers = |key: &str| -> Result<Vec<u64>> {
            let list = entry[key].as_array().with_context(|| format!("{name} has no {key}"))?;
            list.iter()
                .map(|number| {
                    number.as_u64().with_context(|| format!("{name}: {key} holds no number"))
                })
                .collect()
        };
        let &[start, end] = numbers("data_offsets")?.as_slice() else {
            bail!("{name}: data_offsets is no pair")
        };
        let range = usize::try_from(start)?..usize::try_from(end)?;
        let part = data.get(range).with_context(|| format!("{name} lies outside the file"))?;
        let (chunks, rest) = part.as_chunks::<4>();
        let values: Vec<f32> = chunks.iter().map(|&chunk| f32::from_le_bytes(chunk)).collect();
        let shape = numbers("shape")?;
        let elements = shape.iter().try_fold(1_u64, |product, &side| product.checked_mul(side));
        if !rest.is_empty() || elements != Some(values.len() as u64) {
            bail!("{name}: {} bytes for the shape {shape:?}", part.len());
        }
        tensors.insert(name.clone(), Tensor { shape, values });
    }
    Ok(tensors)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[f32]) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(data.iter().flat_map(|value| value.to_le_bytes()));
        bytes
    }

    #[test]
    fn values_come_back_with_their_shape() {
        let header =
            r#"{"__metadata__":{"a":"b"},"x":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}"#;
        let tensors = parse(&file(header, &[1.5, -2.0])).unwrap();
        assert_eq!(tensors["x"], Tensor { shape: vec![1, 2], values: vec![1.5, -2.0] });
    }

    #[test]
    fn broken_files_are_refused() {
        let header = |shape: &str, end: u64| {
            format!(r#"{{"x":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{end}]}}}}"#)
        };
        assert!(parse(&[1, 2]).is_err());
        assert!(parse(&u64::MAX.to_le_bytes()).is_err());
        assert!(parse(&file(&header("[2]", 16), &[1.0, 2.0])).is_err());
        assert!(parse(&file(&header("[3]", 8), &[1.0, 2.0])).is_err());
        assert!(parse(&file(&header("[18446744073709551615,2]", 8), &[1.0, 2.0])).is_err());
        assert!(parse(&file(&header("[2]", 8).replace("F32", "F16"), &[1.0, 2.0])).is_err());
    }
}
