//! Images in one folder, and their masks in another.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::Coding;
use crate::decode::is_image_name;
use crate::natural::natural;
use crate::transform::{Mask, Scene};
use crate::{Error, decode};

/// Images with a mask each: files of the same name but for the ending, in two folders.
#[derive(Debug, Clone)]
pub struct MaskedImages {
    pairs: Vec<[PathBuf; 2]>,
    coding: Coding,
    classes: usize,
    void: u8,
}

impl MaskedImages {
    /// The images in the folder `images`, in natural order, with their masks in `masks`. Every mask has classes below
    /// `classes`, or `void`.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] for a folder that can't be read, [`Error::Sample`] with the first image that has no mask or shares
    /// its name with another, [`Error::MissingFile`] for a folder without images.
    pub fn open(
        images: &Path,
        masks: &Path,
        coding: Coding,
        classes: usize,
        void: u8,
    ) -> Result<Self, Error> {
        let photos = files(images, is_image_name)?;
        let ending = |path: &Path| match &coding {
            Coding::LabelMe { .. } => path.extension().is_some_and(|ending| ending == "json"),
            _ => is_image_name(path),
        };
        let mut masks_by_name = files(masks, ending)?;
        if photos.is_empty() {
            return Err(Error::MissingFile {
                name: "masked images".to_owned(),
                file: "image".to_owned(),
                folder: images.to_owned(),
            });
        }
        let mut pairs = Vec::with_capacity(photos.len());
        for (name, photo) in photos {
            let Some(mask) = masks_by_name.remove(&name) else {
                let reason = format!("no mask of that name in {}", masks.display());
                return Err(Error::sample(photo.display().to_string(), reason));
            };
            pairs.push([photo, mask]);
        }
        pairs.sort_by(|a, b| natural(&a[0].to_string_lossy(), &b[0].to_string_lossy()));
        Ok(Self { pairs, coding, classes, void })
    }

    /// How many images there are.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// How many classes there are, without the one that is none.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The number of pixels of no class.
    pub fn void(&self) -> u8 {
        self.void
    }

    /// What messages call the image.
    ///
    /// # Panics
    ///
    /// Panics if `index` is not below [`len`](Self::len).
    pub fn name(&self, index: usize) -> String {
        self.pairs[index][0].display().to_string()
    }

    /// Reads the image, and its mask at the image's size.
    ///
    /// # Errors
    ///
    /// Names the file, and what is wrong with it or where.
    ///
    /// # Panics
    ///
    /// As [`name`](Self::name).
    pub fn scene(&self, index: usize) -> Result<Scene, Error> {
        let pixels = decode(&self.pairs[index][0])?;
        let mask = self.mask(index)?.to_size(pixels.width, pixels.height);
        Ok(Scene { classes: Some(mask), ..Scene::of(pixels) })
    }

    /// Reads the mask at its own size, at which what is predicted is to be judged.
    ///
    /// # Errors
    ///
    /// As [`scene`](Self::scene).
    ///
    /// # Panics
    ///
    /// As [`name`](Self::name).
    pub fn mask(&self, index: usize) -> Result<Mask, Error> {
        let path = &self.pairs[index][1];
        let mask = self.coding.read(path, self.void)?;
        mask.check(self.classes, Some(self.void), &path.display().to_string())?;
        Ok(mask)
    }
}

/// The files in `folder` that `wanted` takes, by their names without endings.
fn files(
    folder: &Path,
    wanted: impl Fn(&Path) -> bool,
) -> Result<BTreeMap<String, PathBuf>, Error> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let path = entry.map_err(Error::io("read", folder))?.path();
        let Some(name) = path.file_stem().filter(|_| wanted(&path)) else { continue };
        let name = name.to_string_lossy().into_owned();
        if let Some(other) = files.insert(name, path.clone()) {
            let reason = format!("the same name as {}", other.display());
            return Err(Error::sample(path.display().to_string(), reason));
        }
    }
    Ok(files)
}

/// Classes of CamVid; the number behind them is no class.
const CAMVID_CLASSES: usize = 11;

