//! Weights in files: kiln's own, and those of other frameworks.
//!
//! kiln writes safetensors with its own parameter paths and burn's layout, marked by
//! `format = kiln` in the metadata. Any other safetensors file, and every `.pt` or `.pth` file, is
//! read as PyTorch's: names through a table of [`keys`], dense weights transposed, wrappers such
//! as `state_dict.` and `module.` taken off. Nothing in a pickle is executed. [`export`] goes the
//! other way.

mod apply;
pub mod darknet;
pub mod keys;
mod pickle;
mod pretrained;
mod pytorch;
mod report;
mod safetensors;
mod wrappers;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read};
use std::path::Path;

use burn::prelude::*;
use burn::store::burn_pack::{self, AtomicFile};
use burn::store::pytorch_reader::PytorchReader;
use burn::store::{BurnToPyTorchAdapter, ModuleAdapter, ModuleSnapshot, bridge};
use burn::tensor::{Bytes, DType};

use crate::{Classifier, Error, Segmenter, is_below, parameters};
use apply::Loader;
use keys::Direction;
pub use keys::Keys;
pub use pretrained::{Pretrained, pretrained};
pub use report::{Misshapen, Missing, Report};
use safetensors::{Container, Entry};
pub use wrappers::Table;
use wrappers::{COUNTER, unwrapped};

/// The format that kiln marks its own files with.
const NATIVE: &str = "kiln";

/// `model` with the weights of `file`, as far as they fit, and what did not fit.
///
/// `keys` spells PyTorch's names; a file that kiln wrote needs none. Clones of `model` share its
/// running statistics, and those change with it.
///
/// # Errors
///
/// Names the file, and the tensor where there is one, that can't be read or is not what it claims
/// to be.
pub fn load<M: Module>(model: M, file: &Path, keys: &Keys) -> Result<(M, Report), Error> {
    apply(model, open(file)?, keys, &[], file)
}

/// As [`load`], for a classifier, which needs no tensors of its
/// [`training_paths`](Classifier::training_paths): where it has none, those of the file are left out,
/// and the report lists them.
///
/// # Errors
///
/// As [`load`].
pub fn load_classifier<C: Classifier>(
    model: C,
    file: &Path,
    keys: &Keys,
) -> Result<(C, Report), Error> {
    let training = model.training_paths();
    apply(model, open(file)?, keys, training, file)
}

/// As [`load_classifier`], for a network that gives every pixel a class.
///
/// # Errors
///
/// As [`load`].
pub fn load_segmenter<S: Segmenter>(
    model: S,
    file: &Path,
    keys: &Keys,
) -> Result<(S, Report), Error> {
    let training = model.training_paths();
    apply(model, open(file)?, keys, training, file)
}

/// `model` with the weights of `file`, all of which must fit.
///
/// # Errors
///
/// As [`load`], and [`Error::Mismatch`] with every missing, unexpected and misshapen tensor.
pub fn load_exact<M: Module>(model: M, file: &Path, keys: &Keys) -> Result<M, Error> {
    exact(load(model, file, keys)?, file)
}

/// `model` with the weights of `file`, all of which must fit but those of its head: what doesn't fit
/// there, because it has other classes or because the file has no head, keeps the model's values.
///
/// # Errors
///
/// As [`load`], and [`Error::Mismatch`] if a tensor of the backbone is missing, unexpected or
/// misshapen.
pub fn load_backbone<C: Classifier>(
    model: C,
    file: &Path,
    keys: &Keys,
) -> Result<(C, Report), Error> {
    let head = model.head_paths();
    let of_head = |path: &str| head.iter().any(|start| is_below(path, start));
    let (model, report) = load_classifier(model, file, keys)?;

    let unexpected =
        report.unexpected.iter().map(|name| keys::translate(name, keys, Direction::Here));
    let fits = report.missing.iter().all(|tensor| of_head(&tensor.path))
        && report.misshapen.iter().all(|tensor| of_head(&tensor.path))
        && unexpected.into_iter().all(|path| of_head(&path));
    if fits && report.loaded.iter().any(|path| !of_head(path)) {
        Ok((model, report))
    } else {
        Err(Error::Mismatch { file: file.to_owned(), report: Box::new(report) })
    }
}

/// Writes the weights of `model` to `file` in kiln's format, replacing it only when everything is
/// on disk. Equal weights give equal bytes.
///
/// # Errors
///
/// Names the file that can't be written.
pub fn save<M: Module>(model: &M, file: &Path) -> Result<(), Error> {
    write_file(file, |out| safetensors::write(out, NATIVE, entries(model)))
}

