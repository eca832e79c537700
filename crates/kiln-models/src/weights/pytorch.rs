//! PyTorch's own container, as `torch.save` writes it: a zip archive without compression that holds
//! a pickle with the names and shapes and one member per tensor with its bytes.
//!
//! <https://pytorch.org/docs/stable/notes/serialization.html>
//!
//! The pickle names `OrderedDict` and the functions that rebuild a tensor, nothing else, so that
//! `torch.load(weights_only=True)` takes it.

use std::io::{self, Write};

use burn::store::pytorch_reader::Tensor;
use burn::store::{bridge, burn_pack};
use burn::tensor::DType;

use super::safetensors::{Entry, stored};

/// Tensors' bytes begin at multiples of this, as in PyTorch's files, so that they can be mapped.
const ALIGNMENT: u64 = 64;

/// Largest archive that the zip format of 1993 can hold; PyTorch reads larger ones, we don't write
/// them.
const LARGEST: u64 = u32::MAX as u64;

/// A tensor of burn's reader, unread.
pub(super) fn entry(tensor: Tensor) -> Entry {
    let known = bridge::from_pytorch(tensor.clone());
    let (name, _, _, read) = tensor.into_parts();
    Entry::deferred(name, known.dtype, known.shape.clone(), None, known.byte_len(), move || {
        // burn names the tensor that can't be read.
        read().map(super::moved).map_err(|error| burn_pack::Error::IoError(error.to_string()))
    })
}

/// Writes `tensors` in their order, floats as f32.
///
/// The bytes of one tensor at a time are in memory.
pub(super) fn write(out: &mut impl Write, tensors: Vec<Entry>) -> io::Result<()> {
    let size: u64 = tensors
        .iter()
        .map(|tensor| bytes(tensor) as u64 + 4 * ALIGNMENT + 2 * tensor.name.len() as u64)
        .sum();
    if size > LARGEST {
        return Err(io::Error::other("more than 4 GiB; write a .safetensors file instead"));
    }

    let mut archive = Archive::new(out);
    archive.member("data.pkl", &pickle(&tensors)?)?;
    archive.member("byteorder", b"little")?;
    for (key, tensor) in tensors.into_iter().enumerate() {
        let dtype = stored(tensor.dtype);
        let data =
            bridge::into_data(tensor).map_err(|error| io::Error::other(error.to_string()))?;
        archive.member(&format!("data/{key}"), &data.convert_dtype(dtype).into_bytes())?;
    }
    archive.member("version", b"3\n")?;
    archive.finish()
}

fn bytes(tensor: &Entry) -> usize {
    tensor.shape.iter().product::<usize>() * stored(tensor.dtype).size()
}

/// PyTorch's name for an array of such numbers.
fn storage(dtype: DType) -> Option<&'static str> {
    Some(match dtype {
        DType::F32 => "FloatStorage",
        DType::F64 => "DoubleStorage",
        DType::I64 => "LongStorage",
        DType::I32 => "IntStorage",
        DType::I16 => "ShortStorage",
        DType::I8 => "CharStorage",
        DType::U8 => "ByteStorage",
        _ => return None,
    })
}

/// An `OrderedDict` of tensors, in the second version of Python's pickle protocol.
fn pickle(tensors: &[Entry]) -> io::Result<Vec<u8>> {
    let mut to = Vec::new();
    to.extend(b"\x80\x02"); // PROTO 2
    to.extend(b"ccollections\nOrderedDict\n)R"); // GLOBAL, EMPTY_TUPLE, REDUCE
    to.push(b'('); // MARK
    for (key, tensor) in tensors.iter().enumerate() {
        let storage = storage(stored(tensor.dtype)).ok_or_else(|| {
            let Entry { name, dtype, .. } = tensor;
            io::Error::other(format!("tensor `{name}`: PyTorch has no type for {dtype:?}"))
        })?;
        let shape = tensor.shape.to_vec();
        text(&mut to, &tensor.name);

        // _rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks)
        to.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut to, "storage");
        to.extend(format!("ctorch\n{storage}\n").bytes());
        text(&mut to, &key.to_string());
        text(&mut to, "cpu");
        number(&mut to, shape.iter().product());
        to.extend(b"tQ"); // TUPLE, BINPERSID
        number(&mut to, 0);
        tuple(&mut to, &shape);
        tuple(&mut to, &strides(&shape));
        to.extend(b"\x89ccollections\nOrderedDict\n)RtR"); // False, no hooks, TUPLE, REDUCE
    }
    to.extend(b"u."); // SETITEMS, STOP
    Ok(to)
}

