//! The files of a spool: appended to at the end, read from any number on, removed from the beginning.

use super::segment::{self, Reader, Segment};
use super::{Limits, Record, private};
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// The segments of a directory.
#[derive(Debug)]
pub(super) struct Disk {
    directory: PathBuf,
    limits: Limits,
    /// Oldest first.
    segments: VecDeque<Segment>,
    /// The newest one, if it can be appended to.
    tail: Option<File>,
    /// Documents that were appended since the last sync.
    unsynced: u32,
    /// The number behind that of the last document.
    end: u64,
    /// What is being read, with its first number.
    reader: Option<(u64, Reader)>,
}

impl Disk {
    /// Reads what there is; whether a document at its end was not whole, and had to be cut off.
    pub(super) fn open(directory: &Path, limits: Limits) -> io::Result<(Self, bool)> {
        let mut segments = VecDeque::from(segment::list(directory)?);
        let (mut end, mut torn) = (0, false);
        if let Some(last) = segments.back_mut() {
            let path = segment::path(directory, last.first);
            let (sound_end, bytes) = segment::sound(&path, last.first)?;
            if bytes < last.bytes {
                torn = true;
                OpenOptions::new().write(true).open(&path)?.set_len(bytes)?;
            }
            (end, last.bytes) = (sound_end, bytes);
        }
        let directory = directory.to_owned();
        Ok((Self { directory, limits, segments, tail: None, unsynced: 0, end, reader: None }, torn))
    }

    /// The number at which the oldest segment begins.
    pub(super) fn first(&self) -> Option<u64> {
        self.segments.front().map(|segment| segment.first)
    }

    /// The number behind that of the last document.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Documents that a loss of power would take.
    pub(super) fn unsynced(&self) -> u32 {
        self.unsynced
    }

    /// An error if a line is larger than everything may be.
    pub(super) fn can_hold(&self, line: &[u8]) -> io::Result<()> {
        if line.len() as u64 <= self.limits.bytes { Ok(()) } else { Err(io::ErrorKind::FileTooLarge.into()) }
    }

    /// Whether a line can be appended without giving anything up.
    pub(super) fn has_room(&self, line: &[u8]) -> bool {
        let bytes: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
        self.segments.is_empty() || bytes + line.len() as u64 <= self.limits.bytes
    }

    /// Appends the line of a document whose number is higher than any before.
    pub(super) fn append(&mut self, number: u64, line: &[u8]) -> io::Result<()> {
        let len = line.len() as u64;
        let full = |segment: &Segment| segment.bytes > 0 && segment.bytes + len > self.limits.segment;
        if self.tail.is_none() || self.segments.back().is_none_or(full) {
            self.begin(number)?;
        }
        let (Some(tail), Some(segment)) = (&mut self.tail, self.segments.back_mut()) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if let Err(error) = tail.write_all(line) {
            // What was written in part is taken back. Whether or not that succeeds, the next one goes to another file.
            let _ = tail.set_len(segment.bytes);
            self.end_tail();
            return Err(error);
        }
        segment.bytes += len;
        self.end = number + 1;
        self.unsynced += 1;
        Ok(())
    }

    /// Waits until everything that was appended is on the disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if let Some(tail) = self.tail.as_ref().filter(|_| self.unsynced > 0) {
            tail.sync_data()?;
        }
        self.unsynced = 0;
        Ok(())
    }

    /// The first document whose number is at least `from`, which is moved behind what is missing, for that is damaged.
    pub(super) fn next(&mut self, from: &mut u64) -> io::Result<Option<Record>> {
        while let Some((first, end)) = self.segment_with(*from) {
            let read = match self.reader(first) {
                Ok(reader) => reader.next(*from),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
                Err(error) => return Err(error),
            };
            match read {
                Ok(Some((number, json))) => return Ok(Some(Record { number, json })),
                Ok(None) => {}
                Err(error) => {
                    let path = segment::path(&self.directory, first);
                    tracing::error!("{}: {error}; the rest of it is lost", path.display());
                    self.reader = None;
                }
            }
            *from = end;
        }
        Ok(None)
    }

    /// Removes the oldest segment; the number behind its last. `None` if there is none.
    pub(super) fn drop_oldest(&mut self) -> Option<u64> {
        let end = self.segments.get(1).map_or(self.end, |second| second.first);
        self.remove_oldest().then_some(end)
    }

    /// Removes the segments all of whose numbers are below `first`.
    pub(super) fn remove_settled(&mut self, first: u64) {
        while self.segments.get(1).map_or(self.end, |second| second.first) <= first && self.remove_oldest() {}
    }

    /// The segment in which a number is still to be found: its first number, and the one behind its last.
    fn segment_with(&self, number: u64) -> Option<(u64, u64)> {
        let ends = self.segments.iter().skip(1).map(|segment| segment.first).chain([self.end]);
        self.segments.iter().map(|segment| segment.first).zip(ends).find(|(_, end)| number < *end)
    }

    /// The reader of the segment that begins so, where it was left off.
    fn reader(&mut self, first: u64) -> io::Result<&mut Reader> {
        let reader = match self.reader.take() {
            Some((of, reader)) if of == first => reader,
            _ => Reader::open(&segment::path(&self.directory, first))?,
        };
        let (_, reader) = self.reader.insert((first, reader));
        Ok(reader)
    }

    /// Begins a new segment.
    fn begin(&mut self, first: u64) -> io::Result<()> {
        self.end_tail();
        let file = private().append(true).create(true).open(segment::path(&self.directory, first))?;
        self.segments.push_back(Segment { first, bytes: 0 });
        // One that could not be removed may be there.
        file.set_len(0)?;
        self.tail = Some(file);
        // Its name is to be on the disk too.
        File::open(&self.directory)?.sync_all()
    }

    /// Nothing is appended to the newest segment any more.
    pub(super) fn end_tail(&mut self) {
        if let Err(error) = self.sync() {
            tracing::error!("{}: {error}; a loss of power would lose documents", self.directory.display());
        }
        (self.tail, self.unsynced) = (None, 0);
        if let Some(empty) = self.segments.pop_back_if(|segment| segment.bytes == 0) {
            self.remove(empty);
        }
    }

    fn remove_oldest(&mut self) -> bool {
        let Some(oldest) = self.segments.pop_front() else { return false };
        if self.segments.is_empty() {
            // It was the newest too.
            (self.tail, self.unsynced) = (None, 0);
        }
        self.remove(oldest);
        true
    }

    fn remove(&mut self, segment: Segment) {
        if self.reader.as_ref().is_some_and(|(of, _)| *of == segment.first) {
            self.reader = None;
        }
        let path = segment::path(&self.directory, segment.first);
        if let Err(error) = fs::remove_file(&path) {
            tracing::error!("{} cannot be removed: {error}", path.display());
        }
    }
}
