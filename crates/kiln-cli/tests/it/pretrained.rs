//! `--weights pretrained`, from a server that means no good.

use std::fs;
use std::path::Path;

use kiln_testkit::server::{Server, refuse, send};
use serde_json::Value;

use crate::{digits, kiln, text};

const FILE: &str = "resnet18-f37072fd.pth";

/// What `kiln predict resnet18 --weights pretrained` says when it gets the weights from `address`.
fn error(cache: &Path, address: &str) -> Value {
    let image = digits().join("test/0");
    let output = kiln(["predict", "resnet18", text(&image), "--weights", "pretrained", "--json"])
        .env("KILN_CACHE", cache)
        .env("KILN_WEIGHTS_URL", address)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn message(object: &Value) -> &str {
    object["error"].as_str().unwrap()
}

#[test]
fn a_server_without_the_file_is_named_with_its_answer() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(|_, _, stream| refuse(stream, "404 Not Found"));
    let object = error(cache.path(), &server.address);
    let url = format!("{}{FILE}", server.address);
    assert_eq!(message(&object), format!("cannot download {FILE}: {url}: HTTP status 404"));
    assert_eq!(server.asked(), [0]);
}

#[test]
fn a_file_with_another_hash_is_not_used_wherever_it_comes_from() {
    let cache = tempfile::tempdir().unwrap();
    let weights = cache.path().join("weights");
    fs::create_dir(&weights).unwrap();
    fs::write(weights.join(FILE), "no weights").unwrap();
    let server = Server::start(|_, _, stream| send(stream, &[7; 5000], 0, usize::MAX));
    let object = error(cache.path(), &server.address);
    assert!(message(&object).ends_with("f37072fd… expected"), "{object}");
    assert_eq!(server.asked(), [0], "what was in the cache was checked");
}

#[test]
fn an_interrupted_download_goes_on_where_it_stopped_even_in_the_next_call() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(|_, from, stream| send(stream, &[7; 4000], from, 500));
    let object = error(cache.path(), &server.address);
    assert!(message(&object).contains("after 1500 "), "{object}");
    error(cache.path(), &server.address);
    assert_eq!(server.asked(), [0, 500, 1000, 1500, 2000, 2500]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_with_a_remedy() {
    let cache = tempfile::tempdir().unwrap();
    let weights = cache.path().join("weights");
    fs::create_dir(&weights).unwrap();
    std::os::unix::fs::symlink("/dev/full", weights.join(format!(".{FILE}.part"))).unwrap();
    let server = Server::start(|_, from, stream| send(stream, &[7; 5000], from, usize::MAX));
    let object = error(cache.path(), &server.address);
    assert!(message(&object).starts_with("no space left for "), "{object}");
    assert!(object["hint"].as_str().unwrap().contains("KILN_CACHE"), "{object}");
}
