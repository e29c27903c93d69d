//! Files that are in memory alone, for what is told the name of a file.

use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

/// A file in memory, gone when dropped.
pub(crate) struct MemoryFile {
    _file: File,
    path: PathBuf,
}

impl MemoryFile {
    /// A file of these bytes.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let mut file = File::from(memfd_create("fuzz", MemfdFlags::CLOEXEC).expect("a file in memory"));
        file.write_all(bytes).expect("writing to memory");
        // Opened by this name, it is read from its beginning.
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        Self { _file: file, path }
    }

    /// Its name within this process.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}
