//! The papers and samples of the data sets, embedded.

use std::sync::LazyLock;

use super::Info;
use crate::manifest::{Format, Manifest};

/// A data set that this crate knows.
pub(crate) struct BuiltIn {
    pub manifest: Manifest,
    /// Name and content of each embedded file.
    pub sample: &'static [(&'static str, &'static [u8])],
}

/// The data set of `datasets/<folder>`, and the embedded files of its `sample/`.
macro_rules! dataset {
    ($folder:literal $(: $($file:literal),+)?) => {
        BuiltIn {
            manifest: Manifest::parse(
                include_str!(concat!("../../datasets/", $folder, "/dataset.toml")),
                concat!("the embedded dataset.toml of ", $folder),
            )
            .expect("tested in this crate"),
            sample: &[$($(
                ($file, include_bytes!(concat!("../../datasets/", $folder, "/sample/", $file)))
            ),+)?],
        }
    };
}

/// The four files of MNIST, which others took over.
macro_rules! idx_dataset {
    ($folder:literal) => {
        dataset!($folder: "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz",
            "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
    };
}

pub(super) static BUILT_IN: LazyLock<Vec<BuiltIn>> = LazyLock::new(|| {
    let mut imagenet = dataset!("imagenet");
    let classes = include_str!("../../datasets/imagenet/classes.txt");
    imagenet.manifest = imagenet.manifest.with_classes(classes);
    vec![
        idx_dataset!("mnist"),
        idx_dataset!("fashion-mnist"),
        dataset!("cifar10"),
        imagenet,
        dataset!("clothing"),
        dataset!("folders"),
        dataset!("digit-scenes"),
    ]
});

impl BuiltIn {
    /// Whether it opens without a folder.
    fn is_embedded(&self) -> bool {
        !self.sample.is_empty() || self.manifest.format == Format::DigitScenes
    }

    /// What is known about it.
    pub fn info(&self) -> Info {
        let fetchable = self.manifest.is_fetchable();
        let manifest = self.manifest.clone();
        Info {
            name: manifest.name,
            task: manifest.task,
            classes: manifest.classes,
            summary: manifest.summary,
            samples: manifest.samples,
            sample: manifest.sample,
            licence: manifest.licence,
            homepage: manifest.homepage,
            embedded: self.is_embedded(),
            fetchable,
            preprocess: manifest.preprocess,
        }
    }
}
