//! One program on two backends: the same training step, wherever this build can compute.
//!
//! ```text
//! cargo run --release --example two_backends --features ndarray
//! cargo run --release --example two_backends --features wgpu
//! ```
//!
//! No signature names a backend: a tensor computes where its device is, and features choose which
//! devices exist.

use kiln::burn::optim::{GradientsParams, SgdConfig};
use kiln::models::weights;
use kiln::prelude::*;

/// Every device of this build.
fn devices() -> Vec<(&'static str, Device)> {
    vec![
        #[cfg(feature = "flex")]
        ("flex", Device::flex()),
        #[cfg(feature = "ndarray")]
        ("ndarray", {
            #[allow(deprecated)] // burn will drop ndarray; here it is the second opinion
            Device::ndarray()
        }),
        #[cfg(feature = "wgpu")]
        ("wgpu", Device::wgpu(DeviceKind::DefaultDevice)),
        #[cfg(feature = "cuda")]
        ("cuda", Device::cuda(0)),
    ]
}

/// The scores of a batch after one step of training on it, from the same weights everywhere.
fn step(weights: &[u8], device: &Device) -> Result<Vec<f32>, Box<dyn std::error::Error>> {
    let device = device.clone().autodiff();
    let network = Zoo.build("lenet5", &Zoo.defaults("lenet5")?, &device)?;
    let network = weights::from_bytes(network, weights.to_vec(), "the first network".as_ref())?;

    let values: Vec<f32> = (0..4 * 784).map(|at| (at as f32 * 0.37).sin()).collect();
    let images = Tensor::<4>::from_data(TensorData::new(values, [4, 1, 28, 28]), &device);
    let labels = Tensor::<1, Int>::from_data([3, 1, 4, 1], &device);
    let (_, loss) = network.loss(images.clone(), labels.into(), &Objective::default());
    let gradients = GradientsParams::from_grads(loss.backward(), &network);
    let network = SgdConfig::new().init().step(0.1, network, gradients);

    Ok(network.forward(images).into_data().try_to_vec()?)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let devices = devices();
    let (first, device) = devices.first().ok_or("build with a backend: --features flex")?;
    let network = Zoo.build("lenet5", &Zoo.defaults("lenet5")?, device)?;
    let weights = weights::to_bytes(&network);

    let expected = step(&weights, device)?;
    let scale = expected.iter().fold(0f32, |scale, score| scale.max(score.abs()));
    println!("{first}: first score {:.6}", expected[0]);
    for (name, device) in &devices[1..] {
        let scores = step(&weights, device)?;
        let far = expected.iter().zip(&scores).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        println!("{name}: first score {:.6}, at most {:.1e} of {first}'s", scores[0], far / scale);
    }
    if devices.len() == 1 {
        println!("add a second backend, such as --features ndarray, to compare");
    }
    Ok(())
}
