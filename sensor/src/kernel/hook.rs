//! Which programs see which fact, in the order in which they are tried.
//!
//! A candidate is tried by really loading and attaching all its programs: what a kernel says about its abilities and what it
//! does differ in both directions. To add a way to see a fact, add a candidate here and its program to `sensor-ebpf`.

use super::preemption::{Kernel, Preempted};
use std::fmt::{self, Display, Formatter};

/// What it means that accepts are switched off.
pub const ACCEPT_OFF: &str = "accepted connections are not watched";
/// What it means that a hook's programs can be preempted.
pub const PREEMPTED: &str = "the kernel can preempt the sensor's programs, and then skips events; it counts them";

/// What is to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// TCP connections attempted.
    Connect,
    /// TCP connections accepted.
    Accept,
    /// Programs executed.
    Exec,
    /// Processes forked.
    Fork,
}

impl Fact {
    /// All of them, in the order in which the sensor attaches to them: exec and fork first, so that what follows a connection is
    /// never missed.
    pub const ALL: [Self; 4] = [Self::Exec, Self::Fork, Self::Connect, Self::Accept];
}

impl Display for Fact {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::Accept => "accept",
            Self::Exec => "exec",
            Self::Fork => "fork",
        })
    }
}

/// The kind of hook that a candidate uses; also what the configuration forces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// Trampolines at a function's entry and exit (fentry, fexit).
    Fentry,
    /// A breakpoint or ftrace probe at a function's entry.
    Kprobe,
    /// A tracepoint: BTF-typed where there is a choice.
    Tracepoint,
    /// A raw tracepoint.
    RawTracepoint,
    /// A classic tracepoint, which perf hands over.
    PerfTracepoint,
}

impl Display for Mechanism {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
            Self::Tracepoint => "tracepoint",
            Self::RawTracepoint => "raw_tracepoint",
            Self::PerfTracepoint => "perf_tracepoint",
        })
    }
}

/// How one program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At the exit of a kernel function; only where the function has this many parameters, if a number is given.
    FunctionExit(&'static str, Option<usize>),
    /// At the entry of a kernel function, with BTF-typed arguments.
    FunctionEntry(&'static str),
    /// At the entry of a kernel function, by kprobe.
    Kprobe(&'static str),
    /// At a tracepoint, with BTF-typed arguments.
    BtfTracepoint(&'static str),
    /// At a tracepoint, with its arguments as they are.
    RawTracepoint(&'static str),
    /// At a tracepoint of a category, with a formatted record.
    Tracepoint(&'static str, &'static str),
}

impl Display for Place {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::FunctionExit(function, _) => write!(f, "fexit {function}"),
            Self::FunctionEntry(function) => write!(f, "fentry {function}"),
            Self::Kprobe(function) => write!(f, "kprobe {function}"),
            Self::BtfTracepoint(name) => write!(f, "tp_btf {name}"),
            Self::RawTracepoint(name) => write!(f, "raw_tp {name}"),
            Self::Tracepoint(category, name) => write!(f, "tracepoint {category}/{name}"),
        }
    }
}

/// One program at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Name of the program in the object.
    pub program: &'static str,
    /// Where it is attached.
    pub place: Place,
}

/// One way to see a fact: all its attachments together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The kind of hook.
    pub mechanism: Mechanism,
    /// What is attached; one whose parameter count does not fit this kernel is left out.
    pub attachments: &'static [Attachment],
    /// Where its programs can be preempted, which makes the kernel skip the same event of the next task on that CPU.
    pub preempted: Preempted,
    /// What this way does not see, or costs more than others; empty if nothing.
    pub degraded: &'static str,
}

/// The candidates for a fact on a kernel, in the order in which they are tried: first those that miss nothing.
#[must_use]
pub fn ordered(fact: Fact, kernel: Kernel) -> Vec<Candidate> {
    let mut candidates = candidates(fact).to_vec();
    // Stable: among those that miss nothing, and among the others, the cheapest stays first.
    candidates.sort_by_key(|candidate| kernel.preempts(candidate.preempted));
    candidates
}

const fn at(program: &'static str, place: Place) -> Attachment {
    Attachment { program, place }
}

/// The candidates for a fact, the cheapest first.
#[must_use]
pub const fn candidates(fact: Fact) -> &'static [Candidate] {
    match fact {
        Fact::Connect => CONNECT,
        Fact::Accept => ACCEPT,
        Fact::Exec => EXEC,
        Fact::Fork => FORK,
    }
}

const CONNECT: &[Candidate] = &[
    Candidate {
        mechanism: Mechanism::Fentry,
        attachments: &[at("connect_fexit", Place::FunctionExit("tcp_connect", None))],
        preempted: Preempted::WhereverTasksAre,
        degraded: "",
    },
    Candidate {
        mechanism: Mechanism::Kprobe,
        attachments: &[at("connect_kprobe", Place::Kprobe("tcp_connect"))],
        preempted: Preempted::Never,
        degraded: "",
    },
    Candidate {
        mechanism: Mechanism::Tracepoint,
        attachments: &[at("connect_state", Place::BtfTracepoint("inet_sock_set_state"))],
        preempted: Preempted::Since7,
        degraded: "",
    },
    Candidate {
        mechanism: Mechanism::Tracepoint,
        attachments: &[at("connect_trace", Place::Tracepoint("sock", "inet_sock_set_state"))],
        preempted: Preempted::Never,
        degraded: "",
    },
];

