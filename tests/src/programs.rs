//! The programs of the kernel side that a sensor has loaded, as the kernel lists them.

use crate::field;
use anyhow::{Context, Result};
use aya::programs::loaded_programs;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, AsRawFd};

/// Numbers of the programs that a process holds, itself or by their attachments.
pub(crate) fn held_by(pid: u32) -> Result<BTreeSet<u32>> {
    let mut held = BTreeSet::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        // One that is closed while the list is read is no error.
        let Ok(text) = std::fs::read_to_string(entry?.path()) else { continue };
        held.extend(text.lines().filter_map(|line| line.strip_prefix("prog_id:")?.trim().parse::<u32>().ok()));
    }
    Ok(held)
}

/// Numbers of the programs of all sensors on the host.
pub(crate) fn loaded() -> Result<BTreeSet<u32>> {
    const HOOKS: [&str; 4] = ["connect_", "accept_", "graft_", "exec_"];
    let mut ours = BTreeSet::new();
    for info in loaded_programs() {
        // One that goes away while the list is read is no error.
        let Ok(info) = info else { continue };
        if info.name_as_str().is_some_and(|name| HOOKS.iter().any(|hook| name.starts_with(hook))) {
            ours.insert(info.id());
        }
    }
    Ok(ours)
}

/// Which of these programs are still loaded.
pub(crate) fn still_loaded(programs: &BTreeSet<u32>) -> Result<Vec<String>> {
    let mut left = Vec::new();
    for info in loaded_programs() {
        // One that goes away while the list is read is no error.
        let Ok(info) = info else { continue };
        if programs.contains(&info.id()) {
            left.push(format!("{} {}", info.id(), info.name_as_str().unwrap_or("?")));
        }
    }
    Ok(left)
}

/// How often a program has run, and how often it was not run because it was running already.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Runs {
    pub(crate) count: u64,
    pub(crate) missed: u64,
}

/// The runs of these programs by name; counted only while `kernel.bpf_stats_enabled` is set.
pub(crate) fn runs(programs: &BTreeSet<u32>) -> Result<BTreeMap<String, Runs>> {
    let mut runs = BTreeMap::new();
    for info in loaded_programs() {
        let Ok(info) = info else { continue };
        if !programs.contains(&info.id()) {
            continue;
        }
        let descriptor = info.fd().context("a program of the sensor")?;
        let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", descriptor.as_fd().as_raw_fd()))?;
        let count = field::number(&text, "run_cnt").context("no run_cnt in fdinfo")?;
        // Since 5.12.
        let missed = field::number(&text, "recursion_misses").unwrap_or(0);
        runs.insert(info.name_as_str().unwrap_or("?").to_owned(), Runs { count, missed });
    }
    Ok(runs)
}
