//! One training step of LeNet-5 on one backend, with every number of it in a file.
//!
//! ```text
//! backends [BACKEND [START OUT]]
//! ```
//!
//! `cargo xtask backends` builds this once per backend and compares the files. START holds the weights to begin with;
//! the first program to come makes it, because each backend draws its own random numbers. OUT gets the loss, the
//! scores, the gradient of each parameter and its value after the step. Without files the loss is printed and no more.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use kiln::burn::module::{ModuleVisitor, Param};
use kiln::burn::optim::{GradientsParams, SgdConfig};
use kiln::burn::tensor::{Gradients, TensorData};
use kiln::models::weights::{load_exact, save, write_tensors};
use kiln::models::{Architecture, initialize, parameters};
use kiln::prelude::*;

/// Images of the step. A software GPU driver takes seconds for each.
const BATCH: usize = 8;
const CLASSES: usize = 10;
const LEARNING_RATE: f64 = 0.1;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let backend = arguments.first().map_or("flex", String::as_str);
    let device = device(backend)?.autodiff();
    device.seed(1998);

    let mut network = Zoo.build("lenet5", &Options::new(), &device)?;
    initialize(&network);
    if let Some(start) = arguments.get(1).map(Path::new) {
        if !start.exists() {
            save(&network, start)?;
        }
        network = load_exact(network, start, &[])?;
    }

    let (scores, loss) =
        network.loss(images(&device), targets(&device).into(), &Objective::default());
    let mut numbers = BTreeMap::new();
    numbers.insert("loss".to_owned(), loss.clone().into_data());
    numbers.insert("scores".to_owned(), scores.into_data());
    println!("{backend}: loss {:.6}", loss.clone().into_scalar::<f32>());

    let gradients = loss.backward();
    collect(&network, "gradient", &mut numbers, Some(&gradients));
    let gradients = GradientsParams::from_grads(gradients, &network);
    let network = SgdConfig::new().init().step(LEARNING_RATE, network, gradients);
    collect(&network, "weight", &mut numbers, None);

    match arguments.get(2) {
        Some(out) => Ok(write_tensors(Path::new(out), numbers)?),
        None => Ok(()),
    }
}

/// The device of a backend that this program was built with.
fn device(backend: &str) -> Result<Device, String> {
    match backend {
        #[cfg(feature = "flex")]
        "flex" => Ok(Device::flex()),
        #[cfg(feature = "ndarray")]
        "ndarray" => {
            #[expect(
                deprecated,
                reason = "burn drops it in its next version; until then kiln's users have it"
            )]
            let device = Device::ndarray();
            Ok(device)
        }
        #[cfg(feature = "wgpu")]
        "wgpu" => Ok(Device::wgpu(DeviceKind::DefaultDevice)),
        #[cfg(feature = "vulkan")]
        "vulkan" => Ok(Device::vulkan(DeviceKind::DefaultDevice)),
        #[cfg(feature = "metal")]
        "metal" => Ok(Device::metal(DeviceKind::DefaultDevice)),
        #[cfg(feature = "cuda")]
        "cuda" => Ok(Device::cuda(0)),
        other => Err(format!("not built with the backend {other}; build with --features {other}")),
    }
}

/// `[BATCH, 1, 28, 28]`: made of sines of a different pitch per image, the same on every machine.
fn images(device: &Device) -> Tensor<4> {
    let pixels = 28 * 28;
    let value = |index: usize| {
        let (image, pixel) = (index / pixels, index % pixels);
        ((pixel * (image + 3)) as f32 * 0.05).sin()
    };
    let values: Vec<f32> = (0..BATCH * pixels).map(value).collect();
    Tensor::from_data(TensorData::new(values, [BATCH, 1, 28, 28]), device)
}

/// `[BATCH]`: the classes in turn.
fn targets(device: &Device) -> Tensor<1, Int> {
    let classes: Vec<i64> = (0..BATCH).map(|image| (image % CLASSES) as i64).collect();
    Tensor::from_data(TensorData::new(classes, [BATCH]), device)
}

/// Puts the gradient of every parameter, or its value, under `kind.path`.
fn collect(
    network: &Architecture,
    kind: &str,
    numbers: &mut BTreeMap<String, TensorData>,
    gradients: Option<&Gradients>,
) {
    struct Values<'a>(Vec<TensorData>, Option<&'a Gradients>);

    impl ModuleVisitor for Values<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let value = match self.1 {
                // A parameter without a gradient shows as zeros, which no other backend will match.
                Some(gradients) => {
                    param.grad(gradients).unwrap_or_else(|| param.val().inner().zeros_like())
                }
                None => param.val().inner(),
            };
            // Copied at once: what wgpu gave of a gradient has been seen to change, while it was held, to
            // what the optimizer's step made of that gradient.
            let data = value.into_data();
            let numbers: Vec<f32> = data.iter().collect();
            self.0.push(TensorData::new(numbers, data.shape().clone()));
        }
    }

    let mut values = Values(Vec::new(), gradients);
    network.visit(&mut values);
    let paths =
        parameters(network).into_iter().map(|parameter| format!("{kind}.{}", parameter.path));
    numbers.extend(paths.zip(values.0));
}
