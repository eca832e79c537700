//! Downloads: resumed where they stopped, checked by SHA-256, put in place whole or not at all.
//!
//! A file grows under the name `.NAME.part` in its final folder. What is there is kept after a failure, and the next
//! attempt asks the server for the rest. Only a file whose hash is right gets its name.

mod part;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::Agent;

use crate::manifest::Remote;
use crate::{Error, catalog};
use part::{Part, is_right};

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
        /// Bytes of the whole file; 0 where nobody says.
        total: u64,
    },
    /// More bytes have arrived.
    Received {
        /// Its name.
        file: &'a str,
        /// Bytes so far.
        have: u64,
        /// Bytes of the whole file; 0 where nobody says.
        total: u64,
    },
    /// An attempt failed, and another one, or another address, does better. Told before it does; what fails for good is
    /// the error.
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
/// [`Error::UnknownDataset`]; [`Error::NotFetchable`] for a set that its owners give to people only; [`Error::Download`]
/// with what happened at each address; [`Error::NoSpace`], and [`Error::Io`] if the folder cannot be written.
pub fn fetch(
    name: &str,
    folder: Option<&Path>,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<PathBuf, Error> {
    let manifest = &catalog::find(name)?.manifest;
    if !manifest.is_fetchable() {
        let (name, homepage) = (manifest.name.clone(), manifest.homepage.clone());
        return Err(Error::NotFetchable { name, homepage });
    }
    let folder = folder.map_or_else(|| cache_folder(name), |folder| Ok(folder.into()))?;
    download(&manifest.mirrors, &manifest.files, &folder, progress)?;
    Ok(folder)
}

/// Downloads the one file `name` from a folder at one of `addresses` into `folder`, and returns its path. Its SHA-256
/// must begin with `sha256`: all 64 digits, or as many as its publisher tells. A file that is there and right stays, and
/// nobody is asked.
///
/// # Errors
///
/// [`Error::Download`] with what happened at each address; [`Error::NoSpace`], and [`Error::Io`] if the folder cannot be
/// written; [`Error::Setting`] for a `name` that is no plain file name, or less than eight digits.
pub fn fetch_file(
    addresses: &[String],
    name: &str,
    sha256: &str,
    folder: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<PathBuf, Error> {
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\']) {
        return Err(Error::setting("name", format!("`{name}` is no plain file name")));
    }
    if sha256.len() < LEAST_DIGITS {
        let reason = format!("`{sha256}` has less than {LEAST_DIGITS} digits");
        return Err(Error::setting("sha256", reason));
    }
    let sha256 = sha256.to_lowercase();
    let remote = Remote { name: name.into(), bytes: None, sha256, content_sha256: None };
    download(addresses, std::slice::from_ref(&remote), folder, progress)?;
    Ok(folder.join(name))
}

/// Digits of a SHA-256 that must be known, 32 bits: they tell a damaged file for sure, and a forged one not at all.
const LEAST_DIGITS: usize = 8;

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

fn download(
    mirrors: &[String],
    files: &[Remote],
    folder: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), Error> {
    let fresh = !folder.exists();
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let result = download_into(mirrors, files, folder, progress);
    if result.is_err() && fresh {
        // Only a folder that nothing has arrived in goes.
        let _ = fs::remove_dir(folder);
    }
    result
}

fn download_into(
    mirrors: &[String],
    files: &[Remote],
    folder: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), Error> {
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

#[cfg(test)]
mod tests;
