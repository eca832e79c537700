//! Recipes from texts and assignments, and what is said of their mistakes.

use super::*;
use kiln_models::{Classifier, Zoo};

#[test]
fn values_that_depend_on_each_other_change_together() {
    let mut recipe = Recipe::named(&Zoo, "lenet5").unwrap();
    assert!(recipe.set("preprocess.channels=3").is_err());
    let together = ["preprocess.channels=3", "preprocess.mean=[0,0,0]", "preprocess.std=[1,1,1]"];
    recipe.set_all(&together).unwrap();
    assert_eq!(recipe.preprocess.channels, 3);
}

#[test]
fn numbers_are_written_as_people_write_them() {
    let text = Recipe::named(&Zoo, "lenet5").unwrap().to_toml();
    assert!(text.contains("mean = [0.1307]"), "{text}");
}

#[test]
fn every_shipped_recipe_parses_and_survives_its_own_toml() {
    assert!(!recipes().is_empty());
    for (name, text) in recipes() {
        let recipe = Recipe::parse(&Zoo, name, text).unwrap();
        assert_eq!(Recipe::parse(&Zoo, name, &recipe.to_toml()).unwrap(), recipe, "{name}");
        let [_, image @ ..] = recipe.input(1);
        let network = Zoo.build(&recipe.model, &recipe.options, &kiln_testkit::device());
        network.unwrap().check_input(image).unwrap();
    }
}

#[test]
fn images_are_normalized_as_their_data_set_says() {
    let of = |text: &str| Recipe::parse(&Zoo, "mine", text).unwrap().preprocess;
    let resnet = Recipe::defaults(&Zoo, "resnet50").unwrap().preprocess;
    assert_eq!(resnet, info("imagenet").unwrap().preprocess);
    assert_eq!(Recipe::defaults(&Zoo, "resnet20").unwrap().preprocess.mean[0], 0.4914);
    // As much is cut off at the border of larger images.
    assert_eq!(Recipe::defaults(&Zoo, "xception").unwrap().preprocess.resize, 342);

    // A recipe's own data set and image count, not the usual ones of its model.
    let own = of("model = \"resnet20\"\ndataset = \"mnist\"\n[preprocess]\nchannels = 1");
    assert_eq!((own.mean, own.std), (vec![0.1307], vec![0.3081]));
    let own = of("model = \"resnet50\"\n[preprocess]\nheight = 112\nwidth = 112");
    assert_eq!(own.resize, 128);
    // Where there are none for such images, values lie between -1 and 1.
    let own = of("model = \"resnet50\"\n[preprocess]\nchannels = 1");
    assert_eq!((own.mean, own.std, own.resize), (vec![0.5], vec![0.5], 0));
    assert!(Recipe::parse(&Zoo, "m", "model = \"cnn\"\n[preprocess]\nchannels = 9").is_err());

    // The paper's ink and paper; colours as the weights learned them.
    let own = |name: &str| name == "lenet5-1998-mnist" || name.starts_with("darknet-tiny-clothing");
    for (name, text) in recipes().iter().filter(|(name, _)| !own(name)) {
        let Recipe { dataset, preprocess, .. } = Recipe::parse(&Zoo, name, text).unwrap();
        let Preprocess { mean, std, resize, .. } = info(&dataset).unwrap().preprocess;
        assert_eq!((preprocess.mean, preprocess.std, preprocess.resize), (mean, std, resize));
    }
}