/// CamVid as SegNet divides it: the folders `train`, `val` and `test` below `folder`, with masks of numbers in `trainannot`
/// and so on. 11 classes; the number 11 is no class.
///
/// # Errors
///
/// As [`MaskedImages::open`].
pub fn camvid(folder: &Path) -> Result<[MaskedImages; 3], Error> {
    let part = |name: &str| {
        let masks = folder.join(format!("{name}annot"));
        let void = CAMVID_CLASSES as u8;
        MaskedImages::open(&folder.join(name), &masks, Coding::Index, CAMVID_CLASSES, void)
    };
    Ok([part("train")?, part("val")?, part("test")?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, Luma, Rgb, RgbImage};

    /// Two photos of 4×2 pixels with masks of 8×4.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in ["train", "trainannot"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        for (name, class) in [("a10", 1), ("a9", 2)] {
            let photo = RgbImage::from_pixel(4, 2, Rgb([class * 10; 3]));
            photo.save(folder.path().join(format!("train/{name}.png"))).unwrap();
            let mask = GrayImage::from_fn(8, 4, |x, y| match (x % 2, y % 2) {
                (0, 0) => Luma([class]),
                _ => Luma([0]),
            });
            mask.save(folder.path().join(format!("trainannot/{name}.png"))).unwrap();
        }
        folder
    }

    fn open(folder: &Path, classes: usize) -> Result<MaskedImages, Error> {
        let (images, masks) = (folder.join("train"), folder.join("trainannot"));
        MaskedImages::open(&images, &masks, Coding::Index, classes, 255)
    }

    #[test]
    fn an_image_and_its_mask_have_one_size_and_the_mask_keeps_its_own() {
        let folder = folder();
        let images = open(folder.path(), 3).unwrap();

        assert_eq!((images.len(), images.is_empty(), images.classes()), (2, false, 3));
        assert!(images.name(0).ends_with("a9.png") && images.name(1).ends_with("a10.png"));
        let scene = images.scene(1).unwrap();
        assert_eq!((scene.pixels.width, scene.pixels.height, scene.pixels.data[0]), (4, 2, 10));
        let mask = scene.classes.unwrap();
        assert_eq!((mask.width, mask.height, mask.outside), (4, 2, 255));
        assert_eq!(mask.data, [1; 8]); // every other row and column
        let own = images.mask(1).unwrap();
        assert_eq!((own.width, own.height), (8, 4));
        assert_eq!(own.data.iter().filter(|&&class| class == 1).count(), 8);
    }

    #[test]
    fn what_does_not_belong_together_is_refused_with_the_file() {
        let folder = folder();
        let few = open(folder.path(), 2).unwrap().scene(0).unwrap_err().to_string();
        assert!(few.contains("a9.png") && few.contains("class 2 at column 0, row 0"), "{few}");

        fs::copy(folder.path().join("train/a9.png"), folder.path().join("train/a9.bmp")).unwrap();
        let twice = open(folder.path(), 3).unwrap_err().to_string();
        assert!(twice.contains("the same name as"), "{twice}");
        fs::remove_file(folder.path().join("train/a9.bmp")).unwrap();

        fs::remove_file(folder.path().join("trainannot/a10.png")).unwrap();
        let alone = open(folder.path(), 3).unwrap_err().to_string();
        assert!(alone.contains("a10.png: no mask of that name in"), "{alone}");
        assert!(camvid(folder.path()).is_err());
        assert!(open(&folder.path().join("none"), 3).unwrap_err().to_string().contains("none"));
    }

    #[test]
    fn masks_of_colours_and_of_polygons_go_with_images_too() {
        let folder = folder();
        let masks = folder.path().join("trainannot");
        let table = super::super::Colours::parse("0 0 0 0\n1 1 1 1\n2 2 2 2").unwrap();
        let coding = Coding::Colours(table);
        let images =
            MaskedImages::open(&folder.path().join("train"), &masks, coding, 3, 255).unwrap();
        assert_eq!(images.scene(0).unwrap().classes.unwrap().data, [2; 8]);

        for name in ["a9", "a10"] {
            let text = r#"{"imageWidth": 4, "imageHeight": 2, "shapes":
                [{"label": "cat", "points": [[0, 0], [2, 0], [2, 2], [0, 2]]}]}"#;
            fs::write(masks.join(format!("{name}.json")), text).unwrap();
        }
        let classes = ["sky", "cat"].map(str::to_owned).to_vec();
        let coding = Coding::LabelMe { classes, background: 0 };
        let images =
            MaskedImages::open(&folder.path().join("train"), &masks, coding, 2, 255).unwrap();
        assert_eq!(images.scene(0).unwrap().classes.unwrap().data, [1, 1, 0, 0, 1, 1, 0, 0]);
    }
}
