//! How far two files of tensors differ.

use std::fmt;

use anyhow::{Result, bail};

use crate::safetensors::Tensors;

/// The largest difference over all tensors.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Difference {
    /// `max|a − b| / max|b|` within its tensor; absolute where the reference is all zero.
    pub(crate) relative: f64,
    pub(crate) tensor: String,
    /// How many tensors were compared.
    pub(crate) tensors: usize,
}

/// Compares every tensor of both files.
///
/// # Errors
/// When a tensor is missing on either side or has another shape, and when a value isn't finite.
pub(crate) fn compare(reference: &Tensors, found: &Tensors) -> Result<Difference> {
    if reference.is_empty() {
        bail!("the reference holds no tensor");
    }
    if let Some(name) = found.keys().find(|name| !reference.contains_key(*name)) {
        bail!("{name} is unknown to the reference");
    }
    let mut worst = Difference { relative: 0.0, tensor: String::new(), tensors: reference.len() };
    for (name, expected) in reference {
        let Some(tensor) = found.get(name) else { bail!("{name} is missing") };
        if tensor.shape != expected.shape {
            bail!("{name} is {:?}, the reference {:?}", tensor.shape, expected.shape);
        }
        if !tensor.values.iter().chain(&expected.values).all(|value| value.is_finite()) {
            bail!("{name} holds a value that isn't finite");
        }
        let pairs = tensor.values.iter().zip(&expected.values);
        let largest = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
        let difference = largest(&mut pairs.map(|(&a, &b)| (f64::from(a) - f64::from(b)).abs()));
        let scale = largest(&mut expected.values.iter().map(|&b| f64::from(b).abs()));
        let relative = if scale > 0.0 { difference / scale } else { difference };
        if relative >= worst.relative {
            worst.relative = relative;
            worst.tensor.clone_from(name);
        }
    }
    Ok(worst)
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} tensors, largest difference {:.1e} in {}",
            self.tensors, self.relative, self.tensor
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::safetensors::Tensor;

    fn tensors(entries: &[(&str, &[f32])]) -> Tensors {
        let tensor =
            |values: &[f32]| Tensor { shape: vec![values.len() as u64], values: values.to_vec() };
        entries.iter().map(|(name, values)| ((*name).to_owned(), tensor(values))).collect()
    }

    #[test]
    fn the_worst_tensor_is_named_relative_to_its_scale() {
        let reference = tensors(&[("a", &[1.0, -4.0]), ("b", &[100.0])]);
        let found = tensors(&[("a", &[1.5, -4.0]), ("b", &[101.0])]);
        let difference = compare(&reference, &found).unwrap();
        assert_eq!(difference, Difference { relative: 0.125, tensor: "a".to_owned(), tensors: 2 });
    }

    #[test]
    fn a_zero_reference_counts_absolutely() {
        let difference = compare(&tensors(&[("a", &[0.0])]), &tensors(&[("a", &[0.5])])).unwrap();
        assert_eq!(difference.relative, 0.5);
    }

    #[test]
    fn what_cannot_be_compared_is_an_error() {
        let reference = tensors(&[("a", &[1.0])]);
        for found in [
            tensors(&[]),
            tensors(&[("a", &[1.0]), ("b", &[1.0])]),
            tensors(&[("a", &[1.0, 2.0])]),
            tensors(&[("a", &[f32::NAN])]),
        ] {
            assert!(compare(&reference, &found).is_err());
        }
        assert!(compare(&tensors(&[]), &tensors(&[])).is_err());
    }
}
