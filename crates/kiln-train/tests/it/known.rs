//! Which weights kiln takes for somebody else's.

use std::path::Path;

use burn::prelude::*;
use kiln_models::{Architecture, Options, Registry, Zoo, weights};
use kiln_train::{ClassOrder, Ready, Subject, Weights};
use serde_json::json;

/// A network `name` with the weights of `file`.
fn load(
    name: &str,
    file: &Path,
    options: &Options,
    order: Option<ClassOrder>,
) -> Ready<Architecture> {
    let subject = Subject::Model {
        name: name.to_owned(),
        options: options.clone(),
        preprocess: Options::new(),
        class_order: order,
        weights: Weights::File(file.to_owned()),
    };
    subject.load(&Zoo, &Device::default()).unwrap()
}

#[test]
fn what_kiln_wrote_is_nobodys_else_and_what_is_called_darknet_has_darknets_classes() {
    let folder = tempfile::tempdir().unwrap();
    let [own, foreign, theirs] =
        ["darknet19.safetensors", "mine.safetensors", "darknet_19.safetensors"]
            .map(|name| folder.path().join(name));
    // Two narrow stages: the order is of the classes, whatever comes before them.
    let options = json!({ "stages": [[4], [8]] }).as_object().unwrap().clone();
    let network = Zoo.build("darknet19", &options, &Device::default()).unwrap();
    weights::save(&network, &own).unwrap();
    for file in [&foreign, &theirs] {
        weights::export(&network, file, Zoo.keys("darknet19", &options).unwrap()).unwrap();
    }
    let of = |file, order| load("darknet19", file, &options, order);
    let imagenet = kiln_data::info("imagenet").unwrap();
    let told =
        |ready: &Ready<_>| ready.notes.iter().any(|note| note.contains("class_order=dataset"));

    let ready = of(&own, None);
    assert_eq!((&ready.state.classes, told(&ready)), (&imagenet.classes, false));
    assert_eq!(ready.state.preprocess.mean, imagenet.preprocess.mean, "as kiln trains");
    let ready = of(&foreign, None);
    assert_eq!((&ready.state.classes, told(&ready)), (&imagenet.classes, false));
    assert_eq!(ready.state.preprocess.mean, [0.0; 3], "as darknet trains");
    let ready = of(&theirs, None);
    assert_eq!((&*ready.state.classes[0], told(&ready)), ("kit fox", true));
    let ready = of(&theirs, Some(ClassOrder::Dataset));
    assert_eq!((&ready.state.classes, told(&ready)), (&imagenet.classes, false));
    assert_eq!(of(&own, Some(ClassOrder::Darknet)).state.classes[0], "kit fox");
}

#[test]
fn digits_of_kilns_own_lenet_caffe_are_not_caffes() {
    let folder = tempfile::tempdir().unwrap();
    let [own, foreign] =
        ["own.safetensors", "foreign.safetensors"].map(|name| folder.path().join(name));
    let options = Zoo.defaults("lenet-caffe").unwrap();
    let network = Zoo.build("lenet-caffe", &options, &Device::default()).unwrap();
    weights::save(&network, &own).unwrap();
    weights::export(&network, &foreign, Zoo.keys("lenet-caffe", &options).unwrap()).unwrap();

    let mean = |file| load("lenet-caffe", file, &options, None).state.preprocess.mean;

    assert_eq!(mean(&foreign), [0.0]);
    assert_ne!(mean(&own), [0.0]);
}
