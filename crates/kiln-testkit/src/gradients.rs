//! Gradients against finite differences.

use burn::module::{ModuleMapper, ModuleVisitor, Param};
use burn::prelude::*;
use burn::tensor::Gradients;

use crate::noise;

/// Half the distance between the two points of a central difference. In f32, rounding and
/// curvature both stay below a thousandth for functions of order one.
const STEP: f32 = 1e-2;
/// Elements of each tensor that are checked, spread evenly.
const SAMPLES: usize = 24;
/// Differences of single-precision numbers tell gradients apart down to here.
const SMALLEST: f64 = 0.02;
/// Allowed error, as a part of the largest gradient of the tensor.
const TOLERANCE: f64 = 1e-2;

/// Checks autodiff's gradients of `forward` with respect to `input` and to every float parameter
/// of `module`, both on an autodiff device, against central differences.
///
/// `forward` must be smooth near `input` and free of randomness. The scalar that is differentiated
/// is the sum of the output, weighted by fixed noise so that no gradient cancels.
///
/// # Panics
///
/// Panics, naming tensor and element, where the two disagree or a gradient is missing.
#[track_caller]
pub fn assert_gradients<M: Module, const D: usize, const E: usize>(
    module: &M,
    input: Tensor<D>,
    forward: impl Fn(&M, Tensor<D>) -> Tensor<E>,
) {
    let input = input.require_grad();
    let output = forward(module, input.clone());
    let weights = noise::<E>(output.dims(), 17, &output.device());
    let gradients = (output * weights.clone()).sum().backward();
    let weights = values(&weights);
    // Summed in f64: the differences below are small beside the sum itself.
    let scalar = |module: &M, input: Tensor<D>| -> f64 {
        let output = values(&forward(module, input));
        output.iter().zip(&weights).map(|(y, w)| f64::from(*y) * f64::from(*w)).sum()
    };

    let of_input = input.grad(&gradients).expect("the input has a gradient");
    compare("input", &values(&of_input), |element, step| {
        scalar(module, nudged(&input.clone().detach(), element, step))
    });

    let mut of_parameters = Collect { gradients: &gradients, found: Vec::new() };
    module.visit(&mut of_parameters);
    for (parameter, gradient) in of_parameters.found.iter().enumerate() {
        let Some(gradient) = gradient else { continue };
        compare(&format!("parameter {parameter}"), gradient, |element, step| {
            let moved = module.clone().map(&mut Nudge { parameter, element, step, seen: 0 });
            scalar(&moved, input.clone().detach())
        });
    }
}

#[track_caller]
fn compare(name: &str, analytic: &[f32], value: impl Fn(usize, f32) -> f64) {
    let stride = analytic.len().div_ceil(SAMPLES).max(1);
    let numeric: Vec<(usize, f64)> = (0..analytic.len())
        .step_by(stride)
        .map(|element| {
            let difference = value(element, STEP) - value(element, -STEP);
            (element, difference / f64::from(2.0 * STEP))
        })
        .collect();
    // Relative to the tensor's own gradients, so that small ones are checked as well.
    let scale = numeric.iter().fold(SMALLEST, |scale, (_, gradient)| scale.max(gradient.abs()));
    for (element, numeric) in numeric {
        let error = (numeric - f64::from(analytic[element])).abs();
        // Written so that a NaN fails.
        let close = error <= TOLERANCE * scale;
        let analytic = analytic[element];
        assert!(close, "{name}, element {element}: autodiff {analytic}, differences {numeric}");
    }
}

/// The gradient of every parameter in module order; `None` where it does not require one.
struct Collect<'a> {
    gradients: &'a Gradients,
    found: Vec<Option<Vec<f32>>>,
}

impl ModuleVisitor for Collect<'_> {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        let gradient = parameter.is_require_grad().then(|| {
            let gradient = parameter.grad(self.gradients);
            values(&gradient.unwrap_or_else(|| panic!("no gradient for {:?}", parameter.shape())))
        });
        self.found.push(gradient);
    }
}

/// Moves one element of one parameter, counted in module order.
struct Nudge {
    parameter: usize,
    element: usize,
    step: f32,
    seen: usize,
}

impl ModuleMapper for Nudge {
    fn map_float<const D: usize>(&mut self, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.seen += 1;
        if self.seen != self.parameter + 1 {
            return parameter;
        }
        parameter.map(|tensor| nudged(&tensor.detach(), self.element, self.step).require_grad())
    }
}

fn nudged<const D: usize>(tensor: &Tensor<D>, element: usize, step: f32) -> Tensor<D> {
    let (shape, device) = (tensor.dims(), tensor.device());
    let mut values = values(tensor);
    values[element] += step;
    Tensor::from_data(TensorData::new(values, shape), &device)
}

fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    tensor.to_data().iter::<f32>().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{device, nothing};
    use burn::nn::LinearConfig;

    #[test]
    fn right_gradients_pass() {
        let device = device().autodiff();
        let linear = LinearConfig::new(3, 2).init(&device);

        assert_gradients(&linear, noise([4, 3], 1, &device), |linear, x| linear.forward(x).tanh());
    }

    #[test]
    #[should_panic(expected = "input, element 0")]
    fn a_wrong_gradient_is_found() {
        let device = device().autodiff();

        // The detached factor is missing from autodiff's gradient.
        assert_gradients(&nothing(), noise([2, 2], 1, &device), |_, x| x.clone() * x.detach());
    }
}