/// BINUNICODE
fn text(to: &mut Vec<u8>, text: &str) {
    to.push(b'X');
    to.extend((text.len() as u32).to_le_bytes());
    to.extend(text.bytes());
}

/// BININT, or LONG1 where that is too short.
fn number(to: &mut Vec<u8>, number: usize) {
    match i32::try_from(number) {
        Ok(short) => {
            to.push(b'J');
            to.extend(short.to_le_bytes());
        }
        Err(_) => {
            to.extend(b"\x8a\x09");
            to.extend((number as u64).to_le_bytes());
            to.push(0); // the sign
        }
    }
}

fn tuple(to: &mut Vec<u8>, numbers: &[usize]) {
    to.push(b'(');
    for &each in numbers {
        number(to, each);
    }
    to.push(b't');
}

/// Elements between neighbours in each dimension, the last one being next to each other.
fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = Vec::with_capacity(shape.len());
    let mut stride = 1;
    for &side in shape.iter().rev() {
        strides.push(stride);
        stride *= side.max(1);
    }
    strides.reverse();
    strides
}

/// A zip archive on its way: stored members, no dates.
///
/// <https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT>, §4.3
pub(super) struct Archive<'a, W> {
    out: &'a mut W,
    position: u64,
    directory: Vec<u8>,
    members: u16,
}

impl<'a, W: Write> Archive<'a, W> {
    pub(super) fn new(out: &'a mut W) -> Self {
        Self { out, position: 0, directory: Vec::new(), members: 0 }
    }

    pub(super) fn member(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let name = format!("archive/{name}");
        let short = |length: usize| u32::try_from(length).map_err(io::Error::other);
        let (offset, size) = (short(self.position as usize)?, short(bytes.len())?);

        // From the version to the lengths, the same here and in the directory.
        let mut fields = Vec::new();
        fields.extend([10, 0]); // version that can extract it: 1.0
        fields.extend([0, 8]); // the name is UTF-8
        fields.extend([0, 0]); // stored
        fields.extend([0, 0, 0x21, 0]); // midnight of 1980-01-01: equal weights, equal bytes
        fields.extend(crc32fast::hash(bytes).to_le_bytes());
        fields.extend(size.to_le_bytes());
        fields.extend(size.to_le_bytes());
        fields.extend((name.len() as u16).to_le_bytes());

        // An extra field, which readers skip, moves the bytes to where they shall begin.
        let begin = self.position + 30 + name.len() as u64 + 4;
        let filler = vec![b'Z'; (begin.next_multiple_of(ALIGNMENT) - begin) as usize];
        let mut header = b"PK\x03\x04".to_vec();
        header.extend(&fields);
        header.extend((filler.len() as u16 + 4).to_le_bytes());
        header.extend(name.bytes());
        header.extend(b"FB");
        header.extend((filler.len() as u16).to_le_bytes());
        header.extend(filler);
        self.out.write_all(&header)?;
        self.out.write_all(bytes)?;
        self.position += (header.len() + bytes.len()) as u64;

        self.directory.extend(b"PK\x01\x02\0\0"); // signature, made by
        self.directory.extend(fields);
        self.directory.extend([0; 12]); // no extra, no comment, disk, attributes
        self.directory.extend(offset.to_le_bytes());
        self.directory.extend(name.bytes());
        self.members = self
            .members
            .checked_add(1)
            .ok_or_else(|| io::Error::other("more than 65535 tensors"))?;
        Ok(())
    }

    pub(super) fn finish(self) -> io::Result<()> {
        let short = |length: u64| u32::try_from(length).map_err(io::Error::other);
        let mut end = b"PK\x05\x06\0\0\0\0".to_vec();
        end.extend(self.members.to_le_bytes());
        end.extend(self.members.to_le_bytes());
        end.extend(short(self.directory.len() as u64)?.to_le_bytes());
        end.extend(short(self.position)?.to_le_bytes());
        end.extend([0, 0]); // no comment
        self.out.write_all(&self.directory)?;
        self.out.write_all(&end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_are_those_of_rows() {
        assert_eq!(strides(&[2, 3, 4]), [12, 4, 1]);
        assert_eq!(strides(&[0, 3]), [3, 1]);
        assert!(strides(&[]).is_empty());
    }

    #[test]
    fn a_number_that_needs_more_than_four_bytes_keeps_its_sign() {
        let mut to = Vec::new();
        number(&mut to, 1 << 31);
        assert_eq!(to, b"\x8a\x09\0\0\0\x80\0\0\0\0\0");
    }
}
