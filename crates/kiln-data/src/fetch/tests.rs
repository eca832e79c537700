//! Tests of downloads, from a server on the loopback device.

use super::part::sha256;
use super::*;
use crate::idx::tests::gzip;
use kiln_testkit::server::{Server, refuse, send};
use std::fs;
use std::io::Write;

fn content() -> Vec<u8> {
    (0..300_000_u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect()
}

fn remote(content: &[u8]) -> Remote {
    let sha256 = sha256(content).unwrap();
    Remote {
        name: "digits.bin".into(),
        bytes: Some(content.len() as u64),
        sha256,
        content_sha256: None,
    }
}

fn get(mirrors: &[&str], remote: &Remote, folder: &Path) -> (Result<(), String>, Vec<String>) {
    let mirrors: Vec<String> = mirrors.iter().map(ToString::to_string).collect();
    let mut events = Vec::new();
    let result =
        download(&mirrors, std::slice::from_ref(remote), folder, &mut |event| match event {
            Progress::Present { .. } => events.push("present".into()),
            Progress::Started { have, total, .. } => {
                events.push(format!("started {have}/{total}"));
            }
            Progress::Received { .. } => {}
            Progress::Failed { reason, .. } => events.push(format!("failed: {reason}")),
            Progress::Done { .. } => events.push("done".into()),
        });
    (result.map_err(|error| error.to_string()), events)
}

#[test]
fn a_whole_file_arrives_once_and_is_present_then() {
    let body = content();
    let server = Server::start(move |_, from, stream| send(stream, &content(), from, usize::MAX));
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("below/digits.bin");

    let below = folder.path().join("below");
    let (result, events) = get(&[&server.address], &remote(&body), &below);
    assert_eq!((result, events), (Ok(()), vec!["started 0/300000".into(), "done".into()]));
    assert!(fs::read(&target).unwrap() == body);
    assert_eq!(get(&[&server.address], &remote(&body), &below).1, ["present"]);
    assert_eq!(fs::read_dir(below).unwrap().count(), 1, "nothing else is left");
}

#[test]
fn a_connection_cut_at_half_is_resumed_there() {
    let server = Server::start(|number, from, stream| {
        send(stream, &content(), from, if number == 0 { 150_000 } else { usize::MAX });
    });
    let folder = tempfile::tempdir().unwrap();
    let (result, events) = get(&[&server.address], &remote(&content()), folder.path());
    assert_eq!(result, Ok(()));
    assert_eq!(server.asked(), [0, 150_000]);
    assert_eq!(events[2], "started 150000/300000");
    assert!(fs::read(folder.path().join("digits.bin")).unwrap() == content());
}

#[test]
fn a_later_run_goes_on_where_an_earlier_one_stopped() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".digits.bin.part"), &content()[..100_000]).unwrap();
    let server = Server::start(|_, from, stream| send(stream, &content(), from, usize::MAX));
    assert_eq!(get(&[&server.address], &remote(&content()), folder.path()).0, Ok(()));
    assert_eq!(server.asked(), [100_000]);
}

#[test]
fn the_beginning_of_another_file_is_thrown_away() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".digits.bin.part"), [9; 5000]).unwrap();
    let server = Server::start(|_, from, stream| send(stream, &content(), from, usize::MAX));
    assert_eq!(get(&[&server.address], &remote(&content()), folder.path()).0, Ok(()));
    assert_eq!(server.asked(), [5000, 0]);
}

#[test]
fn a_server_without_ranges_starts_again() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".digits.bin.part"), [9; 5000]).unwrap();
    let server = Server::start(|_, _, stream| send(stream, &content(), 0, usize::MAX));
    assert_eq!(get(&[&server.address], &remote(&content()), folder.path()).0, Ok(()));
}

#[test]
fn a_complete_part_is_only_checked() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".digits.bin.part"), content()).unwrap();
    let server = Server::start(|_, _, stream| refuse(stream, "416 Range Not Satisfiable"));
    assert_eq!(get(&[&server.address], &remote(&content()), folder.path()).0, Ok(()));
}

#[test]
fn a_wrong_hash_is_refused_and_another_address_tried() {
    let forger = Server::start(|_, _, stream| send(stream, &[7; 300_000], 0, usize::MAX));
    let folder = tempfile::tempdir().unwrap();
    let (result, _) = get(&[&forger.address], &remote(&content()), folder.path());
    let message = result.unwrap_err();
    assert!(message.starts_with("cannot download digits.bin: http://127.0.0.1"), "{message}");
    assert!(message.contains("its SHA-256 is ") && message.contains(" expected"), "{message}");
    assert!(!folder.path().join("digits.bin").exists());
    assert_eq!(forger.asked(), [0]);

    let honest = Server::start(|_, from, stream| send(stream, &content(), from, usize::MAX));
    let mirrors = [forger.address.as_str(), &honest.address];
    assert_eq!(get(&mirrors, &remote(&content()), folder.path()).0, Ok(()));
}

#[test]
fn a_missing_file_is_reported_and_not_asked_for_again() {
    let server = Server::start(|_, _, stream| refuse(stream, "404 Not Found"));
    let folder = tempfile::tempdir().unwrap();
    let message = get(&[&server.address], &remote(&content()), folder.path()).0.unwrap_err();
    assert!(message.ends_with("digits.bin: HTTP status 404"), "{message}");
    assert_eq!(server.asked(), [0]);
}

