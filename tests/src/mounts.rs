//! Commands with mounts of their own, which are gone with them.

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use std::ffi::CStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Has the command run with mounts of its own; `change` makes them, between fork and exec: by system calls and without
/// allocating.
pub(crate) fn with_mounts(command: &mut Command, change: impl Fn() -> io::Result<()> + Send + Sync + 'static) {
    let before_exec = move || {
        // SAFETY: the flag does not touch the file descriptor table.
        unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
        mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        change()
    };
    // SAFETY: system calls and no allocation between fork and exec.
    unsafe { command.pre_exec(before_exec) };
}

/// Mounts a file system of this kind.
pub(crate) fn mount_at(kind: &CStr, place: &CStr, flags: MountFlags) -> io::Result<()> {
    Ok(mount(kind, place, kind, flags, None)?)
}