#[test]
fn another_data_set_brings_its_normalization_and_another_size_its_margin() {
    let mut recipe = Recipe::named(&Zoo, "lenet5").unwrap();
    recipe.take("fashion-mnist");
    assert_eq!((recipe.dataset.as_str(), recipe.preprocess.mean[0]), ("fashion-mnist", 0.2860));
    // Not where the recipe has its own, or the images are of another kind.
    recipe.set("preprocess.mean=[0.5]").unwrap();
    recipe.take("mnist");
    assert_eq!(recipe.preprocess.mean, [0.5]);
    let mut recipe = Recipe::named(&Zoo, "lenet5").unwrap();
    recipe.take("folders");
    assert_eq!(recipe.preprocess.mean, [0.1307]);

    let mut recipe = Recipe::defaults(&Zoo, "resnet50").unwrap();
    recipe.set_all(&["preprocess.height=448", "preprocess.width=448"]).unwrap();
    assert_eq!(recipe.preprocess.resize, 512);
    recipe
        .set_all(&["preprocess.height=224", "preprocess.width=224", "preprocess.resize=0"])
        .unwrap();
    recipe.set_all(&["preprocess.height=448", "preprocess.width=448"]).unwrap();
    assert_eq!(recipe.preprocess.resize, 0);
}

#[test]
fn a_model_name_means_its_default_recipe() {
    let by_model = Recipe::named(&Zoo, "lenet5").unwrap();
    assert_eq!(by_model, Recipe::named(&Zoo, "lenet5-mnist.toml").unwrap());
}

#[test]
fn mistakes_name_the_nearest_known_name() {
    let unknown = Recipe::named(&Zoo, "lenet6").unwrap_err().to_string();
    assert!(unknown.contains("did you mean `lenet5`"), "{unknown}");

    let mut recipe = Recipe::named(&Zoo, "lenet5").unwrap();
    let unknown = recipe.set("optimizer.learning_rat=1").unwrap_err().to_string();
    assert!(unknown.contains("optimizer.learning_rate"), "{unknown}");
}

#[test]
fn an_unknown_name_for_a_value_is_answered_by_key_and_known_names() {
    let mut recipe = Recipe::named(&Zoo, "lenet5").unwrap();
    for (assignment, message) in [
        (
            "optimizer.name=sgdd",
            "`optimizer.name` takes sgd, adam, adamw or rmsprop, not \"sgdd\"; \
             did you mean `sgd`?",
        ),
        (
            "schedule.name=cosin",
            "`schedule.name` takes constant, cosine, step, multi-step, poly, exponential, \
             one-cycle or plateau, not \"cosin\"; did you mean `cosine`?",
        ),
        ("loader.on_error=xyzzy", "`loader.on_error` takes fail or skip, not \"xyzzy\""),
        ("loader.sampling=rare", "`loader.sampling` takes once or balanced, not \"rare\""),
    ] {
        let error = recipe.set(assignment).unwrap_err().to_string();
        assert_eq!(error, format!("recipe --set: {message}"));
    }

    let text = "model = \"lenet5\"\n[schedule]\nname = \"stepp\"";
    let error = Recipe::parse(&Zoo, "own.toml", text).unwrap_err().to_string();
    assert!(error.starts_with("recipe own.toml: `schedule.name` takes"), "{error}");
}

#[test]
fn an_abbreviated_key_is_answered_by_the_whole_one() {
    let mut recipe = Recipe::named(&Zoo, "lenet5").unwrap();
    let error = recipe.set("optimizer.lr=1").unwrap_err().to_string();
    assert!(error.ends_with("; did you mean `optimizer.learning_rate`?"), "{error}");
}