/// Writes the weights of `model` under PyTorch's names and in its layout, replacing `file` only
/// when everything is on disk: for `load_state_dict(strict=True)` of the module that `keys` spells,
/// with the counters that its batch norms expect. The ending chooses between `.safetensors` and
/// what `torch.save` writes, `.pth` or `.pt`. Returns the number of tensors.
///
/// # Errors
///
/// Names the file that has another ending or can't be written.
pub fn export<M: Module>(model: &M, file: &Path, keys: &Keys) -> Result<usize, Error> {
    export_with(model, file, keys, &BTreeMap::new())
}

/// As [`export`], with `notes` in the header of a `.safetensors`; the other formats have no place for them.
///
/// # Errors
///
/// As [`export`].
pub fn export_with<M: Module>(
    model: &M,
    file: &Path,
    keys: &Keys,
    notes: &BTreeMap<String, String>,
) -> Result<usize, Error> {
    let tensors = foreign(model, keys);
    let count = tensors.len();
    match file.extension().and_then(|ending| ending.to_str()) {
        Some("safetensors") => {
            write_file(file, |out| safetensors::write_with(out, "pt", notes, tensors))?;
        }
        Some("pth" | "pt") => write_file(file, |out| pytorch::write(out, tensors))?,
        _ => {
            return Err(Error::Format {
                file: file.to_owned(),
                tensor: None,
                reason: "PyTorch reads files that end in .safetensors, .pth or .pt".to_owned(),
            });
        }
    }
    Ok(count)
}

/// As [`save`], with `notes` in the file's header, from which [`notes`] reads them again.
///
/// # Errors
///
/// As [`save`].
pub fn save_with<M: Module>(
    model: &M,
    notes: &BTreeMap<String, String>,
    file: &Path,
) -> Result<(), Error> {
    write_file(file, |out| safetensors::write_with(out, NATIVE, notes, entries(model)))
}

/// What the header of a safetensors file has beside tensors, and beside the word that says whose it is.
///
/// # Errors
///
/// As [`read_tensors`].
pub fn notes(file: &Path) -> Result<BTreeMap<String, String>, Error> {
    Ok(safetensors::open(file)?.notes)
}

/// The bytes that [`save`] writes.
///
/// # Panics
///
/// Panics if the device can't give its data back.
pub fn to_bytes<M: Module>(model: &M) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Err(error) = safetensors::write(&mut bytes, NATIVE, entries(model)) {
        panic!("the weights can't be read from their device: {error}");
    }
    bytes
}

/// `model` with the weights that [`to_bytes`] gave; `name` stands for the bytes in messages.
///
/// # Errors
///
/// As [`load_exact`].
pub fn from_bytes<M: Module>(model: M, bytes: Vec<u8>, name: &Path) -> Result<M, Error> {
    exact(apply(model, safetensors::from_bytes(bytes, name)?, &[], &[], name)?, name)
}

/// The type of every tensor of a safetensors file by name.
///
/// # Errors
///
/// As [`read_tensors`].
pub fn tensor_types(file: &Path) -> Result<BTreeMap<String, DType>, Error> {
    let tensors = safetensors::open(file)?.tensors.into_iter();
    Ok(tensors.map(|tensor| (tensor.name, tensor.dtype)).collect())
}

/// Every tensor of a safetensors file by name; floats become f32.
///
/// # Errors
///
/// Names the file, and the tensor where there is one, that can't be read or is not what it claims
/// to be.
pub fn read_tensors(file: &Path) -> Result<BTreeMap<String, TensorData>, Error> {
    let tensors = safetensors::open(file)?.tensors.into_iter();
    tensors
        .map(|tensor| {
            let name = tensor.name.clone();
            match bridge::into_data(tensor) {
                Ok(data) if data.dtype().is_float() => Ok((name, data.convert_dtype(DType::F32))),
                Ok(data) => Ok((name, data)),
                Err(error) => Err(Error::Format {
                    file: file.to_owned(),
                    tensor: Some(name),
                    reason: error.to_string(),
                }),
            }
        })
        .collect()
}

/// Writes `tensors` as a safetensors file, sorted by name, floats as f32, replacing `file` only
/// when everything is on disk.
///
/// # Errors
///
/// Names the file that can't be written.
pub fn write_tensors(file: &Path, tensors: BTreeMap<String, TensorData>) -> Result<(), Error> {
    let tensors = tensors.into_iter().map(|(name, data)| bridge::from_data(data, name, None));
    write_file(file, |out| safetensors::write(out, "pt", tensors.collect()))
}

/// The tensors of `model`, unread. An inference copy has up-to-date running statistics.
fn entries<M: Module>(model: &M) -> Vec<Entry> {
    model.valid().collect(None, None, true)
}

