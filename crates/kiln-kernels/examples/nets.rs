//! Runs the layers of well-known networks (random weights) through the public functions on the flex device and prints
//! milliseconds: `nets [--layers] [--exact] [--plain] [--cpu] [--train] [--runs N] [--batch N] [NAME ..]`.
//!
//! `--train` measures a forward and a backward pass, with batch normalization as in training.
//! `--cpu` counts the main thread's processor time instead of the wall clock (Linux): on a busy machine, with
//! `RAYON_NUM_THREADS=1`, it is the steadier number.

// The processor clock is a call into the C library.
#![allow(unsafe_code)]
// Shapes and options of a layer are its arguments.
#![allow(clippy::too_many_arguments, clippy::needless_pass_by_value)]

use std::collections::BTreeMap;
use std::time::Instant;

use burn::tensor::ops::{ConvOptions, MaxPoolOptions};
use burn::tensor::{Device, Distribution, Tensor};
use kiln_kernels::{Activation, Algorithm, Convolution, Geometry};

/// A convolution and its input.
type Branch = (Tensor<4>, Convolution);

use Activation::{Identity, Relu, Sigmoid};

/// Milliseconds on the wall clock or, with `--cpu`, of this thread's processor time.
fn now(cpu: bool) -> f64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let wall = START.get_or_init(Instant::now).elapsed().as_secs_f64() * 1e3;
    if !cpu {
        return wall;
    }
    #[cfg(target_os = "linux")]
    {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the pointer is to a live `timespec`.
        if unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) } == 0 {
            return time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6;
        }
    }
    wall
}

/// One layer's parameters, made at the first pass.
struct Weights {
    weight: Tensor<4>,
    bias: Tensor<1>,
    /// Scale of the batch normalization; the bias is its shift.
    gamma: Tensor<1>,
}

/// A pass over a network: hands out each layer's parameters in order and keeps the time.
struct Pass {
    device: Device,
    layers: Vec<Weights>,
    next: usize,
    times: BTreeMap<usize, (String, f64, f64)>,
    profile: bool,
    cpu: bool,
    train: bool,
    /// Whether convolutions are followed by batch normalization (which inference folds).
    norm: bool,
}

impl Pass {
    fn layer(&mut self, shape: [usize; 4], out: usize) -> (Tensor<4>, Tensor<1>, Tensor<1>) {
        if self.next == self.layers.len() {
            let bound = (3.0 * out as f64 / shape.iter().product::<usize>() as f64).sqrt();
            let weight = Tensor::random(shape, Distribution::Uniform(-bound, bound), &self.device);
            let bias = Tensor::random([out], Distribution::Uniform(-0.1, 0.1), &self.device);
            let gamma = Tensor::ones([out], &self.device);
            self.layers.push(if self.train {
                Weights {
                    weight: weight.require_grad(),
                    bias: bias.require_grad(),
                    gamma: gamma.require_grad(),
                }
            } else {
                Weights { weight, bias, gamma }
            });
        }
        let layer = &self.layers[self.next];
        self.next += 1;
        (layer.weight.clone(), layer.bias.clone(), layer.gamma.clone())
    }

    fn weights(&mut self, shape: [usize; 4]) -> (Tensor<4>, Tensor<1>) {
        let (weight, bias, _) = self.layer(shape, shape[0]);
        (weight, bias)
    }

    fn timed<T>(
        &mut self,
        name: impl FnOnce() -> String,
        flops: f64,
        run: impl FnOnce() -> T,
    ) -> T {
        if !self.profile {
            return run();
        }
        let start = now(self.cpu);
        let out = run();
        let ms = now(self.cpu) - start;
        let id = self.times.len();
        self.times.insert(id, (name(), ms, flops));
        out
    }

