//! `kiln convert`: weights from one file format and one framework's names to another's.

mod darknet;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use kiln::burn::module::Module;
use kiln::burn::tensor::Device;
use kiln::models::weights::Keys;
use kiln::models::{
    Architecture, Options, Registry, Segmenters, Zoo, parameters, trainable, weights,
};
use kiln::train::Subject;
use serde_json::json;

use crate::device::{self, Choice};
use crate::errors::{Failure, Verb};
use crate::numbers::{count, plural};
use crate::output::{self, Output};
use crate::target::Force;
use crate::verbs::segmenter;
use crate::verbs::subject::{folder_of, model_options};

const EXAMPLES: &str = "\x1b[1;32mExamples:\x1b[0m
  kiln convert runs/lenet5-mnist lenet5.pth
  kiln convert resnet50.pth resnet50.safetensors --model resnet50
  kiln convert resnet50.pth resnet50.safetensors --model resnet50 --names kiln
  kiln convert yolov3.weights yolov3.safetensors --model yolov3 --names kiln
  kiln convert yolo.weights yolo.safetensors --model yolo.cfg
  kiln convert yolo.safetensors yolo.weights
  kiln convert yolo.safetensors yolo.cfg

OUT's ending is its format: .pth and .pt are what torch.save writes, .safetensors is the other.
Both hold the parameters as torchvision, timm or the paper's usual PyTorch module name them, so
that load_state_dict(strict=True) takes them; --names kiln writes kiln's own paths and layout,
which a .safetensors file only can hold. Classes and preprocessing are not part of either.
A file that is there already is overwritten with --force only.

Detectors are read from darknet's .weights and written to them. A .safetensors that was made of a .cfg and its
.weights has both in it: they come out again byte for byte, without --model.

Auxiliary heads, which only training uses, are left out unless --set aux=true asks for them; a note
says so.

JSON: {model, input, output, names, tensors, parameters, left_out}; `parameters` are trainable
numbers, `left_out` are names in IN";

