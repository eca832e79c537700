//! From `--device` to a burn device: what was compiled in, and what answers on this machine.
//!
//! burn panics at the first tensor on a machine without an adapter. So every backend is opened
//! here, before anything depends on it, through the calls that return errors.

use clap::{Args, ValueEnum};
use kiln::burn::tensor::Device;
use serde::Serialize;

use crate::errors::Failure;
#[cfg(any(feature = "flex", feature = "ndarray"))]
use crate::numbers::plural;
use crate::output;

/// Values of `--device`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Choice {
    /// The fastest that answers: GPUs that kiln was built for, then the CPU
    Auto,
    /// The CPU: flex, else ndarray
    Cpu,
    /// The CPU through burn-flex and kiln's kernels
    Flex,
    /// The CPU through burn-ndarray
    Ndarray,
    /// NVIDIA GPUs through CUDA
    Cuda,
    /// Apple GPUs through Metal
    Metal,
    /// GPUs through Vulkan and SPIR-V
    Vulkan,
    /// GPUs through Vulkan, Metal, DirectX 12 or OpenGL, whichever answers
    Wgpu,
}

/// The option `--device` of a verb.
#[derive(Args, Clone, Copy, Debug)]
pub struct On {
    /// Where to compute: auto, cpu, flex, ndarray, cuda, metal, vulkan, wgpu; see `kiln devices`
    #[arg(long, value_name = "NAME", default_value = "auto", hide_possible_values = true)]
    device: Choice,
}

impl On {
    /// Opens the device; see [`open`].
    pub fn open(self) -> Result<Opened, Failure> {
        open(self.device)
    }
}

/// A way to run tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    Cuda,
    Metal,
    Vulkan,
    Wgpu,
    Flex,
    Ndarray,
}

/// A device that answered.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The device, without autodiff.
    pub device: Device,
    /// What runs it.
    pub backend: Backend,
    /// The processor's or the adapter's own name.
    pub adapter: String,
    /// Whether the "GPU" is a program on the CPU, such as Mesa's llvmpipe.
    pub software: bool,
}

impl Opened {
    /// The device in words, for a headline.
    pub fn words(&self) -> String {
        format!("{} ({})", self.backend.name(), self.adapter)
    }
}

impl Backend {
    /// Every backend, in the order `auto` tries them.
    pub const ALL: [Backend; 6] = [
        Backend::Cuda,
        Backend::Metal,
        Backend::Vulkan,
        Backend::Wgpu,
        Backend::Flex,
        Backend::Ndarray,
    ];

    /// Its name on the command line, which is also its cargo feature.
    pub fn name(self) -> &'static str {
        match self {
            Backend::Cuda => "cuda",
            Backend::Metal => "metal",
            Backend::Vulkan => "vulkan",
            Backend::Wgpu => "wgpu",
            Backend::Flex => "flex",
            Backend::Ndarray => "ndarray",
        }
    }

    /// Whether this binary has it.
    pub fn compiled(self) -> bool {
        match self {
            Backend::Cuda => cfg!(feature = "cuda"),
            Backend::Metal => cfg!(feature = "metal"),
            Backend::Vulkan => cfg!(feature = "vulkan"),
            Backend::Wgpu => cfg!(feature = "wgpu"),
            Backend::Flex => cfg!(feature = "flex"),
            Backend::Ndarray => cfg!(feature = "ndarray"),
        }
    }

    /// Whether it runs on the CPU by design.
    pub fn is_cpu(self) -> bool {
        matches!(self, Backend::Flex | Backend::Ndarray)
    }

    /// Opens its default device, or says in one line why it can't. Call it once per backend: an
    /// opened GPU can't be opened again.
    pub fn open(self) -> Result<Opened, String> {
        match self {
            #[cfg(feature = "cuda")]
            Backend::Cuda => gpu::cuda(),
            #[cfg(feature = "metal")]
            Backend::Metal => gpu::wgpu(self, gpu::Api::Metal),
            #[cfg(feature = "vulkan")]
            Backend::Vulkan => gpu::wgpu(self, gpu::Api::Vulkan),
            #[cfg(feature = "wgpu")]
            Backend::Wgpu => gpu::wgpu(self, gpu::Api::Auto),
            #[cfg(feature = "flex")]
            Backend::Flex => Ok(on_cpu(self, Device::flex())),
            #[cfg(feature = "ndarray")]
            Backend::Ndarray => {
                // burn will drop it; kiln's users asked for it as long as it is there.
                #[allow(deprecated)]
                let device = Device::ndarray();
                Ok(on_cpu(self, device))
            }
            #[allow(unreachable_patterns)]
            _ => Err("not compiled in".into()),
        }
    }

    /// What to do where it doesn't answer.
    pub fn remedy(self) -> &'static str {
        match self {
            Backend::Cuda => "install NVIDIA's driver and the CUDA toolkit, or use --device cpu",
            _ if cfg!(target_os = "linux") => {
                "install a Vulkan driver (Debian, Ubuntu, Fedora: mesa-vulkan-drivers; NVIDIA \
                 cards: NVIDIA's own driver), or use --device cpu"
            }
            _ if cfg!(windows) => "install the graphics card maker's driver, or use --device cpu",
            _ => "update the system, which brings the graphics driver, or use --device cpu",
        }
    }
}

