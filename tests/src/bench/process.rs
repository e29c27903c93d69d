//! What a process and its descendants take, by /proc.

use crate::field::number;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Memory of a process in KiB (proc_pid_status(5)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// `VmRSS`.
    pub(crate) resident: u64,
    /// `RssAnon`: what belongs to it alone, and is not read from files.
    pub(crate) anonymous: u64,
    /// `VmHWM`: the most that was ever resident.
    pub(crate) peak: u64,
}

impl Memory {
    /// That of a process now.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/status");
        let status = fs::read_to_string(&path).with_context(|| path.clone())?;
        let field = |name| number(&status, name).with_context(|| format!("{path} has no {name}"));
        Ok(Self { resident: field("VmRSS")?, anonymous: field("RssAnon")?, peak: field("VmHWM")? })
    }
}

/// The kernel's memory for the maps that a process has open, in KiB (`memlock` of their fdinfo; on kernels before 6.4 an estimate).
pub(crate) fn map_memory(pid: u32) -> Result<u64> {
    let mut maps = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        // A descriptor may be closed meanwhile.
        let Ok(info) = fs::read_to_string(entry?.path()) else { continue };
        if let (Some(id), Some(bytes)) = (number(&info, "map_id"), number(&info, "memlock")) {
            maps.insert(id, bytes);
        }
    }
    Ok(maps.values().sum::<u64>() / 1024)
}

/// Time on a processor that the living threads of a process have had, in nanoseconds (`schedstat`).
pub(crate) fn processor_ns(pid: u32) -> Result<u64> {
    let each =
        |path: &Path| fs::read_to_string(path.join("schedstat")).ok()?.split_whitespace().next()?.parse::<u64>().ok();
    Ok(threads(pid)?.iter().filter_map(|path| each(path)).sum::<u64>())
}

/// How often its threads have given up the processor by themselves: how often they have woken up, that is.
pub(crate) fn sleeps(pid: u32) -> Result<u64> {
    let each = |path: &Path| number(&fs::read_to_string(path.join("status")).ok()?, "voluntary_ctxt_switches");
    Ok(threads(pid)?.iter().filter_map(|path| each(path)).sum())
}

/// A process and all its descendants.
pub(crate) fn family(pid: u32) -> Result<Vec<u32>> {
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        next += 1;
        for thread in threads(parent).unwrap_or_default() {
            let children = fs::read_to_string(thread.join("children")).unwrap_or_default();
            family.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
    }
    Ok(family)
}

/// The process of that name, if there is one; for the kernel's own.
pub(crate) fn named(name: &str) -> Option<u32> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_end() == name))
}

fn threads(pid: u32) -> Result<Vec<std::path::PathBuf>> {
    let path = format!("/proc/{pid}/task");
    Ok(fs::read_dir(&path).with_context(|| path.clone())?.flatten().map(|entry| entry.path()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_takes_something() {
        let pid = std::process::id();
        let Memory { resident, anonymous, peak } = Memory::of(pid).unwrap();
        assert!(anonymous > 0 && resident > anonymous && peak >= resident);
        assert!(processor_ns(pid).unwrap() > 0);
        assert!(family(pid).unwrap().contains(&pid));
        assert!(Memory::of(u32::MAX).is_err());
    }
}