    fn branch(
        &mut self,
        x: &Tensor<4>,
        out: usize,
        kernel: [usize; 2],
        stride: usize,
        pad: [usize; 2],
        groups: usize,
        activation: Activation,
    ) -> Branch {
        let channels = x.dims()[1];
        let (weight, bias) = self.weights([out, channels / groups, kernel[0], kernel[1]]);
        let convolution = Convolution {
            weight,
            bias: Some(bias),
            norm: None,
            options: ConvOptions::new([stride; 2], pad, [1, 1], groups),
            activation,
        };
        (x.clone(), convolution)
    }

    fn conv(
        &mut self,
        x: Tensor<4>,
        out: usize,
        kernel: usize,
        stride: usize,
        pad: usize,
        groups: usize,
        a: Activation,
        residual: Option<Tensor<4>>,
    ) -> Tensor<4> {
        let (x, b) = self.branch(&x, out, [kernel; 2], stride, [pad; 2], groups, a);
        let g = Geometry::new(x.dims(), b.weight.dims(), &b.options).expect("layers fit together");
        if self.train && self.norm {
            let gamma = self.layers[self.next - 1].gamma.clone();
            let y = kiln_kernels::conv2d(x, b.weight, None, b.options, Identity, None);
            return kiln_kernels::batch_norm_train(
                y,
                gamma,
                b.bias.expect("layers have one"),
                1e-5,
                b.activation,
                residual,
            )
            .0;
        }
        let name = || {
            let algorithm = Algorithm::choose(&g, kiln_kernels::exact());
            format!(
                "{kernel}x{kernel}/{stride} {}->{out} g{groups} {}x{} {algorithm:?}",
                g.in_channels, g.output[0], g.output[1]
            )
        };
        let flops = 2.0 * g.multiply_adds() as f64;
        self.timed(name, flops, || b.of(x, residual))
    }

    fn branches(&mut self, branches: Vec<Branch>) -> Tensor<4> {
        if self.train && self.norm {
            let maps = branches.into_iter().map(|(x, b)| {
                let gamma = Tensor::ones([b.weight.dims()[0]], &self.device);
                let y = kiln_kernels::conv2d(x, b.weight, None, b.options, Identity, None);
                kiln_kernels::batch_norm_train(
                    y,
                    gamma,
                    b.bias.expect("layers have one"),
                    1e-5,
                    b.activation,
                    None,
                )
                .0
            });
            return kiln_kernels::concat_channels(maps.collect());
        }
        let flops = branches
            .iter()
            .map(|(x, b)| {
                2.0 * Geometry::new(x.dims(), b.weight.dims(), &b.options).unwrap().multiply_adds()
                    as f64
            })
            .sum();
        let name = || {
            let parts: Vec<String> = branches
                .iter()
                .map(|(x, b)| {
                    format!("{}->{}x{}", x.dims()[1], b.weight.dims()[0], b.weight.dims()[2])
                })
                .collect();
            format!("branches {} {}", branches[0].0.dims()[2], parts.join(" "))
        };
        let name = name();
        self.timed(|| name, flops, || kiln_kernels::conv2d_branches(branches))
    }

    fn max(
        &mut self,
        x: Tensor<4>,
        kernel: usize,
        stride: usize,
        pad: usize,
        ceil: bool,
    ) -> Tensor<4> {
        let mut options =
            MaxPoolOptions::new([kernel; 2]).with_stride([stride; 2]).with_padding([pad; 2]);
        options.ceil_mode = ceil;
        self.timed(
            || format!("max {kernel}/{stride} {:?}", x.dims()),
            0.0,
            || kiln_kernels::max_pool2d(x.clone(), options),
        )
    }

    fn global(&mut self, x: Tensor<4>) -> Tensor<4> {
        self.timed(|| "global".into(), 0.0, || kiln_kernels::global_avg_pool(x))
    }

    fn dense(&mut self, x: Tensor<2>, out: usize, a: Activation) -> Tensor<2> {
        let [batch, depth] = x.dims();
        let (weight, bias, _) = self.layer([depth, out, 1, 1], out);
        let weight = weight.reshape([depth, out]);
        self.timed(
            || format!("dense {depth}->{out}"),
            2.0 * (batch * depth * out) as f64,
            || kiln_kernels::linear(x, weight, Some(bias), a),
        )
    }

