//! Runs that the kernel skipped.
//!
//! The kernel never runs one program twice at a time on a CPU. Where a task can be preempted inside a program (fentry and fexit on a
//! preemptible kernel, since 7.0 also tracepoints), the same event of the next task on that CPU is skipped. No program
//! can count that; the kernel does (`recursion_misses`, since 5.12), and shows it in the descriptor's information in /proc.

use aya::Ebpf;
use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, AsRawFd};

/// Skipped runs of the loaded programs, by hook; a hook is the first word of its programs' names.
#[must_use]
pub fn runs(ebpf: &Ebpf) -> BTreeMap<String, u64> {
    let mut missed = BTreeMap::new();
    for (name, program) in ebpf.programs() {
        let Ok(descriptor) = program.fd() else { continue };
        let path = format!("/proc/self/fdinfo/{}", descriptor.as_fd().as_raw_fd());
        let Some(number) = fs::read_to_string(path).ok().as_deref().and_then(recursion_misses) else { continue };
        let hook = name.split('_').next().unwrap_or(name);
        *missed.entry(hook.to_owned()).or_insert(0) += number;
    }
    missed
}

/// The number in a descriptor's information; `None` where the kernel does not tell it.
fn recursion_misses(information: &str) -> Option<u64> {
    information.lines().find_map(|line| line.strip_prefix("recursion_misses:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_found_or_absent() {
        let text = "pos:\t0\nprog_type:\t26\nrun_cnt:\t5\nrecursion_misses:\t148\nverified_insns:\t9\n";
        assert_eq!(recursion_misses(text), Some(148));
        assert_eq!(recursion_misses("pos:\t0\nrun_cnt:\t5\n"), None);
        assert_eq!(recursion_misses("recursion_misses:\tmany\n"), None);
    }
}
