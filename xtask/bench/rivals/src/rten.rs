//! rten: its own thread pool with all cores, weights packed in advance.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use rten::{Model, ModelOptions, RunOptions, ThreadPool};
use rten_tensor::NdTensor;
use rten_tensor::prelude::*;

use crate::images::Images;
use crate::{Engine, threads};

pub struct Session {
    model: Model,
    options: RunOptions,
    input: NdTensor<f32, 4>,
}

impl Session {
    pub fn new(file: &Path, images: Images) -> Result<Session> {
        let model = ModelOptions::with_all_ops().prepack_weights(true).load_file(file)?;
        let pool = Arc::new(ThreadPool::with_num_threads(threads()));
        let options = RunOptions::default().with_thread_pool(Some(pool));
        Ok(Session { model, options, input: NdTensor::from_data(images.shape, images.data) })
    }
}

impl Engine for Session {
    fn about(&self) -> String {
        "0.27.0".to_owned()
    }

    fn forward(&self) -> Result<Vec<f32>> {
        let output = self.model.run_one(self.input.view().into(), Some(self.options.clone()))?;
        let scores: NdTensor<f32, 2> = output.try_into().ok().context("no scores")?;
        Ok(scores.to_vec())
    }
}