    fn scale(&mut self, x: Tensor<4>, s: Tensor<4>, residual: Tensor<4>) -> Tensor<4> {
        self.timed(
            || "scale".into(),
            0.0,
            || kiln_kernels::scale_channels(x, s, Some(residual), Relu),
        )
    }
}

fn flat(x: Tensor<4>) -> Tensor<2> {
    x.flatten::<2>(1, 3)
}

fn resnet(
    p: &mut Pass,
    x: Tensor<4>,
    blocks: [usize; 4],
    bottleneck: bool,
    squeeze: bool,
) -> Tensor<2> {
    let x = p.conv(x, 64, 7, 2, 3, 1, Relu, None);
    let mut x = p.max(x, 3, 2, 1, false);
    for (stage, &count) in blocks.iter().enumerate() {
        let width = 64 << stage;
        for block in 0..count {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let out = if bottleneck { width * 4 } else { width };
            let shortcut = if stride != 1 || x.dims()[1] != out {
                p.conv(x.clone(), out, 1, stride, 0, 1, Identity, None)
            } else {
                x.clone()
            };
            x = if bottleneck {
                let y = p.conv(x, width, 1, 1, 0, 1, Relu, None);
                let y = p.conv(y, width, 3, stride, 1, 1, Relu, None);
                if squeeze {
                    let y = p.conv(y, out, 1, 1, 0, 1, Identity, None);
                    let s = p.global(y.clone());
                    let s = p.conv(s, out / 16, 1, 1, 0, 1, Relu, None);
                    let s = p.conv(s, out, 1, 1, 0, 1, Sigmoid, None);
                    p.scale(y, s, shortcut)
                } else {
                    p.conv(y, out, 1, 1, 0, 1, Relu, Some(shortcut))
                }
            } else {
                let y = p.conv(x, width, 3, stride, 1, 1, Relu, None);
                p.conv(y, width, 3, 1, 1, 1, Relu, Some(shortcut))
            };
        }
    }
    let x = p.global(x);
    p.dense(flat(x), 1000, Identity)
}

fn vgg(p: &mut Pass, mut x: Tensor<4>) -> Tensor<2> {
    for (width, count) in [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)] {
        for _ in 0..count {
            x = p.conv(x, width, 3, 1, 1, 1, Relu, None);
        }
        x = p.max(x, 2, 2, 0, false);
    }
    // The flattened order does not matter to random weights, but the copy into it belongs to the network.
    let x = p.dense(flat(x), 4096, Relu);
    let x = p.dense(x, 4096, Relu);
    p.dense(x, 1000, Identity)
}

fn alexnet(p: &mut Pass, x: Tensor<4>) -> Tensor<2> {
    let x = p.conv(x, 64, 11, 4, 2, 1, Relu, None);
    let x = p.max(x, 3, 2, 0, false);
    let x = p.conv(x, 192, 5, 1, 2, 1, Relu, None);
    let x = p.max(x, 3, 2, 0, false);
    let x = p.conv(x, 384, 3, 1, 1, 1, Relu, None);
    let x = p.conv(x, 256, 3, 1, 1, 1, Relu, None);
    let x = p.conv(x, 256, 3, 1, 1, 1, Relu, None);
    let x = p.max(x, 3, 2, 0, false);
    let x = p.dense(flat(x), 4096, Relu);
    let x = p.dense(x, 4096, Relu);
    p.dense(x, 1000, Identity)
}

