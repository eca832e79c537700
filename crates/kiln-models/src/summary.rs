//! The table of a network's layers.

use std::collections::{BTreeMap, HashMap};

use burn::module::ParamId;
use burn::prelude::*;
use kiln_layers::trace::{self as layer_trace, Layer};

use crate::{Classifier, Detector, Error, Parameter, Segmenter, parameters};

/// What a network consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Trainable parameters; running statistics are none.
    pub parameters: usize,
    /// Multiply-adds of convolutions and dense layers for one image.
    pub macs: u64,
    /// Convolutions and dense layers on the longest way from image to scores.
    pub depth: usize,
    /// The layers in the order in which they run. Their parameters add up to the total.
    pub layers: Vec<Row>,
}

/// One layer of a [`Summary`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its path in the network; a layer without parameters is numbered by kind.
    pub name: String,
    /// What it is, such as `conv`; `other` for parameters of layers that the trace can't see.
    pub kind: &'static str,
    /// Shape of its output, without the batch.
    pub output: Vec<usize>,
    /// Trainable parameters that no earlier layer has.
    pub parameters: usize,
    /// Multiply-adds for one image.
    pub macs: u64,
}

/// The layers of `model` for images of `input`: channels, height and width. One blank image goes
/// through an inference copy of the model, which must be on `device`.
///
/// # Errors
///
/// [`Error::Input`] for images that the network doesn't take.
pub fn summarize<C: Classifier>(
    model: &C,
    input: [usize; 3],
    device: &Device,
) -> Result<Summary, Error> {
    model.check_input(input)?;
    Ok(tabulate(model, input, device, |model, blank| {
        model.forward(blank);
    }))
}

/// As [`summarize`], for a network that gives every pixel a class.
///
/// # Errors
///
/// As [`Segmenter::check_input`].
pub fn summarize_segmenter<S: Segmenter>(
    model: &S,
    input: [usize; 3],
    device: &Device,
) -> Result<Summary, Error> {
    model.check_input(input)?;
    Ok(tabulate(model, input, device, |model, blank| {
        model.forward(blank);
    }))
}

/// As [`summarize`], for a detector.
///
/// # Errors
///
/// As [`Detector::check_input`].
pub fn summarize_detector<N: Detector>(
    model: &N,
    input: [usize; 3],
    device: &Device,
) -> Result<Summary, Error> {
    model.check_input(input)?;
    Ok(tabulate(model, input, device, |model, blank| {
        model.forward(blank);
    }))
}

fn tabulate<M: Module>(
    model: &M,
    [channels, height, width]: [usize; 3],
    device: &Device,
    run: impl FnOnce(&M, Tensor<4>),
) -> Summary {
    let blank = Tensor::zeros([1, channels, height, width], &device.clone().without_autodiff());
    let valid = model.valid();
    let ((), layers) = layer_trace::record(false, || run(&valid, blank));
    let layers = named(&valid, layers);

    let mut unclaimed: HashMap<ParamId, Parameter> = parameters(model)
        .into_iter()
        .filter(|parameter| parameter.trainable)
        .map(|parameter| (parameter.id, parameter))
        .collect();
    let total = unclaimed.values().map(size).sum();
    let depth = layers.iter().map(|(_, layer)| layer.depth).max().unwrap_or(0);
    let mut rows: Vec<Row> = layers
        .into_iter()
        .map(|(name, layer)| {
            let own = layer.parameters.iter().filter_map(|id| unclaimed.remove(id));
            let parameters = own.map(|parameter| size(&parameter)).sum();
            Row { name, kind: layer.kind, output: layer.output, parameters, macs: layer.macs }
        })
        .collect();

    let mut others = BTreeMap::<String, usize>::new();
    for parameter in unclaimed.values() {
        *others.entry(parent(&parameter.path).to_owned()).or_default() += size(parameter);
    }
    rows.extend(others.into_iter().map(|(name, parameters)| Row {
        name,
        kind: "other",
        output: Vec::new(),
        parameters,
        macs: 0,
    }));

    Summary { parameters: total, macs: rows.iter().map(|row| row.macs).sum(), depth, layers: rows }
}

/// Runs `images` through `model` and returns the scores with every layer that ran and its name.
///
/// # Shapes
///
/// - `images`: `[batch, channels, height, width]`
/// - output: `[batch, classes]`
pub fn trace<C: Classifier>(
    model: &C,
    images: Tensor<4>,
    keep_maps: bool,
) -> (Tensor<2>, Vec<(String, Layer)>) {
    let (scores, layers) = layer_trace::record(keep_maps, || model.forward(images));
    (scores, named(model, layers))
}

