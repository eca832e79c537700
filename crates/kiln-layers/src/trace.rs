//! What a forward pass went through, layer by layer.
//!
//! Layers call [`note`]; nothing happens unless the same thread is inside [`record`]. So a network
//! table, a picture of the feature maps or an explanation needs no hook in any network:
//!
//! ```
//! use burn::prelude::*;
//! use kiln_layers::{DenseConfig, trace};
//!
//! let device = Device::default();
//! let dense = DenseConfig::new([4, 2]).init(&device);
//! let (y, layers) = trace::record(false, || dense.forward(Tensor::ones([1, 4], &device)));
//!
//! assert_eq!((layers[0].kind, layers[0].macs, y.dims()), ("dense", 8, [1, 2]));
//! ```

use std::cell::RefCell;
use std::time::{Duration, Instant};

use burn::module::ParamId;
use burn::prelude::*;

/// One layer that ran.
#[derive(Clone, Debug)]
pub struct Layer {
    /// What it is: `conv`, `dense`, `max_pool`, `avg_pool`, `global_avg_pool`, `subsample`, …
    pub kind: &'static str,
    /// Its trainable parameters. Their ids lead to their paths in the network.
    pub parameters: Vec<ParamId>,
    /// Shape of its output, without the batch.
    pub output: Vec<usize>,
    /// Multiply-adds for one image; only convolutions and dense layers count.
    pub macs: u64,
    /// Convolutions and dense layers on the longest way from the image to here, this one included.
    pub depth: usize,
    /// Its output as maps, `[batch, channels, height, width]`, if maps are kept. A dense layer's
    /// features are maps of one pixel.
    pub map: Option<Tensor<4>>,
    /// Time since the layer before it, or since the record began: meaningful where the device
    /// computes at once, as a CPU does.
    pub time: Duration,
}

impl Layer {
    /// A layer of `kind` without parameters that gave `output`, `[batch, channels, …]`.
    pub fn new<const D: usize>(kind: &'static str, output: &Tensor<D>) -> Self {
        let mut maps = [1; 4];
        maps[..D.min(4)].copy_from_slice(&output.dims()[..D.min(4)]);

        Self {
            kind,
            parameters: Vec::new(),
            output: output.dims()[1..].to_vec(),
            macs: 0,
            depth: 0,
            map: Some(output.clone().reshape(maps)),
            time: Duration::ZERO,
        }
    }

    /// The same layer with trainable parameters.
    #[must_use]
    pub fn with_parameters(mut self, parameters: impl IntoIterator<Item = ParamId>) -> Self {
        self.parameters = parameters.into_iter().collect();
        self
    }

    /// The same layer with its multiply-adds for one image.
    #[must_use]
    pub fn with_macs(mut self, macs: usize) -> Self {
        self.macs = macs as u64;
        self
    }
}

/// Runs `run` and returns its result with the layers that ran on this thread, in order.
///
/// With `keep_maps` each layer's output is kept as well, which costs their memory. Records nest:
/// an outer one sees what an inner one saw.
pub fn record<T>(keep_maps: bool, run: impl FnOnce() -> T) -> (T, Vec<Layer>) {
    /// Ends the record even if `run` panics.
    struct End;
    impl Drop for End {
        fn drop(&mut self) {
            RECORDS.with_borrow_mut(Vec::pop);
        }
    }

    let record = Record { keep_maps, layers: Vec::new(), since: Instant::now() };
    RECORDS.with_borrow_mut(|records| records.push(record));
    let end = End;
    let result = run();
    let layers = RECORDS.with_borrow_mut(|records| {
        records.last_mut().map_or_else(Vec::new, |record| std::mem::take(&mut record.layers))
    });
    drop(end);
    (result, layers)
}

/// Called by a layer when it has run. `layer` is evaluated only while somebody records.
pub fn note(layer: impl FnOnce() -> Layer) {
    if RECORDS.with_borrow(Vec::is_empty) {
        return;
    }
    let layer = layer();
    RECORDS.with_borrow_mut(|records| records.iter_mut().for_each(|record| record.push(&layer)));
}