/// The tensors of `model` as PyTorch has them, unread, in module order.
fn foreign<M: Module>(model: &M, keys: &Keys) -> Vec<Entry> {
    let tensors = model.valid().collect(None, Some(BurnToPyTorchAdapter.clone_box()), true);
    let mut named = Vec::with_capacity(tensors.len());
    for mut tensor in tensors {
        tensor.name = keys::translate(&tensor.name, keys, Direction::There);
        let norm = tensor.name.strip_suffix("running_var").map(str::to_owned);
        named.push(tensor);
        if let Some(norm) = norm {
            // PyTorch counts the batches that a norm has seen; ours doesn't, and nothing needs it.
            let none = TensorData::new(vec![0_i64], Vec::<usize>::new());
            named.push(bridge::from_data(none, format!("{norm}{COUNTER}"), None));
        }
    }
    named
}

/// Writes a file, which is replaced only when everything is on disk.
fn write_file(
    file: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), Error> {
    let failed = |source| Error::File { file: file.to_owned(), source };
    let packed = |error: burn_pack::Error| failed(io::Error::other(error.to_string()));

    let (scratch, handle) = AtomicFile::create(file).map_err(packed)?;
    let mut out = BufWriter::new(handle);
    write(&mut out).map_err(failed)?;
    out.into_inner().map_err(|error| failed(error.into_error()))?.sync_all().map_err(failed)?;
    scratch.commit().map_err(packed)
}

fn exact<M>((model, report): (M, Report), file: &Path) -> Result<M, Error> {
    report.exact(file).map(|_| model)
}

/// Opens a file of either kind, told apart by its beginning.
fn open(file: &Path) -> Result<Container, Error> {
    let failed = |source| Error::File { file: file.to_owned(), source };
    let mut start = Vec::new();
    File::open(file).and_then(|f| f.take(9).read_to_end(&mut start)).map_err(failed)?;
    let named = file.extension().is_some_and(|extension| extension == "safetensors");
    if named || safetensors::begins(&start) {
        return safetensors::open(file);
    }

    pickle::check(file)?;
    let reader = PytorchReader::new(file).map_err(|error| Error::Format {
        file: file.to_owned(),
        tensor: None,
        reason: format!("neither a safetensors nor a PyTorch file: {error}"),
    })?;
    let tensors = reader.into_tensors().into_values().map(pytorch::entry).collect();
    Ok(Container { format: None, notes: BTreeMap::new(), tensors })
}

fn apply<M: Module>(
    model: M,
    container: Container,
    keys: &Keys,
    training: &[&str],
    file: &Path,
) -> Result<(M, Report), Error> {
    let wrong =
        |(tensor, reason)| Error::Format { file: file.to_owned(), tensor: Some(tensor), reason };
    let native = container.format.as_deref() == Some(NATIVE);
    let ((tensors, table), keys) = match native {
        true => ((container.tensors, None), &[] as &Keys),
        false => (unwrapped(container.tensors), keys),
    };

    // Names in the file by names here.
    let mut names = BTreeMap::new();
    let mut renamed = Vec::with_capacity(tensors.len());
    for mut tensor in tensors {
        let name = keys::translate(&tensor.name, keys, Direction::Here);
        let there = std::mem::replace(&mut tensor.name, name.clone());
        if let Some(other) = names.insert(name, there.clone()) {
            return Err(wrong((there, format!("the same parameter as `{other}`"))));
        }
        renamed.push(tensor);
    }

    let own = parameters(&model);
    let mut loader = Loader::new(renamed, !native);
    let model = model.map(&mut loader);
    let mut report = Report { native, table, ..loader.finish().map_err(wrong)? };
    for path in training {
        if !own.iter().any(|parameter| is_below(&parameter.path, path)) {
            let unused = report.unexpected.extract_if(.., |name| is_below(name, path));
            report.left_out.extend(unused);
        }
    }
    // They are the file's tensors, and a user looks for them under its names.
    let Report { missing, unexpected, misshapen, left_out, .. } = &mut report;
    let absent = missing.iter_mut().map(|tensor| &mut tensor.name);
    let wrong = misshapen.iter_mut().map(|tensor| &mut tensor.name);
    for name in unexpected.iter_mut().chain(left_out).chain(absent).chain(wrong) {
        *name = match names.remove(name) {
            Some(there) => there,
            None => keys::translate(name, keys, Direction::There),
        };
    }
    Ok((model, report))
}

/// `bytes` as burn keeps them. burn's own constructor copies what doesn't lie on its largest
/// alignment, which a large allocation never does; every number lies on its own here.
fn moved(bytes: Vec<u8>) -> Bytes {
    const LARGE: usize = 1 << 20;
    if bytes.len() >= LARGE && bytes.as_ptr().cast::<u64>().is_aligned() {
        Bytes::from_elems(bytes)
    } else {
        Bytes::from_bytes_vec(bytes)
    }
}

#[cfg(test)]
mod tests;
