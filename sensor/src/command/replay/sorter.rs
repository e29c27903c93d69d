//! Sorting in bounded memory: records that are too many are written to one temporary file as sorted runs, which are
//! merged when all are there.
//!
//! A record is a row of bytes, and the order of records is the order of their bytes. The file has no name, so that
//! nothing is left behind however the process ends.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

/// Bytes read at a time from each run.
const READ: usize = 16 << 10;

/// Takes records of `SIZE` bytes in any order.
#[derive(Debug)]
pub struct Sorter<const SIZE: usize> {
    most: usize,
    held: Vec<[u8; SIZE]>,
    spilled: Option<Spilled>,
}

#[derive(Debug)]
struct Spilled {
    file: Arc<File>,
    runs: Vec<Range<u64>>,
}

impl<const SIZE: usize> Sorter<SIZE> {
    /// A sorter that holds at most so many records in memory, at least one.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most: most.max(1), held: Vec::new(), spilled: None }
    }

    /// Takes a record.
    ///
    /// # Errors
    /// When the temporary file cannot be made or written.
    pub fn push(&mut self, record: [u8; SIZE]) -> io::Result<()> {
        if self.held.len() >= self.most {
            self.spill()?;
        }
        self.held.push(record);
        Ok(())
    }

    fn spill(&mut self) -> io::Result<()> {
        self.held.sort_unstable();
        let spilled = match &mut self.spilled {
            Some(spilled) => spilled,
            none => none.insert(Spilled { file: Arc::new(tempfile::tempfile()?), runs: Vec::new() }),
        };
        let start = spilled.runs.last().map_or(0, |run| run.end);
        let end = start + (self.held.len() * SIZE) as u64;
        let mut writer = BufWriter::with_capacity(64 << 10, At { file: Arc::clone(&spilled.file), next: start });
        self.held.drain(..).try_for_each(|record| writer.write_all(&record))?;
        writer.flush()?;
        spilled.runs.push(start..end);
        Ok(())
    }

    /// All records in order.
    ///
    /// # Errors
    /// When the temporary file cannot be written or read.
    pub fn sorted(mut self) -> io::Result<Sorted<SIZE>> {
        if self.spilled.is_none() {
            self.held.sort_unstable();
            return Ok(Sorted { held: self.held.into_iter(), heads: BinaryHeap::new() });
        }
        self.spill()?;
        let mut heads = BinaryHeap::new();
        if let Some(Spilled { file, runs }) = self.spilled {
            for Range { start, end } in runs {
                let part = At { file: Arc::clone(&file), next: start }.take(end - start);
                let mut run = Run(BufReader::with_capacity(READ, part));
                if let Some(record) = run.pop()? {
                    heads.push(Reverse(Head { record, run }));
                }
            }
        }
        Ok(Sorted { held: Vec::new().into_iter(), heads })
    }
}

/// Records in order: all from memory, or all from runs.
#[derive(Debug)]
pub struct Sorted<const SIZE: usize> {
    held: std::vec::IntoIter<[u8; SIZE]>,
    heads: BinaryHeap<Reverse<Head<SIZE>>>,
}

impl<const SIZE: usize> Sorted<SIZE> {
    /// The next record.
    ///
    /// # Errors
    /// When the temporary file cannot be read.
    pub fn pop(&mut self) -> io::Result<Option<[u8; SIZE]>> {
        let Some(mut head) = self.heads.peek_mut() else { return Ok(self.held.next()) };
        match head.0.run.pop()? {
            Some(next) => Ok(Some(std::mem::replace(&mut head.0.record, next))),
            None => Ok(Some(PeekMut::pop(head).0.record)),
        }
    }
}

/// A run and its first record that has not been given yet.
#[derive(Debug)]
struct Head<const SIZE: usize> {
    record: [u8; SIZE],
    run: Run,
}

impl<const SIZE: usize> Ord for Head<SIZE> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.record.cmp(&other.record)
    }
}

impl<const SIZE: usize> PartialOrd for Head<SIZE> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<const SIZE: usize> PartialEq for Head<SIZE> {
    fn eq(&self, other: &Self) -> bool {
        self.record == other.record
    }
}

impl<const SIZE: usize> Eq for Head<SIZE> {}

#[derive(Debug)]
struct Run(BufReader<io::Take<At>>);

impl Run {
    fn pop<const SIZE: usize>(&mut self) -> io::Result<Option<[u8; SIZE]>> {
        if self.0.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let mut record = [0; SIZE];
        self.0.read_exact(&mut record)?;
        Ok(Some(record))
    }
}

/// A place in a file that several readers share.
#[derive(Debug)]
struct At {
    file: Arc<File>,
    next: u64,
}

impl Read for At {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(into, self.next)?;
        self.next += read as u64;
        Ok(read)
    }
}

impl Write for At {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let written = self.file.write_at(from, self.next)?;
        self.next += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_number_in_memory_gives_the_same_order(
            records in proptest::collection::vec(any::<[u8; 3]>(), 0..200),
            most in 0..300_usize,
        ) {
            let mut sorter = Sorter::new(most);
            for record in &records {
                sorter.push(*record).unwrap();
            }
            let runs = sorter.spilled.as_ref().map_or(0, |spilled| spilled.runs.len());
            prop_assert_eq!(runs, records.len().saturating_sub(1) / most.max(1));
            let mut sorted = sorter.sorted().unwrap();
            let all: Vec<_> = std::iter::from_fn(|| sorted.pop().unwrap()).collect();
            let mut expected = records;
            expected.sort_unstable();
            prop_assert_eq!(all, expected);
        }
    }
}
