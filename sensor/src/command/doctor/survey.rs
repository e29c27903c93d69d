//! What `doctor` has seen of a host: plain data, from which the diagnosis, the text and the JSON are made.

use crate::command::exit::Exit;
use serde::Serialize;
use std::path::PathBuf;

/// Everything that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Survey {
    /// The running kernel.
    pub(super) kernel: Kernel,
    /// Its type information.
    pub(super) btf: Btf,
    /// Every kernel field that the sensor reads; empty if there is no type information.
    pub(super) fields: Vec<Field>,
    /// What this process may do.
    pub(super) privileges: Privileges,
    /// The tracing file system; `None` if it is mounted nowhere.
    pub(super) tracefs: Option<Tracefs>,
    /// What kprobes need.
    pub(super) kprobes: Kprobes,
    /// Limits of memory.
    pub(super) memory: Memory,
    /// Why the host has no identity, which the sensor needs.
    pub(super) host_error: Option<String>,
    /// Why nothing could be attached at all, and how `run` would end because of that.
    pub(super) load_error: Option<LoadFailure>,
    /// The facts that are to be seen, and the ways to see them.
    pub(super) hooks: Vec<Hook>,
}

/// The running kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Kernel {
    /// Such as `6.12.48-cloud`.
    pub(super) release: String,
    /// Such as `x86_64`.
    pub(super) architecture: String,
    /// Whether tasks can be preempted in the kernel, as far as that can be told.
    pub(super) preemptible: bool,
    /// The mode of kernel lockdown: `none`, `integrity` or `confidentiality`; `None` if the kernel does not tell.
    pub(super) lockdown: Option<String>,
}

/// The kernel's type information.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Btf {
    /// The file.
    pub(super) path: PathBuf,
    /// Its size, if it is there.
    pub(super) bytes: Option<u64>,
    /// Why it cannot be used, or was not looked at.
    pub(super) error: Option<String>,
}

/// A member of a kernel structure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Field {
    /// Its path, such as `task_struct.comm`.
    pub(super) path: &'static str,
    /// Whether the sensor cannot do without it.
    pub(super) required: bool,
    /// Where it is, in bytes.
    pub(super) offset: Option<u16>,
    /// Why it cannot be used.
    pub(super) error: Option<String>,
}

/// What this process may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Privileges {
    /// Its effective user.
    pub(super) uid: u32,
    /// Those capabilities of [`CAPABILITIES`](super::system::CAPABILITIES) that are in effect.
    pub(super) capabilities: Vec<&'static str>,
    /// Whether it is in a user namespace of its own, in which capabilities do not count for the kernel as a whole.
    pub(super) own_user_namespace: bool,
    /// Whether it is in a process namespace of its own, whose /proc shows a part of the host.
    pub(super) own_process_namespace: bool,
    /// Whether a seccomp filter is in force.
    pub(super) seccomp: bool,
    /// `kernel.perf_event_paranoid`.
    pub(super) perf_event_paranoid: Option<i32>,
}

/// The tracing file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Tracefs {
    /// Where it is mounted.
    pub(super) path: String,
    /// Whether it is mounted read-only.
    pub(super) read_only: bool,
}

/// What kprobes need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Kprobes {
    /// Whether the kernel has them.
    pub(super) present: bool,
    /// What switches them off while the system runs: the file that says so.
    pub(super) switched_off_by: Option<&'static str>,
}

/// Limits of memory, in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Memory {
    /// What the sensor takes while it starts, about.
    pub(super) needed: u64,
    /// The lowest limit of the control groups that this process is in.
    pub(super) cgroup: Option<CgroupLimit>,
    /// The part of `needed` that is locked memory to kernels up to 5.10, about.
    pub(super) maps: u64,
    /// The limit of locked memory (`RLIMIT_MEMLOCK`) after the attempt to raise it; `None` if there is none.
    pub(super) memlock: Option<u64>,
    /// Whether the kernel counts eBPF maps against that limit, as those up to 5.10 do.
    pub(super) memlock_counts: bool,
}

impl Memory {
    /// The limit of the control groups, if it is lower than what the start takes.
    #[must_use]
    pub(super) fn too_little(&self) -> Option<&CgroupLimit> {
        self.cgroup.as_ref().filter(|limit| limit.bytes < self.needed)
    }
}

/// A control group's limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct CgroupLimit {
    /// The file that holds it.
    pub(super) file: PathBuf,
    /// Bytes.
    pub(super) bytes: u64,
}

/// Why nothing could be attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct LoadFailure {
    /// In one line.
    pub(super) reason: String,
    /// How `run` would end.
    pub(super) exit_code: Exit,
}

/// A fact that is to be seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Hook {
    /// `exec`, `connect` or `accept`.
    pub(super) fact: String,
    /// What the configuration says: `auto`, `off`, or the one kind of hook that it wants.
    pub(super) configured: &'static str,
    /// The kind of hook that `run` would use: the first that attaches.
    pub(super) chosen: Option<String>,
    /// The ways to see it, in the order in which they are tried.
    pub(super) candidates: Vec<Candidate>,
}

/// A way to see a fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Candidate {
    /// The kind of hook.
    pub(super) mechanism: String,
    /// Where its programs are attached.
    pub(super) places: Vec<String>,
    /// How it went.
    pub(super) state: State,
    /// Whether `run` would use it.
    pub(super) chosen: bool,
    /// Why it is not as it should be; empty if it is.
    pub(super) reason: String,
    /// Whether it was refused because it is not permitted.
    pub(super) not_permitted: bool,
    /// Whether the kernel can preempt its programs, and then skips events.
    pub(super) preempted: bool,
    /// What this way does not see, or costs more than others; empty if nothing.
    pub(super) degraded: &'static str,
}

/// How a candidate went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// It attached and saw the canary as it was.
    Works,
    /// It attached and saw nothing.
    Blind,
    /// It attached and saw something else than what was there.
    Wrong,
    /// It attached, but there could be no canary.
    Untested,
    /// The kernel refused it.
    Refused,
    /// It was not tried, because of what is said elsewhere.
    NotTried,
}

impl State {
    /// Whether `run` would take it.
    #[must_use]
    pub(super) const fn attaches(self) -> bool {
        matches!(self, Self::Works | Self::Blind | Self::Wrong | Self::Untested)
    }
}

impl Hook {
    /// A fact with its candidates, of which the first that attaches and that the configuration allows is chosen.
    #[must_use]
    pub(super) fn new(fact: String, configured: &'static str, mut candidates: Vec<Candidate>) -> Self {
        let allowed = |mechanism: &str| configured == AUTO || configured == mechanism;
        let first = candidates.iter_mut().find(|one| allowed(&one.mechanism) && one.state.attaches());
        let chosen = first.map(|first| {
            first.chosen = true;
            first.mechanism.clone()
        });
        Self { fact, configured, chosen, candidates }
    }

    /// Whether the configuration does without it.
    #[must_use]
    pub(super) fn is_off(&self) -> bool {
        self.configured == OFF
    }

    /// The candidates that the configuration allows.
    pub(super) fn allowed(&self) -> impl Iterator<Item = &Candidate> {
        let any = self.configured == AUTO;
        self.candidates.iter().filter(move |candidate| any || candidate.mechanism == self.configured)
    }

    /// The candidate that `run` would use.
    #[must_use]
    pub(super) fn choice(&self) -> Option<&Candidate> {
        self.candidates.iter().find(|candidate| candidate.chosen)
    }
}

/// A configured hook that is whatever works.
pub(super) const AUTO: &str = "auto";
/// A configured hook that is none.
pub(super) const OFF: &str = "off";
