//! The safetensors container, read without trusting it.
//!
//! <https://github.com/huggingface/safetensors#format>: eight bytes with the length of a JSON
//! header, the header, the tensors' bytes without a gap. Everything the header claims is checked
//! against the file before memory is asked for, so that a truncated or hostile file gives an error
//! that names file and tensor.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use burn::serde::{Deserialize, Serialize};
use burn::store::bridge;
use burn::store::burn_pack;
use burn::tensor::{BoolStore, DType};
use serde_json::{Map, Value};

use crate::Error;

/// Longest header that is read, in bytes: some hundred thousand tensors.
const LONGEST_HEADER: u64 = 16 << 20;

/// The key of the header that holds strings instead of a tensor.
const METADATA: &str = "__metadata__";

/// A tensor whose bytes are still in the file.
pub(super) type Entry = burn_pack::Tensor;

/// What a container holds.
pub(super) struct Container {
    /// The value of `format` in the metadata.
    pub format: Option<String>,
    /// The other words of the metadata.
    pub notes: BTreeMap<String, String>,
    pub tensors: Vec<Entry>,
}

/// What the header says of one tensor.
#[derive(Serialize, Deserialize)]
#[serde(crate = "burn::serde")]
struct Info {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [u64; 2],
}

trait Source: Read + Seek + Send {}
impl<T: Read + Seek + Send> Source for T {}

/// Reads the header of `file`; the tensors are read when they are used.
pub(super) fn open(file: &Path) -> Result<Container, Error> {
    let failed = |source| Error::File { file: file.to_owned(), source };
    let handle = File::open(file).map_err(failed)?;
    let length = handle.metadata().map_err(failed)?.len();
    read(Box::new(handle), length, file)
}

/// Like [`open`], for a file in memory; `name` stands for it in messages.
pub(super) fn from_bytes(bytes: Vec<u8>, name: &Path) -> Result<Container, Error> {
    let length = bytes.len() as u64;
    read(Box::new(Cursor::new(bytes)), length, name)
}

/// Whether `start`, the first nine bytes of a file, may begin a container.
pub(super) fn begins(start: &[u8]) -> bool {
    start.get(8) == Some(&b'{')
}

fn read(mut source: Box<dyn Source>, length: u64, file: &Path) -> Result<Container, Error> {
    let failed = |source| Error::File { file: file.to_owned(), source };
    let wrong = |tensor: Option<&str>, reason: String| Error::Format {
        file: file.to_owned(),
        tensor: tensor.map(str::to_owned),
        reason,
    };

    let mut size = [0; 8];
    if length < 8 {
        return Err(wrong(None, format!("{length} bytes are no safetensors file")));
    }
    source.read_exact(&mut size).map_err(failed)?;
    let size = u64::from_le_bytes(size);
    if size > LONGEST_HEADER.min(length - 8) {
        let reason = format!(
            "its header claims {size} bytes of a file of {length}; it is truncated or no \
             safetensors file"
        );
        return Err(wrong(None, reason));
    }
    let mut header = vec![0; size as usize];
    source.read_exact(&mut header).map_err(failed)?;
    let header: Map<String, Value> = serde_json::from_slice(&header)
        .map_err(|error| wrong(None, format!("its header is no JSON table: {error}")))?;

    let start = 8 + size;
    let mut format = None;
    let mut notes = BTreeMap::new();
    let mut infos = Vec::with_capacity(header.len());
    for (name, value) in header {
        if name == METADATA {
            let words = value.as_object().into_iter().flatten();
            let words =
                words.filter_map(|(key, word)| Some((key.clone(), word.as_str()?.to_owned())));
            notes.extend(words);
            format = notes.remove("format");
            continue;
        }
        let info: Info = serde_json::from_value(value)
            .map_err(|error| wrong(Some(&name), format!("not described as a tensor: {error}")))?;
        infos.push((name, info));
    }
    infos.sort_by_key(|(_, info)| info.data_offsets);

    let source = Arc::new(Mutex::new(source));
    let mut end = 0;
    let mut tensors = Vec::with_capacity(infos.len());
    for (name, info) in infos {
        let [from, to] = info.data_offsets;
        let dtype = dtype(&info.dtype)
            .ok_or_else(|| wrong(Some(&name), format!("type {} is not supported", info.dtype)))?;
        let bytes = info
            .shape
            .iter()
            .try_fold(dtype.size(), |bytes, &side| bytes.checked_mul(side))
            .ok_or_else(|| wrong(Some(&name), format!("shape {:?} overflows", info.shape)))?;
        if from != end || to.checked_sub(from) != Some(bytes as u64) || to > length - start {
            let reason = format!(
                "{bytes} bytes of shape {:?} claimed at {from}..{to}, where {end}..{} are left; \
                 the file is truncated or altered",
                info.shape,
                length - start
            );
            return Err(wrong(Some(&name), reason));
        }
        end = to;

        let source = Arc::clone(&source);
        let read = move || {
            let mut source = source.lock().unwrap_or_else(PoisonError::into_inner);
            let mut buffer = vec![0; bytes];
            source
                .seek(SeekFrom::Start(start + from))
                .and_then(|_| source.read_exact(&mut buffer))
                .map_err(|error| burn_pack::Error::IoError(error.to_string()))?;
            Ok(super::moved(buffer))
        };
        tensors.push(Entry::deferred(name, dtype, info.shape, None, bytes, read));
    }
    if end != length - start {
        let reason = format!("{} bytes after its last tensor", length - start - end);
        return Err(wrong(None, reason));
    }
    Ok(Container { format, notes, tensors })
}

