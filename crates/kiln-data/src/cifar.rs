//! CIFAR-10's binary batches: records of one label and 32×32 pixels, plane by plane; unpacked or in their archive.
//!
//! Krizhevsky. *Learning Multiple Layers of Features from Tiny Images.* 2009.
//! <https://www.cs.toronto.edu/~kriz/cifar.html>, section "Binary version".

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::read::GzDecoder;
use tar::Archive;

use crate::catalog::Parts;
use crate::manifest::Manifest;
use crate::{Dataset, Error, Pixels, Sample};

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;
/// Bytes of a record: the label, then a plane each of red, green and blue.
const RECORD: usize = 1 + 3 * PLANE;

const TRAIN: [&str; 5] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
];
const TEST: &str = "test_batch.bin";
const ARCHIVE: &str = "cifar-10-binary.tar.gz";
/// What a batch is called in the version for Python, which is a pickle.
const PICKLE: &str = "data_batch_1";

/// No batch of more bytes is read; a published one has 30,730,000.
const MAX_BATCH: u64 = 1 << 28;
/// Nothing beyond this is unpacked.
const MAX_ARCHIVE: u64 = 1 << 31;

/// 32×32 colour images from batches, in memory.
#[derive(Debug)]
pub struct CifarImages {
    name: String,
    records: Vec<u8>,
}

impl CifarImages {
    /// The images of `batches`, one after the other; each is the name of a file and its content. `name` is what messages
    /// call the samples, such as `cifar10 train`.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] with the file if it doesn't consist of whole records, or a label is not below `classes`.
    pub fn new(name: &str, batches: Vec<(String, Vec<u8>)>, classes: usize) -> Result<Self, Error> {
        let mut records = Vec::new();
        for (file, bytes) in batches {
            if bytes.is_empty() || bytes.len() % RECORD != 0 {
                let found = bytes.len();
                let reason =
                    format!("{found} bytes; a multiple of {RECORD} is expected: fetch it again");
                return Err(Error::malformed(file, reason));
            }
            let labels = bytes.iter().step_by(RECORD).enumerate();
            if let Some((index, label)) =
                labels.into_iter().find(|&(_, &l)| usize::from(l) >= classes)
            {
                let reason = format!("label {label} of image {index} is no class of {classes}");
                return Err(Error::malformed(file, reason));
            }
            if records.is_empty() {
                records = bytes;
            } else {
                records.extend(bytes);
            }
        }
        Ok(Self { name: name.into(), records })
    }
}

impl Dataset for CifarImages {
    fn len(&self) -> usize {
        self.records.len() / RECORD
    }

    fn sample(&self, index: usize) -> Result<Sample, Error> {
        let planes = &self.records[index * RECORD + 1..][..3 * PLANE];
        let data = (0..3 * PLANE).map(|at| planes[at % 3 * PLANE + at / 3]).collect();
        let pixels = Pixels { width: SIDE, height: SIDE, channels: 3, data };
        Ok(Sample { pixels, label: self.label(index) })
    }

    fn name(&self, index: usize) -> String {
        format!("{}/{index}", self.name)
    }

    fn label(&self, index: usize) -> usize {
        usize::from(self.records[index * RECORD])
    }
}

/// The set below `data`, which may also be the archive itself.
pub(crate) fn open(manifest: &Manifest, data: &Path) -> Result<Parts, Error> {
    let Manifest { name, classes, places, .. } = manifest;
    let mut likely = vec![data.to_owned(), data.join(name)];
    likely.extend(places.iter().map(|place| data.join(place)));
    let holds = |file: &'static str| move |folder: &&PathBuf| folder.join(file).is_file();

    let (mut batches, source) = if data.is_file() {
        (unpack(data)?, data.to_owned())
    } else if let Some(folder) = likely.iter().find(holds(TRAIN[0])) {
        (read(name, folder)?, folder.clone())
    } else if let Some(folder) = likely.iter().find(holds(ARCHIVE)) {
        let archive = folder.join(ARCHIVE);
        (unpack(&archive)?, archive)
    } else if let Some(folder) = likely.iter().find(holds(PICKLE)) {
        let reason = "it is a batch of the version for Python; the binary version is read";
        return Err(Error::malformed(folder.join(PICKLE).display().to_string(), reason));
    } else {
        fs::read_dir(data).map_err(Error::io("read", data))?;
        let file = format!("{} or {ARCHIVE}", TRAIN[0]);
        return Err(Error::MissingFile { name: name.into(), file, folder: data.into() });
    };

    let test = batches.split_off(TRAIN.len());
    let part = |part: &str, batches| -> Result<Arc<dyn Dataset>, Error> {
        Ok(Arc::new(CifarImages::new(&format!("{name} {part}"), batches, classes.len())?))
    };
    Ok(Parts {
        classes: classes.clone(),
        train: part("train", batches)?,
        validation: None,
        test: part("test", test)?,
        source: source.display().to_string(),
    })
}

