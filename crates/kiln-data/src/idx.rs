//! IDX, the format of MNIST: a header of big-endian numbers, then bytes; plain or gzipped.
//!
//! LeCun, Cortes, Burges. *The MNIST database of handwritten digits.* <http://yann.lecun.com/exdb/mnist/>: two zero
//! bytes, a type byte (8: unsigned byte, the only one here), the number of dimensions, the dimensions as 32-bit numbers.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;

use crate::{Dataset, Error, Pixels, Sample};

/// No file of more bytes than this is read, compressed or not.
const MAX_BYTES: usize = 2 << 30;

/// DEFLATE's best: 258 bytes from 2 bits. A header that promises more lies.
const MAX_RATIO: usize = 1032;

/// The content of one IDX file of unsigned bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idx {
    /// The dimensions, outermost first.
    pub dims: Vec<usize>,
    /// As many bytes as the dimensions give.
    pub data: Vec<u8>,
}

impl Idx {
    /// Reads the file at `path`, gzipped or not, whatever its name says.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if it cannot be read, [`Error::Malformed`] if it is not an IDX file or not complete.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let length = fs::metadata(path).map_err(Error::io("read", path))?.len();
        if length > MAX_BYTES as u64 {
            let reason = format!("{length} bytes; at most {MAX_BYTES} are read");
            return Err(Error::malformed(path.display().to_string(), reason));
        }
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(Error::io("read", path))?;
        file.take(MAX_BYTES as u64).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
        Self::parse(&bytes, &path.display().to_string())
    }

    /// Reads IDX from memory, gzipped or not; `file` is for the message.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if `bytes` are not IDX, or fewer or more than its header says.
    pub fn parse(bytes: &[u8], file: &str) -> Result<Self, Error> {
        let parsed = if bytes.starts_with(&[0x1F, 0x8B]) {
            parse(MultiGzDecoder::new(bytes), bytes.len().saturating_mul(MAX_RATIO))
        } else {
            parse(bytes, bytes.len())
        };
        parsed.map_err(|reason| Error::malformed(file, reason))
    }
}

/// Parses a header and the data after it; `most` is how many bytes there can be at most.
fn parse(mut reader: impl Read, most: usize) -> Result<Idx, String> {
    let mut magic = [0; 4];
    fill(&mut reader, &mut magic)?;
    let [0, 0, kind, rank] = magic else {
        return Err(format!("an IDX file begins with two zero bytes, this one with {magic:02x?}"));
    };
    if kind != 8 {
        return Err(format!("type {kind:#04x}; only unsigned bytes (0x08) are read"));
    }
    if !(1..=4).contains(&rank) {
        return Err(format!("{rank} dimensions; 1 to 4 are possible"));
    }

    let mut dims = Vec::with_capacity(usize::from(rank));
    for _ in 0..rank {
        let mut number = [0; 4];
        fill(&mut reader, &mut number)?;
        dims.push(u32::from_be_bytes(number) as usize);
    }
    let length = dims.iter().try_fold(1_usize, |product, &dim| product.checked_mul(dim));
    let length = length.filter(|&length| length <= most.min(MAX_BYTES)).ok_or_else(|| {
        format!("its header promises {dims:?} bytes, more than the file can hold")
    })?;

    // `read_to_end` grows with what really arrives, so a lying header costs no memory.
    let mut data = Vec::new();
    reader.take(length as u64 + 1).read_to_end(&mut data).map_err(|error| unreadable(&error))?;
    if data.len() < length {
        let found = data.len();
        return Err(format!("it ends after {found} of {length} bytes of data: fetch it again"));
    }
    if data.len() > length {
        return Err(format!("more follows after the {length} bytes that its header promises"));
    }
    Ok(Idx { dims, data })
}

fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> Result<(), String> {
    reader.read_exact(buffer).map_err(|error| unreadable(&error))
}

fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "it ends too early: fetch it again".into(),
        _ => format!("it cannot be decompressed: {error}"),
    }
}

/// Grey images with labels from a pair of IDX files, in memory.
#[derive(Debug)]
pub struct IdxImages {
    name: String,
    height: usize,
    width: usize,
    pixels: Vec<u8>,
    labels: Vec<u8>,
}

impl IdxImages {
    /// Pairs `images`, `[count, height, width]`, with `labels`, `[count]`, all below `classes`.
    /// `name` is what messages call the samples, such as `mnist train`.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if the dimensions don't fit together or a label is too large.
    pub fn new(name: &str, images: Idx, labels: Idx, classes: usize) -> Result<Self, Error> {
        let refuse = |reason: String| Err(Error::malformed(name, reason));
        let [count, height, width] = images.dims[..] else {
            return refuse(format!("images need 3 dimensions, found {:?}", images.dims));
        };
        if labels.dims.len() != 1 {
            return refuse(format!("labels need 1 dimension, found {:?}", labels.dims));
        }
        if labels.data.len() != count {
            return refuse(format!("{count} images but {} labels", labels.data.len()));
        }
        if height == 0 || width == 0 {
            return refuse(format!("images of {width}×{height} pixels have none"));
        }
        let odd = labels.data.iter().enumerate().find(|&(_, &label)| usize::from(label) >= classes);
        if let Some((index, label)) = odd {
            return refuse(format!("label {label} of image {index} is no class of {classes}"));
        }
        Ok(Self { name: name.into(), height, width, pixels: images.data, labels: labels.data })
    }

