//! Which programs see which fact, in the order in which they are tried.
//!
//! A candidate is tried by really loading and attaching all its programs: what a kernel says about its abilities and what it
//! does differ in both directions. To add a way to see a fact, add a candidate here and its program to `sensor-ebpf`.

use std::fmt::{self, Display, Formatter};

/// What is to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// TCP connections attempted.
    Connect,
    /// TCP connections accepted.
    Accept,
    /// Programs executed.
    Exec,
}

impl Display for Fact {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::Accept => "accept",
            Self::Exec => "exec",
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
}

impl Display for Mechanism {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
            Self::Tracepoint => "tracepoint",
            Self::RawTracepoint => "raw_tracepoint",
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
    /// What this way does not see, or costs more than others; empty if nothing.
    pub degraded: &'static str,
}

const fn at(program: &'static str, place: Place) -> Attachment {
    Attachment { program, place }
}

/// The candidates for a fact, the best first.
#[must_use]
pub const fn candidates(fact: Fact) -> &'static [Candidate] {
    match fact {
        Fact::Connect => CONNECT,
        Fact::Accept => ACCEPT,
        Fact::Exec => EXEC,
    }
}

const CONNECT: &[Candidate] = &[
    Candidate {
        mechanism: Mechanism::Fentry,
        attachments: &[at("connect_fexit", Place::FunctionExit("tcp_connect", None))],
        degraded: "",
    },
    Candidate {
        mechanism: Mechanism::Kprobe,
        attachments: &[at("connect_kprobe", Place::Kprobe("tcp_connect"))],
        degraded: "",
    },
    Candidate {
        mechanism: Mechanism::Tracepoint,
        attachments: &[at("connect_state", Place::BtfTracepoint("inet_sock_set_state"))],
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
        degraded: "",
    },
    Candidate {
        mechanism: Mechanism::Kprobe,
        attachments: &[at("graft_kprobe", Place::Kprobe("security_sock_graft"))],
        degraded: "",
    },
    Candidate {
        mechanism: Mechanism::Tracepoint,
        attachments: &[
            at("accept_exit", Place::Tracepoint("syscalls", "sys_exit_accept4")),
            at("accept_exit", Place::Tracepoint("syscalls", "sys_exit_accept")),
        ],
        degraded: "every system call of the host is slowed down a little; accept by io_uring and by 32-bit programs is not seen",
    },
];

const EXEC: &[Candidate] = &[
    Candidate {
        mechanism: Mechanism::Tracepoint,
        attachments: &[at("exec_btf", Place::BtfTracepoint("sched_process_exec"))],
        degraded: "",
    },
    Candidate {
        mechanism: Mechanism::RawTracepoint,
        attachments: &[at("exec_raw", Place::RawTracepoint("sched_process_exec"))],
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
}

/// How a fact is seen on this kernel.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The fact.
    pub fact: Fact,
    /// What is attached; `None` if the configuration has switched the fact off.
    pub candidate: Option<Candidate>,
    /// What was tried before.
    pub refusals: Vec<Refusal>,
}

impl Display for Choice {
    /// Such as `connect=fentry`.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.candidate {
            Some(candidate) => write!(f, "{}={}", self.fact, candidate.mechanism),
            None => write!(f, "{}=off", self.fact),
        }
    }
}
