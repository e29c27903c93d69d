//! A cgroup of the host, as a container runtime makes one for each container.

use anyhow::{Context, Result};
use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, openat, unlinkat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

/// A cgroup of version 2, removed when dropped; its processes go back to where they were.
pub(crate) struct Cgroup {
    /// The whole hierarchy, mounted at no place.
    root: OwnedFd,
    name: String,
    /// Processes, and the cgroup that each came from.
    moved: Vec<(u32, String)>,
}

impl Cgroup {
    /// Makes one below the hierarchy's root.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let context = fsopen("cgroup2", FsOpenFlags::FSOPEN_CLOEXEC).context("cgroup2")?;
        fsconfig_create(&context)?;
        let root = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
        mkdirat(&root, name, Mode::RWXU).with_context(|| format!("cgroup {name}"))?;
        Ok(Self { root, name: name.to_owned(), moved: Vec::new() })
    }

    /// Moves a process into it.
    pub(crate) fn add(&mut self, pid: u32) -> Result<()> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        let before = text.lines().find_map(|line| line.strip_prefix("0::/")).context("no cgroup of version 2")?;
        self.enter(pid, &self.name)?;
        self.moved.push((pid, before.to_owned()));
        Ok(())
    }

    fn enter(&self, pid: u32, cgroup: &str) -> Result<()> {
        let path = if cgroup.is_empty() { "cgroup.procs".to_owned() } else { format!("{cgroup}/cgroup.procs") };
        let file = openat(&self.root, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(File::from(file).write_all(pid.to_string().as_bytes())?)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for (pid, before) in &self.moved {
            // One that has ended is in none.
            let _ = self.enter(*pid, before);
        }
        if let Err(error) = unlinkat(&self.root, self.name.as_str(), AtFlags::REMOVEDIR) {
            crate::report::note(&format!("the cgroup {} is left behind: {error}", self.name));
        }
    }
}