fn inception(
    p: &mut Pass,
    x: Tensor<4>,
    [one, reduce3, three, reduce5, five, pool]: [usize; 6],
) -> Tensor<4> {
    let first = p.branch(&x, one, [1, 1], 1, [0, 0], 1, Relu);
    let y = p.conv(x.clone(), reduce3, 1, 1, 0, 1, Relu, None);
    let second = p.branch(&y, three, [3, 3], 1, [1, 1], 1, Relu);
    let y = p.conv(x.clone(), reduce5, 1, 1, 0, 1, Relu, None);
    // torchvision's "5×5" is a 3×3.
    let third = p.branch(&y, five, [3, 3], 1, [1, 1], 1, Relu);
    let y = p.max(x, 3, 1, 1, true);
    let fourth = p.branch(&y, pool, [1, 1], 1, [0, 0], 1, Relu);
    p.branches(vec![first, second, third, fourth])
}

fn googlenet(p: &mut Pass, x: Tensor<4>) -> Tensor<2> {
    let x = p.conv(x, 64, 7, 2, 3, 1, Relu, None);
    let x = p.max(x, 3, 2, 0, true);
    let x = p.conv(x, 64, 1, 1, 0, 1, Relu, None);
    let x = p.conv(x, 192, 3, 1, 1, 1, Relu, None);
    let x = p.max(x, 3, 2, 0, true);
    let x = inception(p, x, [64, 96, 128, 16, 32, 32]);
    let x = inception(p, x, [128, 128, 192, 32, 96, 64]);
    let mut x = p.max(x, 3, 2, 0, true);
    for sizes in [
        [192, 96, 208, 16, 48, 64],
        [160, 112, 224, 24, 64, 64],
        [128, 128, 256, 24, 64, 64],
        [112, 144, 288, 32, 64, 64],
        [256, 160, 320, 32, 128, 128],
    ] {
        x = inception(p, x, sizes);
    }
    let x = p.max(x, 2, 2, 0, true);
    let x = inception(p, x, [256, 160, 320, 32, 128, 128]);
    let x = inception(p, x, [384, 192, 384, 48, 128, 128]);
    let x = p.global(x);
    p.dense(flat(x), 1000, Identity)
}

fn separable(
    p: &mut Pass,
    x: Tensor<4>,
    out: usize,
    a: Activation,
    residual: Option<Tensor<4>>,
) -> Tensor<4> {
    let channels = x.dims()[1];
    let x = p.conv(x, channels, 3, 1, 1, channels, Identity, None);
    p.conv(x, out, 1, 1, 0, 1, a, residual)
}

fn xception(p: &mut Pass, x: Tensor<4>) -> Tensor<2> {
    let x = p.conv(x, 32, 3, 2, 0, 1, Relu, None);
    let mut x = p.conv(x, 64, 3, 1, 0, 1, Relu, None);
    for (i, width) in [128, 256, 728].into_iter().enumerate() {
        let shortcut = p.conv(x.clone(), width, 1, 2, 0, 1, Identity, None);
        if i > 0 {
            x = p.timed(|| "relu".into(), 0.0, || kiln_kernels::activate(x, Relu));
        }
        let y = separable(p, x, width, Relu, None);
        let y = separable(p, y, width, Identity, None);
        let y = p.max(y, 3, 2, 1, false);
        x = p.timed(|| "add".into(), 0.0, || kiln_kernels::add(y, shortcut, Identity));
    }
    for _ in 0..8 {
        let y = p.timed(|| "relu".into(), 0.0, || kiln_kernels::activate(x.clone(), Relu));
        let y = separable(p, y, 728, Relu, None);
        let y = separable(p, y, 728, Relu, None);
        x = separable(p, y, 728, Identity, Some(x));
    }
    let shortcut = p.conv(x.clone(), 1024, 1, 2, 0, 1, Identity, None);
    let y = p.timed(|| "relu".into(), 0.0, || kiln_kernels::activate(x, Relu));
    let y = separable(p, y, 728, Relu, None);
    let y = separable(p, y, 1024, Identity, None);
    let y = p.max(y, 3, 2, 1, false);
    let x = p.timed(|| "add".into(), 0.0, || kiln_kernels::add(y, shortcut, Identity));
    let x = separable(p, x, 1536, Relu, None);
    let x = separable(p, x, 2048, Relu, None);
    let x = p.global(x);
    p.dense(flat(x), 1000, Identity)
}

