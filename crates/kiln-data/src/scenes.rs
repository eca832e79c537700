//! Sets of scenes, images in which objects are marked: what detection and segmentation learn from.
//!
//! [`open_scenes`] is for them what [`open`](crate::open) is for labelled images. [`DigitScenes`] needs no files.

mod digits;

use std::sync::Arc;

pub use digits::{DigitScenes, GENERATOR, LEAST_DIGITS, MOST_DIGITS, Part, SIDE};

use crate::catalog::find;
use crate::manifest::{Format, Manifest};
use crate::transform::Scene;
use crate::{Error, Preprocess};

/// Scenes that can be read in any order, by several threads at once.
pub trait Scenes: Send + Sync {
    /// How many scenes there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads the scene at `index`, which is below [`len`](Self::len).
    ///
    /// # Errors
    ///
    /// Any error that says why this scene cannot be used; [`Error::sample`] makes one.
    fn scene(&self, index: usize) -> Result<Scene, Error>;

    /// What messages call the scene: its path, or a name such as `digit-scenes train/123`.
    fn name(&self, index: usize) -> String;
}

/// A set of scenes, opened.
#[derive(Clone)]
pub struct SceneSplits {
    /// Its name.
    pub name: String,
    /// Names of the objects' classes, by number. Where the class of each pixel is known, it is this number plus 1, and 0
    /// is what belongs to no object.
    pub classes: Vec<String>,
    /// The scenes to learn from.
    pub train: Arc<dyn Scenes>,
    /// The scenes to choose the best epoch by, where the set has its own.
    pub validation: Option<Arc<dyn Scenes>>,
    /// The scenes to be judged by.
    pub test: Arc<dyn Scenes>,
    /// Where they come from.
    pub source: String,
    /// How the images are usually prepared; recipes may say otherwise.
    pub preprocess: Preprocess,
}

impl SceneSplits {
    /// The part called `train`, `validation` or `test`, if there is one.
    pub fn get(&self, split: &str) -> Option<&Arc<dyn Scenes>> {
        self.parts().find(|(name, _)| *name == split).map(|(_, part)| part)
    }

    /// The parts that there are, with their names.
    pub fn parts(&self) -> impl Iterator<Item = (&'static str, &Arc<dyn Scenes>)> {
        let validation = self.validation.as_ref().map(|part| ("validation", part));
        [("train", &self.train)].into_iter().chain(validation).chain([("test", &self.test)])
    }
}

/// Opens the set of scenes `name`, which kiln carries or makes itself.
///
/// # Errors
///
/// [`Error::UnknownDataset`] with the nearest known name; [`Error::Task`] for a set of images with one class each.
pub fn open_scenes(name: &str) -> Result<SceneSplits, Error> {
    let manifest = &find(name)?.manifest;
    if manifest.format != Format::DigitScenes {
        let task = manifest.task.clone();
        return Err(Error::Task { name: name.into(), task, wanted: "images with marked objects" });
    }
    let part = |part: Part| -> Result<Arc<dyn Scenes>, Error> {
        Ok(Arc::new(DigitScenes::new(part, samples(manifest, part), 0)?))
    };
    Ok(SceneSplits {
        name: name.into(),
        classes: manifest.classes.clone(),
        train: part(Part::Train)?,
        validation: Some(part(Part::Validation)?),
        test: part(Part::Test)?,
        source: format!("made on the fly, generator {GENERATOR}"),
        preprocess: manifest.preprocess.clone(),
    })
}

fn samples(manifest: &Manifest, part: Part) -> usize {
    manifest.samples.get(part.name()).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open;

    #[test]
    fn digit_scenes_open_without_a_folder() {
        let scenes = open_scenes("digit-scenes").unwrap();
        let lengths: Vec<_> = scenes.parts().map(|(name, part)| (name, part.len())).collect();
        assert_eq!(lengths, [("train", 2000), ("validation", 200), ("test", 400)]);
        assert_eq!((scenes.classes.len(), scenes.get("dev").is_none()), (10, true));
        assert_eq!(scenes.get("test").unwrap().name(3), "digit-scenes test/3");
    }

    #[test]
    fn a_set_of_another_task_is_refused_by_its_task() {
        let scenes = |name| open_scenes(name).err().unwrap();
        assert_eq!(
            scenes("mnist").to_string(),
            "dataset `mnist` is for classification; images with marked objects are needed here"
        );
        assert!(scenes("mnist").is_wrong_use());
        assert!(scenes("digit-scene").to_string().ends_with("did you mean `digit-scenes`?"));
        let message = open("digit-scenes", None).err().unwrap().to_string();
        assert_eq!(
            message,
            "dataset `digit-scenes` is for detection and segmentation; images with one class each are needed here"
        );
    }
}
