//! Reaching the tracing file system where nobody has mounted it.

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use std::io;
use std::path::Path;
use std::thread;

const TRACEFS: &str = "/sys/kernel/tracing";

/// Runs `action` where the tracing file system can be read. If it is mounted nowhere, that is a short-lived thread with a mount
/// namespace of its own, which ends with the thread: the host sees no new mount.
///
/// # Errors
///
/// When the namespace or the mount is refused, which needs `CAP_SYS_ADMIN`.
pub(super) fn with_tracefs<T: Send>(action: impl FnOnce() -> T + Send) -> io::Result<T> {
    if is_mounted(TRACEFS) || is_mounted("/sys/kernel/debug/tracing") {
        return Ok(action());
    }
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            mount_privately()?;
            Ok(action())
        });
        worker.join().unwrap_or_else(|_| Err(io::Error::other("the thread that mounts tracefs has ended early")))
    })
}

fn is_mounted(path: &str) -> bool {
    Path::new(path).join("events").is_dir()
}

fn mount_privately() -> io::Result<()> {
    // SAFETY: neither flag touches the file descriptor table, and the thread ends right after its work.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("tracefs", TRACEFS, "tracefs", flags, None)?;
    Ok(())
}