/// Opens the device that `choice` asks for.
///
/// # Errors
///
/// With the remedy as a hint, if it isn't compiled in or doesn't answer. `auto` falls back to the
/// CPU with one line on standard error.
pub fn open(choice: Choice) -> Result<Opened, Failure> {
    let backend = match choice {
        Choice::Auto => {
            let (opened, remark) = auto(&mut Backend::open)?;
            remark.iter().for_each(|remark| output::note(remark));
            return Ok(opened);
        }
        Choice::Cpu if !Backend::Flex.compiled() => Backend::Ndarray,
        Choice::Cpu | Choice::Flex => Backend::Flex,
        Choice::Ndarray => Backend::Ndarray,
        Choice::Cuda => Backend::Cuda,
        Choice::Metal => Backend::Metal,
        Choice::Vulkan => Backend::Vulkan,
        Choice::Wgpu => Backend::Wgpu,
    };
    let name = backend.name();
    if choice == Choice::Cpu && !backend.compiled() {
        return Err(Failure::usage("--device cpu: this kiln was built without a CPU backend")
            .hint("build it in with `cargo build --release --features flex`"));
    }
    if !backend.compiled() {
        return Err(Failure::usage(format!("--device {name}: this kiln was built without {name}"))
            .hint(format!(
                "build it in with `cargo build --release --features {name}`; this one has {}",
                compiled_names()
            )));
    }
    backend.open().map_err(|reason| {
        Failure::failed(format!("--device {name}: {reason}")).hint(backend.remedy())
    })
}

/// The device that `auto` takes, and why it isn't a GPU although GPUs are compiled in.
///
/// `open` opens a backend; it is a parameter so that `kiln devices` opens each only once.
pub fn auto(
    open: &mut dyn FnMut(Backend) -> Result<Opened, String>,
) -> Result<(Opened, Option<String>), Failure> {
    let mut refused = Vec::new();
    let mut software = None;
    for backend in Backend::ALL.into_iter().filter(|backend| backend.compiled()) {
        match open(backend) {
            // A rasterizer on the CPU is far slower than a backend made for the CPU.
            Ok(opened) if opened.software => {
                refused.push(format!("{} has only {}", backend.name(), opened.adapter));
                software = software.or(Some(opened));
            }
            Ok(opened) => {
                let remark = (backend.is_cpu() && !refused.is_empty()).then(|| {
                    format!("no GPU: {}; using the CPU ({})", refused.join("; "), backend.name())
                });
                return Ok((opened, remark));
            }
            Err(reason) => refused.push(format!("{}: {reason}", backend.name())),
        }
    }
    match software {
        Some(opened) => Ok((opened, None)),
        None if refused.is_empty() => Err(Failure::failed("this kiln was built without a backend")
            .hint("build it with `cargo build --release --features flex`")),
        None => Err(Failure::failed(format!("no device answers: {}", refused.join("; ")))
            .hint("build the CPU in with `cargo build --release --features flex`")),
    }
}

