//! podman for one test: images, containers and settings below the test's directory, and mounts of its own, so that nothing of it
//! is seen by the host's podman or outlives the test.
//!
//! The containers live in the host's namespace of processes all the same, and in control groups of the host's unified hierarchy,
//! which is mounted alone: where the host has others beside it, podman would want all of them to itself.

use crate::finished::Finished;
use crate::lab::{Lab, parent_of, which};
use crate::mounts::{Mounts, mount_at};
use crate::skip::skip;
use crate::wait::until;
use anyhow::{Context, Result};
use rustix::mount::MountFlags;
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The group in which podman puts its own, below each place where the unified hierarchy may be mounted: alone, or beside others.
const GROUP: &str = "libpod_parent";
const HIERARCHIES: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
/// How many tests use podman now: the last one removes the group that all have in common.
static USERS: Mutex<usize> = Mutex::new(0);

/// A podman with one image, the one that the suite was given.
pub(crate) struct Podman {
    directory: PathBuf,
    mounts: Mounts,
}

/// A container that runs.
pub(crate) struct Container {
    /// Its 64 digits.
    pub(crate) id: String,
    /// Its first process, as the host numbers it.
    pub(crate) pid: u32,
}

impl Podman {
    /// Sets one up in the test's directory, and loads the image as the README does. The test is skipped where there is no podman, or
    /// none that works.
    pub(crate) fn new(lab: &Lab) -> Result<Self> {
        which("podman")?;
        // crun raises a limit before it makes a container that is not privileged, which root without CAP_SYS_RESOURCE may not.
        let runtime = which("runc").or_else(|_| which("crun"))?;
        let directory = lab.directory().join("podman");
        std::fs::create_dir_all(&directory)?;
        std::fs::write(directory.join("storage.conf"), storage(&directory))?;
        std::fs::write(directory.join("containers.conf"), settings(&directory, &runtime))?;
        let mounts = match Mounts::new(mount) {
            Ok(mounts) => mounts,
            Err(error) => return skip(format!("what podman needs cannot be mounted here: {error:#}")),
        };
        *lock(&USERS) += 1;
        let podman = Self { directory, mounts };
        let usable = Finished::of(&mut podman.command("podman", &["ps"])?)?;
        if usable.code != Some(0) {
            return skip(format!("podman does not work here: {:.500}", usable.log));
        }
        let mut load = podman.command("podman", &["load", "-i"])?;
        Finished::of(load.arg(lab.binary()))?.expect(0).context("the image cannot be loaded")?;
        Ok(podman)
    }

    /// A command that finds this podman's containers when it calls `podman`.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(program);
        command.args(arguments);
        for (variable, file) in [("CONTAINERS_STORAGE_CONF", "storage.conf"), ("CONTAINERS_CONF", "containers.conf")] {
            command.env(variable, self.directory.join(file));
        }
        self.mounts.hold(&mut command)?;
        Ok(command)
    }

    /// The running container of this name; waits for it.
    pub(crate) fn container(&self, name: &str) -> Result<Container> {
        until(&format!("the container {name}"), || {
            let ask = ["container", "inspect", "--format={{.Id}} {{.State.Pid}}", name];
            let Finished { output, .. } = Finished::of(&mut self.command("podman", &ask)?)?;
            let Some((id, pid)) = output.trim().split_once(' ') else { return Ok(None) };
            // 0 until it has one.
            let pid = pid.parse().ok().filter(|pid| *pid != 0);
            Ok(pid.map(|pid| Container { id: id.to_owned(), pid }))
        })
    }

    /// podman itself, and what watches over its containers.
    fn processes(&self) -> Vec<u32> {
        let directory = self.directory.as_os_str().as_encoded_bytes();
        let names_it = |pid: &u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.windows(directory.len()).any(|part| part == directory)
        };
        processes().into_iter().filter(names_it).collect()
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // It fails while a container that has just ended is being removed already.
        let removed = until("the containers to be removed", || {
            let mut command = self.command("podman", &["rm", "--all", "--force", "--time=0"])?;
            Ok((Finished::of(&mut command)?.code == Some(0)).then_some(()))
        });
        // podman's cleaning up behind a container ends by itself.
        let ended = until("podman to end", || Ok(self.processes().is_empty().then_some(())));
        if let Err(error) = removed.and(ended) {
            crate::report::note(&format!("podman was not ended as it should be: {error:#}"));
            self.processes().into_iter().for_each(kill);
        }
        let mut users = lock(&USERS);
        *users -= 1;
        if *users == 0 {
            remove_groups();
        }
    }
}

/// Where podman and its runtimes keep what they know of running containers and of images that they have seen, the hierarchy of
/// control groups, and the tracing file system, which systemd mounts on other hosts.
fn mount() -> std::io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    for directory in [c"/run", c"/var/lib"] {
        mount_at(c"tmpfs", directory, MountFlags::NOSUID | MountFlags::NODEV)?;
    }
    mount_at(c"cgroup2", c"/sys/fs/cgroup", flags)?;
    if Path::new("/sys/kernel/tracing/events").is_dir() {
        return Ok(());
    }
    mount_at(c"tracefs", c"/sys/kernel/tracing", flags)
}

/// Removes the control groups that podman has left, as far as they are empty.
pub(crate) fn remove_groups() {
    for hierarchy in HIERARCHIES {
        remove_below(&Path::new(hierarchy).join(GROUP));
    }
}

fn remove_below(group: &Path) {
    for entry in std::fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_below(&entry.path());
        }
    }
    // One that is not empty, or not there, stays as it is.
    let _ = std::fs::remove_dir(group);
}

fn storage(directory: &Path) -> String {
    let directory = directory.display();
    // Copies instead of layers: they work on every file system.
    format!("[storage]\ndriver = \"vfs\"\ngraphroot = \"{directory}/graph\"\nrunroot = \"{directory}/run\"\n")
}

/// Limits that every host allows, and nothing that outlives the test: no journal, no memory shared by all podmans, no systemd.
fn settings(directory: &Path, runtime: &Path) -> String {
    let (directory, runtime) = (directory.display(), runtime.display());
    format!(
        "[containers]\n\
         default_ulimits = [\"nofile=4096:4096\", \"nproc=4096:4096\"]\n\
         log_driver = \"none\"\n\
         pids_limit = 0\n\
         [engine]\n\
         cgroup_manager = \"cgroupfs\"\n\
         events_logger = \"none\"\n\
         lock_type = \"file\"\n\
         runtime = \"{runtime}\"\n\
         tmp_dir = \"{directory}/tmp\"\n\
         [network]\n\
         network_config_dir = \"{directory}/networks\"\n"
    )
}

/// Kills what containers leave to this process when the suite has ended in the middle of a test: what watches over them, then what is
/// in them.
pub(crate) fn kill_orphans() {
    let own = std::process::id();
    let ours = |pid: &u32| {
        let group = std::fs::read_to_string(format!("/proc/{pid}/cgroup"));
        parent_of(*pid) == Some(own) && group.is_ok_and(|group| group.contains(GROUP))
    };
    processes().into_iter().filter(ours).for_each(kill);
}

fn processes() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn kill(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may have ended.
        let _ = kill_process(pid, Signal::KILL);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
