//! One file on its way: it grows beside its place and is moved there when its hash is right.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};
use ureq::Agent;
use ureq::http::Response;

use super::Progress;
use crate::Error;
use crate::manifest::Remote;

/// Tries at one address before the next one.
const ATTEMPTS: u32 = 3;

/// The most bytes that are taken of a file whose size isn't known.
const MOST: u64 = 4 << 30;

/// A file that is being downloaded.
pub(super) struct Part<'a> {
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

/// Attempts that failed and nobody was told of: the error at the end says it, unless a later one gets on.
#[derive(Default)]
struct Faults(Vec<(String, String)>);

impl Faults {
    fn tell(&mut self, file: &str, progress: &mut dyn FnMut(Progress<'_>)) {
        self.0.dedup();
        for (url, reason) in self.0.drain(..) {
            progress(Progress::Failed { file, url: &url, reason: &reason });
        }
    }
}

/// Why a server could not be asked, without the words that only ureq's callers understand.
fn reason(error: &ureq::Error) -> String {
    let text = error.to_string();
    text.strip_prefix("io: ").unwrap_or(&text).to_owned()
}

impl Drop for Part<'_> {
    /// What has arrived is kept for the next attempt; an empty file is of no use to it.
    fn drop(&mut self) {
        // Under its own name it is no part any more, and that file isn't touched.
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.is_file() && found.len() == 0) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl<'a> Part<'a> {
    pub(super) fn open(folder: &Path, remote: &'a Remote) -> Result<Self, Error> {
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
    pub(super) fn complete(
        mut self,
        agent: &Agent,
        mirrors: &[String],
        target: &Path,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(), Error> {
        let name = &self.remote.name;
        let mut reasons = Vec::new();
        let mut faults = Faults::default();
        for mirror in mirrors {
            let url = format!("{mirror}{name}");
            for attempt in 1..=ATTEMPTS {
                let reason = match self.attempt(agent, &url, &mut faults, progress) {
                    Ok(()) => return self.place(target),
                    Err(Fault::Fatal(error)) => return Err(error),
                    Err(Fault::Elsewhere(reason)) => {
                        reasons.push(format!("{url}: {reason}"));
                        faults.0.push((url, reason));
                        break;
                    }
                    Err(Fault::Again(reason)) => reason,
                };
                if attempt == ATTEMPTS {
                    reasons.push(format!("{url}: {reason}"));
                }
                faults.0.push((url.clone(), reason));
                if attempt < ATTEMPTS {
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
        faults: &mut Faults,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(), Fault> {
        // A recompressed copy may be larger than the published one, but not by much.
        let known = self.remote.bytes;
        let most = known.map_or(MOST, |bytes| bytes.saturating_mul(2).saturating_add(1 << 20));
        let mut have = self.file.seek(SeekFrom::End(0)).map_err(|error| self.fatal(error))?;
        if have > most {
            have = self.restart()?;
        }
        let resumed = have > 0;
        let mut request = agent.get(url).header("Accept-Encoding", "identity");
        if resumed {
            request = request.header("Range", format!("bytes={have}-"));
        }
        let response = request.call().map_err(|error| Fault::Again(reason(&error)))?;

        let total = match response.status().as_u16() {
            200 => {
                have = self.restart()?;
                number(&response, "content-length").or(known)
            }
            206 => match content_range(&response) {
                Some((from, total)) if from == have => Some(total),
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
        if let Some(total) = total.filter(|&total| total > most) {
            let limit = known.map_or_else(
                || format!("at most {most} are taken"),
                |bytes| format!("{bytes} expected"),
            );
            return Err(Fault::Elsewhere(format!("{total} bytes are offered, {limit}")));
        }

        let file = self.remote.name.as_str();
        let told = total.unwrap_or(0);
        faults.tell(file, progress);
        progress(Progress::Started { file, url, have, total: told });
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
            progress(Progress::Received { file, have, total: told });
        }
        if have < told {
            return Err(Fault::Again(format!("the connection ended after {have} of {told} bytes")));
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
        let restarted = self.file.seek(SeekFrom::End(0)).and_then(|length| match length {
            0 => Ok(0),
            _ => self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0))),
        });
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
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        Fault::Fatal(if matches!(error.kind(), StorageFull | QuotaExceeded) {
            let have = fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
            Error::NoSpace { path: self.path.clone(), have }
        } else {
            Error::io("write", &self.path)(error)
        })
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
pub(super) fn is_right(path: &Path, remote: &Remote) -> io::Result<Result<(), String>> {
    let found = sha256(File::open(path)?)?;
    if found.starts_with(&remote.sha256) {
        return Ok(Ok(()));
    }
    if let Some(expected) = &remote.content_sha256 {
        let limit = remote.bytes.unwrap_or(MOST).saturating_mul(1100); // more than DEFLATE can hold
        let content = MultiGzDecoder::new(io::BufReader::new(File::open(path)?)).take(limit);
        if sha256(content).is_ok_and(|found| found == *expected) {
            return Ok(Ok(()));
        }
    }
    let more = if remote.sha256.len() < found.len() { "…" } else { "" };
    Ok(Err(format!("its SHA-256 is {found}, {}{more} expected", remote.sha256)))
}

pub(super) fn sha256(mut reader: impl Read) -> io::Result<String> {
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
