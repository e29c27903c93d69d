//! A segment of the spool: a file of lines ([`super::line`]) with rising numbers, named after the first.

use super::line;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

/// What ends the name of a segment's file.
const SUFFIX: &str = ".spool";

/// What is known of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// The number of its first document.
    pub(super) first: u64,
    /// Its length in bytes.
    pub(super) bytes: u64,
}

/// The file of the segment whose first document has this number.
pub(super) fn path(directory: &Path, first: u64) -> PathBuf {
    directory.join(format!("{first:020}{SUFFIX}"))
}

/// The segments of a directory, oldest first. Other files are left alone.
pub(super) fn list(directory: &Path) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for entry in directory.read_dir()? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)?.parse::<u64>().ok());
        if let Some(first) = number.filter(|first| path(directory, *first).file_name() == Some(&name)) {
            segments.push(Segment { first, bytes: entry.metadata()?.len() });
        }
    }
    segments.sort_unstable_by_key(|segment| segment.first);
    Ok(segments)
}

/// Reads a segment from its beginning.
#[derive(Debug)]
pub(super) struct Reader {
    file: BufReader<File>,
    /// Bytes read so far.
    at: u64,
}

impl Reader {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: BufReader::new(File::open(path)?), at: 0 })
    }

    /// The next whole document whose number is at least `from`; lines that are not as they were written are passed over. `None`
    /// at the end, behind which there may be more later.
    pub(super) fn next(&mut self, from: u64) -> io::Result<Option<(u64, String)>> {
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let read = self.file.read_until(b'\n', &mut bytes)?;
            if read == 0 {
                return Ok(None);
            }
            self.at += read as u64;
            // A line without its end was not written whole.
            let document = bytes.strip_suffix(b"\n").and_then(line::decode);
            if let Some((number, json)) = document.filter(|(number, _)| *number >= from) {
                return Ok(Some((number, json.to_owned())));
            }
        }
    }
}

/// How far a segment is sound: the number behind that of its last document, and the bytes up to that document's end.
pub(super) fn sound(path: &Path, first: u64) -> io::Result<(u64, u64)> {
    let mut reader = Reader::open(path)?;
    let (mut next, mut bytes) = (first, 0);
    while let Some((number, _)) = reader.next(next)? {
        (next, bytes) = (number.saturating_add(1), reader.at);
    }
    Ok((next, bytes))
}
