//! Tests of published weights, from a server on the loopback device.

use super::*;
use crate::{Silent, Subject};
use kiln_models::{Architecture, Entry, Options, Zoo, weights};
use kiln_testkit::device;

#[test]
fn images_are_prepared_as_the_weights_expect() {
    let preprocess = preprocess(best(&Zoo, "resnet50").unwrap());
    assert_eq!((preprocess.resize, preprocess.height, preprocess.width), (232, 224, 224));
    assert_eq!(preprocess.mean, [0.485, 0.456, 0.406]);
    preprocess.check().unwrap();
    assert_eq!(kiln_data::info(DATASET).unwrap().classes.len(), 1000);
}

#[test]
fn a_published_file_is_known_by_its_name() {
    let called =
        |model, file: &str| called(&Zoo, model, Path::new(file)).map(|entry| entry.version);
    assert_eq!(called("resnet50", "downloads/resnet50-0676ba61.pth"), Some(1));
    assert_eq!(called("resnet50", "resnet50-11ad3fa6.pth"), Some(2));
    assert_eq!(called("resnet50", "mine.pth"), None);
    assert_eq!(called("resnet18", "resnet50-0676ba61.pth"), None);
}

#[test]
fn a_model_without_published_weights_names_those_that_have_some() {
    let error = Published::fetch(&Zoo, "lenet5", &mut Silent).unwrap_err();
    let message = error.to_string();
    assert!(error.is_wrong_use() && message.contains("`lenet5`"), "{message}");
    assert!(message.contains("resnet50") && !message.contains("xception"), "{message}");
}

/// Somebody's own networks, one of which has the name of a published one.
struct Mine;

impl Registry for Mine {
    type Network = Architecture;

    fn entries(&self) -> &[Entry] {
        Zoo.entries()
    }

    fn defaults(&self, name: &str) -> Result<Options, kiln_models::Error> {
        Zoo.defaults(name)
    }

    fn build(
        &self,
        name: &str,
        options: &Options,
        device: &burn::prelude::Device,
    ) -> Result<Architecture, kiln_models::Error> {
        Zoo.build(name, options, device)
    }
}

#[test]
fn another_registrys_network_has_no_published_weights_for_its_name() {
    let error = Published::fetch(&Mine, "resnet50", &mut Silent).unwrap_err();
    assert!(matches!(error, Error::NotPublished { ref known, .. } if known.is_empty()), "{error}");
    let file = Path::new("resnet50-0676ba61.pth");
    assert!(called(&Mine, "resnet50", file).is_none() && called(&Zoo, "resnet50", file).is_some());
    let weights = Weights::File(file.to_owned());
    assert!(weights.published(&Mine, "resnet50").is_none());
}

#[cfg(feature = "fetch")]
mod download {
    use std::fs;
    use std::sync::Arc;

    use kiln_testkit::server::{Server, refuse, send};
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::Event;

    /// A LeNet-5 as PyTorch writes it, and an entry that publishes it.
    fn published() -> (Vec<u8>, &'static Pretrained) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lenet5.pth");
        let defaults = Zoo.defaults("lenet5").unwrap();
        let network = Zoo.build("lenet5", &defaults, &device()).unwrap();
        weights::export(&network, &file, Zoo.keys("lenet5", &Default::default()).unwrap()).unwrap();
        let bytes = fs::read(file).unwrap();
        let hash = Sha256::digest(&bytes);
        let start: String = hash[..4].iter().map(|byte| format!("{byte:02x}")).collect();
        let name = format!("lenet5-{start}.pth").leak();
        let entry = Pretrained { model: "lenet5", file: name, ..*best(&Zoo, "resnet18").unwrap() };
        (bytes, Box::leak(Box::new(entry)))
    }

    /// What was noted, and the bytes that were there of how many.
    #[derive(Default)]
    struct Log(Vec<String>, Vec<(u64, u64)>);

    impl Observer for Log {
        fn event(&mut self, event: Event<'_>) {
            match event {
                Event::Note(note) => self.0.push(note.to_owned()),
                Event::Fetching { have, total, .. } => self.1.push((have, total)),
                _ => {}
            }
        }
    }