thread_local! {
    /// The records under way on this thread, outermost first.
    static RECORDS: RefCell<Vec<Record>> = const { RefCell::new(Vec::new()) };
}

struct Record {
    keep_maps: bool,
    layers: Vec<Layer>,
    /// When the last layer ran.
    since: Instant,
}

impl Record {
    fn push(&mut self, layer: &Layer) {
        let before = self.layers.last().map_or(0, |last| last.depth);
        self.layers.push(Layer {
            depth: before + usize::from(layer.macs > 0),
            map: layer.map.clone().filter(|_| self.keep_maps),
            time: self.since.elapsed(),
            ..layer.clone()
        });
        self.since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConvBlockConfig, DenseConfig, MaxPoolConfig, Norm};
    use kiln_testkit::{device, noise};

    fn kinds(layers: &[Layer]) -> Vec<&str> {
        layers.iter().map(|layer| layer.kind).collect()
    }

    #[test]
    fn counts_multiply_adds_of_one_image_and_depth() {
        let conv = ConvBlockConfig::new([4, 6], 3).with_groups(2).init(&device());
        let pool = MaxPoolConfig::new(2, 2).init();
        let dense = DenseConfig::new([6 * 2 * 4, 5]).init(&device());
        let x = noise([7, 4, 4, 8], 1, &device());

        let (_, layers) =
            record(false, || dense.forward(pool.forward(conv.forward(x)).flatten(1, 3)));

        assert_eq!(kinds(&layers), ["conv", "max_pool", "dense"]);
        assert_eq!(layers[0].macs, 6 * 4 * 8 * 2 * 9);
        assert_eq!(layers[2].macs, 48 * 5);
        assert_eq!(layers.iter().map(|layer| layer.depth).collect::<Vec<_>>(), [1, 1, 2]);
        assert_eq!(layers[1].output, [6, 2, 4]);
    }

    #[test]
    fn knows_every_trainable_parameter_of_a_layer() {
        for norm in [Norm::Batch, Norm::None] {
            let conv = ConvBlockConfig::new([1, 2], 3).with_norm(norm).init(&device());

            let (_, layers) = record(false, || conv.forward(noise([1, 1, 4, 4], 1, &device())));

            let expected = if norm == Norm::Batch { 3 } else { 2 };
            assert_eq!(layers[0].parameters.len(), expected, "{norm:?}");
            assert_eq!(layers[0].parameters[0], conv.conv.weight.id);
        }
    }

    #[test]
    fn maps_are_kept_only_on_request() {
        let dense = DenseConfig::new([3, 2]).init(&device());
        let run = |keep| record(keep, || dense.forward(noise([5, 3], 1, &device())));

        assert!(run(false).1[0].map.is_none());
        let (y, layers) = run(true);
        let map = layers[0].map.clone().unwrap();
        assert_eq!(map.dims(), [5, 2, 1, 1]);
        map.flatten::<2>(1, 3).to_data().assert_eq(&y.to_data(), true);
    }

    #[test]
    fn an_outer_record_sees_what_an_inner_one_saw() {
        let dense = DenseConfig::new([3, 3]).init(&device());
        let x = noise([1, 3], 1, &device());

        let ((_, inner), outer) =
            record(true, || record(false, || dense.forward(dense.forward(x))));

        assert_eq!((inner.len(), outer.len()), (2, 2));
        assert!(inner[0].map.is_none() && outer[0].map.is_some());
    }

    #[test]
    fn a_panic_ends_the_record() {
        let outcome = std::panic::catch_unwind(|| record(true, || panic!("on purpose")));

        assert!(outcome.is_err());
        assert!(RECORDS.with_borrow(Vec::is_empty));
    }

    #[test]
    fn nothing_is_evaluated_when_nobody_records() {
        note(|| unreachable!("nobody records"));
    }
}
