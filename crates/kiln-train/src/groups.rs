//! Groups of parameters that are frozen for a while or learn at a rate of their own, and the stages
//! of a run that follow from them.
//!
//! Transfer learning is made of them: the backbone frozen throughout; the head first and then all,
//! the backbone at a smaller rate; or no group at all.

use std::fmt;

use burn::lr_scheduler::module_lr_scheduler::{ModuleLearningRate, ModuleLrScheduler};
use burn::module::{Module, ParamGroup};
use kiln_models::{
    Classifier, Parameter, did_you_mean, group, is_below, nearest, norm_flags, options, parameters,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::recipe::{MOST_EPOCHS, within};
use crate::{Error, Recipe};

/// A larger factor on the learning rate is a slip of the finger.
const LARGEST_FACTOR: f64 = 1000.0;

/// What a [`Group`] may match besides the beginning of a path.
const BACKBONE: &str = "backbone";
const HEAD: &str = "head";

/// Parameters that are treated alike. Where several groups match a parameter, the last one has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// `head`, what lies behind the network's last feature map; `backbone`, all the rest; or the
    /// beginning of parameter paths, such as `stages.0`.
    #[serde(rename = "match")]
    pub matches: String,
    /// Factor on the learning rate.
    pub rate_factor: f64,
    /// Whether the group is frozen throughout: it doesn't learn, is not decayed, drops nothing, and
    /// its norms keep their statistics and normalize with them.
    pub frozen: bool,
    /// Epochs, from the first, for which the group is frozen.
    pub frozen_epochs: usize,
    /// Whether its batch norms keep their statistics and normalize with them throughout, also where the group learns.
    /// Their scale and shift learn with the rest, as those of a norm in PyTorch's `eval()` do: a scale can only be right
    /// for the weights before it. Small batches, whose own statistics are poor, want this.
    pub freeze_norms: bool,
}

/// Epochs in which the same parameters learn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// First epoch, from 1.
    pub first: usize,
    /// Last epoch.
    pub last: usize,
    /// Numbers that learn.
    pub learning: usize,
    /// Numbers that would, were nothing frozen.
    pub parameters: usize,
    /// What the frozen groups match.
    pub frozen: Vec<String>,
    /// What those groups match that learn while their norms keep their statistics.
    pub fixed_norms: Vec<String>,
}

/// The groups of a recipe, found in a network.
#[derive(Clone, Debug)]
pub(crate) struct Groups {
    found: Vec<Found>,
    /// Numbers that learn where nothing is frozen.
    parameters: usize,
    epochs: usize,
}

#[derive(Clone, Debug)]
struct Found {
    matches: String,
    group: ParamGroup,
    rate_factor: f64,
    /// Epochs, from the first, for which it is frozen; the whole run has no more than that.
    frozen_epochs: usize,
    /// The training flags of its norms, if they keep their statistics throughout.
    norms: Option<ParamGroup>,
    /// Numbers that learn where it is not frozen.
    parameters: usize,
}

impl Default for Group {
    fn default() -> Self {
        Group {
            matches: String::new(),
            rate_factor: 1.0,
            frozen: false,
            frozen_epochs: 0,
            freeze_norms: false,
        }
    }
}

impl Group {
    /// Fills in what the tables in `list` leave out.
    ///
    /// # Errors
    ///
    /// Names a key that no group has, or a value of another type.
    pub(crate) fn complete(list: &mut Value) -> Result<(), String> {
        let Value::Array(tables) = list else {
            return Err(format!("`groups` takes an array of tables, not {list}"));
        };
        for (index, table) in tables.iter_mut().enumerate() {
            let mut whole = serde_json::to_value(Group::default()).map_err(|e| e.to_string())?;
            options::overlay(&mut whole, table.take())
                .map_err(|error| format!("groups[{index}]: {error}"))?;
            *table = whole;
        }
        Ok(())
    }

