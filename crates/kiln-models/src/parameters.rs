//! The parameters of a network: their paths, their groups, and their first values.

use burn::module::{Flag, ModuleVisitor, Param, ParamGroup, ParamId};
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
    walk(model).found
}

/// What of `model` lies at paths that `chosen` accepts: parameters, without running statistics, and
/// the flags by which norms and dropouts know that they are in training.
///
/// [`Module::freeze_group`] takes it: then a norm keeps its statistics and normalizes with them.
pub fn group<M: Module>(model: &M, mut chosen: impl FnMut(&str) -> bool) -> ParamGroup {
    let Paths { found, flags, .. } = walk(model);
    let learned = found.into_iter().filter(|parameter| parameter.trainable);
    let flags = flags.into_iter().map(|flag| (flag.id, flag.path));
    let all = learned.map(|parameter| (parameter.id, parameter.path)).chain(flags);
    ParamGroup::from_ids(all.filter(|(_, path)| chosen(path)).map(|(id, _)| id).collect())
}

/// The flags by which those batch norms of `model` at paths that `chosen` accepts know that they are in training.
///
/// [`Module::freeze_group`] takes it: then such a norm keeps its statistics and normalizes with them, while its scale and
/// shift learn on. `None` where there is no such norm.
pub fn norm_flags<M: Module>(
    model: &M,
    mut chosen: impl FnMut(&str) -> bool,
) -> Option<ParamGroup> {
    let flags = walk(model).flags.into_iter();
    let norms = flags.filter(|flag| flag.of_norm && chosen(&flag.path));
    let ids: Vec<ParamId> = norms.map(|flag| flag.id).collect();
    (!ids.is_empty()).then(|| ParamGroup::from_ids(ids))
}

/// Whether `path` is `start` or lies below it: `stages.1.0` lies below `stages.1`, `stages.10` does
/// not.
pub fn is_below(path: &str, start: &str) -> bool {
    path.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// What a module is walked through for.
#[derive(Default)]
struct Paths {
    path: Vec<String>,
    found: Vec<Parameter>,
    flags: Vec<Mode>,
    /// Whether what is visited now lies in a batch norm.
    in_norm: bool,
}

/// A flag by which a module knows that it is in training.
struct Mode {
    id: ParamId,
    path: String,
    of_norm: bool,
}

impl ModuleVisitor for Paths {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.in_norm = container == "Struct:BatchNorm";
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

    fn visit_flag(&mut self, flag: &Param<Flag>) {
        self.flags.push(Mode { id: flag.id, path: self.path.join("."), of_norm: self.in_norm });
    }
}

fn is_variant(container: &str) -> bool {
    container.starts_with("Enum:")
}

fn walk<M: Module>(model: &M) -> Paths {
    let mut paths = Paths::default();
    model.visit(&mut paths);
    paths
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

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_layers::{ConvBlock, ConvBlockConfig};
    use kiln_testkit::{device, noise};

    #[test]
    fn a_path_lies_below_whole_segments_only() {
        assert!(is_below("stages.1.0.conv", "stages.1") && is_below("stages.1", "stages.1"));
        assert!(!is_below("stages.10.conv", "stages.1") && !is_below("stages", "stages.1"));
    }

    #[test]
    fn a_frozen_norm_keeps_its_statistics_and_normalizes_with_them() {
        let training = device().autodiff();
        let block = ConvBlockConfig::new([2, 3], 3).init(&training);
        let x = noise([4, 2, 6, 6], 1, &training) + 3.0;
        block.forward(x.clone()); // gives it statistics of its own
        let block = block.valid().train();
        let before = crate::weights::to_bytes(&block);
        let all = group(&block, |_| true);

        let frozen = block.clone().freeze_group(all.clone());
        let y = frozen.forward(x.clone());

        assert!(crate::weights::to_bytes(&frozen) == before);
        kiln_testkit::assert_close(y.inner(), frozen.valid().forward(x.clone().inner()));
        let thawed: ConvBlock = frozen.unfreeze_group(all);
        thawed.forward(x);
        assert!(crate::weights::to_bytes(&thawed) != before, "it learns again");
    }
}