    /// This data set behind a pointer that threads share.
    pub fn shared(self) -> Arc<dyn Dataset> {
        Arc::new(self)
    }
}

impl Dataset for IdxImages {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn sample(&self, index: usize) -> Result<Sample, Error> {
        let Self { width, height, .. } = *self;
        let data = self.pixels[index * width * height..][..width * height].to_vec();
        Ok(Sample { pixels: Pixels { width, height, channels: 1, data }, label: self.label(index) })
    }

    fn name(&self, index: usize) -> String {
        format!("{}/{index}", self.name)
    }

    fn label(&self, index: usize) -> usize {
        usize::from(self.labels[index])
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;
    use std::io::Write;

    /// An IDX file of unsigned bytes.
    pub(crate) fn file(dims: &[u32], data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, dims.len() as u8];
        dims.iter().for_each(|dim| bytes.extend(dim.to_be_bytes()));
        bytes.extend(data);
        bytes
    }

    pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn refusal(bytes: &[u8]) -> String {
        Idx::parse(bytes, "x-idx").unwrap_err().to_string()
    }

    #[test]
    fn reads_plain_and_gzipped_alike() {
        let plain = file(&[2, 1, 3], &[1, 2, 3, 4, 5, 6]);
        let expected = Idx { dims: vec![2, 1, 3], data: vec![1, 2, 3, 4, 5, 6] };
        assert_eq!(Idx::parse(&plain, "x").unwrap(), expected);
        assert_eq!(Idx::parse(&gzip(&plain), "x").unwrap(), expected);

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("named-without-gz");
        fs::write(&path, gzip(&plain)).unwrap();
        assert_eq!(Idx::read(&path).unwrap(), expected);
    }

    #[test]
    fn a_damaged_file_is_refused_with_its_name_and_the_reason() {
        for (bytes, reason) in [
            (b"\x89PNG....".to_vec(), "begins with two zero bytes"),
            (vec![0, 0, 13, 1, 0, 0, 0, 0], "type 0x0d; only unsigned bytes"),
            (vec![0, 0, 8, 9], "9 dimensions; 1 to 4"),
            (vec![0, 0, 8], "ends too early"),
            (file(&[99], &[1, 2]), "promises [99] bytes, more than the file can hold"),
            (file(&[3], &[1, 2]), "ends after 2 of 3 bytes"),
            (file(&[1], &[1, 2]), "more follows after the 1 bytes"),
            (gzip(&file(&[3], &[1, 2])), "ends after 2 of 3 bytes"),
        ] {
            let message = refusal(&bytes);
            assert!(
                message.starts_with("x-idx is damaged") && message.contains(reason),
                "{message}"
            );
        }
    }

    #[test]
    fn a_header_that_lies_about_its_size_costs_no_memory() {
        // Dimensions whose product overflows, and a gigabyte promised by a few bytes.
        let overflow = file(&[u32::MAX, u32::MAX, u32::MAX], &[]);
        assert!(refusal(&overflow).contains("more than the file can hold"));
        assert!(refusal(&gzip(&overflow)).contains("more than the file can hold"));
        assert!(refusal(&gzip(&file(&[1 << 30], &[0; 9]))).contains("more than the file can hold"));
    }

    #[test]
    fn pairs_images_with_labels() {
        let images = Idx { dims: vec![2, 1, 3], data: vec![1, 2, 3, 4, 5, 6] };
        let labels = Idx { dims: vec![2], data: vec![0, 1] };
        let pair = IdxImages::new("toy train", images, labels, 2).unwrap();
        let sample = pair.sample(1).unwrap();
        assert_eq!(sample.pixels, Pixels::new(3, 1, 1, vec![4, 5, 6]).unwrap());
        assert_eq!((pair.len(), sample.label, pair.name(1)), (2, 1, "toy train/1".into()));
    }

    #[test]
    fn pairs_that_do_not_fit_are_refused() {
        let idx = |dims: &[usize], value: u8| Idx {
            dims: dims.to_vec(),
            data: vec![value; dims.iter().product()],
        };
        for (images, labels, reason) in [
            (idx(&[6], 0), idx(&[2], 0), "images need 3 dimensions, found [6]"),
            (idx(&[2, 1, 1], 0), idx(&[2, 1], 0), "labels need 1 dimension, found [2, 1]"),
            (idx(&[2, 1, 1], 0), idx(&[3], 0), "2 images but 3 labels"),
            (idx(&[2, 0, 1], 0), idx(&[2], 0), "images of 1×0 pixels have none"),
            (idx(&[2, 1, 1], 0), idx(&[2], 5), "label 5 of image 0 is no class of 5"),
        ] {
            let message = IdxImages::new("toy", images, labels, 5).unwrap_err().to_string();
            assert!(message.contains(reason), "{message}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), zip: bool) {
            let mut header = vec![0, 0, 8];
            header.extend(&bytes);
            for bytes in [bytes, header] {
                let bytes = if zip { gzip(&bytes) } else { bytes };
                if let Ok(idx) = Idx::parse(&bytes, "x") {
                    prop_assert_eq!(idx.dims.iter().product::<usize>(), idx.data.len());
                }
            }
        }

        #[test]
        fn every_truncation_of_a_gzipped_file_is_refused(cut in 0.0..1.0) {
            let whole = gzip(&file(&[40, 5], &(0..200).map(|i| (i * 7) as u8).collect::<Vec<_>>()));
            let end = (cut * whole.len() as f64) as usize;
            prop_assert!(Idx::parse(&whole[..end], "x").is_err());
        }
    }
}