/// Writes `tensors`, sorted by name, floats as f32: equal tensors give equal bytes.
pub(super) fn write(out: &mut impl Write, format: &str, tensors: Vec<Entry>) -> io::Result<()> {
    write_with(out, format, &BTreeMap::new(), tensors)
}

/// As [`write`], with `notes` in the metadata.
pub(super) fn write_with(
    out: &mut impl Write,
    format: &str,
    notes: &BTreeMap<String, String>,
    mut tensors: Vec<Entry>,
) -> io::Result<()> {
    tensors.sort_by(|a, b| a.name.cmp(&b.name));

    let quoted = |text: &str| Value::from(text).to_string();
    let words = notes.iter().map(|(key, word)| format!(",{}:{}", quoted(key), quoted(word)));
    let words: String = words.collect();
    let mut header = format!("{{{}:{{\"format\":{}{words}}}", quoted(METADATA), quoted(format));
    let mut offset = 0;
    for tensor in &tensors {
        let dtype = stored(tensor.dtype);
        let name = dtype_name(dtype).ok_or_else(|| {
            io::Error::other(format!("tensor `{}`: type {dtype:?} has no name", tensor.name))
        })?;
        let shape = tensor.shape.to_vec();
        let end = offset + (shape.iter().product::<usize>() * dtype.size()) as u64;
        let info = Info { dtype: name.to_owned(), shape, data_offsets: [offset, end] };
        offset = end;
        header += &format!(",{}:{}", quoted(&tensor.name), serde_json::to_string(&info)?);
    }
    header.push('}');
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));

    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    for tensor in tensors {
        let dtype = stored(tensor.dtype);
        let data =
            bridge::into_data(tensor).map_err(|error| io::Error::other(error.to_string()))?;
        out.write_all(&data.convert_dtype(dtype).into_bytes())?;
    }
    Ok(())
}

/// The type that a tensor is written in.
pub(super) fn stored(dtype: DType) -> DType {
    if dtype.is_float() { DType::F32 } else { dtype }
}

const DTYPES: [(&str, DType); 12] = [
    ("F64", DType::F64),
    ("F32", DType::F32),
    ("F16", DType::F16),
    ("BF16", DType::BF16),
    ("I64", DType::I64),
    ("I32", DType::I32),
    ("I16", DType::I16),
    ("I8", DType::I8),
    ("U64", DType::U64),
    ("U32", DType::U32),
    ("U8", DType::U8),
    ("BOOL", DType::Bool(BoolStore::Native)),
];

fn dtype(name: &str) -> Option<DType> {
    DTYPES.iter().find(|(known, _)| *known == name).map(|&(_, dtype)| dtype)
}

fn dtype_name(dtype: DType) -> Option<&'static str> {
    DTYPES.iter().find(|(_, known)| *known == dtype).map(|&(name, _)| name)
}
