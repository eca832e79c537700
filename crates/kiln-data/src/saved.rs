//! Which image is in which part, kept in a table, so that a split outlives what is added to a folder.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use crate::folders::part_of;
use crate::listed::{self, Columns};
use crate::{Dataset, Error, Sample, Splits, Subset};

/// A table of who is in which part, `image,label,split`; images below `root` are named from there.
///
/// [`open`](crate::open) reads it as data of one's own where it lies in `root`, and [`resplit`] splits by it again.
pub fn split_table(parts: &[(&str, &dyn Dataset)], classes: &[String], root: &Path) -> String {
    let quoted =
        |text: &str| match text.contains([',', ';', '"', '\n', '\r']) || text.trim() != text {
            true => format!("\"{}\"", text.replace('"', "\"\"")),
            false => text.to_owned(),
        };
    let mut table = "image,label,split\n".to_owned();
    for (name, part) in parts {
        for index in 0..part.len() {
            let class = classes.get(part.label(index)).map_or("", String::as_str);
            let image = part.name(index);
            table += &format!("{},{},{name}\n", quoted(below(&image, root)), quoted(class));
        }
    }
    table
}

/// `name` from `root` on, where it lies there.
fn below<'a>(name: &'a str, root: &Path) -> &'a str {
    Path::new(name).strip_prefix(root).ok().and_then(Path::to_str).unwrap_or(name)
}

/// The samples of `splits`, read from `root`, split as the table at `path` says. What it doesn't name is left out: images
/// that came later.
///
/// # Errors
///
/// [`Error::Io`] and [`Error::Malformed`] for the table, [`Error::Sample`] for an image in it that is no more there.
pub fn resplit(splits: Splits, root: &Path, path: &Path) -> Result<Splits, Error> {
    let whole = Arc::new(Joined::of(&splits));
    let mut places = HashMap::with_capacity(whole.len());
    for index in 0..whole.len() {
        let name = whole.name(index);
        places.insert(below(&name, root).to_owned(), index);
    }
    let mut parts = [const { Vec::new() }; 3];
    for row in listed::read(path, &Columns::default())? {
        let split = row.split.unwrap_or_default();
        let part = part_of(&split).ok_or_else(|| {
            Error::malformed(path.display().to_string(), format!("`{split}` is no part"))
        })?;
        let index = places.get(&row.image).ok_or_else(|| {
            let reason =
                format!("{} names it, and it is not in {}", path.display(), root.display());
            Error::sample(&row.image, reason)
        })?;
        parts[part].push(*index);
    }
    let parts = parts.map(|indices| -> Result<Arc<dyn Dataset>, Error> {
        Ok(Arc::new(Subset::new(Arc::clone(&whole) as _, indices)?))
    });
    let [train, validation, test] = parts;
    let validation = Some(validation?).filter(|part| !part.is_empty());
    Ok(Splits { train: train?, validation, test: test?, ..splits })
}

/// The samples of all parts, one part after the other.
struct Joined {
    parts: Vec<Arc<dyn Dataset>>,
    starts: Vec<usize>,
    length: usize,
}

impl Joined {
    fn of(splits: &Splits) -> Self {
        let parts: Vec<_> = splits.parts().map(|(_, part)| Arc::clone(part)).collect();
        let mut length = 0;
        let start = |part: &Arc<dyn Dataset>| {
            length += part.len();
            length - part.len()
        };
        Self { starts: parts.iter().map(start).collect(), parts, length }
    }

    fn at(&self, index: usize) -> (&dyn Dataset, usize) {
        let part = self.starts.partition_point(|start| *start <= index) - 1;
        // Parts without samples start where the next one does.
        (&*self.parts[part], index - self.starts[part])
    }
}

impl Dataset for Joined {
    fn len(&self) -> usize {
        self.length
    }

    fn sample(&self, index: usize) -> Result<Sample, Error> {
        let (part, index) = self.at(index);
        part.sample(index)
    }

    fn name(&self, index: usize) -> String {
        let (part, index) = self.at(index);
        part.name(index)
    }

    fn label(&self, index: usize) -> usize {
        let (part, index) = self.at(index);
        part.label(index)
    }

    fn shards(&self) -> Vec<usize> {
        // What has none of its own is read in any order.
        let shards = self.parts.iter().map(|part| part.shards());
        match self.parts.iter().all(|part| part.is_empty() || !part.shards().is_empty()) {
            true => shards.flatten().collect(),
            false => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open;
    use image::{ImageFormat, Rgb, RgbImage};
    use std::fs;

    fn picture(root: &Path, name: &str) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let image = RgbImage::from_pixel(4, 3, Rgb([name.len() as u8, 1, 2]));
        image.save_with_format(path, ImageFormat::Png).unwrap();
    }

    fn names(part: &dyn Dataset, root: &Path) -> Vec<String> {
        (0..part.len()).map(|index| below(&part.name(index), root).to_owned()).collect()
    }

    #[test]
    fn a_saved_split_stays_whatever_is_added_and_wherever_it_moves() {
        let root = tempfile::tempdir().unwrap();
        for at in 0..12 {
            picture(root.path(), &format!("cat, grey/{at}.png"));
            picture(root.path(), &format!("dog/{at}.png"));
        }
        let before = open("folders", Some(root.path())).unwrap();
        let parts = [("train", &*before.train), ("test", &*before.test)];
        let table = split_table(&parts, &before.classes, root.path());
        assert!(table.contains("\"cat, grey/0.png\",\"cat, grey\",t"), "{table}");
        let path = root.path().join("split.csv");
        fs::write(&path, &table).unwrap();

        (12..30).for_each(|at| picture(root.path(), &format!("dog/{at}.png")));
        let moved = root.path().join("moved");
        for folder in ["cat, grey", "dog"] {
            fs::create_dir_all(&moved).unwrap();
            fs::rename(root.path().join(folder), moved.join(folder)).unwrap();
        }
        let after = resplit(open("folders", Some(&moved)).unwrap(), &moved, &path).unwrap();
        for (old, new) in [(&before.train, &after.train), (&before.test, &after.test)] {
            assert_eq!(names(&**old, root.path()), names(&**new, &moved));
            assert_eq!(old.label(0), new.label(0));
        }
        assert_eq!(
            (after.train.len(), after.test.len(), after.validation.is_none()),
            (20, 4, true)
        );
        assert_eq!(after.test.sample(3).unwrap().label, 1);

        // The table alone is data too, where its paths start.
        fs::copy(&path, moved.join("split.csv")).unwrap();
        let alone = open("folders", Some(&moved.join("split.csv"))).unwrap();
        assert_eq!(names(&*alone.test, &moved), names(&*after.test, &moved));

        fs::remove_file(moved.join("split.csv")).unwrap();
        fs::remove_file(moved.join("dog/3.png")).unwrap();
        let error = resplit(open("folders", Some(&moved)).unwrap(), &moved, &path).err().unwrap();
        assert!(error.to_string().contains("dog/3.png"), "{error}");
    }
}
