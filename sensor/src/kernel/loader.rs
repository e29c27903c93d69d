//! A loader without the kernel's type information.
//!
//! aya's reads and parses all of that whenever one is made, also if it is told the moment after that it is not to use any. It does
//! without if the file cannot be opened, so the loader is made in a thread that can open none.

use aya::EbpfLoader;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use std::collections::BTreeMap;
use std::io;
use std::thread;

/// One that adapts nothing to the running kernel: the sensor's object has nothing to be adapted.
pub(super) fn loader<'a>() -> EbpfLoader<'a> {
    let made = thread::scope(|scope| {
        let make = || {
            // Where that fails it takes longer.
            if let Err(error) = open_nothing() {
                tracing::debug!("type information is parsed in vain: {error}");
            }
            EbpfLoader::new()
        };
        scope.spawn(make).join()
    });
    let mut loader = made.unwrap_or_else(|_| EbpfLoader::new());
    loader.btf(None);
    loader
}

/// From now on this thread, and no other, opens no file.
fn open_nothing() -> io::Result<()> {
    let mut calls = BTreeMap::from([(libc::SYS_openat, Vec::new())]);
    #[cfg(target_arch = "x86_64")]
    calls.insert(libc::SYS_open, Vec::new());
    let refuse = SeccompAction::Errno(libc::ENOENT.unsigned_abs());
    let arch = std::env::consts::ARCH.try_into().map_err(io::Error::other)?;
    let filter = SeccompFilter::new(calls, SeccompAction::Allow, refuse, arch).map_err(io::Error::other)?;
    let program = BpfProgram::try_from(filter).map_err(io::Error::other)?;
    apply_filter(&program).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn a_thread_that_opens_nothing_leaves_others_alone() {
        let opened = || File::open("/proc/self/stat").map(drop);
        let refused = thread::spawn(move || (open_nothing(), opened())).join().unwrap();
        assert!(refused.0.is_ok());
        assert_eq!(refused.1.unwrap_err().raw_os_error(), Some(libc::ENOENT));
        opened().unwrap();
        let _ = loader();
        opened().unwrap();
    }
}