/// A file's name and content.
type Named = (String, Vec<u8>);

/// The six batches of `folder`, that of the test last.
fn read(name: &str, folder: &Path) -> Result<Vec<Named>, Error> {
    let batches = TRAIN.into_iter().chain([TEST]).map(|file| {
        let path = folder.join(file);
        let opened = File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                Error::MissingFile { name: name.into(), file: file.into(), folder: folder.into() }
            }
            _ => Error::io("read", &path)(error),
        })?;
        let bytes = bounded(opened).map_err(Error::io("read", &path))?;
        Ok((path.display().to_string(), bytes))
    });
    batches.collect()
}

/// The six batches in the archive at `path`, that of the test last.
fn unpack(path: &Path) -> Result<Vec<Named>, Error> {
    let shown = path.display();
    let damaged = |error: io::Error| {
        Error::malformed(
            shown.to_string(),
            format!("it cannot be unpacked: {error}: fetch it again"),
        )
    };
    let file = File::open(path).map_err(Error::io("read", path))?;
    let mut archive = Archive::new(GzDecoder::new(file).take(MAX_ARCHIVE));
    let mut batches: [Option<Named>; TRAIN.len() + 1] = Default::default();
    for entry in archive.entries().map_err(damaged)? {
        let entry = entry.map_err(damaged)?;
        let inside = entry.path().map_err(damaged)?.into_owned();
        let name = inside.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let place = TRAIN.into_iter().chain([TEST]).position(|batch| batch == name);
        let Some(place) = place.filter(|_| entry.header().entry_type().is_file()) else { continue };
        let bytes = bounded(entry).map_err(damaged)?;
        batches[place] = Some((format!("{name} in {shown}"), bytes));
    }
    let names = TRAIN.into_iter().chain([TEST]);
    let whole = batches.into_iter().zip(names).map(|(batch, name)| {
        batch.ok_or_else(|| Error::malformed(shown.to_string(), format!("it has no {name}")))
    });
    whole.collect()
}

