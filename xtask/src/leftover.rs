//! What a run of tests has left behind on this host: processes, network namespaces, mounts, BPF programs, temporary
//! directories.

use crate::lint::PROGRAMS;
use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, WaitOptions};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long what is being taken down may need.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);
/// Characters of a program's name that the kernel keeps (`BPF_OBJ_NAME_LEN` less the null byte).
const KERNEL_NAME: usize = 15;

/// What there is at one time, each thing with how often it is there.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot(BTreeMap<String, usize>);

impl Snapshot {
    /// What there is now. Errors: not root, or /proc cannot be read.
    pub(crate) fn take() -> Result<Self> {
        let mut things = Self::default();
        for name in names_in(Path::new("/run/netns")) {
            things.add(format!("network namespace {name}"));
        }
        for name in names_in(&std::env::temp_dir()).iter().filter(|name| name.starts_with("sensor-")) {
            things.add(format!("temporary file {name}"));
        }
        let mounts = std::fs::read("/proc/self/mountinfo").context("/proc/self/mountinfo")?;
        for line in String::from_utf8_lossy(&mounts).lines() {
            things.add(mount(line));
        }
        for program in aya::programs::loaded_programs() {
            let program = program.context("cannot list the BPF programs")?;
            let name = String::from_utf8_lossy(program.name()).into_owned();
            if is_ours(&name) {
                things.add(format!("BPF program {} ({name})", program.id()));
            }
        }
        Ok(things)
    }

    /// What is there now and was not, in words.
    pub(crate) fn new_since(&self, before: &Self) -> Vec<String> {
        let more = |(thing, count): &(&String, &usize)| **count > before.0.get(*thing).copied().unwrap_or(0);
        self.0.iter().filter(more).map(|(thing, _)| thing.clone()).collect()
    }

    fn add(&mut self, thing: String) {
        *self.0.entry(thing).or_default() += 1;
    }
}

/// Looks until nothing is left that was not there before, at most for a few seconds, and tells what is. Processes are
/// those that this one has become the parent of (`PR_SET_CHILD_SUBREAPER`); they are killed in the end.
pub(crate) fn since(before: &Snapshot) -> Result<Vec<String>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let processes = descendants()?;
        let mut left: Vec<String> = processes.iter().map(|pid| describe(*pid)).collect();
        left.extend(Snapshot::take()?.new_since(before));
        if left.is_empty() {
            return Ok(left);
        }
        if Instant::now() > deadline {
            for pid in processes {
                // One that has ended in the meantime needs no signal.
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
            return Ok(left);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Makes orphans among the descendants of this process its children.
pub(crate) fn adopt_orphans() -> Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).context("PR_SET_CHILD_SUBREAPER")
}

/// Collects the children that have ended, and lists all other descendants.
fn descendants() -> Result<Vec<Pid>> {
    while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
    let mut parents = Vec::new();
    for name in names_in(Path::new("/proc")) {
        let Ok(pid) = name.parse::<i32>() else { continue };
        // A process may end while the list is read.
        let Ok(stat) = std::fs::read(format!("/proc/{pid}/stat")) else { continue };
        parents.extend(parent(&String::from_utf8_lossy(&stat)).map(|parent| (pid, parent)));
    }
    let mut family = BTreeSet::from([i32::try_from(std::process::id())?]);
    loop {
        let children = parents.iter().filter(|(pid, parent)| family.contains(parent) && !family.contains(pid));
        let children: Vec<i32> = children.map(|(pid, _)| *pid).collect();
        if children.is_empty() {
            break;
        }
        family.extend(children);
    }
    family.remove(&i32::try_from(std::process::id())?);
    Ok(family.into_iter().filter_map(Pid::from_raw).collect())
}

/// The fourth field of /proc/PID/stat; the second is the name in parentheses and may contain any character.
fn parent(stat: &str) -> Option<i32> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn describe(pid: Pid) -> String {
    let pid = pid.as_raw_nonzero();
    let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> = arguments.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    format!("process {pid} ({})", words.join(" ").trim_end())
}

/// A line of mountinfo without the numbers that change from mount to mount: root, mount point and file system.
fn mount(line: &str) -> String {
    let fields: Vec<&str> = line.split(' ').collect();
    let kind = fields.iter().skip_while(|field| **field != "-").nth(1);
    let [root, point] = [3, 4].map(|place| fields.get(place).copied().unwrap_or_default());
    format!("mount {point} ({} {root})", kind.copied().unwrap_or_default())
}

fn is_ours(name: &str) -> bool {
    PROGRAMS.iter().any(|program| program.get(..KERNEL_NAME).unwrap_or(program) == name)
}

/// Names in a directory; none if it cannot be read.
fn names_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(things: &[&str]) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for thing in things {
            snapshot.add((*thing).to_owned());
        }
        snapshot
    }

    #[test]
    fn only_what_was_added_is_new() {
        let before = of(&["a", "b", "b"]);
        assert_eq!(of(&["a", "b"]).new_since(&before), Vec::<String>::new());
        assert_eq!(of(&["a", "a", "b", "c"]).new_since(&before), ["a", "c"]);
    }

    #[test]
    fn parents_are_read_behind_any_name() {
        assert_eq!(parent("12 (sh) S 7 12 12 0"), Some(7));
        assert_eq!(parent("12 (a) R 1 (b)) S 9 12"), Some(9));
        assert_eq!(parent("12 (sh"), None);
        assert_eq!(parent("12 (sh) S"), None);
    }

    #[test]
    fn mounts_are_known_by_place_and_kind() {
        let line = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue";
        assert_eq!(mount(line), "mount /mnt2 (ext3 /mnt1)");
        assert_eq!(mount(""), "mount  ( )");
    }

    #[test]
    fn long_program_names_are_known_cut() {
        assert!(is_ours("connect_fexit"));
        assert!(!is_ours("connect_fexit_of_another"));
    }
}
