//! Where a forward pass spends its time: the table of `kiln bench --layers`.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use kiln::burn::tensor::{Device, Tensor};
use kiln::kernels;
use kiln::layers::trace::Layer;
use kiln::models::{Classifier, trace};
use serde_json::{Value, json};

use super::{WARM_UP, median, milliseconds, noise};
use crate::numbers::shape;
use crate::table::{Side, Table};

/// Side of the square matrices whose product counts as the machine's peak, and how often it is tried.
const SIDE: usize = 768;
const TRIES: usize = 40;

/// One layer and its median time for a batch.
pub struct LayerTime {
    name: String,
    layer: Layer,
    time: Duration,
    batch: usize,
}

impl LayerTime {
    /// Billions of floating-point operations a second, two for each multiply-add of the definition.
    fn speed(&self) -> Option<f64> {
        let operations = 2.0 * self.layer.macs as f64 * self.batch as f64;
        let seconds = self.time.as_secs_f64();
        (operations > 0.0 && seconds > 0.0).then(|| operations / seconds / 1e9)
    }

    /// `3×3/2 64→128`, with the groups if there are several.
    fn window(&self) -> String {
        let Some(window) = self.layer.window else { return String::new() };
        let stride = match window.stride {
            [1, 1] => String::new(),
            [down, right] if down == right => format!("/{down}"),
            [down, right] => format!("/{down}×{right}"),
        };
        let groups = if window.groups > 1 { format!(" g{}", window.groups) } else { String::new() };
        let outputs = self.layer.output.first().copied().unwrap_or_default();
        format!("{}{stride} {}→{outputs}{groups}", shape(&window.kernel), window.channels)
    }

    fn algorithm(&self) -> Option<&'static str> {
        self.layer.ran.map(kernels::Ran::name)
    }

    /// For `--json`.
    pub fn json(&self, peak: f64) -> Value {
        let speed = self.speed();
        json!({
            "name": self.name,
            "kind": self.layer.kind,
            "window": self.layer.window.map(|window| json!({
                "kernel": window.kernel,
                "stride": window.stride,
                "channels": window.channels,
                "groups": window.groups,
            })),
            "output": self.layer.output,
            "algorithm": self.algorithm(),
            "median_ms": milliseconds(self.time),
            "gflops": speed,
            "of_peak": speed.map(|speed| speed / peak),
        })
    }
}

/// The median time of each layer, from the end of the one before it.
pub fn time_layers<N: Classifier>(network: &N, images: &Tensor<4>, runs: usize) -> Vec<LayerTime> {
    let runs: Vec<Vec<(String, Layer)>> = (0..WARM_UP + runs)
        .map(|_| trace(network, images.clone(), false).1)
        .skip(WARM_UP)
        .collect();
    let first = runs.first().map_or(&[][..], Vec::as_slice);
    let batch = images.dims()[0];
    first
        .iter()
        .enumerate()
        .map(|(at, (name, layer))| {
            let mut times: Vec<Duration> =
                runs.iter().filter_map(|run| Some(run.get(at)?.1.time)).collect();
            LayerTime { name: name.clone(), layer: layer.clone(), time: median(&mut times), batch }
        })
        .collect()
}

/// Billions of floating-point operations a second of a large matrix product on `device`, the best of several.
pub fn peak(device: &Device) -> f64 {
    let square = || noise([1, 1, SIDE, SIDE], device).reshape([SIDE, SIDE]);
    let (x, weight) = (square(), square());
    let once = || {
        let (x, weight) = (x.clone(), weight.clone());
        let start = Instant::now();
        let product = kernels::linear(x, weight, None, kernels::Activation::Identity);
        // Only a device that computes later must be waited for; a copy would count as work.
        let _ = device.sync();
        let time = start.elapsed().as_secs_f64();
        drop(product);
        time
    };
    let least = (0..TRIES).map(|_| once()).fold(f64::INFINITY, f64::min);
    2.0 * (SIDE as f64).powi(3) / least / 1e9
}

/// Writes the table for people.
pub fn write(layers: &[LayerTime], peak: f64, to: &mut dyn Write) -> io::Result<()> {
    let total: f64 = layers.iter().map(|layer| milliseconds(layer.time)).sum();
    let mut table = Table::new(&[
        ("layer", Side::Left),
        ("kind", Side::Left),
        ("window", Side::Left),
        ("output", Side::Right),
        ("ms", Side::Right),
        ("share", Side::Right),
        ("GFLOP/s", Side::Right),
        ("of peak", Side::Right),
        ("algorithm", Side::Left),
    ]);
    for layer in layers {
        let time = milliseconds(layer.time);
        let speed = layer.speed();
        table.row([
            layer.name.clone(),
            layer.layer.kind.to_owned(),
            layer.window(),
            shape(&layer.layer.output),
            format!("{time:.3}"),
            format!("{:.1} %", 100.0 * time / total),
            speed.map_or(String::new(), |speed| format!("{speed:.1}")),
            speed.map_or(String::new(), |speed| format!("{:.0} %", 100.0 * speed / peak)),
            layer.algorithm().unwrap_or_default().to_owned(),
        ]);
    }
    let blank = String::new;
    let total = format!("{total:.3}");
    table.total(["total".into(), blank(), blank(), blank(), total]);
    table.write(to)?;
    writeln!(
        to,
        "\npeak: a product of {SIDE}×{SIDE} matrices runs at {peak:.1} GFLOP/s; Winograd computes a \
         convolution in fewer operations than are counted, and may pass it"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln::layers::trace::Window;
    use kiln::prelude::Device;

    #[test]
    fn a_layer_reads_as_its_window_and_its_speed() {
        let map = Tensor::<4>::zeros([2, 128, 4, 4], &Device::default());
        let window = Window { kernel: [3, 3], stride: [2, 2], channels: 64, groups: 4 };
        let layer = Layer::new("conv", &map).with_macs(1_000_000).with_window(window);
        let (name, time) = ("c1".to_owned(), Duration::from_millis(4));
        let layer = LayerTime { name, layer, time, batch: 2 };

        assert_eq!(layer.window(), "3×3/2 64→128 g4");
        assert!((layer.speed().unwrap() - 1.0).abs() < 1e-9);
        let object = layer.json(2.0);
        assert_eq!(object["of_peak"], 0.5);
        assert_eq!(object["window"]["groups"], 4);
        assert!(object["algorithm"].is_null());
    }
}
