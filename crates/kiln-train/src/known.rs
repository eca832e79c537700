//! How weights that others have trained expect their images, where that is known and the data set doesn't say it.
//!
//! torchvision's are in a table of their own, see `published.rs`. Those here have no published sums to know them by, so
//! the network's name has to do, and whoever loads a file is told what was taken. A file that kiln wrote holds weights
//! of somebody's own, of which nothing is known. Which class a score stands for takes more than the network's name: the
//! file must be called as darknet's authors call theirs.

mod darknet;

use std::path::Path;

use kiln_data::Preprocess;

use crate::Error;

/// Who trains so, and what the images become.
pub(crate) struct Known {
    pub(crate) whose: &'static str,
    mean: &'static [f32],
    std: &'static [f32],
    /// Length of the shorter side before the middle is cut out, for an input of the size beside it.
    resize: [usize; 2],
    /// Border for an input of that size.
    pad: usize,
    /// Whether they were trained with photos that a bicubic filter shrank, where kiln's is bilinear.
    bicubic: bool,
    order: ClassOrder,
}

/// The order in which a network's scores stand for its classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClassOrder {
    /// That of the data set, which most networks have.
    #[default]
    Dataset,
    /// That of the networks that darknet's authors trained on ImageNet.
    Darknet,
}

impl ClassOrder {
    /// The order called `name`: `dataset` or `darknet`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "dataset" => Some(Self::Dataset),
            "darknet" => Some(Self::Darknet),
            _ => None,
        }
    }
}

/// ImageNet's mean and deviation, which many use for other photos too.
const IMAGENET: [&[f32]; 2] = [&[0.485, 0.456, 0.406], &[0.229, 0.224, 0.225]];

/// What is known of the weights in `file`, which kiln didn't write, for the network `model`.
pub(crate) fn of(model: &str, file: &Path) -> Option<Known> {
    let known = |whose, [mean, std]: [&'static [f32]; 2], resize| {
        let order = ClassOrder::Dataset;
        Some(Known { whose, mean, std, resize, pad: 0, bicubic: false, order })
    };
    match model {
        // It learned digits of 28×28 pixels with a border of two.
        "lenet5-tanh" => known("ghost9933", [&[0.1307], &[0.3081]], [0, 32])
            .map(|known| Known { pad: 2, ..known }),
        "lenet-caffe" => known("Caffe", [&[0.0], &[1.0]], [0, 0]),
        "darknet-tiny" | "darknet19" => known("darknet", [&[0.0; 3], &[1.0; 3]], [224, 224])
            .map(|known| Known { order: order_of(file), ..known }),
        // The network is timm's, of the authors' only by its shape: see its card.
        "darknet53" => {
            known("timm", IMAGENET, [288, 256]).map(|known| Known { bicubic: true, ..known })
        }
        "xception" => known("Keras", [&[0.5; 3], &[0.5; 3]], [333, 299])
            .map(|known| Known { bicubic: true, ..known }),
        // `resnet20-12fca82f.th`: the networks of akamaster/pytorch_resnet_cifar10.
        _ => {
            let name = file.file_name()?.to_str()?;
            let hash = name.strip_prefix(model)?.strip_prefix('-')?.strip_suffix(".th")?;
            let is_hash = hash.len() == 8 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_hash.then(|| known("akamaster", IMAGENET, [0, 0])).flatten()
        }
    }
}

impl Known {
    /// Lays it over `preprocess`, where the channels agree and, for the size, the input is the usual one.
    pub(crate) fn apply(&self, preprocess: &mut Preprocess) -> bool {
        let Known { mean, std, resize: [resize, side], pad, .. } = *self;
        if preprocess.channels != mean.len() {
            return false;
        }
        (preprocess.mean, preprocess.std) = (mean.to_vec(), std.to_vec());
        if [preprocess.height, preprocess.width] == [side; 2] {
            (preprocess.resize, preprocess.pad) = (resize, pad);
        }
        true
    }

    /// What is said of the images that these weights expect.
    pub(crate) fn said(&self) -> String {
        let filter = match self.bicubic {
            true => ", who shrinks photos with a bicubic filter where kiln has a bilinear one",
            false => "",
        };
        format!("{} has them{filter}", self.whose)
    }
}

/// The order of the scores of darknet's networks in `file`: the authors' own, if it is called as theirs are, whatever
/// they were converted to. `tiny.weights` and `darknet19_448.weights` are.
fn order_of(file: &Path) -> ClassOrder {
    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_lowercase();
    match stem == "tiny" || stem.starts_with("darknet") {
        true => ClassOrder::Darknet,
        false => ClassOrder::Dataset,
    }
}