    /// Says which value cannot be used, if one cannot.
    pub(crate) fn check(&self) -> Result<(), String> {
        let Group { matches, rate_factor, frozen, frozen_epochs, freeze_norms: _ } = self;
        if matches.is_empty() {
            return Err(format!(
                "a group needs the key `match`: `{BACKBONE}`, `{HEAD}` or the beginning of a path"
            ));
        }
        within(&format!("rate_factor of group `{matches}`"), *rate_factor, 0.0, LARGEST_FACTOR)?;
        if *frozen_epochs > MOST_EPOCHS {
            return Err(format!(
                "frozen_epochs of group `{matches}` must lie in [0, {MOST_EPOCHS}], found {frozen_epochs}"
            ));
        }
        if *frozen && *frozen_epochs > 0 {
            return Err(format!(
                "group `{matches}` is frozen throughout and for {frozen_epochs} epochs; \
                 set frozen or frozen_epochs, not both"
            ));
        }
        Ok(())
    }
}

impl Groups {
    /// The groups of `recipe` in `network`.
    ///
    /// # Errors
    ///
    /// As [`find`](Self::find), with the recipe's model.
    pub(crate) fn of<C: Classifier>(recipe: &Recipe, network: &C) -> Result<Groups, Error> {
        Groups::find(network, &recipe.groups, recipe.epochs)
            .map_err(|reason| Error::recipe(format!("for {}", recipe.model), reason))
    }

    /// Finds `groups` in `network` for a run of `epochs` epochs.
    ///
    /// # Errors
    ///
    /// Names a group that matches nothing and the nearest path, or a stage in which nothing learns.
    fn find<C: Classifier>(network: &C, groups: &[Group], epochs: usize) -> Result<Groups, String> {
        let head = network.head_paths();
        let matches = |group: &Group, path: &str| match group.matches.as_str() {
            HEAD => head.iter().any(|start| is_below(path, start)),
            BACKBONE => !head.iter().any(|start| is_below(path, start)),
            start => is_below(path, start),
        };
        let owner = |path: &str| groups.iter().rposition(|group| matches(group, path));

        let mut learned = parameters(network);
        learned.retain(|parameter| parameter.trainable);
        if let Some(none) =
            groups.iter().find(|group| !learned.iter().any(|p| matches(group, &p.path)))
        {
            return Err(unmatched(&none.matches, &learned));
        }

        if let Some(none) = groups
            .iter()
            .find(|of| of.freeze_norms && norm_flags(network, |path| matches(of, path)).is_none())
        {
            let matches = &none.matches;
            return Err(format!(
                "group `{matches}` has freeze_norms and no batch norm; leave it out"
            ));
        }

        let found = groups.iter().enumerate().map(|(index, of)| Found {
            matches: of.matches.clone(),
            group: group(network, |path| owner(path) == Some(index)),
            rate_factor: of.rate_factor,
            frozen_epochs: if of.frozen { epochs } else { of.frozen_epochs.min(epochs) },
            norms: of
                .freeze_norms
                .then(|| norm_flags(network, |path| owner(path) == Some(index)))
                .flatten(),
            parameters: count(learned.iter().filter(|p| owner(&p.path) == Some(index))),
        });
        let groups = Groups { found: found.collect(), parameters: count(learned.iter()), epochs };
        match groups.stages().into_iter().find(|stage| stage.learning == 0) {
            Some(Stage { first, last, .. }) => Err(format!(
                "nothing learns in epochs {first} to {last}: every parameter is frozen; \
                 take a group away, or let the head learn"
            )),
            None => Ok(groups),
        }
    }

    /// The stages of the run, in order.
    pub(crate) fn stages(&self) -> Vec<Stage> {
        let mut starts: Vec<usize> = self.found.iter().map(|found| found.frozen_epochs).collect();
        starts.push(0);
        starts.retain(|&start| start < self.epochs);
        starts.sort_unstable();
        starts.dedup();
        let ends = starts.iter().copied().skip(1).chain([self.epochs]);
        starts
            .iter()
            .zip(ends)
            .map(|(&start, last)| {
                let (frozen, thawed): (Vec<_>, Vec<_>) =
                    self.found.iter().partition(|found| found.frozen_epochs > start);
                let fixed = thawed.into_iter().filter(|found| found.norms.is_some());
                let still: usize = frozen.iter().map(|found| found.parameters).sum();
                Stage {
                    first: start + 1,
                    last,
                    learning: self.parameters - still,
                    parameters: self.parameters,
                    frozen: frozen.into_iter().map(|found| found.matches.clone()).collect(),
                    fixed_norms: fixed.map(|found| found.matches.clone()).collect(),
                }
            })
            .collect()
    }

