//! Up to where a spool is settled, on disk: the number of the oldest document that is not.
//!
//! One line of the same length each time, written over the old one, which needs no room on a full disk. It is shorter than what
//! disks write at once; one that was cut all the same is noticed by its checksum.

use super::line;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Name of the file.
const NAME: &str = "settled";

/// The open file.
#[derive(Debug)]
pub(super) struct Position {
    file: File,
}

impl Position {
    /// Opens or makes the file; the number that it holds, if it holds one.
    pub(super) fn open(directory: &Path) -> io::Result<(Self, Option<u64>)> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(directory.join(NAME))?;
        let mut bytes = [0; 64];
        let read = file.read_at(&mut bytes, 0)?;
        let line = bytes.get(..read).unwrap_or_default().split(|byte| *byte == b'\n').next().unwrap_or_default();
        Ok((Self { file }, line::decode(line).map(|(number, _)| number)))
    }

    /// Writes another number, and waits until the disk has it.
    pub(super) fn write(&self, number: u64) -> io::Result<()> {
        // Digits of the number are made up for, so that the length is always the same.
        let padding = " ".repeat(20_usize.saturating_sub(number.to_string().len()));
        self.file.write_all_at(&line::encode(number, &padding)?, 0)?;
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_last_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let (position, number) = Position::open(folder.path()).unwrap();
        assert_eq!(number, None);
        for number in [0, u64::MAX, 5, 1_000_000] {
            position.write(number).unwrap();
            assert_eq!(Position::open(folder.path()).unwrap().1, Some(number));
        }
        assert_eq!(folder.path().join(NAME).metadata().unwrap().len(), 31);
    }

    #[test]
    fn what_was_cut_is_no_number() {
        let folder = tempfile::tempdir().unwrap();
        Position::open(folder.path()).unwrap().0.write(123).unwrap();
        let whole = std::fs::read(folder.path().join(NAME)).unwrap();
        for end in 0..whole.len() - 1 {
            std::fs::write(folder.path().join(NAME), &whole[..end]).unwrap();
            assert_eq!(Position::open(folder.path()).unwrap().1, None, "{end}");
        }
    }
}
