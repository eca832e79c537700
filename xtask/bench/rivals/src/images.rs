//! The images that every engine is given.

use std::path::Path;

use anyhow::{Context, Result, bail};
use safetensors::{Dtype, SafeTensors};

/// `[batch, channels, height, width]`, in that order.
pub struct Images {
    pub shape: [usize; 4],
    pub data: Vec<f32>,
}

impl Images {
    /// `batch` images: those of the file's tensor `input`, repeated.
    pub fn read(path: &Path, batch: usize) -> Result<Images> {
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let tensors = SafeTensors::deserialize(&bytes)?;
        let input = tensors.tensor("input")?;
        let &[count, channels, height, width] = input.shape() else {
            bail!("the images must have four dimensions, not {:?}", input.shape());
        };
        if input.dtype() != Dtype::F32 {
            bail!("the images must be f32, not {:?}", input.dtype());
        }
        let image = channels * height * width * size_of::<f32>();
        let data = (0..batch)
            .flat_map(|i| input.data()[i % count * image..][..image].as_chunks::<4>().0)
            .map(|&value| f32::from_le_bytes(value))
            .collect();
        Ok(Images { shape: [batch, channels, height, width], data })
    }
}
