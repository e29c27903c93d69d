//! What the kernel and /proc say of themselves and of this process. What cannot be read is unknown, never an error: the hooks are
//! tried all the same.

use super::mounts::{self, Mount};
use super::survey::{Kernel, Kprobes, Privileges, Tracefs};
use crate::enrich::namespace;
use crate::kernel::attach::KPROBE_TYPE;
use crate::kernel::error::effective_capabilities;
use crate::kernel::preemption;
use rustix::system::uname;
use std::fs;
use std::path::Path;

/// The capabilities that the sensor has a use for, with their numbers: capabilities(7).
pub(super) const CAPABILITIES: [(&str, u32); 6] = [
    ("CAP_DAC_READ_SEARCH", 2),
    ("CAP_SYS_PTRACE", 19),
    ("CAP_SYS_ADMIN", 21),
    ("CAP_SYS_RESOURCE", 24),
    ("CAP_PERFMON", 38),
    ("CAP_BPF", 39),
];

/// Number of the initial user namespace, fixed in the kernel (`PROC_USER_INIT_INO`).
const INITIAL_USER: &str = "user:[4026531837]";

/// What switches kprobes off: files in which a 0 does it.
const SWITCHES: [&str; 2] = ["/sys/kernel/debug/kprobes/enabled", "/proc/sys/kernel/ftrace_enabled"];

/// The running kernel.
pub(super) fn kernel() -> Kernel {
    let system = uname();
    Kernel {
        release: system.release().to_string_lossy().into_owned(),
        architecture: system.machine().to_string_lossy().into_owned(),
        preemptible: preemption::Kernel::running().preemptible,
        lockdown: read("/sys/kernel/security/lockdown").as_deref().and_then(lockdown),
    }
}

/// The mode in brackets: `none [integrity] confidentiality`.
fn lockdown(text: &str) -> Option<String> {
    Some(text.split_once('[')?.1.split_once(']')?.0.to_owned())
}

/// What this process may do.
pub(super) fn privileges() -> Privileges {
    let bits = effective_capabilities().unwrap_or(0);
    let user_namespace = fs::read_link("/proc/self/ns/user");
    let status = read("/proc/self/status").unwrap_or_default();
    Privileges {
        uid: rustix::process::geteuid().as_raw(),
        capabilities: CAPABILITIES.into_iter().filter(|(_, bit)| bits & 1 << bit != 0).map(|(name, _)| name).collect(),
        own_user_namespace: user_namespace.is_ok_and(|namespace| namespace.as_os_str() != INITIAL_USER),
        own_process_namespace: namespace::check(Path::new("/")).is_err(),
        seccomp: status.lines().any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2")),
        perf_event_paranoid: read("/proc/sys/kernel/perf_event_paranoid").and_then(|text| text.trim().parse().ok()),
    }
}

/// The tracing file system among the mounts; one by which it can be written before others.
pub(super) fn tracefs(mounts: &[Mount]) -> Option<Tracefs> {
    let mounted = || mounts.iter().filter(|mount| mount.kind == "tracefs");
    let mount = mounted().find(|mount| !mount.read_only).or_else(|| mounted().next())?;
    Some(Tracefs { path: mount.point.clone(), read_only: mount.read_only })
}

/// What kprobes need.
pub(super) fn kprobes() -> Kprobes {
    let present = Path::new(KPROBE_TYPE).exists();
    let off = |file: &&&str| present && read(file).is_some_and(|text| text.trim() == "0");
    Kprobes { present, switched_off_by: SWITCHES.iter().find(off).copied() }
}

/// The mounts that this process sees.
pub(super) fn mounts() -> Vec<Mount> {
    read("/proc/self/mountinfo").map_or_else(Vec::new, |text| mounts::parse(&text))
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_of_lockdown_is_the_one_in_brackets() {
        assert_eq!(lockdown("none [integrity] confidentiality\n").as_deref(), Some("integrity"));
        assert_eq!(lockdown("[none] integrity confidentiality\n").as_deref(), Some("none"));
        assert_eq!(lockdown("none [integrity"), None);
        assert_eq!(lockdown(""), None);
    }

    #[test]
    fn a_writable_tracefs_comes_before_one_that_is_not() {
        let mount = |kind: &str, point: &str, read_only| Mount {
            kind: kind.to_owned(),
            root: "/".to_owned(),
            point: point.to_owned(),
            read_only,
            options: String::new(),
        };
        let all = [mount("proc", "/proc", false), mount("tracefs", "/a", true), mount("tracefs", "/b", false)];
        assert_eq!(tracefs(&all), Some(Tracefs { path: "/b".to_owned(), read_only: false }));
        assert_eq!(tracefs(&all[..2]), Some(Tracefs { path: "/a".to_owned(), read_only: true }));
        assert_eq!(tracefs(&all[..1]), None);
    }
}
