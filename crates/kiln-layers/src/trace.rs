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
    /// The window of a convolution.
    pub window: Option<Window>,
    /// The kernel that computed a convolution or a dense layer; none where burn's operations did.
    pub ran: Option<kiln_kernels::Ran>,
    /// Convolutions and dense layers on the longest way from the image to here, this one included;
    /// what runs [`aside`] is on no way.
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
            window: None,
            ran: None,
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

    /// The same layer with what a convolution looks at.
    #[must_use]
    pub fn with_window(mut self, window: Window) -> Self {
        self.window = Some(window);
        self
    }

    /// The same layer with its multiply-adds for one image.
    #[must_use]
    pub fn with_macs(mut self, macs: usize) -> Self {
        self.macs = macs as u64;
        self
    }
}

/// What a convolution looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Height and width of the kernel, in pixels.
    pub kernel: [usize; 2],
    /// Steps down and right, in pixels.
    pub stride: [usize; 2],
    /// Channels in.
    pub channels: usize,
    /// Groups of channels that don't see each other.
    pub groups: usize,
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

    let record = Record { keep_maps, layers: Vec::new(), depth: 0, since: Instant::now() };
    RECORDS.with_borrow_mut(|records| records.push(record));
    let end = End;
    let result = run();
    let layers = RECORDS.with_borrow_mut(|records| {
        records.last_mut().map_or_else(Vec::new, |record| std::mem::take(&mut record.layers))
    });
    drop(end);
    (result, layers)
}

/// Whether this thread is inside [`record`]: a layer that computes others as one takes them apart then.
#[must_use]
pub fn recording() -> bool {
    !RECORDS.with_borrow(Vec::is_empty)
}

/// Called by a layer when it has run. `layer` is evaluated only while somebody records.
pub fn note(layer: impl FnOnce() -> Layer) {
    if !recording() {
        return;
    }
    // What ran is known here and now: the next layer's kernel will have run before anybody asks.
    let ran = kiln_kernels::take_ran();
    let layer = layer();
    let layer = Layer { ran: ran.filter(|_| layer.macs > 0), ..layer };
    RECORDS.with_borrow_mut(|records| records.iter_mut().for_each(|record| record.push(&layer)));
}

/// The point from which several branches start.
///
/// Layers that run one after the other count as one way from the image to the scores, unless a
/// network says that they are alternatives:
///
/// ```
/// # use burn::prelude::*;
/// # use kiln_layers::{ConvBlockConfig, trace};
/// # let device = Device::default();
/// # let [first, second, projection] = [3, 3, 1].map(|k| ConvBlockConfig::new([4, 4], k).init(&device));
/// # let x = Tensor::<4>::ones([1, 4, 8, 8], &device);
/// let (_, layers) = trace::record(false, || {
///     let fork = trace::fork();
///     let shortcut = fork.branch(|| projection.forward(x.clone()));
///     fork.branch(|| second.forward_residual(first.forward(x), shortcut))
/// });
///
/// assert_eq!(layers.iter().map(|layer| layer.depth).collect::<Vec<_>>(), [1, 1, 2]);
/// ```
#[must_use]
pub struct Fork {
    /// The depth of each record under way.
    depths: Vec<usize>,
}

/// Marks the point from which several branches start.
pub fn fork() -> Fork {
    Fork { depths: RECORDS.with_borrow(|records| records.iter().map(|r| r.depth).collect()) }
}

impl Fork {
    /// Runs one of the branches. What runs after the last one lies behind the deepest.
    pub fn branch<T>(&self, run: impl FnOnce() -> T) -> T {
        let mut reached = Vec::with_capacity(self.depths.len());
        self.each_record(|record, depth| reached.push(std::mem::replace(&mut record.depth, depth)));
        let result = run();
        let mut reached = reached.into_iter();
        self.each_record(|record, _| {
            record.depth = record.depth.max(reached.next().unwrap_or(0));
        });
        result
    }

    /// Calls `each` with the records that were under way at the fork, and their depth there.
    fn each_record(&self, mut each: impl FnMut(&mut Record, usize)) {
        RECORDS.with_borrow_mut(|records| {
            records.iter_mut().zip(&self.depths).for_each(|(record, &depth)| each(record, depth));
        });
    }
}

/// Runs layers that lie beside every way from the image to the scores, such as a gate, which only
/// weighs what passes: they are recorded, and nothing becomes deeper by them.
pub fn aside<T>(run: impl FnOnce() -> T) -> T {
    let before: Vec<(usize, usize)> =
        RECORDS.with_borrow(|records| records.iter().map(|r| (r.layers.len(), r.depth)).collect());
    let result = run();
    RECORDS.with_borrow_mut(|records| {
        for (record, (layers, depth)) in records.iter_mut().zip(before) {
            record.depth = depth;
            record.layers.iter_mut().skip(layers).for_each(|layer| layer.depth = depth);
        }
    });
    result
}

thread_local! {
    /// The records under way on this thread, outermost first.
    static RECORDS: RefCell<Vec<Record>> = const { RefCell::new(Vec::new()) };
}

struct Record {
    keep_maps: bool,
    layers: Vec<Layer>,
    /// Convolutions and dense layers on the longest way to the point where the network is.
    depth: usize,
    /// When the last layer ran.
    since: Instant,
}

impl Record {
    fn push(&mut self, layer: &Layer) {
        self.depth += usize::from(layer.macs > 0);
        self.layers.push(Layer {
            depth: self.depth,
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
    fn the_deepest_branch_counts_and_what_is_aside_does_not() {
        let dense = DenseConfig::new([3, 3]).init(&device());
        let run = |x: Tensor<2>, times| (0..times).fold(x, |x, _| dense.forward(x));
        let x = noise([1, 3], 1, &device());

        let (_, layers) = record(false, || {
            let x = run(x, 1);
            let fork = fork();
            let deep = fork.branch(|| run(x.clone(), 3));
            let shallow = fork.branch(|| run(x.clone(), 1));
            let gate = aside(|| run(x, 2));
            run(deep + shallow + gate, 1)
        });

        let depths: Vec<_> = layers.iter().map(|layer| layer.depth).collect();
        assert_eq!(depths, [1, 2, 3, 4, 2, 4, 4, 5]);
    }

    #[test]
    fn forks_nest_and_every_record_sees_them() {
        let dense = DenseConfig::new([3, 3]).init(&device());
        let run = |x: Tensor<2>| dense.forward(x);
        let x = noise([1, 3], 1, &device());

        let ((_, inner), outer) = record(false, || {
            let x = run(x);
            record(false, || {
                let outside = fork();
                let y = outside.branch(|| {
                    let inside = fork();
                    inside.branch(|| run(run(x.clone()))) + inside.branch(|| run(x.clone()))
                });
                run(y + outside.branch(|| run(x)))
            })
        });

        let depths = |layers: &[Layer]| layers.iter().map(|l| l.depth).collect::<Vec<_>>();
        assert_eq!(depths(&inner), [1, 2, 1, 1, 3]);
        assert_eq!(depths(&outer), [1, 2, 3, 2, 2, 4]);
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