/// Turn weights into a file that PyTorch reads, or that kiln does
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Convert {
    /// A checkpoint, a run folder or a weight file: safetensors, PyTorch or darknet
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// File to write: .safetensors, .pth or .pt; of a detector .weights or .cfg too
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// The network that a weight file belongs to, or its .cfg; a checkpoint knows it
    #[arg(long, value_name = "MODEL|CFG")]
    model: Option<String>,
    /// Change an option of that network; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Whose names and layout to write: pytorch or kiln
    #[arg(long, value_name = "WHOSE", default_value = "pytorch", hide_possible_values = true)]
    names: Names,
    #[command(flatten)]
    force: Force,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Names {
    Pytorch,
    Kiln,
}

/// A network's name, options and weights, and what of its file was left out.
type Read = (String, Options, Architecture, Vec<String>);

impl Convert {
    /// Reads, writes and says what it did.
    pub fn run(self, output: Output) -> Verb {
        if darknet::is_meant(&self) {
            return darknet::run(&self, output);
        }
        self.check_output()?;
        let device = device::open(Choice::Cpu).map_or_else(|_| Device::default(), |cpu| cpu.device);
        if let Some(model) = self.model.as_ref().filter(|name| segmenter::is_segmenter(name)) {
            self.check_input()?;
            let options = segmenter::changed(model, &self.set)?;
            let keys = Segmenters.keys(model, &options)?;
            let network = Segmenters.build(model, &options, &device)?;
            let (network, left_out) = segmenter::load(network, &self.input, keys)?;
            return self.write(model, &network, keys, &left_out, output);
        }
        let (model, options, network, left_out) = self.read(&device)?;
        self.write(&model, &network, Zoo.keys(&model, &options)?, &left_out, output)
    }

    fn write<M: Module>(
        &self,
        model: &str,
        network: &M,
        keys: &Keys,
        left_out: &[String],
        output: Output,
    ) -> Verb {
        if !left_out.is_empty() {
            output::note(&format!(
                "{} of auxiliary heads in {} are left out; --set aux=true keeps them",
                plural(left_out.len() as u64, "tensor"),
                self.input.display()
            ));
        }
        let tensors = match self.names {
            Names::Pytorch => weights::export(network, &self.output, keys)?,
            Names::Kiln => {
                weights::save(network, &self.output)?;
                parameters(network).len()
            }
        };

        let (parameters, names) = (trainable(network), self.names.word());
        let object = json!({
            "model": model,
            "input": self.input.display().to_string(),
            "output": self.output.display().to_string(),
            "names": names,
            "tensors": tensors,
            "parameters": parameters,
            "left_out": left_out,
        });
        output.result(&object, |to| {
            writeln!(
                to,
                "{model}: {} → {}, {} parameters in {} tensors with the names of {}",
                self.input.display(),
                self.output.display(),
                count(parameters as u64),
                count(tensors as u64),
                self.names.shown(),
            )
        })
    }

    /// Refuses what can't be written, before anything is read.
    fn check_output(&self) -> Result<(), Failure> {
        let shown = self.output.display();
        match (self.output.extension().and_then(|ending| ending.to_str()), self.names) {
            (Some("safetensors"), _) | (Some("pth" | "pt"), Names::Pytorch) => {
                self.force.file(&self.output)
            }
            (Some("pth" | "pt"), Names::Kiln) => {
                Err(Failure::usage(format!("{shown} can't hold kiln's names"))
                    .hint("write a .safetensors file, or leave --names away"))
            }
            _ => Err(Failure::usage(format!("{shown} has no format that kiln writes"))
                .hint("end it with .safetensors, .pth or .pt")),
        }
    }

    /// Refuses what can't be a weight file.
    fn check_input(&self) -> Result<(), Failure> {
        if !self.input.is_dir() {
            return Ok(());
        }
        let shown = self.input.display();
        Err(Failure::usage(format!("{shown} is a folder and knows its network"))
            .hint("leave --model away, or name a weight file"))
    }

    /// The network of IN with its name and options before it, and the tensors that it had no use for.
    fn read(&self, device: &Device) -> Result<Read, Failure> {
        let shown = self.input.display();
        if !self.input.exists() {
            return Err(Failure::failed(format!("{shown} isn't there"))
                .hint("name a checkpoint, a run folder or a weight file"));
        }
        let checkpoint = checkpoint(&self.input);
        let Some(model) = &self.model else {
            let Some(folder) = checkpoint else {
                return Err(Failure::usage(format!(
                    "{shown} doesn't say which network its weights belong to"
                ))
                .hint("add --model MODEL; `kiln models` lists them"));
            };
            if !self.set.is_empty() {
                return Err(Failure::usage(format!("{shown} brings its own options"))
                    .hint("leave --set away"));
            }
            let ready = Subject::Checkpoint(folder).load(&Zoo, device)?;
            return Ok((ready.state.model, ready.state.options, ready.network, Vec::new()));
        };
        self.check_input()?;

        let options = model_options(model, &self.set)?;
        let network = Zoo.build(model, &options, device)?;
        let keys = Zoo.keys(model, &options)?;
        let (network, report) = weights::load_classifier(network, &self.input, keys)?;
        let report = report.exact(&self.input)?;
        if let Some(table) = report.table.as_ref().filter(|table| table.is_choice()) {
            output::note(&format!("{shown}: {table}"));
        }
        Ok((model.clone(), options, network, report.left_out))
    }
}

impl Names {
    /// As an option and in JSON.
    fn word(self) -> &'static str {
        match self {
            Self::Pytorch => "pytorch",
            Self::Kiln => "kiln",
        }
    }

    /// As its owners write it.
    fn shown(self) -> &'static str {
        match self {
            Self::Pytorch => "PyTorch",
            Self::Kiln => "kiln",
        }
    }
}

/// The checkpoint or run folder that `path` means: itself, or the folder of a checkpoint's weights.
fn checkpoint(path: &Path) -> Option<PathBuf> {
    if path.is_file() {
        let folder = folder_of(path);
        return folder.join("state.toml").is_file().then(|| folder.to_owned());
    }
    Some(path.to_owned())
}
