//! The lines that may be needed again: in memory while they are few, in a temporary file without a name otherwise.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;

/// Bytes held in memory at most, unless one line alone is longer.
const HELD: usize = 16 << 20;

/// Keeps lines.
#[derive(Debug, Default)]
pub struct Store {
    /// What has been written to the file.
    written: u64,
    file: Option<File>,
    /// What follows it.
    held: Vec<u8>,
}

/// Where a line is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Offset of its first byte among all lines.
    pub start: u64,
    /// Its bytes.
    pub length: u32,
}

impl Store {
    /// Keeps a line.
    ///
    /// # Errors
    /// When the temporary file cannot be made or written.
    pub fn push(&mut self, line: &[u8]) -> io::Result<Kept> {
        if !self.held.is_empty() && self.held.len() + line.len() > HELD {
            let file = match &mut self.file {
                Some(file) => file,
                none => none.insert(tempfile::tempfile()?),
            };
            file.write_all(&self.held)?;
            self.written += self.held.len() as u64;
            self.held.clear();
        }
        let start = self.written + self.held.len() as u64;
        self.held.extend_from_slice(line);
        Ok(Kept { start, length: u32::try_from(line.len()).map_err(io::Error::other)? })
    }

    /// Gives a line back.
    ///
    /// # Errors
    /// When the temporary file cannot be read.
    pub fn line(&self, Kept { start, length }: Kept) -> io::Result<Vec<u8>> {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        if let Some(held) = start.checked_sub(self.written) {
            let held = usize::try_from(held).map_err(io::Error::other)?;
            let line = self.held.get(held..held.saturating_add(length));
            return line.map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::UnexpectedEof.into());
        }
        let mut line = vec![0; length];
        match &self.file {
            Some(file) => file.read_exact_at(&mut line, start)?,
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        Ok(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_from_memory_and_from_the_file() {
        let mut store = Store::default();
        let lines: Vec<Vec<u8>> = (0..100_u8).map(|byte| vec![byte; usize::from(byte) * 5000]).collect();
        let kept: Vec<Kept> = lines.iter().map(|line| store.push(line).unwrap()).collect();
        assert!(store.file.is_some() && !store.held.is_empty());
        assert!(store.held.capacity() <= 2 * HELD);
        for (kept, line) in kept.iter().zip(&lines).rev() {
            assert_eq!(store.line(*kept).unwrap(), *line);
        }
        assert!(store.line(Kept { start: u64::MAX, length: 1 }).is_err());
    }
}
