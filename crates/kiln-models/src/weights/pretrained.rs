//! The weights that torchvision publishes for networks of the zoo, as its own tables state them
//! (torchvision 0.29, `torchvision/models/*.py`; ImageNet-1K, 1000 classes).
//!
//! What those tables say is all that stands here. Of a file's SHA-256 that is the beginning, which
//! PyTorch writes into the file's name.

/// One published file of weights and the images that it expects.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pretrained {
    /// The network's name in the zoo.
    pub model: &'static str,
    /// Number of the training recipe, torchvision's `IMAGENET1K_V1` or `IMAGENET1K_V2`.
    pub version: u8,
    /// The file's name. It ends with the beginning of its SHA-256.
    pub file: &'static str,
    /// Length of the image's shorter side after resizing, bilinear and antialiased, in pixels.
    pub resize: usize,
    /// Side of the square that is cut out of the middle, in pixels.
    pub crop: usize,
    /// Subtracted from each channel of a colour in 0…1.
    pub mean: [f32; 3],
    /// Then divides each channel.
    pub std: [f32; 3],
    /// Fraction of ImageNet's validation images that torchvision's authors measured as right.
    pub top1: f32,
}

/// The weights published for `model`, best last; none for a network that torchvision has no weights
/// of.
pub fn pretrained(model: &str) -> impl Iterator<Item = &'static Pretrained> {
    ALL.iter().filter(move |entry| entry.model == model)
}

impl Pretrained {
    /// Where the file is.
    pub fn url(&self) -> String {
        format!("https://download.pytorch.org/models/{}", self.file)
    }

    /// The first eight hexadecimal digits of the file's SHA-256.
    pub fn sha256_start(&self) -> &'static str {
        let stem = self.file.trim_end_matches(".pth");
        stem.rsplit('-').next().unwrap_or_default()
    }
}

/// Every published file, by network.
const ALL: &[Pretrained] = &[
    row("alexnet", 1, "alexnet-owt-7be5be79.pth", 256, 56.522),
    row("vgg11", 1, "vgg11-8a719046.pth", 256, 69.02),
    row("vgg11_bn", 1, "vgg11_bn-6002323d.pth", 256, 70.37),
    row("vgg13", 1, "vgg13-19584684.pth", 256, 69.928),
    row("vgg13_bn", 1, "vgg13_bn-abd245e5.pth", 256, 71.586),
    row("vgg16", 1, "vgg16-397923af.pth", 256, 71.592),
    row("vgg16_bn", 1, "vgg16_bn-6c64b313.pth", 256, 73.36),
    row("vgg19", 1, "vgg19-dcbb9e9d.pth", 256, 72.376),
    row("vgg19_bn", 1, "vgg19_bn-c79401a0.pth", 256, 74.218),
    symmetric(row("googlenet", 1, "googlenet-1378be20.pth", 256, 69.778)),
    row("resnet18", 1, "resnet18-f37072fd.pth", 256, 69.758),
    row("resnet34", 1, "resnet34-b627a593.pth", 256, 73.314),
    row("resnet50", 1, "resnet50-0676ba61.pth", 256, 76.13),
    row("resnet50", 2, "resnet50-11ad3fa6.pth", 232, 80.858),
    row("resnet101", 1, "resnet101-63fe2227.pth", 256, 77.374),
    row("resnet101", 2, "resnet101-cd907fc2.pth", 232, 81.886),
    row("resnet152", 1, "resnet152-394f9c45.pth", 256, 78.312),
    row("resnet152", 2, "resnet152-f82ba261.pth", 232, 82.284),
];

const fn row(
    model: &'static str,
    version: u8,
    file: &'static str,
    resize: usize,
    percent: f32,
) -> Pretrained {
    Pretrained {
        model,
        version,
        file,
        resize,
        crop: 224,
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
        top1: percent / 100.0,
    }
}

/// The same for weights that came from TensorFlow: torchvision's `transform_input` undoes the
/// normalization and brings the colours to −1…1.
const fn symmetric(row: Pretrained) -> Pretrained {
    Pretrained { mean: [0.5; 3], std: [0.5; 3], ..row }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Registry, Zoo};

    #[test]
    fn every_file_belongs_to_a_network_of_the_zoo_and_names_its_hash() {
        for entry in ALL {
            assert_eq!(Zoo.entry(entry.model).unwrap().input, [3, 224, 224]);
            let start = entry.sha256_start();
            assert_eq!(start.len(), 8, "{}", entry.file);
            assert!(start.chars().all(|c| c.is_ascii_hexdigit() && !c.is_ascii_uppercase()));
            assert!(entry.url().ends_with(&format!("-{start}.pth")));
            assert!(entry.resize >= entry.crop && (0.5..0.9).contains(&entry.top1));
        }
    }

    #[test]
    fn the_best_weights_come_last() {
        for entry in ALL {
            assert!(
                pretrained(entry.model).is_sorted_by(|a, b| a.top1 < b.top1),
                "{}",
                entry.model
            );
        }
        assert_eq!(pretrained("resnet50").count(), 2);
        assert_eq!(pretrained("lenet5").count(), 0);
    }
}