    #[test]
    fn cut_at_half_it_is_resumed_checked_kept_and_read() {
        let (bytes, entry) = published();
        let content = Arc::new(bytes);
        let served = Arc::clone(&content);
        let server = Server::start(move |number, from, stream| {
            let count = if number == 0 { served.len() / 2 } else { usize::MAX };
            send(stream, &served, from, count);
        });
        let cache = tempfile::tempdir().unwrap();
        let get = |log: &mut Log| {
            let address = server.address.trim_end_matches('/').to_owned();
            download_from(address, entry, cache.path(), log).unwrap()
        };

        let mut log = Log::default();
        let file = get(&mut log);
        assert!(fs::read(&file).unwrap() == *content);
        assert_eq!(server.asked(), [0, content.len() / 2]);
        assert!(log.0[0].starts_with("downloading http://127.0.0.1:"), "{:?}", log.0);
        assert_eq!(log.0.len(), 2, "one download, one interruption: {:?}", log.0);
        let total = content.len() as u64;
        assert_eq!((log.1[0], log.1.last().copied()), ((0, total), Some((total, total))));

        let mut silence = Log::default();
        assert_eq!(get(&mut silence), file);
        assert_eq!(server.asked().len(), 2, "the second time nobody is asked");
        assert!(silence.0.is_empty() && silence.1.is_empty());

        let weights = Weights::Published(Published { entry, file: file.clone() });
        let network = Zoo.build("lenet5", &Zoo.defaults("lenet5").unwrap(), &device()).unwrap();
        let read = weights::load_exact(
            network,
            weights.file().unwrap(),
            Zoo.keys("lenet5", &Default::default()).unwrap(),
        );
        let again = cache.path().join("again.pth");
        weights::export(&read.unwrap(), &again, Zoo.keys("lenet5", &Default::default()).unwrap())
            .unwrap();
        assert!(fs::read(again).unwrap() == *content);
    }

    #[test]
    fn what_a_server_does_wrong_is_said_with_the_address() {
        let (_, entry) = published();
        let cache = tempfile::tempdir().unwrap();
        let message = |server: &Server| {
            let address = server.address.clone();
            let error = download_from(address, entry, cache.path(), &mut Silent).unwrap_err();
            assert!(!cache.path().join(entry.file).exists());
            let (message, url) = (error.to_string(), format!("{}{}", server.address, entry.file));
            assert!(message.contains(&url), "{message}");
            message
        };
        let forger = Server::start(|_, _, stream| send(stream, &[7; 9000], 0, usize::MAX));
        let expected = format!("{}… expected", entry.sha256_start());
        assert!(message(&forger).ends_with(&expected));
        let missing = Server::start(|_, _, stream| refuse(stream, "404 Not Found"));
        assert!(message(&missing).ends_with("HTTP status 404"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_ends_it_with_the_remedy() {
        let (bytes, entry) = published();
        let server = Server::start(move |_, from, stream| send(stream, &bytes, from, usize::MAX));
        let cache = tempfile::tempdir().unwrap();
        let part = cache.path().join(format!(".{}.part", entry.file));
        std::os::unix::fs::symlink("/dev/full", part).unwrap();
        let address = server.address.clone();
        let error = download_from(address, entry, cache.path(), &mut Silent).unwrap_err();
        let message = error.to_string();
        assert!(message.starts_with("no space left for "), "{message}");
        assert!(message.contains("; make room"), "{message}");
    }
}

/// Writes `model` with `changes` to its options as PyTorch would, under the name `file`.
fn write(model: &str, changes: &[(&str, serde_json::Value)], file: &Path) {
    let mut options = Zoo.defaults(model).unwrap();
    for (key, value) in changes {
        options.insert((*key).to_owned(), value.clone());
    }
    let network = Zoo.build(model, &options, &device()).unwrap();
    weights::export(&network, file, Zoo.keys(model, &options).unwrap()).unwrap();
}

#[test]
fn published_weights_bring_their_images_and_names() {
    let folder = tempfile::tempdir().unwrap();
    let narrow = [("width", serde_json::Value::from(8))];
    let load = |name: &str| {
        let file = folder.path().join(name);
        write("resnet18", &narrow, &file);
        let options =
            narrow.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let (name, weights) = ("resnet18".to_owned(), Weights::File(file));
        let (preprocess, class_order) = Default::default();
        Subject::Model { name, options, preprocess, class_order, weights }
            .load(&Zoo, &device())
            .unwrap()
    };
    let published = load("resnet18-f37072fd.pth");
    assert!(published.notes.is_empty(), "nothing is assumed: {:?}", published.notes);
    let published = published.state;
    assert_eq!((published.preprocess.resize, published.preprocess.std[2]), (256, 0.225));
    assert_eq!((published.dataset.as_str(), published.classes.len()), ("imagenet", 1000));
    assert_eq!(published.classes[1], "goldfish");
    // Of others the images of its data set are assumed, and that is told.
    let mine = load("mine.pth");
    assert_eq!(mine.state.preprocess, kiln_data::info("imagenet").unwrap().preprocess);
    assert!(mine.notes[0].contains("--set preprocess.mean"), "{:?}", mine.notes);
}
