//! The namespaces of a lab: network and processes, without names, gone with their last process.

use anyhow::{Context, Result};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

/// A network namespace and the namespace of processes that children are born into.
pub(crate) struct Namespaces {
    net: File,
    pid: File,
}

impl Namespaces {
    /// Those that the calling thread is in.
    fn current() -> Result<Self> {
        Self::open("/proc/thread-self/ns/net", "/proc/thread-self/ns/pid_for_children")
    }

    /// Those of a process.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        Self::open(&format!("/proc/{pid}/ns/net"), &format!("/proc/{pid}/ns/pid"))
    }

    fn open(net: &str, pid: &str) -> Result<Self> {
        let open = |path: &str| File::open(path).with_context(|| path.to_owned());
        Ok(Self { net: open(net)?, pid: open(pid)? })
    }

    /// Does something with the calling thread inside: sockets are made there, and children are born there.
    pub(crate) fn inside<T>(&self, f: impl FnOnce() -> Result<T>) -> Result<T> {
        let _back = Back(Self::current()?);
        self.enter()?;
        f()
    }

    /// Whether a process is in the namespace of processes; an error if it has ended.
    pub(crate) fn hold(&self, pid: u32) -> Result<bool> {
        let theirs = std::fs::metadata(format!("/proc/{pid}/ns/pid"))?;
        let ours = self.pid.metadata()?;
        Ok((theirs.dev(), theirs.ino()) == (ours.dev(), ours.ino()))
    }

    fn enter(&self) -> Result<()> {
        move_into_link_name_space(self.net.as_fd(), Some(LinkNameSpaceType::Network)).context("network namespace")?;
        move_into_link_name_space(self.pid.as_fd(), Some(LinkNameSpaceType::ProcessID)).context("process namespace")
    }
}

/// Does something with the calling thread in new namespaces. The first child that it makes there is their init.
pub(crate) fn inside_new<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    let _back = Back(Namespaces::current()?);
    // SAFETY: descriptors stay shared between the threads; only the network and the birth place of children change.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWPID) }.context("unshare")?;
    f()
}

/// Takes the thread back when dropped, also when something failed.
struct Back(Namespaces);

impl Drop for Back {
    fn drop(&mut self) {
        if let Err(error) = self.0.enter() {
            // The thread would go on in the wrong place, and every later result would be wrong.
            crate::report::fatal(&format!("cannot return to the host's namespaces: {error:#}"));
        }
    }
}
