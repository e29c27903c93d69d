//! Documents on disk that a far end has not taken yet.
//!
//! A directory of its own with files of lines ([`line`]), each document under a number. New ones are appended to the newest file, the far
//! end is given the oldest, and what it has taken is settled: a file goes when all of it is, so that nothing is left on the
//! disk once everything has been taken. Where there is no more room, the oldest file is given up, and its documents are counted.
//!
//! What survives: an end of the process at any point, also by SIGKILL, costs nothing that [`Spool::append`] has written; a loss of
//! power costs at most what was appended since the last [`Spool::sync`]. A line that was cut or changed on the disk is noticed and
//! counted, the ones around it stay. What was settled may come back after a loss of power, never the other way round.
//!
//! A disk that takes nothing, as when it is full, is no reason to lose a document: it waits in memory, up to [`MEMORY`], and is
//! given to the far end from there, or written as soon as the disk takes it.

mod disk;
mod line;
mod position;
mod segment;
#[cfg(test)]
mod tests;

use disk::Disk;
use position::Position;
use std::collections::VecDeque;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Bytes of documents that wait in memory while the disk takes none.
const MEMORY: usize = 8 << 20;
/// Documents after which the disk is waited for, also while more are coming.
const UNSYNCED: u32 = 256;

/// How much a spool holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all files.
    bytes: u64,
    /// Bytes of one file, and so of what is given up at once.
    segment: u64,
}

impl Limits {
    /// For so many bytes in all.
    #[must_use]
    pub fn of(bytes: u64) -> Self {
        Self { bytes, segment: (bytes / 16).clamp(1, 8 << 20) }
    }
}

/// The numbers of a spool: found + appended = delivered + spooled + dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Documents of earlier runs that were there when it was opened.
    pub found: u64,
    /// Documents that the far end has taken.
    pub delivered: u64,
    /// Documents that wait.
    pub spooled: u64,
    /// Documents given up for want of room, refused by the far end for good, or damaged on the disk.
    pub dropped: u64,
}

/// The numbers for others to read, also while the spool is stuck in the disk.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Numbers>);

impl Tally {
    /// What was written last.
    #[must_use]
    pub fn read(&self) -> Numbers {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes others.
    pub fn write(&self, numbers: Numbers) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = numbers;
    }
}

/// A document with its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Higher than that of any document before it.
    pub number: u64,
    /// The document, on one line.
    pub json: String,
}

/// The oldest documents that wait and were not given out before.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The documents, oldest first.
    pub records: Vec<Record>,
    /// The number behind the last one, and behind those that are damaged.
    pub to: u64,
}

/// A spool.
#[derive(Debug)]
pub struct Spool {
    /// Held as long as the spool is open.
    _lock: File,
    position: Position,
    disk: Disk,
    /// Newer than anything on the disk.
    memory: VecDeque<Record>,
    memory_bytes: usize,
    /// The oldest number that is not settled.
    first: u64,
    /// The number of the next document.
    next: u64,
    /// The next number to give out.
    give: u64,
    found: u64,
    delivered: u64,
    dropped: u64,
}

