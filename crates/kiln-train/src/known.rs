//! How weights that others have trained expect their images, where that is known and the data set doesn't say it.
//!
//! torchvision's are in a table of their own, see `published.rs`. Those here have no published sums to know them by, so
//! the network's name has to do, and whoever loads a file is told what was taken.

mod darknet;

use std::path::Path;

use kiln_data::Preprocess;

/// Who trains so, and what the images become.
pub(crate) struct Known {
    pub(crate) whose: &'static str,
    mean: &'static [f32],
    std: &'static [f32],
    /// Length of the shorter side before the middle is cut out, for an input of the size beside it.
    resize: [usize; 2],
    /// Border for an input of that size.
    pad: usize,
    /// For each score, the place of its class in the data set's order, where the two differ.
    order: &'static [usize],
}

/// ImageNet's mean and deviation, which many use for other photos too.
const IMAGENET: [&[f32]; 2] = [&[0.485, 0.456, 0.406], &[0.229, 0.224, 0.225]];

/// What is known of the weights in `file` for the network `model`.
pub(crate) fn of(model: &str, file: &Path) -> Option<Known> {
    let known = |whose, [mean, std]: [&'static [f32]; 2], resize| {
        Some(Known { whose, mean, std, resize, pad: 0, order: &[] })
    };
    match model {
        // It learned digits of 28×28 pixels with a border of two.
        "lenet5-tanh" => known("ghost9933", [&[0.1307], &[0.3081]], [0, 32])
            .map(|known| Known { pad: 2, ..known }),
        "lenet-caffe" => known("Caffe", [&[0.0], &[1.0]], [0, 0]),
        "darknet-tiny" | "darknet19" => known("darknet", [&[0.0; 3], &[1.0; 3]], [224, 224])
            .map(|known| Known { order: &darknet::ORDER, ..known }),
        // The network is timm's, of the authors' only by its shape: see its card.
        "darknet53" => known("timm", IMAGENET, [288, 256]),
        "xception" => known("Keras", [&[0.5; 3], &[0.5; 3]], [333, 299]),
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

    /// The names of `classes` in the order of the scores.
    pub(crate) fn in_order(&self, classes: Vec<String>) -> Vec<String> {
        if self.order.len() == classes.len() {
            self.order.iter().map(|&place| classes[place].clone()).collect()
        } else {
            classes
        }
    }
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
    fn scores_in_an_order_of_their_own_keep_their_names() {
        let imagenet = kiln_data::info("imagenet").unwrap().classes;
        let ordered = |model| of(model, Path::new("w.weights")).unwrap().in_order(imagenet.clone());

        assert_eq!(ordered("darknet-tiny")[..3], ["kit fox", "English setter", "Siberian husky"]);
        assert_eq!(ordered("darknet53"), imagenet);
        let other = vec!["ant".to_owned(), "bee".to_owned()];
        let known = of("darknet-tiny", Path::new("w.weights")).unwrap();
        assert_eq!(known.in_order(other.clone()), other);
    }
}