/// All of `reader`; one that goes on for too long gives more bytes than whole records have.
fn bounded(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(MAX_BATCH).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::idx::tests::gzip;
    use crate::open;
    use proptest::prelude::*;

    /// `count` images: the label is the number of the image, red counts along a row, green down a column, blue is 9.
    fn batch(count: usize) -> Vec<u8> {
        let image = |label: usize| {
            let planes = (0..3 * PLANE).map(|at| match at / PLANE {
                0 => (at % SIDE) as u8,
                1 => (at % PLANE / SIDE) as u8,
                _ => 9,
            });
            std::iter::once(label as u8).chain(planes).collect::<Vec<_>>()
        };
        (0..count).flat_map(image).collect()
    }

    fn write(folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        for file in TRAIN {
            fs::write(folder.join(file), batch(2)).unwrap();
        }
        fs::write(folder.join(TEST), batch(3)).unwrap();
    }

    /// The archive with these files.
    fn archive(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, bytes) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            let path = format!("cifar-10-batches-bin/{name}");
            builder.append_data(&mut header, path, &bytes[..]).unwrap();
        }
        gzip(&builder.into_inner().unwrap())
    }

    fn six() -> Vec<(&'static str, Vec<u8>)> {
        let mut files = vec![("readme.html", b"hello".to_vec()), (TEST, batch(3))];
        files.extend(TRAIN.map(|file| (file, batch(2))));
        files
    }

    fn refusal(data: &Path) -> String {
        open("cifar10", Some(data)).err().unwrap().to_string()
    }

    #[test]
    fn planes_become_pixels() {
        let images = CifarImages::new("toy", vec![("x".into(), batch(3))], 10).unwrap();
        let sample = images.sample(2).unwrap();
        assert_eq!((images.len(), sample.label, images.name(2)), (3, 2, "toy/2".into()));
        let at = (7 * SIDE + 5) * 3;
        assert_eq!(sample.pixels.data[at..at + 3], [5, 7, 9]);
        Pixels::new(SIDE, SIDE, 3, sample.pixels.data).unwrap();
    }

    #[test]
    fn folders_and_the_archive_give_the_same_images() {
        let root = tempfile::tempdir().unwrap();
        write(&root.path().join("a/cifar-10-batches-bin"));
        write(&root.path().join("b/cifar10"));
        write(&root.path().join("c"));
        let packed = root.path().join("d");
        fs::create_dir(&packed).unwrap();
        fs::write(packed.join(ARCHIVE), archive(&six())).unwrap();
        for data in ["a", "b", "c", "d", "d/cifar-10-binary.tar.gz"] {
            let splits = open("cifar10", Some(&root.path().join(data))).unwrap();
            assert_eq!((splits.train.len(), splits.test.len()), (10, 3), "{data}");
            assert_eq!(splits.test.name(1), "cifar10 test/1");
            assert_eq!(splits.train.sample(9).unwrap().label, 1);
        }
    }

    #[test]
    fn what_is_missing_cut_or_of_another_kind_is_named() {
        let root = tempfile::tempdir().unwrap();
        assert!(
            refusal(root.path()).starts_with("no data_batch_1.bin or cifar-10-binary.tar.gz in")
        );
        assert!(
            refusal(&root.path().join("none"))
                .contains("none is not there; --data takes the folder")
        );

        fs::write(root.path().join(PICKLE), b"pickle").unwrap();
        assert!(refusal(root.path()).contains("the version for Python"));

        write(root.path());
        fs::write(root.path().join(TRAIN[2]), &batch(2)[..RECORD + 9]).unwrap();
        let message = refusal(root.path());
        assert!(message.contains("data_batch_3.bin is damaged"), "{message}");
        assert!(message.contains("3082 bytes; a multiple of 3073"), "{message}");

        let mut odd = batch(2);
        odd[RECORD] = 10;
        fs::write(root.path().join(TRAIN[2]), odd).unwrap();
        assert!(refusal(root.path()).contains("label 10 of image 1 is no class of 10"));

        fs::remove_file(root.path().join(TEST)).unwrap();
        assert!(refusal(root.path()).starts_with("no test_batch.bin in "));
    }

    #[test]
    fn an_archive_that_lacks_a_batch_or_lies_about_its_length_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(ARCHIVE);
        fs::write(&path, archive(&six()[..3])).unwrap();
        assert!(refusal(root.path()).contains("it has no data_batch_2.bin"));

        // A header that promises eight gigabytes, and nothing behind it.
        let mut header = tar::Header::new_ustar();
        header.set_path("cifar-10-batches-bin/test_batch.bin").unwrap();
        header.set_size(8 << 30);
        header.set_cksum();
        fs::write(&path, gzip(header.as_bytes())).unwrap();
        let message = refusal(root.path());
        assert!(message.contains("cifar-10-binary.tar.gz is damaged"), "{message}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn no_cut_and_no_damage_of_the_archive_makes_it_panic(at in 0.0..1.0, value: u8, cut: bool) {
            let root = tempfile::tempdir().unwrap();
            let path = root.path().join(ARCHIVE);
            let mut bytes = archive(&six());
            let at = (at * bytes.len() as f64) as usize;
            if cut {
                bytes.truncate(at);
            } else {
                bytes[at] ^= value;
            }
            fs::write(&path, &bytes).unwrap();
            let _ = unpack(&path);
        }
    }
}
