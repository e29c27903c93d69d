//! Where a measurement takes place: a network of its own, and mounts of its own in which nothing lies where programs usually do, so that
//! paths are as long as usual and nothing of the host is touched. Both are gone with the last process in them.

use crate::cost::actor::PROGRAMS;
use anyhow::{Context, Result};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Moves the calling process there; it must have one thread.
pub(crate) fn enter() -> Result<()> {
    // SAFETY: the flags do not touch the descriptors.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::NEWNET) }.context("namespaces")?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).context("private mounts")?;
    mount("sensor-bench", PROGRAMS, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"mode=0755").context(PROGRAMS)
}
