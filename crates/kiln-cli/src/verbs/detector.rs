//! A detector of kiln's or darknet's, ready for images: what `predict` and `eval` share.

use std::path::Path;
use std::time::{Duration, Instant};

use kiln::burn::tensor::{Device, Tensor, TensorData};
use kiln::data::transform::{Letterbox, Scene};
use kiln::data::{Pixels, Preprocess};
use kiln::metrics::{BoundingBox, Detection, suppress_grouped};
use kiln::models::darknet_cfg::DarknetCfg;
use kiln::models::weights::{self, darknet};
use kiln::models::{AnyDetector, Detector as _, Detectors, Options};
use kiln::viz::{Labelled, draw_boxes};

use crate::errors::Failure;
use crate::verbs::subject::{Settings, class_names, detector_options, is_model, sized};

/// Whether `subject` names a detector: of kiln, or a `.cfg` of darknet.
pub fn is_detector(subject: &str) -> bool {
    is_cfg(subject) || Detectors.has(subject) && !is_model(subject)
}

fn is_cfg(subject: &str) -> bool {
    Path::new(subject).extension().is_some_and(|ending| ending == "cfg")
}

/// A detector and how its images are prepared.
pub struct Detector {
    network: AnyDetector,
    preprocess: Preprocess,
    /// Whether images keep their shape, between grey bars.
    letterbox: bool,
    device: Device,
    /// Names of its classes.
    pub classes: Vec<String>,
    /// Least score of a box.
    pub sure: f32,
    /// Most overlap of two boxes of a class.
    pub overlap: f32,
}

/// Time that the stages took.
#[derive(Clone, Copy, Default)]
pub struct Times {
    pub decode: Duration,
    pub network: Duration,
    pub boxes: Duration,
    pub draw: Duration,
}

/// A detector before its weights are read.
pub enum Plan {
    /// A network of darknet.
    Cfg(Box<DarknetCfg>),
    /// A network of kiln.
    Native { name: String, options: Options, settings: Settings },
}

impl Plan {
    /// The detector that `subject` names, with what `set` changes.
    ///
    /// # Errors
    ///
    /// For a `.cfg` that can't be read or has no boxes, and options that aren't there.
    pub fn of(subject: &str, set: &[String]) -> Result<Self, Failure> {
        if !is_cfg(subject) {
            let (name, settings) = (subject.to_owned(), Settings::parse(set)?);
            let options = detector_options(&name, &settings.options)?;
            return Ok(Self::Native { name, options, settings });
        }
        if !set.is_empty() {
            return Err(Failure::usage("a .cfg says all of its network itself")
                .hint("leave --set away, or change the .cfg"));
        }
        let cfg = DarknetCfg::open(Path::new(subject))?;
        if cfg.heads().is_empty() {
            return Err(Failure::failed(format!("{subject} has no [yolo] or [region]"))
                .hint("kiln takes detectors in darknet's format, no classifiers"));
        }
        Ok(Self::Cfg(Box::new(cfg)))
    }

    /// The names of the classes: a line each of the file that `--names` gives, else numbers.
    ///
    /// # Errors
    ///
    /// For a file that can't be read or has other classes.
    pub fn names(&self, file: Option<&Path>) -> Result<Vec<String>, Failure> {
        let classes = match self {
            Self::Cfg(cfg) => cfg.heads()[0].classes,
            Self::Native { options, .. } => options["num_classes"].as_u64().unwrap_or(0) as usize,
        };
        class_names(file, classes)
    }

    /// Reads the weights. `[sure, overlap]` are the least score of a box and the most overlap of two.
    ///
    /// # Errors
    ///
    /// For weights that don't fill the network, and images that it can't take.
    pub fn load(
        self,
        weights: &Path,
        classes: Vec<String>,
        letterbox: bool,
        [sure, overlap]: [f64; 2],
        device: Device,
    ) -> Result<Detector, Failure> {
        let preprocess = self.preprocess()?;
        let network = self.network(weights, &device)?;
        let Preprocess { channels, height, width, .. } = preprocess;
        network.check_input([channels, height, width])?;
        let (sure, overlap) = (sure as f32, overlap as f32);
        Ok(Detector { network, preprocess, letterbox, device, classes, sure, overlap })
    }