impl Spool {
    /// Opens the spool in a directory, which is made with mode 0700 if it is not there.
    ///
    /// # Errors
    ///
    /// When the directory cannot be used, others can write to it, or another process uses it.
    pub fn open(directory: &Path, limits: Limits) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        if directory.metadata()?.permissions().mode() & 0o022 != 0 {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "others can write to the directory"));
        }
        let lock = private().write(true).create(true).truncate(false).open(directory.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::new(io::ErrorKind::ResourceBusy, "another process uses it"),
            TryLockError::Error(error) => error,
        })?;
        let (position, settled) = Position::open(directory)?;
        let (mut disk, torn) = Disk::open(directory, limits)?;
        // A file that was given up is gone, whatever the position says; and after a loss of power numbers may be gone that were
        // settled, which must not be given again.
        let first = settled.unwrap_or(0).max(disk.first().unwrap_or(0));
        let next = disk.end().max(first);
        disk.remove_settled(first);
        let torn = u64::from(torn);
        Ok(Self {
            _lock: lock,
            position,
            disk,
            memory: VecDeque::new(),
            memory_bytes: 0,
            first,
            next,
            give: first,
            found: next - first + torn,
            delivered: 0,
            dropped: torn,
        })
    }

    /// The numbers so far.
    #[must_use]
    pub fn numbers(&self) -> Numbers {
        let Self { found, delivered, dropped, .. } = *self;
        Numbers { found, delivered, spooled: self.next - self.first, dropped }
    }

    /// Takes a document.
    ///
    /// # Errors
    ///
    /// When the disk does not take it: it then waits in memory. One that cannot be written at all, being larger than the whole spool,
    /// is dropped.
    pub fn append(&mut self, json: &str) -> io::Result<()> {
        let line = line::encode(self.next, json).and_then(|line| self.disk.can_hold(&line));
        if let Err(error) = line {
            self.dropped += 1;
            return Err(error);
        }
        self.memory_bytes += json.len();
        self.memory.push_back(Record { number: self.next, json: json.to_owned() });
        self.next += 1;
        let written = self.write_memory();
        while self.memory_bytes > MEMORY {
            self.drop_oldest();
        }
        written.and_then(|()| if self.disk.unsynced() < UNSYNCED { Ok(()) } else { self.sync() })
    }

    /// Waits until the disk has everything that was appended.
    ///
    /// # Errors
    ///
    /// When the disk fails; what waits in memory still does.
    pub fn sync(&mut self) -> io::Result<()> {
        self.write_memory()?;
        self.disk.sync()
    }

    /// Gives out the next documents: at most so many, and no further one once there are so many bytes. Each is given once, until
    /// the spool is opened anew.
    ///
    /// # Errors
    ///
    /// When a file cannot be opened. One that cannot be read is passed over.
    pub fn take(&mut self, records: usize, bytes: usize) -> io::Result<Batch> {
        let mut batch = Batch::default();
        let from = self.give;
        let mut room = bytes;
        while batch.records.len() < records && room > 0 {
            let Some(record) = self.next_record()? else { break };
            room = room.saturating_sub(record.json.len());
            batch.records.push(record);
        }
        batch.to = self.give;
        // Nothing but damage.
        if batch.records.is_empty() && self.first == from && batch.to > from {
            self.settle(batch.to, 0)?;
        }
        Ok(batch)
    }

    /// Whether everything that waits was given out.
    #[must_use]
    pub fn is_given_out(&self) -> bool {
        self.give >= self.next
    }

    /// Settles everything before the number `to`, of which the far end has taken `delivered`.
    ///
    /// # Errors
    ///
    /// When that cannot be written: it counts all the same, but the documents are given out again after the spool is opened anew.
    pub fn settle(&mut self, to: u64, delivered: u64) -> io::Result<()> {
        // What was given up meanwhile has been counted.
        let settled = to.saturating_sub(self.first);
        let delivered = delivered.min(settled);
        self.delivered += delivered;
        self.dropped += settled - delivered;
        self.first = self.first.max(to);
        while self.memory.front().is_some_and(|record| record.number < to) {
            self.forget_front();
        }
        self.position.write(self.first)?;
        // Not before the position is written: without it they would count as found damaged after a restart.
        self.disk.remove_settled(self.first);
        Ok(())
    }

    /// The next document to give out, from the disk and then from memory.
    fn next_record(&mut self) -> io::Result<Option<Record>> {
        let record = match self.disk.next(&mut self.give)? {
            Some(record) => Some(record),
            None => self.memory.iter().find(|record| record.number >= self.give).cloned(),
        };
        self.give = record.as_ref().map_or(self.give, |record| record.number + 1);
        Ok(record)
    }

    /// Writes what waits in memory, and gives up the oldest documents if need be.
    fn write_memory(&mut self) -> io::Result<()> {
        while let Some(Record { number, json }) = self.memory.front() {
            let number = *number;
            let line = line::encode(number, json)?;
            while !self.disk.has_room(&line) {
                self.drop_oldest();
            }
            self.disk.append(number, &line)?;
            self.forget_front();
        }
        Ok(())
    }

    fn forget_front(&mut self) {
        if let Some(record) = self.memory.pop_front() {
            self.memory_bytes = self.memory_bytes.saturating_sub(record.json.len());
        }
    }

    /// Gives up the oldest file, or else the oldest document in memory.
    fn drop_oldest(&mut self) {
        let end = self.disk.drop_oldest().unwrap_or_else(|| {
            let end = self.memory.front().map_or(self.next, |record| record.number + 1);
            self.forget_front();
            end
        });
        self.dropped += end.saturating_sub(self.first);
        self.first = self.first.max(end);
        self.give = self.give.max(end);
    }
}

/// Only for the user that the sensor runs as.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}
