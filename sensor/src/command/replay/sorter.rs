//! Sorting in bounded memory: what does not fit is written to one temporary file as sorted runs, which are merged when
//! all is there.
//!
//! A key is a row of bytes whose order is the order wanted. The file has no name, so that nothing is left behind however
//! the process ends.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

/// Bytes of values held in memory at most, beside the limit on their number.
const HELD_BYTES: usize = 64 << 20;
/// Bytes read at a time from each run.
const READ: usize = 16 << 10;

/// Takes pairs in any order.
#[derive(Debug)]
pub struct Sorter<const KEY: usize> {
    most: usize,
    /// Each key with the ends of its value in `values`.
    held: Vec<([u8; KEY], (usize, usize))>,
    values: Vec<u8>,
    spilled: Option<Spilled>,
}

#[derive(Debug)]
struct Spilled {
    file: Arc<File>,
    runs: Vec<Range<u64>>,
}

/// A key and its value.
pub type Pair<const KEY: usize> = ([u8; KEY], Vec<u8>);

impl<const KEY: usize> Sorter<KEY> {
    /// A sorter that holds at most so many pairs in memory.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most: most.max(1), held: Vec::new(), values: Vec::new(), spilled: None }
    }

    /// Takes a pair; the value is the given parts one behind the other.
    ///
    /// # Errors
    /// When the temporary file cannot be made or written.
    pub fn push(&mut self, key: [u8; KEY], parts: &[&[u8]]) -> io::Result<()> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if self.held.len() >= self.most || (!self.held.is_empty() && self.values.len() + length > HELD_BYTES) {
            self.spill()?;
        }
        let start = self.values.len();
        parts.iter().for_each(|part| self.values.extend_from_slice(part));
        self.held.push((key, (start, self.values.len())));
        Ok(())
    }

    /// How many sorted runs were put aside.
    #[must_use]
    pub fn runs(&self) -> usize {
        self.spilled.as_ref().map_or(0, |spilled| spilled.runs.len())
    }

    fn spill(&mut self) -> io::Result<()> {
        self.held.sort_unstable();
        let spilled = match &mut self.spilled {
            Some(spilled) => spilled,
            none => none.insert(Spilled { file: Arc::new(tempfile::tempfile()?), runs: Vec::new() }),
        };
        let start = spilled.runs.last().map_or(0, |run| run.end);
        let mut end = start;
        let mut writer = BufWriter::with_capacity(256 << 10, At { file: Arc::clone(&spilled.file), next: start });
        for (key, (from, to)) in self.held.drain(..) {
            let value = self.values.get(from..to).unwrap_or_default();
            writer.write_all(&key)?;
            writer.write_all(&(value.len() as u64).to_le_bytes())?;
            writer.write_all(value)?;
            end += (KEY + size_of::<u64>() + value.len()) as u64;
        }
        writer.flush()?;
        spilled.runs.push(start..end);
        self.values.clear();
        Ok(())
    }

    /// All pairs in the order of their keys.
    ///
    /// # Errors
    /// When the temporary file cannot be written or read.
    pub fn sorted(mut self) -> io::Result<Sorted<KEY>> {
        if self.spilled.is_some() && !self.held.is_empty() {
            self.spill()?;
            self.values = Vec::new();
        }
        self.held.sort_unstable();
        let mut heads = BinaryHeap::new();
        for run in self.spilled.iter().flat_map(|spilled| spilled.runs.iter().map(|run| (&spilled.file, run.clone()))) {
            let (file, Range { start, end }) = run;
            let reader = BufReader::with_capacity(READ, At { file: Arc::clone(file), next: start }.take(end - start));
            let mut run = Run { reader };
            if let Some(head) = run.pop()? {
                heads.push(Reverse(Head { pair: head, run }));
            }
        }
        Ok(Sorted { held: self.held.into_iter(), values: self.values, heads })
    }
}

/// Pairs in the order of their keys.
#[derive(Debug)]
pub struct Sorted<const KEY: usize> {
    held: std::vec::IntoIter<([u8; KEY], (usize, usize))>,
    values: Vec<u8>,
    heads: BinaryHeap<Reverse<Head<KEY>>>,
}

impl<const KEY: usize> Sorted<KEY> {
    /// The next pair. Either all are held in memory or all are in runs.
    ///
    /// # Errors
    /// When the temporary file cannot be read.
    pub fn pop(&mut self) -> io::Result<Option<Pair<KEY>>> {
        if let Some((key, (from, to))) = self.held.next() {
            return Ok(Some((key, self.values.get(from..to).unwrap_or_default().to_vec())));
        }
        let Some(mut head) = self.heads.peek_mut() else { return Ok(None) };
        match head.0.run.pop()? {
            Some(next) => Ok(Some(std::mem::replace(&mut head.0.pair, next))),
            None => Ok(Some(PeekMut::pop(head).0.pair)),
        }
    }
}

/// A run and its first pair that has not been given yet.
#[derive(Debug)]
struct Head<const KEY: usize> {
    pair: Pair<KEY>,
    run: Run,
}

impl<const KEY: usize> Ord for Head<KEY> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.pair.0.cmp(&other.pair.0)
    }
}

impl<const KEY: usize> PartialOrd for Head<KEY> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<const KEY: usize> PartialEq for Head<KEY> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<const KEY: usize> Eq for Head<KEY> {}

#[derive(Debug)]
struct Run {
    reader: BufReader<io::Take<At>>,
}

impl Run {
    fn pop<const KEY: usize>(&mut self) -> io::Result<Option<Pair<KEY>>> {
        if self.reader.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let mut key = [0; KEY];
        self.reader.read_exact(&mut key)?;
        let mut length = [0; size_of::<u64>()];
        self.reader.read_exact(&mut length)?;
        let length = usize::try_from(u64::from_le_bytes(length)).map_err(io::Error::other)?;
        let mut value = vec![0; length];
        self.reader.read_exact(&mut value)?;
        Ok(Some((key, value)))
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

    fn sorted(most: usize, pairs: &[(u16, Vec<u8>)]) -> (usize, Vec<(u16, Vec<u8>)>) {
        let mut sorter = Sorter::<2>::new(most);
        for (key, value) in pairs {
            let (first, second) = value.split_at(value.len() / 2);
            sorter.push(key.to_be_bytes(), &[first, second]).unwrap();
        }
        let runs = sorter.runs();
        let mut sorted = sorter.sorted().unwrap();
        let mut all = Vec::new();
        while let Some((key, value)) = sorted.pop().unwrap() {
            all.push((u16::from_be_bytes(key), value));
        }
        (runs, all)
    }

    proptest! {
        #[test]
        fn any_number_in_memory_gives_the_same_order(
            keys in proptest::collection::hash_set(any::<u16>(), 0..200),
            most in 1..300_usize,
        ) {
            let pairs: Vec<_> = keys.iter().map(|key| (*key, vec![7; usize::from(*key % 50)])).collect();
            let mut expected = pairs.clone();
            expected.sort();
            let (runs, all) = sorted(most, &pairs);
            prop_assert_eq!(all, expected);
            prop_assert_eq!(runs, pairs.len().saturating_sub(1) / most);
        }
    }

    #[test]
    fn big_values_are_put_aside_before_their_number_is_reached() {
        let pairs: Vec<_> = (0..5).map(|key| (4 - key, vec![0; HELD_BYTES / 2 + 1])).collect();
        let (runs, all) = sorted(1000, &pairs);
        assert_eq!(runs, 4);
        assert_eq!(all.iter().map(|(key, _)| *key).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    }
}