#[test]
fn values_that_cannot_be_used_are_refused_by_name() {
    let mut recipe = Recipe::named(&Zoo, "lenet5").unwrap();
    for (assignment, key) in [
        ("epochs=0", "epochs"),
        ("validation=1.5", "validation"),
        ("optimizer.momentum=1", "optimizer.momentum"),
        ("optimizer.name=sgdd", "optimizer.name"),
        ("seed=-1", "`seed`"),
        ("schedule.warmup_epochs=-1", "schedule.warmup_epochs"),
        ("preprocess.std=[0.0]", "preprocess.std"),
        ("epochs=many", "epochs"),
        ("epochs=99999999999999999999", "epochs"),
        ("seed=18446744073709551615", "seed"),
        ("batch_size=1000000000", "batch_size"),
        ("stop.patience=1000000000", "stop.patience"),
        ("loader.workers=100000", "loader.workers"),
        ("optimizer.learning_rate=-1", "[0, 1000]"),
        ("optimizer.learning_rate=1e300", "1e300"),
        ("optimizer.learning_rate=nan", "optimizer.learning_rate"),
        ("optimizer.weight_decay=1e300", "optimizer.weight_decay"),
        ("optimizer.epsilon=2", "optimizer.epsilon"),
        ("optimizer.betas=[0.9, 1]", "optimizer.betas"),
        ("schedule.warmup_epochs=1e300", "schedule.warmup_epochs"),
        ("schedule.final_fraction=2", "schedule.final_fraction"),
        ("schedule.gamma=1e300", "schedule.gamma"),
        ("schedule.milestones=[-1]", "schedule.milestones"),
        ("augment.shift=1e9", "augment.shift"),
        ("augment.rotate=-1", "augment.rotate"),
        ("augment.scale=1", "augment.scale"),
        ("augment.shear=90", "augment.shear"),
        ("loss.smoothing=1", "loss.smoothing"),
        ("loss.class_weights=[1, 0]", "loss.class_weights"),
        ("loss.aux_weight=-1", "loss.aux_weight"),
        ("accumulate=1000", "accumulate"),
        ("ema.decay=1", "ema.decay"),
        ("optimizer.clip_norm=-1", "optimizer.clip_norm"),
        ("schedule.name=multi-step", "schedule.milestones"),
        ("schedule.step_epochs=0", "schedule.step_epochs"),
        ("fraction=0", "fraction"),
        ("preprocess.height=100000", "preprocess.height"),
        ("preprocess.mean=[1e30]", "preprocess.mean"),
        ("preprocess.std=[1e-30]", "preprocess.std"),
        ("groups=[{\"match\": \"head\", \"rate_factor\": 1e300}]", "rate_factor"),
        ("groups=[{\"match\": \"head\", \"frozen_epochs\": 1000000000}]", "frozen_epochs"),
    ] {
        let before = recipe.clone();
        let error = recipe.set(assignment).unwrap_err().to_string();
        assert!(error.contains(key), "{assignment}: {error}");
        assert!(error.len() < 120, "an error is there to be read: {error}");
        assert_eq!(recipe, before, "a refused value changes nothing");
    }
}

#[test]
fn a_group_is_completed_and_its_mistakes_are_named() {
    let with = |groups: &str| {
        Recipe::parse(&Zoo, "mine", &format!("model = \"lenet5\"\n[[groups]]\n{groups}"))
    };
    let refused = |groups: &str| with(groups).unwrap_err().to_string();

    let recipe = with("match = \"backbone\"\nfrozen_epochs = 3").unwrap();
    let group = Group { matches: "backbone".into(), frozen_epochs: 3, ..Group::default() };
    assert_eq!(recipe.groups, [group]);
    assert_eq!(Recipe::parse(&Zoo, "again", &recipe.to_toml()).unwrap(), recipe);

    let message = refused("match = \"head\"\nfrozen_epoch = 3");
    assert!(message.contains("did you mean `frozen_epochs`?"), "{message}");
    assert!(refused("frozen = true").contains("needs the key `match`"));
    assert!(refused("match = \"head\"\nfrozen = 3").contains("true or false"));
    assert!(refused("match = \"head\"\nrate_factor = -1").contains("rate_factor"));
    assert!(refused("match = \"head\"\nfrozen = true\nfrozen_epochs = 1").contains("not both"));

    let mut changed = recipe;
    changed.set("groups=[{\"match\": \"head\", \"rate_factor\": 10}]").unwrap();
    assert_eq!(changed.groups[0].rate_factor, 10.0);
}

#[test]
fn set_changes_only_its_key() {
    let mut recipe = Recipe::named(&Zoo, "lenet5").unwrap();
    let mut expected = recipe.clone();
    expected.optimizer.learning_rate = 0.25;
    recipe.set("optimizer.learning_rate=0.25").unwrap();
    assert_eq!(recipe, expected);
}
