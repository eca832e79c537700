//! The tensors of a file into the parameters of a network, each read once and moved.
//!
//! A tensor's shape is compared before its bytes are asked for, so a file can't make us hold more
//! than the network does. PyTorch keeps a dense layer's weights transposed; they stay as they lie
//! in the file and only their strides change, because a second copy of VGG's first dense layer is
//! three quarters of the whole file.

use std::collections::BTreeMap;

use burn::module::{ModuleMapper, Param};
use burn::prelude::*;
use burn::store::bridge;
use burn::tensor::{Bool, DType};

use super::report::{Misshapen, Missing, Report};
use super::safetensors::Entry;

/// A mapper that puts tensors where their names say.
pub(super) struct Loader {
    /// By path, with whether it has been asked for.
    tensors: BTreeMap<String, (Entry, bool)>,
    /// Whether names and layout are PyTorch's.
    foreign: bool,
    path: Vec<String>,
    /// What each level of the network is, enums included.
    containers: Vec<String>,
    report: Report,
    /// The first tensor that could not be read, and why.
    failure: Option<(String, String)>,
}

/// What a parameter holds.
#[derive(Clone, Copy)]
enum Kind {
    Float,
    Int,
    Bool,
}

impl Loader {
    /// For `tensors`, which are named as the network's parameters.
    pub(super) fn new(tensors: Vec<Entry>, foreign: bool) -> Self {
        Self {
            tensors: tensors
                .into_iter()
                .map(|tensor| (tensor.name.clone(), (tensor, false)))
                .collect(),
            foreign,
            path: Vec::new(),
            containers: Vec::new(),
            report: Report::default(),
            failure: None,
        }
    }

    /// What happened, or the path and reason of a tensor that could not be read.
    pub(super) fn finish(mut self) -> Result<Report, (String, String)> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let left = self.tensors.into_iter().filter(|(_, (_, asked))| !asked);
        self.report.unexpected = left.map(|(name, _)| name).collect();
        self.report.missing.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(self.report)
    }

    /// The data for the parameter at the current path, and whether it lies transposed; none if the
    /// parameter keeps its own.
    fn data(&mut self, expected: &[usize], kind: Kind) -> Option<(TensorData, bool)> {
        let path = self.path.join(".");
        let transposed = self.foreign
            && expected.len() == 2
            && self.module() == Some("Struct:Linear")
            && self.path.last().is_some_and(|name| name == "weight");
        let mut expected = expected.to_vec();
        if transposed {
            expected.reverse();
        }
        let name = self.norm_name().unwrap_or_else(|| path.clone());
        let Some(entry) = self.entry(&path) else {
            self.report.missing.push(Missing { path, name, shape: expected });
            return None;
        };
        let found = entry.shape.to_vec();
        if found != expected {
            self.report.misshapen.push(Misshapen { path, name, expected, found });
            return None;
        }
        if self.failure.is_some() {
            return None; // the network is lost already
        }
        let read = match kind.refuses(entry.dtype) {
            Some(reason) => Err(reason),
            None => bridge::into_data(entry).map_err(|error| error.to_string()),
        };
        match read {
            Ok(data) => {
                self.report.loaded.push(path);
                Some((data, transposed))
            }
            Err(reason) => {
                self.failure = Some((path, reason));
                None
            }
        }
    }

    fn entry(&mut self, path: &str) -> Option<Entry> {
        let name = match self.norm_name().filter(|_| !self.tensors.contains_key(path)) {
            Some(name) => name,
            None => path.to_owned(),
        };
        let (entry, asked) = self.tensors.get_mut(&name)?;
        *asked = true;
        // The bytes are still in the file: this copies a name and a shape.
        Some(entry.clone())
    }

    /// PyTorch's name of the current parameter, if that belongs to a norm.
    fn norm_name(&self) -> Option<String> {
        const NORMS: [&str; 4] =
            ["Struct:BatchNorm", "Struct:LayerNorm", "Struct:GroupNorm", "Struct:RmsNorm"];
        let norm = self.foreign && self.module().is_some_and(|module| NORMS.contains(&module));
        let (last, above) = self.path.split_last().filter(|_| norm)?;
        let there = match last.as_str() {
            "gamma" => "weight",
            "beta" => "bias",
            _ => return None,
        };
        Some(above.iter().map(String::as_str).chain([there]).collect::<Vec<_>>().join("."))
    }

    /// The module that the current parameter belongs to; lists are no modules.
    fn module(&self) -> Option<&str> {
        let modules = self.containers.iter().rev().map(String::as_str);
        modules.into_iter().find(|name| name.starts_with("Struct:") || is_variant(name))
    }
}

impl ModuleMapper for Loader {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.containers.push(container.to_owned());
        if !is_variant(container) {
            self.path.push(name.to_owned());
        }
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.containers.pop();
        if !is_variant(container) {
            self.path.pop();
        }
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some((data, transposed)) = self.data(&param.lazy_shape(), Kind::Float) else {
            return param;
        };
        let data = data.convert_dtype(DType::F32);
        let tensor = Tensor::<D>::from_data(data, (&param.lazy_device(), DType::F32));
        let tensor = if transposed { tensor.swap_dims(0, 1) } else { tensor };
        let id = param.id;
        param.transform_for_load(tensor, id)
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        let Some((data, _)) = self.data(&param.lazy_shape(), Kind::Int) else { return param };
        let (device, dtype, id) = (param.lazy_device(), data.dtype(), param.id);
        param.transform_for_load(Tensor::from_data(data, (&device, dtype)), id)
    }

    fn map_bool<const D: usize>(
        &mut self,
        param: Param<Tensor<D, Bool>>,
    ) -> Param<Tensor<D, Bool>> {
        let Some((data, _)) = self.data(&param.lazy_shape(), Kind::Bool) else { return param };
        let (device, id) = (param.lazy_device(), param.id);
        param.transform_for_load(Tensor::from_data(data, &device), id)
    }
}

impl Kind {
    /// Why a tensor of `dtype` can't be this.
    fn refuses(self, dtype: DType) -> Option<String> {
        let (fits, wanted) = match self {
            Self::Float => (dtype.is_float(), "floats belong"),
            Self::Int => (dtype.is_int() || dtype.is_uint(), "whole numbers belong"),
            Self::Bool => (dtype.is_bool(), "booleans belong"),
        };
        (!fits).then(|| format!("type {dtype:?} where {wanted}"))
    }
}

/// Whether a level is the variant of an enum, which is no part of a path.
fn is_variant(container: &str) -> bool {
    container.starts_with("Enum:")
}
