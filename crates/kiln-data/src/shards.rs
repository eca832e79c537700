//! Tar archives of images in WebDataset's layout: `KEY.jpg` with `KEY.cls` or `KEY.json` beside it.
//!
//! An archive's headers are read once; what is kept of a sample is where its image lies. Images are read from there when
//! they are asked for, and [`Loader`](crate::Loader) asks for them in an order that goes through an archive from its start to
//! its end, mixed by a buffer: see [`Dataset::shards`].
//!
//! <https://github.com/webdataset/webdataset>

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use tar::Archive;

use crate::decode::{decode_bytes, is_image_name};
use crate::{Dataset, Error, Sample};

/// The images of some archives, in their order.
#[derive(Debug, Default)]
pub struct Shards {
    archives: Vec<Shard>,
    /// Samples of all archives, one after the other.
    places: Vec<Place>,
}

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    /// Open while it is read.
    file: Mutex<Option<File>>,
    /// How many samples the archives before it hold.
    start: usize,
}

/// Where an image lies in its archive.
#[derive(Debug, Clone, Copy)]
struct Place {
    offset: u64,
    length: u32,
    label: u32,
}

/// A sample as its archive tells of it.
#[derive(Debug, Default)]
struct Entry {
    key: String,
    image: Option<(u64, u64)>,
    label: Option<String>,
}

/// Names by which a JSON file calls the class.
const LABEL: &[&str] = &["label", "cls", "class", "category", "target"];

/// No image of more bytes is read.
const MAX_IMAGE: u64 = 1 << 30;
/// Nor a label or a JSON file.
const MAX_TEXT: u64 = 1 << 20;
/// An archive has no more samples than this.
const MAX_SAMPLES: usize = 1 << 30;

impl Shards {
    /// Reads the headers of `archives`. `number` gives the number of a class by its name or by its number as a text.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] for an archive that can't be read, [`Error::Malformed`] for one that is damaged, and for a sample
    /// without an image or a label, or whose label is no class.
    pub fn read(
        archives: &[PathBuf],
        number: &mut dyn FnMut(&str) -> Option<usize>,
    ) -> Result<Self, Error> {
        let mut shards = Self::default();
        for path in archives {
            let shown = path.display().to_string();
            let start = shards.places.len();
            shards.archives.push(Shard { path: path.clone(), file: Mutex::new(None), start });
            for Entry { key, image, label } in entries(path)? {
                let refuse =
                    |reason: String| Error::malformed(&shown, format!("sample {key}: {reason}"));
                let (offset, length) =
                    image.ok_or_else(|| refuse("a label, but no image".into()))?;
                let label = label.ok_or_else(|| {
                    refuse("no label; `KEY.cls` or `KEY.json` with `label` is expected".into())
                })?;
                let class = number(&label).and_then(|class| u32::try_from(class).ok());
                let label = class.ok_or_else(|| refuse(format!("`{label}` is no class")))?;
                let length = u32::try_from(length).ok().filter(|_| length <= MAX_IMAGE);
                let length = length.ok_or_else(|| refuse("its image is too large".into()))?;
                shards.places.push(Place { offset, length, label });
            }
            if shards.places.len() > MAX_SAMPLES {
                return Err(Error::malformed(shown, format!("more than {MAX_SAMPLES} samples")));
            }
        }
        Ok(shards)
    }

    /// The archive of a sample.
    fn archive(&self, index: usize) -> &Shard {
        let after = self.archives.partition_point(|archive| archive.start <= index);
        &self.archives[after - 1]
    }
}

impl Dataset for Shards {
    fn len(&self) -> usize {
        self.places.len()
    }

    fn sample(&self, index: usize) -> Result<Sample, Error> {
        let (Place { offset, length, label }, archive) = (self.places[index], self.archive(index));
        let mut bytes = vec![0; length as usize];
        archive.read(offset, &mut bytes).map_err(Error::io("read", &archive.path))?;
        let pixels = decode_bytes(&bytes, &self.name(index))?;
        Ok(Sample { pixels, label: label as usize })
    }

    fn name(&self, index: usize) -> String {
        let archive = self.archive(index);
        format!("{}#{}", archive.path.display(), index - archive.start)
    }

    fn label(&self, index: usize) -> usize {
        self.places[index].label as usize
    }

