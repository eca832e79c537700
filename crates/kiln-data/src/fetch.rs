//! Downloads complete data sets: resumed where they stopped, checked by SHA-256, put in place whole or not at all.
//!
//! A file grows under the name `.NAME.part` in its final folder. What is there is kept after a failure, and the next
//! attempt asks the server for the rest. Only a file whose hash is right gets its name.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};
use ureq::Agent;
use ureq::http::Response;

use crate::manifest::Remote;
use crate::{Error, catalog};

/// What happens during a download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress<'a> {
    /// The file is already there, and right.
    Present {
        /// Its name.
        file: &'a str,
    },
    /// Bytes begin to arrive, or an interrupted download goes on.
    Started {
        /// Its name.
        file: &'a str,
        /// Where it comes from.
        url: &'a str,
        /// Bytes that an earlier attempt left.
        have: u64,
        /// Bytes of the whole file.
        total: u64,
    },
    /// More bytes have arrived.
    Received {
        /// Its name.
        file: &'a str,
        /// Bytes so far.
        have: u64,
        /// Bytes of the whole file.
        total: u64,
    },
    /// An attempt failed; another one, or another address, follows if there is one.
    Failed {
        /// Its name.
        file: &'a str,
        /// Where it should have come from.
        url: &'a str,
        /// Why it did not.
        reason: &'a str,
    },
    /// The file is in its place.
    Done {
        /// Its name.
        file: &'a str,
    },
}

