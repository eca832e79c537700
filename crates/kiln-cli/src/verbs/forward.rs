//! `kiln forward`: a tensor in, a tensor out, for parity checks from any language.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use kiln::burn::tensor::{DType, Tensor, TensorData};
use kiln::models::weights::{read_tensors, tensor_types, write_tensors};
use kiln::models::{Classifier, Segmenter, Segmenters, Zoo};
use kiln::train::{PRETRAINED, Use, peak_memory};
use serde_json::json;

use crate::device::On;
use crate::errors::{Failure, Verb};
use crate::memory;
use crate::numbers::shape;
use crate::output::Output;
use crate::target::Force;
use crate::verbs::segmenter;
use crate::verbs::subject::{Settings, input_size, is_model, subject};

const EXAMPLES: &str = "\x1b[1;32mExamples:\x1b[0m
  kiln forward lenet5 --weights lenet5.safetensors --input x.safetensors --output y.safetensors
  kiln forward runs/lenet5-mnist --input x.safetensors --output y.safetensors
  kiln forward resnet18 --weights pretrained --input x.safetensors --output y.safetensors

x.safetensors holds the f32 tensor `input` and no other, already preprocessed, batch × channels ×
height × width; y.safetensors then holds one f32 tensor `output`: a classifier's raw scores, batch ×
classes, or those of every pixel, batch × classes × height × width. A file that is there already is overwritten with --force only.

JSON: {model, input, output, file, loaded_memory_bytes, peak_memory_bytes}, with the two shapes, the
written file, and the most memory that was resident until the weights were loaded and until the
output was written (Linux; null elsewhere)";

/// Run a network on a tensor file, without any preprocessing
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Forward {
    /// A model's name, a checkpoint or a run folder
    #[arg(value_name = "MODEL|CHECKPOINT")]
    subject: String,
    /// Weights for a model: safetensors or PyTorch, or the published ones
    #[arg(long, value_name = "FILE|pretrained")]
    weights: Option<PathBuf>,
    /// File with the tensor `input`
    #[arg(long, value_name = "X.safetensors")]
    input: PathBuf,
    /// File to write the tensor `output` to
    #[arg(long, value_name = "Y.safetensors")]
    output: PathBuf,
    /// Change an option of a model; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    #[command(flatten)]
    force: Force,
    #[command(flatten)]
    device: On,
}

impl Forward {
    /// Computes and writes.
    pub fn run(self, output: Output) -> Verb {
        let segments = segmenter::is_segmenter(&self.subject);
        if self.weights.is_none() && (segments || is_model(&self.subject)) {
            return Err(Failure::usage(format!("{} needs weights", self.subject))
                .hint("add --weights FILE, or --weights pretrained where some are published"));
        }
        self.force.file(&self.output)?;
        let (values, size) = read_input(&self.input)?;
        if segments {
            return self.segment(values, size, output);
        }
        let subject =
            subject(&self.subject, self.weights.as_deref(), &Settings::options(&self.set), output)?;
        let opened = self.device.open()?;
        let device = &opened.device;
        let ready = subject.load(&Zoo, device)?;
        let loaded = peak_memory();
        let model = &ready.state.model;
        let [_, image @ ..] = size;
        input_size(model, &ready.state.options, Some(image)).map_err(|failure| {
            failure.hint(format!("{} holds the tensor `input`", self.input.display()))
        })?;
        ready.network.check_input(image)?;
        memory::check(model, &ready.network, size, Use::Infer, &opened)?;

        let scores = ready.network.forward(Tensor::from_data(values, device));
        let dims = scores.dims();
        self.write(model, size, &dims, scores.into_data(), loaded, output)
    }

    /// The same for a network that gives every pixel scores.
    fn segment(&self, values: TensorData, size: [usize; 4], output: Output) -> Verb {
        let name = &self.subject;
        let Some(weights) = self.weights.as_ref().filter(|file| **file != Path::new(PRETRAINED))
        else {
            return Err(Failure::usage(format!("no weights are published for {name}"))
                .hint("name a file: --weights FILE"));
        };
        let opened = self.device.open()?;
        let options = segmenter::changed(name, &self.set)?;
        let network = Segmenters.build(name, &options, &opened.device)?;
        let [_, image @ ..] = size;
        segmenter::input_size(name, &options, Some(image)).map_err(|failure| {
            failure.hint(format!("{} holds the tensor `input`", self.input.display()))
        })?;
        memory::check_segmenter(name, &network, size, &opened)?;
        let (network, _) = segmenter::load(network, weights, Segmenters.keys(name, &options)?)?;
        let loaded = peak_memory();

        let scores = network.forward(Tensor::from_data(values, &opened.device));
        let dims = scores.dims();
        self.write(name, size, &dims, scores.into_data(), loaded, output)
    }

    fn write(
        &self,
        model: &str,
        size: [usize; 4],
        dims: &[usize],
        scores: TensorData,
        loaded: Option<u64>,
        output: Output,
    ) -> Verb {
        write_tensors(&self.output, BTreeMap::from([("output".to_owned(), scores)]))?;

        let object = json!({
            "model": model,
            "input": size,
            "output": dims,
            "file": self.output.display().to_string(),
            "loaded_memory_bytes": loaded,
            "peak_memory_bytes": peak_memory(),
        });
        output.result(&object, |to| {
            writeln!(
                to,
                "{model}: input {} → output {} in {}",
                shape(&size),
                shape(dims),
                self.output.display()
            )
        })
    }
}

/// The tensor `input` of a safetensors file, and its shape.
fn read_input(path: &Path) -> Result<(TensorData, [usize; 4]), Failure> {
    let wrong = |what: String| {
        Failure::failed(format!("{}: {what}", path.display())).hint(
            "it must hold the f32 tensor `input`, batch × channels × height × width, and no other",
        )
    };
    // A file read as f32 has forgotten what it held.
    let kinds = tensor_types(path)?;
    if let Some(kind) = kinds.get("input").filter(|kind| **kind != DType::F32) {
        return Err(wrong(format!("`input` holds {}, not f32", kind.name())));
    }
    let mut tensors = read_tensors(path)?;
    let Some(input) = tensors.remove("input") else {
        return Err(wrong(match names(tensors) {
            none if none.is_empty() => "no tensor at all".to_owned(),
            names => format!("no tensor `input`, but: {names}"),
        }));
    };
    if !tensors.is_empty() {
        return Err(wrong(format!("other tensors beside `input`: {}", names(tensors))));
    }
    match <[usize; 4]>::try_from(&input.shape()[..]) {
        Ok(size) if !size.contains(&0) => Ok((input, size)),
        _ => Err(wrong(format!("`input` has shape {:?}", &input.shape()[..]))),
    }
}

fn names(tensors: BTreeMap<String, TensorData>) -> String {
    tensors.into_keys().collect::<Vec<_>>().join(", ")
}
