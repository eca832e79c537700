//! The parameters of a network: their paths, and their first values.

use burn::module::{ModuleVisitor, Param, ParamId};
use burn::prelude::*;

/// One float tensor of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its identity, for optimizers; new in every process.
    pub id: ParamId,
    /// Its path, such as `stages.0.1.branch.0.conv.weight`; the same in every process.
    pub path: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Whether it is learned; running statistics are not. A frozen parameter still counts.
    pub trainable: bool,
}

/// Every float tensor of `model`, in module order. Nothing is initialized.
///
/// The variant of an enum, such as [`Architecture`](crate::Architecture), is no part of a path.
pub fn parameters<M: Module>(model: &M) -> Vec<Parameter> {
    #[derive(Default)]
    struct Paths {
        path: Vec<String>,
        found: Vec<Parameter>,
    }

    impl ModuleVisitor for Paths {
        fn enter_module(&mut self, name: &str, container: &str) {
            if !is_variant(container) {
                self.path.push(name.to_owned());
            }
        }

        fn exit_module(&mut self, _name: &str, container: &str) {
            if !is_variant(container) {
                self.path.pop();
            }
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            // burn's batch norm shows its running statistics as parameters.
            let statistic = self.path.last().is_some_and(|name| name.starts_with("running_"));
            self.found.push(Parameter {
                id: param.id,
                path: self.path.join("."),
                shape: param.lazy_shape().to_vec(),
                trainable: !statistic,
            });
        }
    }

    fn is_variant(container: &str) -> bool {
        container.starts_with("Enum:")
    }

    let mut paths = Paths::default();
    model.visit(&mut paths);
    paths.found
}

/// How many numbers `model` learns; running statistics don't count.
pub fn trainable<M: Module>(model: &M) -> usize {
    let learned = parameters(model).into_iter().filter(|parameter| parameter.trainable);
    learned.map(|parameter| parameter.shape.iter().product::<usize>()).sum()
}

/// Draws the first value of every parameter of `model`, in module order.
///
/// burn draws a value when it is first needed, from a generator shared by the whole process. Call
/// this right after [`Device::seed`] and the values depend on the seed alone.
pub fn initialize<M: Module>(model: &M) {
    struct Touch;
    impl ModuleVisitor for Touch {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let _ = param.val();
        }
    }
    model.visit(&mut Touch);
}