    /// The stage that epoch `epoch`, from 0, belongs to.
    pub(crate) fn stage(&self, epoch: usize) -> Option<Stage> {
        self.stages().into_iter().find(|stage| (stage.first..=stage.last).contains(&(epoch + 1)))
    }

    /// The paths of those of `all` that learn in epoch `epoch`, from 0, and of those that are frozen then; running
    /// statistics are neither.
    pub(crate) fn parted<'a>(
        &self,
        all: &'a [Parameter],
        epoch: usize,
    ) -> (Vec<&'a str>, Vec<&'a str>) {
        let held: Vec<_> = self.found.iter().filter(|found| epoch < found.frozen_epochs).collect();
        let is_held = |it: &Parameter| held.iter().any(|f| f.group.matches(&it.id, Some(&it.path)));
        let trainable = all.iter().filter(|parameter| parameter.trainable);
        let (frozen, learning): (Vec<_>, Vec<_>) = trainable.partition(|it| is_held(it));
        let paths = |of: Vec<&'a Parameter>| of.into_iter().map(|it| it.path.as_str()).collect();
        (paths(learning), paths(frozen))
    }

    /// `network` with frozen what is frozen in epoch `epoch`, from 0.
    pub(crate) fn freeze<C: Classifier>(&self, network: C, epoch: usize) -> C {
        let held = self.found.iter().filter(|found| found.frozen_epochs > 0);
        let network = held.fold(network, |network, found| {
            let group = found.group.clone();
            if epoch < found.frozen_epochs {
                network.freeze_group(group)
            } else {
                network.unfreeze_group(group)
            }
        });
        let norms = self.found.iter().filter_map(|found| found.norms.clone());
        norms.fold(network, Module::freeze_group)
    }

    /// The learning rate of every parameter where the recipe's is `rate`.
    pub(crate) fn rates(&self, rate: f64) -> ModuleLearningRate {
        let own = self.found.iter().filter(|found| found.rate_factor != 1.0);
        own.fold(ModuleLrScheduler::new(rate), |rates, found| {
            rates.with_group(found.group.clone(), rate * found.rate_factor)
        })
        .step()
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stage { first, last, learning, parameters, frozen, fixed_norms } = self;
        match last - first {
            0 => write!(f, "epoch {first}: ")?,
            _ => write!(f, "epochs {first} to {last}: ")?,
        }
        let number = |number: usize| kiln_viz::units::count(number as u64);
        if frozen.is_empty() {
            write!(f, "all {} parameters learn", number(*parameters))?;
        } else {
            let (learning, parameters) = (number(*learning), number(*parameters));
            write!(
                f,
                "{learning} of {parameters} parameters learn; frozen: {}",
                frozen.join(", ")
            )?;
        }
        match fixed_norms.is_empty() {
            true => Ok(()),
            false => write!(f, "; norms keep their statistics: {}", fixed_norms.join(", ")),
        }
    }
}

fn count<'a>(parameters: impl Iterator<Item = &'a Parameter>) -> usize {
    parameters.map(|parameter| parameter.shape.iter().product::<usize>()).sum()
}