    fn shards(&self) -> Vec<usize> {
        let starts = self.archives.iter().map(|archive| archive.start);
        let ends = starts.clone().skip(1).chain([self.len()]);
        starts.zip(ends).map(|(start, end)| end - start).collect()
    }
}

impl Shard {
    #[cfg(unix)]
    fn read(&self, offset: u64, bytes: &mut [u8]) -> std::io::Result<()> {
        use std::os::unix::fs::FileExt;
        // A clone of the handle, so that readers don't wait for each other.
        let file = {
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            if file.is_none() {
                *file = Some(File::open(&self.path)?);
            }
            file.as_ref().map(File::try_clone).transpose()?
        };
        file.map_or(Ok(()), |file| file.read_exact_at(bytes, offset))
    }

    #[cfg(not(unix))]
    fn read(&self, offset: u64, bytes: &mut [u8]) -> std::io::Result<()> {
        use std::io::{Seek, SeekFrom};
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = match file.take() {
            Some(open) => file.insert(open),
            None => file.insert(File::open(&self.path)?),
        };
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(bytes)
    }
}

/// The samples of the archive at `path`: neighbouring files whose names agree up to the first dot.
fn entries(path: &Path) -> Result<Vec<Entry>, Error> {
    let shown = path.display().to_string();
    let file = File::open(path).map_err(Error::io("read", path))?;
    let whole = file.metadata().map_err(Error::io("read", path))?.len();
    let damaged = |error: std::io::Error| Error::malformed(&shown, error);
    let mut archive = Archive::new(file);
    let mut samples: Vec<Entry> = Vec::new();
    for entry in archive.entries_with_seek().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let folder = name.rfind('/').map_or(0, |slash| slash + 1);
        let Some((stem, ending)) = name[folder..].split_once('.') else { continue };
        if stem.is_empty() {
            continue; // hidden
        }
        let key = format!("{}{stem}", &name[..folder]);
        let (offset, length) = (entry.raw_file_position(), entry.size());
        if offset.checked_add(length).is_none_or(|end| end > whole) {
            let reason = format!("{name} ends after the archive does: it was cut off");
            return Err(Error::malformed(shown, reason));
        }
        let is_image = is_image_name(Path::new(&name));
        let is_label = ["cls", "json"].contains(&ending);
        if !is_image && !is_label {
            continue;
        }
        if samples.last().is_none_or(|sample| sample.key != key) {
            samples.push(Entry { key, ..Entry::default() });
        }
        let Some(sample) = samples.last_mut() else { continue };
        if is_image {
            sample.image = Some((offset, length));
        } else if length <= MAX_TEXT {
            let mut text = String::new();
            entry.read_to_string(&mut text).map_err(damaged)?;
            let label = if ending == "cls" { Some(text.trim().to_owned()) } else { told(&text) };
            sample.label = label.or(sample.label.take());
        }
    }
    Ok(samples)
}