/// The names of `classes` in the order of the scores of `known` weights, or as `wish` says, and what is to be said of it.
pub(crate) fn in_order(
    classes: Vec<String>,
    wish: Option<ClassOrder>,
    known: Option<&Known>,
) -> Result<(Vec<String>, Option<String>), Error> {
    let order = wish.or(known.map(|known| known.order)).unwrap_or_default();
    if order == ClassOrder::Dataset {
        return Ok((classes, None));
    }
    if classes.len() != darknet::ORDER.len() {
        let (wanted, found) = (darknet::ORDER.len(), classes.len());
        return match wish {
            Some(_) => Err(Error::recipe(
                "--set",
                format!(
                    "class_order=darknet is an order of {wanted} named classes, and here are {found}"
                ),
            )),
            None => Ok((classes, None)),
        };
    }
    let note = "the scores are those of ImageNet's classes in the order of darknet's authors, because the file is called \
                as theirs; if these weights have the data set's own order, say so with --set class_order=dataset";
    let ordered = darknet::ORDER.iter().map(|&place| classes[place].clone()).collect();
    Ok((ordered, wish.is_none().then(|| note.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_known_by_their_network_or_their_file() {
        let whose = |model, file: &str| of(model, Path::new(file)).map(|known| known.whose);
        assert_eq!(whose("lenet-caffe", "any.safetensors"), Some("Caffe"));
        assert_eq!(whose("resnet20", "at/resnet20-12fca82f.th"), Some("akamaster"));
        assert_eq!(whose("resnet56", "resnet20-12fca82f.th"), None);
        assert_eq!(whose("resnet20", "resnet20-mine.th"), None);
        assert_eq!(whose("lenet5", "any.pth"), None);
        // timm's network is trained with ImageNet's colours, the authors' own ones with colours from 0 to 1.
        assert_eq!(of("darknet53", Path::new("w.pth")).unwrap().mean, IMAGENET[0]);
        assert_eq!(of("darknet19", Path::new("w.pth")).unwrap().mean, [0.0; 3]);
    }

    #[test]
    fn they_change_what_they_are_about() {
        let known = of("darknet-tiny", Path::new("w.safetensors")).unwrap();
        let mut photo = Preprocess { resize: 256, ..Preprocess::plain(3, 224, 224) };
        photo.mean = vec![0.4; 3];
        assert!(known.apply(&mut photo));
        assert_eq!(photo, Preprocess { resize: 224, ..Preprocess::plain(3, 224, 224) });
        let known = of("lenet5-tanh", Path::new("w.pth")).unwrap();
        let mut digit = Preprocess::plain(1, 32, 32);
        assert!(known.apply(&mut digit) && digit.pad == 2);
        let known = of("darknet-tiny", Path::new("w.safetensors")).unwrap();
        let mut grey = Preprocess::plain(1, 224, 224);
        assert!(!known.apply(&mut grey));
        assert_eq!(grey, Preprocess::plain(1, 224, 224));
    }

    #[test]
    fn a_filter_that_kiln_lacks_is_told() {
        let said = |model| of(model, Path::new("w.pth")).unwrap().said();
        assert!(said("darknet53").contains("timm has them, who shrinks photos with a bicubic"));
        assert!(said("xception").contains("bicubic"));
        assert_eq!(said("darknet19"), "darknet has them");
    }

    #[test]
    fn scores_have_darknets_order_only_in_files_called_so_or_on_request() {
        let imagenet = kiln_data::info("imagenet").unwrap().classes;
        let ordered = |model, file: &str, wish| {
            let known = of(model, Path::new(file));
            let (classes, note) = in_order(imagenet.clone(), wish, known.as_ref()).unwrap();
            (classes[0].clone(), note.is_some())
        };
        let (theirs, own) = ("kit fox".to_owned(), imagenet[0].clone());
        for file in ["darknet_tiny_imagenet.safetensors", "at/tiny.pth", "Darknet19_448.pth"] {
            assert_eq!(ordered("darknet-tiny", file, None), (theirs.clone(), true), "{file}");
            let wish = Some(ClassOrder::Dataset);
            assert_eq!(ordered("darknet-tiny", file, wish), (own.clone(), false), "{file}");
        }
        for file in ["mine.pth", "darknet/mine.pth", "tiny2.pth"] {
            assert_eq!(ordered("darknet19", file, None), (own.clone(), false), "{file}");
            let wish = Some(ClassOrder::Darknet);
            assert_eq!(ordered("darknet19", file, wish), (theirs.clone(), false), "{file}");
        }
        assert_eq!(ordered("darknet53", "darknet53.pth", None), (own, false));

        let two = || vec!["ant".to_owned(), "bee".to_owned()];
        let known = of("darknet-tiny", Path::new("darknet.pth"));
        assert_eq!(in_order(two(), None, known.as_ref()).unwrap(), (two(), None));
        let error = in_order(two(), Some(ClassOrder::Darknet), None).unwrap_err().to_string();
        assert!(error.contains("1000 named classes, and here are 2"), "{error}");
    }
}
