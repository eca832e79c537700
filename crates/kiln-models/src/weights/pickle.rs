//! A look at a PyTorch file before burn's reader gets it.
//!
//! A pickle builds a tensor before it says where the tensor goes, so burn's reader can't name the
//! one that doesn't fit its storage. Here the pickle is walked first, to its end: a file whose
//! pickle can't be walked is refused, since nothing in it would have been checked.

mod machine;

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read, Seek};
use std::path::Path;

use zip::{CompressionMethod, ZipArchive};

use crate::Error;
use machine::Machine;

/// Longest pickle that is read from an archive, in bytes: some hundred thousand tensors. burn takes
/// longer ones, and each of its bytes may become a hundred in memory.
const LONGEST: u64 = 16 << 20;

/// The number that begins a file of PyTorch's before 1.6, as bytes and as text: it stands among its
/// first [`HEAD`] bytes.
const MAGIC: [&[u8]; 2] =
    [b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", b"119547037146038801333356"];
const HEAD: u64 = 64;

/// Pickles in such a file: the number, the version, the system, the tensors, the storages' names.
const PICKLES: usize = 5;

/// No packed byte becomes more bytes than this (RFC 1951: 258 of two bits).
const MOST_UNPACKED: u64 = 1032;

/// The tensor that is wrong, where it is one, and how.
type Culprit = (Option<String>, String);

/// Refuses a file with a tensor that contradicts itself, its storage or the length of the file,
/// a file that begins as a pickle and can't be followed as one, and an archive whose pickle would
/// be larger than the file, as only a bomb's is. What begins as nothing that burn's reader knows is
/// that one's to refuse.
pub(super) fn check(file: &Path) -> Result<(), Error> {
    let failed = |source| Error::File { file: file.to_owned(), source };
    let mut input = File::open(file).map(BufReader::new).map_err(failed)?;
    let length = input.get_ref().metadata().map_err(failed)?.len();
    let mut start = Vec::new();
    input.by_ref().take(HEAD).read_to_end(&mut start).map_err(failed)?;
    input.rewind().map_err(failed)?;

    let has = |magic: &[u8]| start.windows(magic.len()).any(|bytes| bytes == magic);
    // By its beginning, as burn's reader does: an archive may hang behind a pickle.
    let found = match start.first() {
        _ if start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06") => {
            archived(input, length)
        }
        _ if MAGIC.into_iter().any(has) => walk(&mut input, length, PICKLES),
        Some(0x80 | b'(' | b'}' | b']' | b'c') => walk(&mut input, length, 1),
        _ => Ok(()),
    };
    found.map_err(|(tensor, reason)| Error::Format { file: file.to_owned(), tensor, reason })
}

/// Walks through `pickles` pickles whose storages have at most `most` bytes.
fn walk(input: &mut dyn BufRead, most: u64, pickles: usize) -> Result<(), Culprit> {
    for _ in 0..pickles {
        match Machine::new(most).run(input) {
            Ok(None) => {}
            Ok(Some((tensor, reason))) => return Err((Some(tensor), reason)),
            Err(error) => {
                return Err((
                    None,
                    format!(
                        "its pickle can't be followed, so its tensors can't be checked: {error}"
                    ),
                ));
            }
        }
    }
    Ok(())
}

/// Looks at an archive of `length` bytes.
fn archived(input: BufReader<File>, length: u64) -> Result<(), Culprit> {
    // burn's reader opens it by the same means, and says what is wrong.
    let Ok(mut archive) = ZipArchive::new(input) else { return Ok(()) };
    let is_pickle = |name: &str| name == "data.pkl" || name.ends_with("/data.pkl");
    let pickles = (0..archive.len()).filter(|&index| {
        archive.name_for_index(index).is_some_and(|name| name.is_ok_and(|name| is_pickle(&name)))
    });
    let pickles: Vec<usize> = pickles.collect();
    let index = match pickles[..] {
        [] => return Ok(()),
        [index] => index,
        _ => return Err((None, format!("it has {} pickles, and only one counts", pickles.len()))),
    };

    let (mut most, mut size) = (0, 0);
    for member in 0..archive.len() {
        let Ok(member_at) = archive.by_index_raw(member) else { continue };
        let packed = member_at.compressed_size().min(length);
        let longest = match member_at.compression() {
            CompressionMethod::Stored => packed,
            _ => packed.saturating_mul(MOST_UNPACKED),
        };
        most = most.max(longest.min(member_at.size()));
        if member == index {
            size = member_at.size();
        }
    }
    if size > length.min(LONGEST) {
        return Err((
            None,
            format!("its pickle claims {size} bytes, and the whole file has {length}"),
        ));
    }
    let mut bytes = Vec::new();
    archive
        .by_index(index)
        .map_err(|error| error.to_string())
        .and_then(|member| {
            member.take(LONGEST).read_to_end(&mut bytes).map_err(|error| error.to_string())
        })
        .map_err(|error| (None, format!("its pickle can't be read: {error}")))?;
    walk(&mut Cursor::new(&bytes), most, 1)
}