    /// How images become its input: brought to its size, and no more.
    fn preprocess(&self) -> Result<Preprocess, Failure> {
        match self {
            Self::Cfg(cfg) => {
                let [channels, height, width] = cfg.input();
                Ok(Preprocess::plain(channels, height, width))
            }
            Self::Native { name, options, settings } => {
                let usual = Detectors.entry(name)?.input;
                let [channels, height, width] = sized(name, usual, options, None)?;
                settings.over(&Preprocess::plain(channels, height, width))
            }
        }
    }

    fn network(self, file: &Path, device: &Device) -> Result<AnyDetector, Failure> {
        let (network, read) = match self {
            Self::Cfg(cfg) => {
                let (network, read) = darknet::load(cfg.init(device), file)?;
                (AnyDetector::Cfg(network), read)
            }
            Self::Native { name, options, .. } => {
                let network = Detectors.build(&name, &options, device)?;
                if file.extension().is_none_or(|ending| ending != "weights") {
                    return Ok(weights::load_exact(network, file, &[])?);
                }
                darknet::load_module(network, file)?
            }
        };
        if read.layers == read.of {
            return Ok(network);
        }
        let (shown, layers, of) = (file.display(), read.layers, read.of);
        Err(Failure::failed(format!(
            "{shown} ends after {layers} of the {of} layers that have weights"
        ))
        .hint("it is the backbone alone; name the file of the whole network"))
    }
}

impl Detector {
    /// The numbers that the network sees of `pixels`, and how the image lies in them if it keeps its shape.
    ///
    /// # Errors
    ///
    /// For an image that can't be brought to the network's size.
    pub fn prepare(
        &self,
        pixels: &Pixels,
    ) -> Result<(Vec<f32>, Option<Letterbox>), kiln::data::Error> {
        if !self.letterbox {
            return Ok((self.preprocess.apply(pixels)?, None));
        }
        let Preprocess { width, height, .. } = self.preprocess;
        let place = Letterbox::new([pixels.width, pixels.height], [width, height]);
        let mut scene = Scene::of(pixels.clone());
        place.apply(&mut scene)?;
        Ok((self.preprocess.apply(&scene.pixels)?, Some(place)))
    }

    /// What is in an image of `size`, width and height, of which [`prepare`](Self::prepare) made `numbers`; the surest first.
    pub fn detect(
        &self,
        numbers: Vec<f32>,
        place: Option<Letterbox>,
        size: [usize; 2],
        times: &mut Times,
    ) -> Vec<Detection> {
        let start = Instant::now();
        let Preprocess { channels, height, width, .. } = self.preprocess;
        let data = TensorData::new(numbers, [1, channels, height, width]);
        let maps = self.network.forward(Tensor::<4>::from_data(data, &self.device));
        times.network += start.elapsed();

        let start = Instant::now();
        let input = [width, height].map(|side| side as f64);
        let [w, h] = size.map(|side| side as f64);
        // From parts of the input to pixels of the image.
        let back = |x: f32, y: f32| match &place {
            Some(place) => place.back([f64::from(x) * input[0], f64::from(y) * input[1]]),
            None => [f64::from(x) * w, f64::from(y) * h],
        };
        let heads = self.network.heads([height, width]);
        let found: Vec<Detection> = heads
            .iter()
            .zip(maps)
            .flat_map(|(head, map)| head.candidates(map, self.sure).remove(0))
            .map(|one| {
                let [left, top, right, bottom] = one.bounds;
                let ([left, top], [right, bottom]) = (back(left, top), back(right, bottom));
                let bounds = BoundingBox { left, top, right, bottom }.clipped(w, h);
                Detection { class: one.class, score: f64::from(one.score), bounds }
            })
            .collect();
        let boxes: Vec<BoundingBox> = found.iter().map(|one| one.bounds).collect();
        let scores: Vec<f32> = found.iter().map(|one| one.score as f32).collect();
        let classes: Vec<usize> = found.iter().map(|one| one.class).collect();
        let kept = suppress_grouped(&boxes, &scores, &classes, self.overlap);
        times.boxes += start.elapsed();
        kept.into_iter().map(|at| found[at]).collect()
    }

    /// `pixels` in colours with `found` drawn into them.
    pub fn drawn(&self, pixels: &Pixels, found: &[Detection]) -> image::RgbImage {
        let mut image = pixels.to_rgb();
        // The surest is drawn last and lies on top.
        let labelled: Vec<Labelled> = found
            .iter()
            .rev()
            .map(|one| Labelled {
                bounds: one.bounds.to_corners(),
                class: one.class,
                label: format!("{} {:.0} %", self.classes[one.class], 100.0 * one.score),
            })
            .collect();
        draw_boxes(&mut image, &labelled);
        image
    }
}