/// The label in the text of a JSON file.
fn told(text: &str) -> Option<String> {
    let object: Value = serde_json::from_str(text).ok()?;
    match LABEL.iter().find_map(|name| object.get(*name))? {
        Value::String(label) => Some(label.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{Loader, LoaderConfig, Preprocess};
    use image::{GrayImage, ImageFormat, Luma};
    use std::io::Cursor;
    use std::sync::Arc;

    fn png(value: u8) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        let image = GrayImage::from_pixel(3, 2, Luma([value]));
        image.write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    /// Writes an archive of `files`.
    pub(crate) fn archive(path: &Path, files: &[(String, Vec<u8>)]) {
        let mut builder = tar::Builder::new(File::create(path).unwrap());
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, &bytes[..]).unwrap();
        }
        builder.finish().unwrap();
    }

    /// An archive of samples whose grey value is their number, of two classes in turn.
    pub(crate) fn numbered(path: &Path, numbers: std::ops::Range<usize>) {
        let files: Vec<_> = numbers
            .flat_map(|number| {
                [
                    (format!("{number:05}.png"), png(number as u8)),
                    (format!("{number:05}.cls"), format!("{}\n", number % 2).into_bytes()),
                ]
            })
            .collect();
        archive(path, &files);
    }

    fn number(text: &str) -> Option<usize> {
        text.parse().ok().filter(|class| *class < 2)
    }

    #[test]
    fn samples_of_all_archives_follow_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a.tar", "b.tar"].map(|name| folder.path().join(name));
        numbered(&paths[0], 0..7);
        numbered(&paths[1], 7..12);
        let shards = Shards::read(&paths, &mut number).unwrap();
        assert_eq!((shards.len(), shards.shards()), (12, vec![7, 5]));
        for index in 0..12 {
            let sample = shards.sample(index).unwrap();
            assert_eq!(sample.pixels.data, [index as u8; 6]);
            assert_eq!((sample.label, shards.label(index)), (index % 2, index % 2));
        }
        assert!(shards.name(8).ends_with("b.tar#1"), "{}", shards.name(8));
    }

    #[test]
    fn an_epoch_goes_through_one_archive_after_the_other_mixed_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..4).map(|at| folder.path().join(format!("{at}.tar"))).collect();
        for (at, path) in paths.iter().enumerate() {
            numbered(path, at * 50..(at + 1) * 50);
        }
        let shards = Arc::new(Shards::read(&paths, &mut number).unwrap());
        let order = |epoch: u64, workers: usize| -> Vec<usize> {
            let config = LoaderConfig {
                batch: 16,
                workers,
                shuffle: true,
                shuffle_buffer: 20,
                ..LoaderConfig::default()
            };
            let loader =
                Loader::new(shards.clone(), config, Preprocess::plain(1, 2, 3), None).unwrap();
            loader.epoch(epoch, 0).flat_map(|batch| batch.unwrap().indices).collect()
        };
        let first = order(0, 0);
        assert_eq!(first, order(0, 3));
        assert_ne!(first, order(1, 0));
        assert!(!first.is_sorted());
        // Nothing is read earlier than the buffer needs it.
        let mut archives = Vec::new();
        for (at, index) in first.iter().enumerate() {
            if !archives.contains(&(index / 50)) {
                archives.push(index / 50);
                let needed = 50 * (archives.len() - 1);
                assert!(at + 20 > needed, "archive {} is read at {at}", archives.len());
            }
        }
        let mut all = first;
        all.sort_unstable();
        assert_eq!(all, (0..200).collect::<Vec<_>>());
    }

    #[test]
    fn labels_may_stand_in_json_and_other_files_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar");
        let text = |name: &str, text: &str| (name.to_owned(), text.as_bytes().to_vec());
        archive(
            &path,
            &[
                text("d/README", "no sample"),
                text("d/x.json", "{\"label\": 1, \"width\": 3}"),
                ("d/x.seg.png".to_owned(), png(9)),
                text("d/x.txt", "a caption"),
            ],
        );
        let shards = Shards::read(&[path], &mut number).unwrap();
        assert_eq!((shards.len(), shards.label(0)), (1, 1));
    }

    #[test]
    fn damage_and_gaps_are_refused_by_archive_and_sample() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar");
        let refusal = || {
            let error = Shards::read(std::slice::from_ref(&path), &mut number).unwrap_err();
            let message = error.to_string();
            assert!(message.contains("a.tar"), "{message}");
            message
        };
        archive(&path, &[("7.png".to_owned(), png(1))]);
        assert!(refusal().contains("sample 7: no label"), "{}", refusal());
        archive(&path, &[("7.cls".to_owned(), b"0".to_vec())]);
        assert!(refusal().contains("sample 7: a label, but no image"));
        archive(&path, &[("7.png".to_owned(), png(1)), ("7.cls".to_owned(), b"5".to_vec())]);
        assert!(refusal().contains("`5` is no class"));
        numbered(&path, 0..3);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..600]).unwrap();
        assert!(refusal().contains("damaged"));
        std::fs::write(&path, b"not an archive at all, but a text").unwrap();
        refusal();

        // A broken image is one sample's error.
        archive(
            &path,
            &[("7.png".to_owned(), b"broken".to_vec()), ("7.cls".to_owned(), b"0".to_vec())],
        );
        let shards = Shards::read(std::slice::from_ref(&path), &mut number).unwrap();
        let message = shards.sample(0).unwrap_err().to_string();
        assert!(message.contains("a.tar#0"), "{message}");
    }
}