/// Why nothing is at `wanted`.
fn unmatched(wanted: &str, learned: &[Parameter]) -> String {
    let mut starts = vec![BACKBONE, HEAD];
    for Parameter { path, .. } in learned {
        let ends = path.match_indices('.').map(|(end, _)| end).chain([path.len()]);
        starts.extend(ends.map(|end| &path[..end]));
    }
    let near = did_you_mean(nearest(wanted, starts));
    format!("group `{wanted}` matches no parameter of the network{near}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_models::{Architecture, Registry, Zoo};
    use serde_json::json;

    fn network() -> Architecture {
        let options = json!({ "stages": [[4], [6, 3, 6], [8]], "num_classes": 5 });
        Zoo.build("darknet-tiny", options.as_object().unwrap(), &kiln_testkit::device()).unwrap()
    }

    fn of(matches: &str) -> Group {
        Group { matches: matches.to_owned(), ..Group::default() }
    }

    fn frozen(matches: &str, frozen_epochs: usize) -> Group {
        Group { frozen_epochs, ..of(matches) }
    }

    fn stages(groups: &[Group]) -> Vec<String> {
        let groups = Groups::find(&network(), groups, 9).unwrap();
        groups.stages().iter().map(Stage::to_string).collect()
    }

    #[test]
    fn without_groups_there_is_one_stage_in_which_all_learns() {
        assert_eq!(stages(&[]), ["epochs 1 to 9: all 1,035 parameters learn"]);
        assert_eq!(stages(&[of("backbone")]), stages(&[]));
    }

    #[test]
    fn a_stage_ends_where_a_group_thaws() {
        assert_eq!(
            stages(&[frozen("backbone", 3)]),
            [
                "epochs 1 to 3: 45 of 1,035 parameters learn; frozen: backbone",
                "epochs 4 to 9: all 1,035 parameters learn",
            ]
        );
        let throughout = Group { frozen: true, ..of("backbone") };
        assert_eq!(
            stages(&[throughout]),
            ["epochs 1 to 9: 45 of 1,035 parameters learn; frozen: backbone"]
        );
        assert_eq!(stages(&[frozen("convs.0", 1), frozen("convs.1", 8)]).len(), 3);
        assert_eq!(stages(&[frozen("convs.0", 20)]).len(), 1);
    }

    #[test]
    fn norms_that_keep_their_statistics_are_told_of_once_the_rest_learns() {
        let group = Group { freeze_norms: true, ..frozen("backbone", 3) };
        assert_eq!(
            stages(std::slice::from_ref(&group)),
            [
                "epochs 1 to 3: 45 of 1,035 parameters learn; frozen: backbone",
                "epochs 4 to 9: all 1,035 parameters learn; norms keep their statistics: backbone",
            ]
        );
        let message = Groups::find(&network(), &[Group { matches: "head".into(), ..group }], 9);
        assert!(message.unwrap_err().contains("freeze_norms and no batch norm"));
    }

    #[test]
    fn the_last_group_that_matches_has_a_parameter() {
        let learning = |groups: &[Group]| {
            Groups::find(&network(), groups, 9).unwrap().stage(0).unwrap().learning
        };
        let first = 3 * 9 * 4 + 2 * 4;

        assert_eq!(learning(&[frozen("backbone", 9)]), 45);
        assert_eq!(learning(&[frozen("backbone", 9), of("convs.0")]), 45 + first);
        assert_eq!(learning(&[of("convs.0"), frozen("backbone", 9)]), 45);
    }

    #[test]
    fn every_parameter_has_the_rate_of_its_group() {
        let network = network();
        let slow = Group { rate_factor: 0.1, ..of("backbone") };
        let rates = Groups::find(&network, &[slow], 9).unwrap().rates(0.5);

        for Parameter { id, path, .. } in parameters(&network) {
            let expected = if path.starts_with("convs") { 0.05 } else { 0.5 };
            let learns = !path.contains("running");
            assert!(!learns || rates.lr_from_param(id, None) == expected, "{path}");
        }
    }

    #[test]
    fn a_group_that_matches_nothing_names_the_nearest_path() {
        let refused = |groups: &[Group]| Groups::find(&network(), groups, 9).unwrap_err();

        let message = refused(&[of("convs.0.con")]);
        assert!(message.contains("did you mean `convs.0.conv`?"), "{message}");
        let message = refused(&[of("backbones")]);
        assert!(message.contains("did you mean `backbone`?"), "{message}");
        let message = refused(&[of("convs.1.conv.weigh")]);
        assert!(message.contains("did you mean `convs.1.conv.weight`?"), "{message}");
    }

    #[test]
    fn a_stage_in_which_nothing_learns_is_refused() {
        let groups = [frozen("backbone", 2), frozen("head", 4)];
        let message = Groups::find(&network(), &groups, 9).unwrap_err();
        assert!(message.contains("nothing learns in epochs 1 to 2"), "{message}");
    }
}