/// Names of the compiled backends.
pub fn compiled_names() -> String {
    let names = Backend::ALL.iter().filter(|backend| backend.compiled());
    names.map(|backend| backend.name()).collect::<Vec<_>>().join(", ")
}

#[cfg(any(feature = "flex", feature = "ndarray"))]
fn on_cpu(backend: Backend, device: Device) -> Opened {
    let threads = plural(rayon::current_num_threads() as u64, "thread");
    let adapter = format!("{}, {threads}", kiln::train::processor());
    Opened { device, backend, adapter, software: false }
}

#[cfg(any(feature = "cuda", feature = "wgpu"))]
mod gpu {
    //! GPUs. A driver may also panic where it should return an error, so both are caught.

    use std::panic::{self, AssertUnwindSafe};

    use kiln::burn::tensor::Device;

    use super::{Backend, Opened};

    #[cfg(feature = "wgpu")]
    pub use kiln::burn::tensor::wgpu::WgpuBackend as Api;

    #[cfg(feature = "wgpu")]
    pub fn wgpu(backend: Backend, api: Api) -> Result<Opened, String> {
        use kiln::burn::tensor::wgpu::WgpuInitError;
        use kiln::burn::tensor::wgpu::wgpu::DeviceType;

        quietly(|| {
            let (device, setup) = Device::wgpu_options()
                .graphics_api(api)
                .init_with_setup()
                .map_err(|error| match error {
                    WgpuInitError::AdapterUnavailable { message, .. } => first_line(&message),
                    other => first_line(&other.to_string()),
                })?;
            let info = setup.adapter.get_info();
            Ok(Opened {
                device,
                backend,
                adapter: format!("{}, {}", info.name, info.backend),
                software: info.device_type == DeviceType::Cpu,
            })
        })
    }

    #[cfg(feature = "cuda")]
    pub fn cuda() -> Result<Opened, String> {
        use kiln::burn::tensor::DeviceType;

        quietly(|| {
            let devices = Device::enumerate(DeviceType::Cuda).into_vec();
            let device = devices.into_iter().next().ok_or("no NVIDIA driver or no card")?;
            let adapter = device.identity().map_or("GPU".to_owned(), |identity| identity.name);
            Ok(Opened { device, backend: Backend::Cuda, adapter, software: false })
        })
    }

    fn quietly(open: impl FnOnce() -> Result<Opened, String>) -> Result<Opened, String> {
        panic::catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(first_line(text.unwrap_or("the driver gave up")))
        })
    }

    fn first_line(text: &str) -> String {
        text.lines().next().unwrap_or_default().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(backend: Backend, software: bool) -> Opened {
        Opened { device: Device::default(), backend, adapter: "test".into(), software }
    }

    #[cfg(feature = "flex")]
    #[test]
    fn without_gpus_compiled_in_auto_is_the_cpu_without_a_remark() {
        if Backend::ALL.iter().any(|backend| backend.compiled() && !backend.is_cpu()) {
            return;
        }
        let (chosen, remark) = auto(&mut |backend| Ok(opened(backend, false))).unwrap();
        assert_eq!(chosen.backend, Backend::Flex);
        assert_eq!(remark, None);
    }

    #[cfg(all(feature = "wgpu", feature = "flex"))]
    #[test]
    fn a_software_adapter_loses_to_the_cpu_with_a_remark() {
        let (chosen, remark) = auto(&mut |backend| Ok(opened(backend, !backend.is_cpu()))).unwrap();
        assert_eq!(chosen.backend, Backend::Flex);
        assert!(remark.unwrap().contains("using the CPU (flex)"));
    }

    #[test]
    fn when_nothing_answers_every_reason_is_told() {
        let failure = auto(&mut |backend| Err(format!("no {}", backend.name()))).unwrap_err();
        let text = format!("{failure:?}");
        for backend in Backend::ALL.iter().filter(|backend| backend.compiled()) {
            assert!(text.contains(&format!("no {}", backend.name())), "{text}");
        }
    }
}
