//! Predicting the classes of image files.

use std::path::{Path, PathBuf};

use burn::prelude::*;
use kiln_metrics::{ranking, softmax};
use kiln_models::{Classifier, Registry};

use crate::classification::scores;
use crate::{Error, Ready, Subject};

/// Images per forward pass.
const BATCH: usize = 32;

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
    let ready = subject.load(registry, device)?;
    for chunk in images.chunks(BATCH) {
        ready.predict_chunk(chunk, top, device, each)?;
    }
    Ok(())
}

impl<N: Classifier> Ready<N> {
    fn predict_chunk(
        &self,
        files: &[PathBuf],
        top: usize,
        device: &Device,
        each: &mut Each<'_>,
    ) -> Result<(), Error> {
        let preprocess = &self.state.preprocess;
        let decoded: Vec<_> =
            files.iter().map(|file| preprocess.apply(&kiln_data::decode(file)?)).collect();
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
        Ok(())
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