#[test]
fn a_busy_server_is_asked_again_and_an_endless_body_is_not_swallowed() {
    let busy = Server::start(|number, from, stream| match number {
        0 => refuse(stream, "503 Service Unavailable"),
        _ => send(stream, &content(), from, usize::MAX),
    });
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(get(&[&busy.address], &remote(&content()), folder.path()).0, Ok(()));

    let endless = Server::start(|_, _, stream| {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\nConnection: close\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
    });
    let folder = tempfile::tempdir().unwrap();
    let message = get(&[&endless.address], &remote(&content()), folder.path()).0.unwrap_err();
    assert!(message.ends_with("99999999999 bytes are offered, 300000 expected"), "{message}");
}

#[test]
fn a_recompressed_copy_with_the_right_content_is_right() {
    let zipped = gzip(&content());
    let remote = Remote {
        sha256: "0".repeat(64),
        content_sha256: Some(sha256(&content()[..]).unwrap()),
        ..remote(&zipped)
    };
    let server =
        Server::start(move |_, from, stream| send(stream, &gzip(&content()), from, usize::MAX));
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(get(&[&server.address], &remote, folder.path()).0, Ok(()));
}

#[test]
fn two_downloads_of_one_file_do_not_mix() {
    let folder = tempfile::tempdir().unwrap();
    let content = content();
    let remote = remote(&content);
    let _first = Part::open(folder.path(), &remote).unwrap();
    let message = get(&[], &remote, folder.path()).0.unwrap_err();
    assert!(message.ends_with("another program is downloading it to the same folder"), "{message}");
}

#[test]
fn the_cache_folder_follows_the_environment() {
    let root = |pairs: &'static [(&str, &str)]| {
        cache_root(|key| pairs.iter().find(|(name, _)| *name == key).map(|(_, value)| value.into()))
    };
    assert_eq!(root(&[("KILN_CACHE", "/k"), ("HOME", "/h")]), Some("/k".into()));
    assert_eq!(root(&[]), None);
    if cfg!(target_os = "linux") {
        assert_eq!(root(&[("HOME", "/h")]), Some("/h/.cache/kiln".into()));
        assert_eq!(root(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]), Some("/x/kiln".into()));
    }
}

#[test]
fn a_file_of_which_only_the_beginning_of_the_hash_is_known_is_told_by_it() {
    let server = Server::start(|number, from, stream| {
        send(stream, &content(), from, if number == 0 { 150_000 } else { usize::MAX });
    });
    let folder = tempfile::tempdir().unwrap();
    let addresses = [server.address.clone()];
    let whole = sha256(&content()[..]).unwrap();
    let get = |start: &str| {
        let mut totals = Vec::new();
        let path = fetch_file(&addresses, "a.pth", start, folder.path(), &mut |event| {
            if let Progress::Started { have, total, .. } = event {
                totals.push((have, total));
            }
        });
        (path.map_err(|error| error.to_string()), totals)
    };

    let (path, totals) = get(&whole[..8].to_uppercase());
    assert_eq!(path, Ok(folder.path().join("a.pth")));
    assert_eq!(totals, [(0, 300_000), (150_000, 300_000)]);
    assert_eq!(get(&whole[..8]).1, [], "it is there");
    assert_eq!(server.asked(), [0, 150_000]);

    let (path, _) = get("00000000");
    let message = path.unwrap_err();
    assert!(message.ends_with(&format!("its SHA-256 is {whole}, 00000000… expected")), "{message}");
    assert!(get("0000000").0.unwrap_err().starts_with("sha256: "));
}

#[test]
fn a_body_without_a_length_ends_with_its_connection() {
    let server = Server::start(|_, _, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").unwrap();
        stream.write_all(&content()).unwrap();
    });
    let folder = tempfile::tempdir().unwrap();
    let whole = sha256(&content()[..]).unwrap();
    fetch_file(&[server.address], "a.pth", &whole, folder.path(), &mut |_| ()).unwrap();
}

#[test]
fn a_set_that_nobody_may_copy_is_not_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let error = fetch("imagenet", Some(folder.path()), &mut |_| ()).unwrap_err();
    assert!(error.is_wrong_use() && error.to_string().contains("see https://"), "{error}");
}

/// What is written to `/dev/full` meets a full disk.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said_to_be_full() {
    let server = Server::start(|_, from, stream| send(stream, &content(), from, usize::MAX));
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/dev/full", folder.path().join(".digits.bin.part")).unwrap();
    let message = get(&[&server.address], &remote(&content()), folder.path()).0.unwrap_err();
    assert!(message.starts_with("no space left for "), "{message}");
    assert!(message.contains("KILN_CACHE") && message.contains(".digits.bin.part"), "{message}");
}

#[test]
fn what_fails_for_good_is_one_error_and_leaves_nothing_empty_behind() {
    let folder = tempfile::tempdir().unwrap();
    let below = folder.path().join("below");
    // Nobody listens at the discard port.
    let (result, events) = get(&["http://127.0.0.1:9/"], &remote(&content()), &below);
    assert!(result.unwrap_err().contains("127.0.0.1:9/digits.bin: "));
    assert_eq!(events, [""; 0]);
    assert!(!below.exists());

    let cut = Server::start(|_, from, stream| send(stream, &content(), from, 1000));
    get(&[&cut.address], &remote(&content()), &below).0.unwrap_err();
    let kept = fs::metadata(below.join(".digits.bin.part")).unwrap().len();
    assert!(kept > 0, "what has arrived is kept");
}

#[test]
fn a_failure_is_told_once_when_another_address_does_better() {
    let folder = tempfile::tempdir().unwrap();
    let honest = Server::start(|_, from, stream| send(stream, &content(), from, usize::MAX));
    let mirrors = ["http://127.0.0.1:9/", honest.address.as_str()];
    let (result, events) = get(&mirrors, &remote(&content()), folder.path());
    assert_eq!(result, Ok(()));
    assert_eq!(events.len(), 3, "{events:?}");
    assert!(events[0].starts_with("failed: ") && events[1] == "started 0/300000", "{events:?}");
}
