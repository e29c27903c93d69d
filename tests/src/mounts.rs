//! Commands with mounts of their own, which are gone with them, and mounts that several commands share.

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Has the command run with mounts of its own; `change` makes them, between fork and exec: by system calls and without
/// allocating.
pub(crate) fn with_mounts(command: &mut Command, change: impl Fn() -> io::Result<()> + Send + Sync + 'static) {
    let before_exec = move || {
        unshare()?;
        change()
    };
    // SAFETY: system calls and no allocation between fork and exec.
    unsafe { command.pre_exec(before_exec) };
}

fn unshare() -> io::Result<()> {
    // SAFETY: the flag does not touch the file descriptor table.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
    Ok(mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?)
}

/// A namespace of mounts that several commands share; it goes with the last of them and this.
pub(crate) struct Mounts(File);

impl Mounts {
    /// A copy of the calling thread's, with what `change` mounts.
    pub(crate) fn new(change: impl FnOnce() -> io::Result<()> + Send) -> Result<Self> {
        // A thread that ends there: no other is moved.
        std::thread::scope(|scope| {
            let made = scope.spawn(|| {
                unshare()?;
                change()?;
                File::open("/proc/thread-self/ns/mnt")
            });
            made.join().ok().context("a thread has panicked")?.context("a namespace of mounts").map(Self)
        })
    }

    /// Has the command run there, from the root directory.
    pub(crate) fn hold(&self, command: &mut Command) -> Result<()> {
        let mounts = self.0.try_clone()?;
        let before_exec = move || Ok(move_into_link_name_space(mounts.as_fd(), Some(LinkNameSpaceType::Mount))?);
        // SAFETY: one system call and no allocation between fork and exec.
        unsafe { command.pre_exec(before_exec) };
        Ok(())
    }
}

/// Mounts a file system of this kind.
pub(crate) fn mount_at(kind: &CStr, place: &CStr, flags: MountFlags) -> io::Result<()> {
    Ok(mount(kind, place, kind, flags, None)?)
}
