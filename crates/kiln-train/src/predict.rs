//! Predicting the classes of image files.

use std::path::{Path, PathBuf};

use burn::prelude::*;
use kiln_metrics::{ranking, softmax};
use kiln_models::{Classifier, Registry};

use crate::measure::scores;
use crate::{Error, Ready, Subject};

/// One class of an image, and how sure the network is.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Index of the class.
    pub class: usize,
    /// Its name; the index if the network brought no names.
    pub name: String,
    /// Its softmax probability, from 0 to 1.
    pub score: f64,
}

/// What [`predict`] hands an image's predictions to, or why there are none.
pub type Each<'a> = dyn FnMut(&Path, Result<Vec<Prediction>, Error>) + 'a;

/// Predicts the `top` likeliest classes of each of `images` and hands them to `each`, in order.
///
/// An image that cannot be read is an error of that image alone.
///
/// # Errors
///
/// If the network cannot be loaded.
pub fn predict<R: Registry>(
    registry: &R,
    subject: &Subject,
    images: &[PathBuf],
    top: usize,
    device: &Device,
    each: &mut Each<'_>,
) -> Result<(), Error> {
    subject.load(registry, device)?.predict(images, top, device, each)?;
    Ok(())
}

impl<N: Classifier> Ready<N> {
    /// As [`predict`](fn@predict), and returns how many images had transparent pixels. Their colours count as if they were opaque.
    ///
    /// # Errors
    ///
    /// If the network gives other scores than it says.
    pub fn predict(
        &self,
        images: &[PathBuf],
        top: usize,
        device: &Device,
        each: &mut Each<'_>,
    ) -> Result<usize, Error> {
        let mut transparent = 0;
        for chunk in images.chunks(self.batch.max(1)) {
            transparent += self.predict_chunk(chunk, top, device, each)?;
        }
        Ok(transparent)
    }

    fn predict_chunk(
        &self,
        files: &[PathBuf],
        top: usize,
        device: &Device,
        each: &mut Each<'_>,
    ) -> Result<usize, Error> {
        let preprocess = &self.state.preprocess;
        let mut transparent = 0;
        let mut read = |file: &PathBuf| {
            let (pixels, is_transparent) = kiln_data::decode::decode_telling(file)?;
            transparent += usize::from(is_transparent);
            preprocess.apply(&pixels)
        };
        let decoded: Vec<_> = files.iter().map(&mut read).collect();
        let pixels: Vec<f32> = decoded.iter().flatten().flatten().copied().collect();
        let count = decoded.iter().flatten().count();

        let mut predictions = Vec::new();
        if count > 0 {
            let shape = [count, preprocess.channels, preprocess.height, preprocess.width];
            let images = Tensor::<4>::from_data(TensorData::new(pixels, shape), device);
            let output = self.network.forward(images);
            let [_, classes] = output.dims();
            predictions = scores(output, classes)?
                .chunks_exact(classes)
                .map(|row| self.ranked(row, top))
                .collect();
        }

        let mut predictions = predictions.into_iter();
        for (file, decoded) in files.iter().zip(decoded) {
            let result = decoded.map_err(Error::from);
            each(file, result.map(|_| predictions.next().expect("one for each decoded image")));
        }
        Ok(transparent)
    }

    /// The `top` likeliest classes of a row of scores, likeliest first.
    fn ranked(&self, scores: &[f32], top: usize) -> Vec<Prediction> {
        let probabilities = softmax(scores);
        ranking(scores)
            .into_iter()
            .take(top)
            .map(|class| Prediction {
                class,
                name: self.state.classes.get(class).cloned().unwrap_or_else(|| class.to_string()),
                score: probabilities[class],
            })
            .collect()
    }
}
