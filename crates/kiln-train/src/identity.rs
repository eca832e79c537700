//! Parameters known by their path, so that optimizer state survives the process that made it, and
//! the random numbers of a run.

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::prelude::*;
use kiln_models::parameters;
use sha2::{Digest, Sha256};

/// `module` with every parameter identified by a hash of its path.
///
/// burn draws identifiers at random and keys optimizer state by them; a foreign identifier is
/// skipped without a word. Initializes every parameter, in module order.
pub(crate) fn by_path<M: Module>(module: M) -> M {
    struct Rename(HashMap<ParamId, ParamId>);

    impl ModuleMapper for Rename {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let (id, tensor, mapper) = param.consume();
            let id = self.0.get(&id).copied().unwrap_or(id);
            Param::from_mapped_value(id, tensor, mapper)
        }
    }

    let names = parameters(&module)
        .into_iter()
        .map(|parameter| (parameter.id, ParamId::from(hash(&parameter.path))))
        .collect();
    module.map(&mut Rename(names))
}

/// The path of a parameter of `module` that holds a NaN or an infinity.
pub(crate) fn not_finite<M: Module>(module: &M) -> Option<String> {
    struct Find(Vec<ParamId>);

    impl ModuleVisitor for Find {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let values = param.val().into_data().convert::<f32>();
            let finite =
                values.as_slice::<f32>().is_ok_and(|all| all.iter().all(|x| x.is_finite()));
            if !finite {
                self.0.push(param.id);
            }
        }
    }

    let mut found = Find(Vec::new());
    module.visit(&mut found);
    let id = found.0.first()?;
    parameters(module).into_iter().find(|parameter| parameter.id == *id).map(|found| found.path)
}

fn hash(path: &str) -> u64 {
    let digest = Sha256::digest(path);
    u64::from_le_bytes(std::array::from_fn(|i| digest[i]))
}

/// A seed for stream `stream` of a run seeded with `seed` (SplitMix64's finalizer; Steele, Lea,
/// Flood. *Fast Splittable Pseudorandom Number Generators.* OOPSLA 2014).
pub(crate) fn mix(seed: u64, stream: u64) -> u64 {
    let mut z = seed.wrapping_add(stream.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_models::{Registry, Zoo, parameters};

    #[test]
    fn two_builds_of_a_network_share_their_parameter_identities() {
        let ids = || {
            let options = Zoo.defaults("lenet5").unwrap();
            let network = Zoo.build("lenet5", &options, &kiln_testkit::device()).unwrap();
            parameters(&by_path(network)).into_iter().map(|p| p.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(), ids());
        let mut unique = ids();
        unique.sort_by_key(ParamId::val);
        unique.dedup();
        assert_eq!(unique.len(), ids().len());
    }

    #[test]
    fn neighbouring_seeds_and_steps_share_no_stream() {
        let mut seeds: Vec<u64> =
            (0..50).flat_map(|seed| (0..50).map(move |step| mix(seed, step))).collect();
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), 2500);
    }
}