const ACCEPT: &[Candidate] = &[
    Candidate {
        mechanism: Mechanism::Fentry,
        attachments: &[
            at("accept_fexit_4", Place::FunctionExit("inet_csk_accept", Some(4))),
            at("accept_fexit_2", Place::FunctionExit("inet_csk_accept", Some(2))),
            at("graft_fentry", Place::FunctionEntry("security_sock_graft")),
        ],
        preempted: Preempted::WhereverTasksAre,
        degraded: "",
    },
    Candidate {
        mechanism: Mechanism::Kprobe,
        attachments: &[at("graft_kprobe", Place::Kprobe("security_sock_graft"))],
        preempted: Preempted::Never,
        degraded: "",
    },
    Candidate {
        mechanism: Mechanism::Tracepoint,
        attachments: &[
            at("accept_exit", Place::Tracepoint("syscalls", "sys_exit_accept4")),
            at("accept_exit", Place::Tracepoint("syscalls", "sys_exit_accept")),
        ],
        preempted: Preempted::Never,
        degraded: "every system call of the host is slowed down a little; accept by io_uring and by 32-bit programs is not seen",
    },
];

const EXEC: &[Candidate] = &[
    Candidate {
        mechanism: Mechanism::Tracepoint,
        attachments: &[at("exec_btf", Place::BtfTracepoint("sched_process_exec"))],
        preempted: Preempted::Since7,
        degraded: "",
    },
    Candidate {
        mechanism: Mechanism::RawTracepoint,
        attachments: &[at("exec_raw", Place::RawTracepoint("sched_process_exec"))],
        preempted: Preempted::Since7,
        degraded: "",
    },
    Candidate {
        mechanism: Mechanism::PerfTracepoint,
        attachments: &[at("exec_trace", Place::Tracepoint("sched", "sched_process_exec"))],
        preempted: Preempted::Never,
        degraded: "",
    },
];

const FORK: &[Candidate] = &[
    Candidate {
        mechanism: Mechanism::Tracepoint,
        attachments: &[at("fork_btf", Place::BtfTracepoint("sched_process_fork"))],
        preempted: Preempted::Since7,
        degraded: "",
    },
    Candidate {
        mechanism: Mechanism::RawTracepoint,
        attachments: &[at("fork_raw", Place::RawTracepoint("sched_process_fork"))],
        preempted: Preempted::Since7,
        degraded: "",
    },
    Candidate {
        mechanism: Mechanism::PerfTracepoint,
        attachments: &[at("fork_trace", Place::Tracepoint("sched", "sched_process_fork"))],
        preempted: Preempted::Never,
        degraded: "",
    },
];

/// A candidate that could not be used, and why.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The kind of hook.
    pub mechanism: Mechanism,
    /// Which attachment failed, and the kernel's reason.
    pub reason: String,
    /// Whether the kernel's reason is that it is not permitted.
    pub not_permitted: bool,
}

/// How a fact is seen on this kernel.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The fact.
    pub fact: Fact,
    /// What is attached; `None` if the fact is switched off by the configuration, or no rule asks for it.
    pub candidate: Option<Candidate>,
    /// Whether the kernel can skip events with it, because its programs can be preempted.
    pub preempted: bool,
    /// What was tried before.
    pub refusals: Vec<Refusal>,
}

impl Choice {
    /// The fact is not looked at.
    #[must_use]
    pub const fn off(fact: Fact) -> Self {
        Self { fact, candidate: None, preempted: false, refusals: Vec::new() }
    }

    /// The kind of hook that is attached, or `off`.
    #[must_use]
    pub fn kind(&self) -> String {
        self.candidate.map_or_else(|| "off".to_owned(), |candidate| candidate.mechanism.to_string())
    }
}

impl Display for Choice {
    /// Such as `connect=fentry`.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.fact, self.kind())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(fact: Fact, release: &str, version: &str, command_line: &str) -> Mechanism {
        ordered(fact, Kernel::new(release, version, command_line))[0].mechanism
    }

    #[test]
    fn where_nothing_is_preempted_the_cheapest_comes_first() {
        for (version, command_line) in [("#1 SMP Debian", ""), ("#1 SMP PREEMPT_DYNAMIC", "quiet preempt=voluntary")] {
            assert_eq!(first(Fact::Connect, "5.10.0", version, command_line), Mechanism::Fentry);
            assert_eq!(first(Fact::Accept, "6.12.1", version, command_line), Mechanism::Fentry);
            assert_eq!(first(Fact::Exec, "7.3.4", version, command_line), Mechanism::Tracepoint);
        }
    }

    #[test]
    fn on_a_preemptible_kernel_what_misses_nothing_comes_first() {
        assert_eq!(first(Fact::Connect, "6.12.1", "#1 SMP PREEMPT_DYNAMIC", ""), Mechanism::Kprobe);
        assert_eq!(first(Fact::Accept, "6.12.1", "#1 SMP PREEMPT_RT", ""), Mechanism::Kprobe);
        assert_eq!(first(Fact::Exec, "6.12.1", "#1 SMP PREEMPT", ""), Mechanism::Tracepoint);
        assert_eq!(first(Fact::Exec, "7.0.0", "#1 SMP PREEMPT_DYNAMIC", ""), Mechanism::PerfTracepoint);
        let tracepoint = |release| {
            let kernel = Kernel::new(release, "#1 SMP PREEMPT_DYNAMIC", "");
            let candidates = ordered(Fact::Connect, kernel);
            let first = candidates.iter().find(|candidate| candidate.mechanism == Mechanism::Tracepoint);
            first.unwrap().attachments[0].program
        };
        assert_eq!((tracepoint("6.12.1"), tracepoint("7.0.0")), ("connect_state", "connect_trace"));
    }
}
