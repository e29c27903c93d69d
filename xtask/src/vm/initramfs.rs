//! Writes an initramfs: the files that a kernel unpacks into memory and starts from.
//!
//! The format is "newc" of cpio, as in the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst`: for each
//! file a header of hexadecimal numbers, its name and its content, each padded to four bytes.

use anyhow::{Context, Result};
use std::io::Write;

/// Type bits of a file's mode, as in stat(2).
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// An initramfs being written. All files are root's.
pub(crate) struct Initramfs<W> {
    output: W,
    inode: u32,
}

impl<W: Write> Initramfs<W> {
    /// Begins one.
    pub(crate) fn new(output: W) -> Self {
        Self { output, inode: 0 }
    }

    /// Adds a directory; those around it must be there.
    pub(crate) fn directory(&mut self, path: &str) -> Result<()> {
        self.entry(path, DIRECTORY | 0o755, (0, 0), &[])
    }

    /// Adds a file.
    pub(crate) fn file(&mut self, path: &str, permissions: u32, content: &[u8]) -> Result<()> {
        self.entry(path, FILE | permissions, (0, 0), content)
    }

    /// Adds a character device.
    pub(crate) fn device(&mut self, path: &str, permissions: u32, number: (u32, u32)) -> Result<()> {
        self.entry(path, CHARACTER_DEVICE | permissions, number, &[])
    }

    /// Ends it.
    pub(crate) fn finish(mut self) -> Result<W> {
        self.inode = 0;
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        self.output.flush()?;
        Ok(self.output)
    }

    fn entry(&mut self, path: &str, mode: u32, (major, minor): (u32, u32), content: &[u8]) -> Result<()> {
        let size = u32::try_from(content.len()).with_context(|| format!("{path} is too large"))?;
        let name = u32::try_from(path.len() + 1)?;
        let links = if mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
        // Inode, mode, owner, group, links, time, size, device of the file system, device of the file, name, checksum.
        let numbers = [self.inode, mode, 0, 0, links, 0, size, 0, 0, major, minor, name, 0];
        self.inode += 1;
        self.output.write_all(b"070701")?;
        for number in numbers {
            write!(self.output, "{number:08X}")?;
        }
        self.output.write_all(path.as_bytes())?;
        self.output.write_all(b"\0")?;
        self.pad(HEADER + path.len() + 1)?;
        self.output.write_all(content)?;
        self.pad(content.len())
    }

    fn pad(&mut self, written: usize) -> Result<()> {
        Ok(self.output.write_all([0; 3].get(..written.wrapping_neg() % 4).unwrap_or_default())?)
    }
}

/// Bytes of a header: the magic number and 13 numbers of eight digits.
const HEADER: usize = 6 + 13 * 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_padded_and_end_with_the_trailer() {
        let mut initramfs = Initramfs::new(Vec::new());
        initramfs.directory("dev").unwrap();
        initramfs.device("dev/console", 0o600, (5, 1)).unwrap();
        initramfs.file("init", 0o755, b"abcde").unwrap();
        let bytes = initramfs.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        // "dev" with its zero fills the first entry up to 114, padded to 116; "dev/console" the second to 122, padded.
        let header = |at: usize| std::str::from_utf8(&bytes[at..at + HEADER]).unwrap();
        assert_eq!(&header(0)[..22], "07070100000000000041ED");
        assert_eq!(&header(116)[14..22], "00002180");
        assert_eq!(&header(116)[78..94], "0000000500000001");
        assert_eq!(&header(240)[54..62], "00000005");
        // The name begins where the numbers end, the content at the next multiple of four.
        assert_eq!(&bytes[350..355], b"init\0");
        assert_eq!(&bytes[356..364], b"abcde\0\0\0");
        assert_eq!(&bytes[364..370], b"070701");
        assert!(bytes.ends_with(b"TRAILER!!!\0\0\0\0"));
    }
}