/// Downloads the complete data set `name` into `folder`, or into [`cache_folder`], and returns the folder.
///
/// Files that are there and right stay as they are.
///
/// # Errors
///
/// [`Error::UnknownDataset`]; [`Error::Download`] with what happened at each address; [`Error::Io`] if the folder
/// cannot be written.
pub fn fetch(
    name: &str,
    folder: Option<&Path>,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<PathBuf, Error> {
    let manifest = &catalog::find(name)?.manifest;
    let folder = folder.map_or_else(|| cache_folder(name), |folder| Ok(folder.into()))?;
    download(&manifest.mirrors, &manifest.files, &folder, progress)?;
    Ok(folder)
}

/// Where [`fetch`] puts data set `name` by itself: below `$KILN_CACHE`, or below `kiln` in the user's cache folder
/// (`$XDG_CACHE_HOME` or `~/.cache`; on macOS `~/Library/Caches`; on Windows `%LOCALAPPDATA%`).
///
/// # Errors
///
/// [`Error::Setting`] if the environment names none of them.
pub fn cache_folder(name: &str) -> Result<PathBuf, Error> {
    let root = cache_root(|key| std::env::var_os(key).filter(|value| !value.is_empty()));
    let root = root.ok_or_else(|| {
        Error::setting("KILN_CACHE", "no cache folder is known: set it, or name a folder")
    })?;
    Ok(root.join(name))
}

fn cache_root(env: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let path = |key| env(key).map(PathBuf::from);
    let home = |below: &str| path("HOME").map(|home| home.join(below));
    let users = || {
        if cfg!(windows) {
            path("LOCALAPPDATA")
        } else if cfg!(target_os = "macos") {
            home("Library/Caches")
        } else {
            path("XDG_CACHE_HOME").or_else(|| home(".cache"))
        }
    };
    path("KILN_CACHE").or_else(|| users().map(|cache| cache.join("kiln")))
}

/// Tries at one address before the next one.
const ATTEMPTS: u32 = 3;

fn download(
    mirrors: &[String],
    files: &[Remote],
    folder: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let agent: Agent = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(Duration::from_secs(20)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .timeout_recv_body(Some(Duration::from_secs(1800)))
        .user_agent(concat!("kiln/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    for remote in files {
        let target = folder.join(&remote.name);
        if target.is_file()
            && is_right(&target, remote).map_err(Error::io("read", &target))?.is_ok()
        {
            progress(Progress::Present { file: &remote.name });
        } else {
            Part::open(folder, remote)?.complete(&agent, mirrors, &target, progress)?;
            progress(Progress::Done { file: &remote.name });
        }
    }
    Ok(())
}

/// A file that is being downloaded.
struct Part<'a> {
    remote: &'a Remote,
    path: PathBuf,
    file: File,
}

/// Why an attempt failed.
enum Fault {
    /// The same address may do better.
    Again(String),
    /// Another address may do better.
    Elsewhere(String),
    /// Nothing will do better.
    Fatal(Error),
}

impl<'a> Part<'a> {
    fn open(folder: &Path, remote: &'a Remote) -> Result<Self, Error> {
        let path = folder.join(format!(".{}.part", remote.name));
        let opened =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
        let file = opened.map_err(Error::io("create", &path))?;
        file.try_lock().map_err(|_| Error::Download {
            file: remote.name.clone(),
            reason: "another program is downloading it to the same folder".into(),
        })?;
        Ok(Self { remote, path, file })
    }

    /// Tries every address until the file is at `target`.
    fn complete(
        mut self,
        agent: &Agent,
        mirrors: &[String],
        target: &Path,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(), Error> {
        let name = &self.remote.name;
        let mut reasons = Vec::new();
        for mirror in mirrors {
            let url = format!("{mirror}{name}");
            for attempt in 1..=ATTEMPTS {
                let reason = match self.attempt(agent, &url, progress) {
                    Ok(()) => return self.place(target),
                    Err(Fault::Fatal(error)) => return Err(error),
                    Err(Fault::Elsewhere(reason)) => {
                        progress(Progress::Failed { file: name, url: &url, reason: &reason });
                        reasons.push(format!("{url}: {reason}"));
                        break;
                    }
                    Err(Fault::Again(reason)) => reason,
                };
                progress(Progress::Failed { file: name, url: &url, reason: &reason });
                if attempt == ATTEMPTS {
                    reasons.push(format!("{url}: {reason}"));
                } else {
                    thread::sleep(Duration::from_millis(200) * attempt);
                }
            }
        }
        if reasons.is_empty() {
            reasons.push("no address of it is known".into());
        }
        Err(Error::Download { file: name.clone(), reason: reasons.join("; ") })
    }

    /// Asks `url` for what is missing, and checks the whole.
    fn attempt(
        &mut self,
        agent: &Agent,
        url: &str,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(), Fault> {
        // A recompressed copy may be larger than the published one, but not by much.
        let most = self.remote.bytes.saturating_mul(2).saturating_add(1 << 20);
        let mut have = self.file.seek(SeekFrom::End(0)).map_err(|error| self.fatal(error))?;
        if have > most {
            have = self.restart()?;
        }
        let resumed = have > 0;
        let mut request = agent.get(url).header("Accept-Encoding", "identity");
        if resumed {
            request = request.header("Range", format!("bytes={have}-"));
        }
        let response = request.call().map_err(|error| Fault::Again(error.to_string()))?;

        let total = match response.status().as_u16() {
            200 => {
                have = self.restart()?;
                number(&response, "content-length").unwrap_or(self.remote.bytes)
            }
            206 => match content_range(&response) {
                Some((from, total)) if from == have => total,
                _ => {
                    self.restart()?;
                    return Err(Fault::Again("the server sent another part than asked for".into()));
                }
            },
            // Nothing is missing, or what is there is not the beginning of this file: the hash will tell.
            416 if resumed => return self.check(resumed),
            status @ (408 | 429 | 500..) => {
                return Err(Fault::Again(format!("HTTP status {status}")));
            }
            status => return Err(Fault::Elsewhere(format!("HTTP status {status}"))),
        };
        if total > most {
            return Err(Fault::Elsewhere(format!(
                "{total} bytes are offered, {} expected",
                self.remote.bytes
            )));
        }

        let file = self.remote.name.as_str();
        progress(Progress::Started { file, url, have, total });
        let mut body = response.into_body().into_reader().take(most - have);
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Fault::Again(format!("after {have} bytes: {error}"))),
            };
            self.file.write_all(&buffer[..count]).map_err(|error| self.fatal(error))?;
            have += count as u64;
            progress(Progress::Received { file, have, total });
        }
        if have < total {
            return Err(Fault::Again(format!(
                "the connection ended after {have} of {total} bytes"
            )));
        }
        self.check(resumed)
    }

    /// Checks the hash of the whole; a wrong one is thrown away.
    fn check(&mut self, resumed: bool) -> Result<(), Fault> {
        self.file.sync_all().map_err(|error| self.fatal(error))?;
        let Err(reason) = is_right(&self.path, self.remote).map_err(|error| self.fatal(error))?
        else {
            return Ok(());
        };
        self.restart()?;
        // The beginning may have come from elsewhere: this address deserves a fresh start.
        Err(if resumed { Fault::Again(reason) } else { Fault::Elsewhere(reason) })
    }

    fn restart(&mut self) -> Result<u64, Fault> {
        let restarted = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        restarted.map_err(|error| self.fatal(error))
    }

    fn place(self, target: &Path) -> Result<(), Error> {
        fs::rename(&self.path, target).map_err(Error::io("create", target))?;
        if let Some(folder) = target.parent().filter(|_| cfg!(unix)) {
            // Makes the new name survive a power cut; a folder that cannot be synced is no reason to fail.
            let _ = File::open(folder).and_then(|folder| folder.sync_all());
        }
        Ok(())
    }

    fn fatal(&self, error: io::Error) -> Fault {
        Fault::Fatal(Error::io("write", &self.path)(error))
    }
}

fn number<B>(response: &Response<B>, header: &str) -> Option<u64> {
    response.headers().get(header)?.to_str().ok()?.trim().parse().ok()
}

/// The first byte and the total of `bytes FIRST-LAST/TOTAL`.
fn content_range<B>(response: &Response<B>) -> Option<(u64, u64)> {
    let range = response.headers().get("content-range")?.to_str().ok()?.strip_prefix("bytes ")?;
    let (range, total) = range.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    Some((first.trim().parse().ok()?, total.trim().parse().ok()?))
}

/// Whether the file at `path` has the published hash, itself or in what it holds compressed; else the reason.
fn is_right(path: &Path, remote: &Remote) -> io::Result<Result<(), String>> {
    let found = sha256(File::open(path)?)?;
    if found == remote.sha256 {
        return Ok(Ok(()));
    }
    if let Some(expected) = &remote.content_sha256 {
        let limit = remote.bytes.saturating_mul(1100); // more than DEFLATE can hold
        let content = MultiGzDecoder::new(io::BufReader::new(File::open(path)?)).take(limit);
        if sha256(content).is_ok_and(|found| found == *expected) {
            return Ok(Ok(()));
        }
    }
    Ok(Err(format!("its SHA-256 is {found}, {} expected", remote.sha256)))
}

fn sha256(mut reader: impl Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            Ok(count) => hash.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::idx::tests::gzip;
    use std::io::{BufRead, BufReader};
    use std::net::{TcpListener, TcpStream};
    use std::sync::{Arc, Mutex};

    /// A server on the loopback device that gives each request to `answer`, with the first byte asked for.
    struct Server {
        mirror: String,
        /// The first byte of each request.
        asked: Arc<Mutex<Vec<usize>>>,
    }

    impl Server {
        fn start(answer: impl Fn(usize, usize, &mut TcpStream) + Send + 'static) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mirror = format!("http://{}/", listener.local_addr().unwrap());
            let asked = Arc::new(Mutex::new(Vec::new()));
            let log = Arc::clone(&asked);
            thread::spawn(move || {
                for (number, stream) in listener.incoming().enumerate() {
                    let mut stream = stream.unwrap();
                    let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                    let head: Vec<String> =
                        lines.map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
                    let range = head.iter().find_map(|line| {
                        line.to_lowercase().strip_prefix("range: bytes=").map(String::from)
                    });
                    let from =
                        range.map_or(0, |range| range.trim_end_matches('-').parse().unwrap());
                    log.lock().unwrap().push(from);
                    answer(number, from, &mut stream);
                }
            });
            Self { mirror, asked }
        }

        fn asked(&self) -> Vec<usize> {
            self.asked.lock().unwrap().clone()
        }
    }

    /// Promises the rest of `content` from `from` on, and sends `count` bytes of it.
    fn send(stream: &mut TcpStream, content: &[u8], from: usize, count: usize) {
        let (total, rest) = (content.len(), content.len() - from);
        let status = if from == 0 { "200 OK" } else { "206 Partial Content" };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {rest}\r\nContent-Range: bytes {from}-{}/{total}\r\nConnection: close\r\n\r\n",
            total - 1
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&content[from..][..count.min(rest)]).unwrap();
    }

    fn refuse(stream: &mut TcpStream, status: &str) {
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
    }

    fn content() -> Vec<u8> {
        (0..300_000_u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect()
    }

    fn remote(content: &[u8]) -> Remote {
        let sha256 = sha256(content).unwrap();
        Remote {
            name: "digits.bin".into(),
            bytes: content.len() as u64,
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
        let server =
            Server::start(move |_, from, stream| send(stream, &content(), from, usize::MAX));
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("below/digits.bin");

        let below = folder.path().join("below");
        let (result, events) = get(&[&server.mirror], &remote(&body), &below);
        assert_eq!((result, events), (Ok(()), vec!["started 0/300000".into(), "done".into()]));
        assert!(fs::read(&target).unwrap() == body);
        assert_eq!(get(&[&server.mirror], &remote(&body), &below).1, ["present"]);
        assert_eq!(fs::read_dir(below).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn a_connection_cut_at_half_is_resumed_there() {
        let server = Server::start(|number, from, stream| {
            send(stream, &content(), from, if number == 0 { 150_000 } else { usize::MAX });
        });
        let folder = tempfile::tempdir().unwrap();
        let (result, events) = get(&[&server.mirror], &remote(&content()), folder.path());
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
        assert_eq!(get(&[&server.mirror], &remote(&content()), folder.path()).0, Ok(()));
        assert_eq!(server.asked(), [100_000]);
    }

    #[test]
    fn the_beginning_of_another_file_is_thrown_away() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".digits.bin.part"), [9; 5000]).unwrap();
        let server = Server::start(|_, from, stream| send(stream, &content(), from, usize::MAX));
        assert_eq!(get(&[&server.mirror], &remote(&content()), folder.path()).0, Ok(()));
        assert_eq!(server.asked(), [5000, 0]);
    }

    #[test]
    fn a_server_without_ranges_starts_again() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".digits.bin.part"), [9; 5000]).unwrap();
        let server = Server::start(|_, _, stream| send(stream, &content(), 0, usize::MAX));
        assert_eq!(get(&[&server.mirror], &remote(&content()), folder.path()).0, Ok(()));
    }

    #[test]
    fn a_complete_part_is_only_checked() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".digits.bin.part"), content()).unwrap();
        let server = Server::start(|_, _, stream| refuse(stream, "416 Range Not Satisfiable"));
        assert_eq!(get(&[&server.mirror], &remote(&content()), folder.path()).0, Ok(()));
    }

    #[test]
    fn a_wrong_hash_is_refused_and_another_address_tried() {
        let forger = Server::start(|_, _, stream| send(stream, &[7; 300_000], 0, usize::MAX));
        let folder = tempfile::tempdir().unwrap();
        let (result, _) = get(&[&forger.mirror], &remote(&content()), folder.path());
        let message = result.unwrap_err();
        assert!(message.starts_with("cannot download digits.bin: http://127.0.0.1"), "{message}");
        assert!(message.contains("its SHA-256 is ") && message.contains(" expected"), "{message}");
        assert!(!folder.path().join("digits.bin").exists());
        assert_eq!(forger.asked(), [0]);

        let honest = Server::start(|_, from, stream| send(stream, &content(), from, usize::MAX));
        let mirrors = [forger.mirror.as_str(), &honest.mirror];
        assert_eq!(get(&mirrors, &remote(&content()), folder.path()).0, Ok(()));
    }

    #[test]
    fn a_missing_file_is_reported_and_not_asked_for_again() {
        let server = Server::start(|_, _, stream| refuse(stream, "404 Not Found"));
        let folder = tempfile::tempdir().unwrap();
        let message = get(&[&server.mirror], &remote(&content()), folder.path()).0.unwrap_err();
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
        assert_eq!(get(&[&busy.mirror], &remote(&content()), folder.path()).0, Ok(()));

        let endless = Server::start(|_, _, stream| {
            let head =
                "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\nConnection: close\r\n\r\n";
            stream.write_all(head.as_bytes()).unwrap();
        });
        let folder = tempfile::tempdir().unwrap();
        let message = get(&[&endless.mirror], &remote(&content()), folder.path()).0.unwrap_err();
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
        assert_eq!(get(&[&server.mirror], &remote, folder.path()).0, Ok(()));
    }

    #[test]
    fn two_downloads_of_one_file_do_not_mix() {
        let folder = tempfile::tempdir().unwrap();
        let content = content();
        let remote = remote(&content);
        let _first = Part::open(folder.path(), &remote).unwrap();
        let message = get(&[], &remote, folder.path()).0.unwrap_err();
        assert!(
            message.ends_with("another program is downloading it to the same folder"),
            "{message}"
        );
    }

    #[test]
    fn the_cache_folder_follows_the_environment() {
        let root = |pairs: &'static [(&str, &str)]| {
            cache_root(|key| {
                pairs.iter().find(|(name, _)| *name == key).map(|(_, value)| value.into())
            })
        };
        assert_eq!(root(&[("KILN_CACHE", "/k"), ("HOME", "/h")]), Some("/k".into()));
        assert_eq!(root(&[]), None);
        if cfg!(target_os = "linux") {
            assert_eq!(root(&[("HOME", "/h")]), Some("/h/.cache/kiln".into()));
            assert_eq!(root(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]), Some("/x/kiln".into()));
        }
    }
}