fn forward(name: &str, p: &mut Pass, x: Tensor<4>) -> Tensor<2> {
    p.next = 0;
    match name {
        "resnet18" => resnet(p, x, [2, 2, 2, 2], false, false),
        "resnet50" => resnet(p, x, [3, 4, 6, 3], true, false),
        "se-resnet50" => resnet(p, x, [3, 4, 6, 3], true, true),
        "vgg16" => vgg(p, x),
        "googlenet" => googlenet(p, x),
        "alexnet" => alexnet(p, x),
        "xception" => xception(p, x),
        _ => panic!("no network is called `{name}`"),
    }
}

const NETS: [&str; 7] =
    ["resnet18", "resnet50", "se-resnet50", "vgg16", "googlenet", "alexnet", "xception"];

fn main() {
    let (mut layers, mut cpu, mut train, mut runs, mut names, mut batches) =
        (false, false, false, 9, Vec::new(), vec![1, 8]);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|n| n.parse().ok()).expect("a number");
        match argument.as_str() {
            "--layers" => layers = true,
            "--cpu" => cpu = true,
            "--train" => train = true,
            "--exact" => kiln_kernels::set_exact(true),
            "--plain" => kiln_kernels::set_plain(true),
            "--runs" => runs = number(),
            "--batch" => batches = vec![number()],
            _ => names.push(argument),
        }
    }
    if names.is_empty() {
        names = NETS.map(String::from).to_vec();
    }
    let device = if train { Device::flex().autodiff() } else { Device::flex() };
    println!(
        "{}, {} threads",
        kiln_kernels::Path::best().name(),
        std::thread::available_parallelism().map_or(1, usize::from)
    );
    for name in &names {
        let mut p = Pass {
            device: device.clone(),
            layers: vec![],
            next: 0,
            times: BTreeMap::new(),
            profile: false,
            cpu,
            train,
            norm: !matches!(name.as_str(), "vgg16" | "alexnet"),
        };
        for &batch in &batches {
            let size = if name == "xception" { 299 } else { 224 };
            let x: Tensor<4> =
                Tensor::random([batch, 3, size, size], Distribution::Default, &device);
            let mut times: Vec<f64> = Vec::new();
            let mut best: BTreeMap<usize, (String, f64, f64)> = BTreeMap::new();
            for run in 0..=runs {
                p.times.clear();
                p.profile = layers;
                let start = now(cpu);
                let y = forward(name, &mut p, x.clone());
                let loss = y.square().mean();
                if train {
                    let grads = loss.clone().backward();
                    let gradient =
                        p.layers[0].weight.grad(&grads).expect("the first layer has a gradient");
                    assert!(gradient.sum().into_scalar::<f32>().is_finite());
                }
                let sum = if train { 0.0 } else { loss.into_scalar::<f32>() };
                let ms = now(cpu) - start;
                assert!(sum.is_finite());
                if run == 0 {
                    continue;
                }
                times.push(ms);
                for (id, (name, ms, flops)) in &p.times {
                    let entry = best.entry(*id).or_insert((name.clone(), f64::INFINITY, *flops));
                    entry.1 = entry.1.min(*ms);
                }
            }
            times.sort_by(f64::total_cmp);
            println!(
                "{name:12} batch {batch}: median {:.1} ms, least {:.1}, most {:.1}",
                times[times.len() / 2],
                times[0],
                times[times.len() - 1]
            );
            let mut total = 0.0;
            for (name, ms, flops) in best.values() {
                println!("  {ms:8.3} ms {:6.0} GFLOP/s  {name}", flops / ms / 1e6);
                total += ms;
            }
            if layers {
                println!("  {total:8.3} ms, the layers' least together");
            }
        }
    }
}