/// `layers` of `model` with their names.
fn named<M: Module>(model: &M, layers: Vec<Layer>) -> Vec<(String, Layer)> {
    let paths: HashMap<ParamId, String> =
        parameters(model).into_iter().map(|parameter| (parameter.id, parameter.path)).collect();

    let mut counts = HashMap::<&str, usize>::new();
    let named = layers.into_iter().map(|layer| {
        let name = layer.parameters.first().and_then(|id| paths.get(id)).map_or_else(
            || {
                let count = counts.entry(layer.kind).or_default();
                *count += 1;
                format!("{}{count}", layer.kind)
            },
            |path| layer_of(path).to_owned(),
        );
        (name, layer)
    });
    named.collect()
}

/// The layer that a parameter belongs to: `c1` for `c1.conv.weight`.
fn layer_of(path: &str) -> &str {
    let module = parent(path);
    let wrapped = module.strip_suffix(".conv").or_else(|| module.strip_suffix(".linear"));
    wrapped.unwrap_or(module)
}

fn parent(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(parent, _)| parent)
}

fn size(parameter: &Parameter) -> usize {
    parameter.shape.iter().product()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lenet5::LeNet5Config;
    use burn::nn::{Linear, LinearConfig};
    use kiln_layers::{ConvBlock, ConvBlockConfig, global_avg_pool};
    use kiln_testkit::{device, noise};

    /// A network with a batch norm, a layer without parameters, and one that the trace can't see.
    #[derive(Module, Debug)]
    struct Mixed {
        stem: Vec<ConvBlock>,
        head: Linear,
    }

    impl Classifier for Mixed {
        fn forward(&self, images: Tensor<4>) -> Tensor<2> {
            let x = self.stem.iter().fold(images, |x, conv| conv.forward(x));
            self.head.forward(global_avg_pool(x))
        }
    }

    fn mixed(device: &Device) -> Mixed {
        let conv = |from| ConvBlockConfig::new([from, 4], 3).init(device);
        Mixed { stem: vec![conv(1), conv(4)], head: LinearConfig::new(4, 2).init(device) }
    }

    #[test]
    fn lenet5_is_as_in_the_paper() {
        let model = LeNet5Config::new().init(&device());

        let summary = summarize(&model, [1, 28, 28], &device()).unwrap();

        let rows: Vec<_> = summary
            .layers
            .iter()
            .map(|row| (row.name.as_str(), row.kind, &row.output[..], row.parameters, row.macs))
            .collect();
        assert_eq!(
            rows,
            [
                ("c1", "conv", &[6, 28, 28][..], 156, 117_600),
                ("s2", "subsample", &[6, 14, 14], 12, 0),
                ("c3", "conv", &[16, 10, 10], 2_416, 240_000),
                ("s4", "subsample", &[16, 5, 5], 32, 0),
                ("c5", "conv", &[120, 1, 1], 48_120, 48_000),
                ("f6", "dense", &[84], 10_164, 10_080),
                ("output", "dense", &[10], 850, 840),
            ]
        );
        assert_eq!((summary.parameters, summary.macs, summary.depth), (61_750, 416_520, 5));
    }

    #[test]
    fn the_layers_add_up_even_with_layers_that_the_trace_cannot_see() {
        let summary = summarize(&mixed(&device()), [1, 8, 8], &device()).unwrap();

        let rows: Vec<_> = summary
            .layers
            .iter()
            .map(|row| (row.name.as_str(), row.kind, row.parameters))
            .collect();
        let pool = "global_avg_pool";
        assert_eq!(
            rows,
            [
                ("stem.0", "conv", 36 + 8),
                ("stem.1", "conv", 144 + 8),
                ("global_avg_pool1", pool, 0),
                ("head", "other", 10),
            ]
        );
        let sum: usize = rows.iter().map(|row| row.2).sum();
        assert_eq!(summary.parameters, sum);
    }

    #[test]
    fn a_summary_leaves_the_running_statistics_alone() {
        let device = device().autodiff();
        let model = mixed(&device);
        let before = crate::weights::to_bytes(&model);

        summarize(&model, [1, 8, 8], &device).unwrap();

        assert_eq!(crate::weights::to_bytes(&model), before);
    }

    #[test]
    fn a_trace_names_its_maps() {
        let model = LeNet5Config::new().init(&device());

        let (_, layers) = trace(&model, noise([2, 1, 28, 28], 1, &device()), true);

        let (name, layer) = &layers[2];
        assert_eq!(name, "c3");
        assert_eq!(layer.map.as_ref().unwrap().dims(), [2, 16, 10, 10]);
    }

    #[test]
    fn a_wrong_image_is_an_error() {
        let model = LeNet5Config::new().init(&device());

        assert!(matches!(summarize(&model, [1, 32, 32], &device()), Err(Error::Input { .. })));
    }
}
