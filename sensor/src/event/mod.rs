//! What happened, as the user side understands it: connections and executions with their processes.

pub mod decode;
mod document;
pub mod ecs;
pub mod entity;
pub mod facts;
pub mod stream;
pub mod surroundings;

pub use document::readable;

use sensor_common::record::STREAMS;
use std::fmt::{self, Display, Formatter};
use std::net::SocketAddr;
use stream::Stream;
use surroundings::Surroundings;

/// A point on the boot clock (`CLOCK_BOOTTIME`), in nanoseconds since boot, time asleep included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootTime(pub u64);

/// A point on the wall clock, in nanoseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(pub i64);

impl Display for WallTime {
    /// RFC 3339 in UTC with nanoseconds, as `@timestamp` wants it.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let timestamp = jiff::Timestamp::from_nanosecond(i128::from(self.0)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        write!(f, "{timestamp:.9}")
    }
}

/// What added to a boot time gives the wall time: whole milliseconds, so that cutting either clock to the millisecond gives
/// the same differences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WallOffset {
    millis: i64,
}

impl WallOffset {
    /// The offset between two readings of the clocks taken together, rounded down to the millisecond.
    #[must_use]
    pub fn between(boot: BootTime, wall: WallTime) -> Self {
        let boot = i64::try_from(boot.0).unwrap_or(i64::MAX);
        Self { millis: wall.0.saturating_sub(boot).div_euclid(1_000_000) }
    }

    /// Whether the two differ by no more than the millisecond that rounding makes.
    #[must_use]
    pub fn is_near(self, other: Self) -> bool {
        self.millis.abs_diff(other.millis) <= 1
    }

    /// The wall time of a boot time.
    #[must_use]
    pub fn wall(self, boot: BootTime) -> WallTime {
        let boot = i64::try_from(boot.0).unwrap_or(i64::MAX);
        WallTime(self.millis.saturating_mul(1_000_000).saturating_add(boot))
    }
}

/// Identity of a process: survives exec, is not inherited by fork, is the same for every thread, immune to reuse of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessKey {
    /// Thread group id in the initial namespace.
    pub tgid: u32,
    /// When the group leader started (`task_struct.start_boottime`).
    pub start: BootTime,
}

/// Whether the process called connect or accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// A SYN was queued by the process.
    Attempted,
    /// accept gave the connection to the process.
    Accepted,
}

/// How much of an executable's path is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathState {
    /// From the root of the mount tree.
    Whole,
    /// The first components are missing: longer or deeper than what the kernel side copies.
    Cut,
    /// The file is in no directory, as one made by `memfd_create`.
    Detached,
    /// The kernel side could not read it, or only the last component was carried.
    Unknown,
}

/// The file that a process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executable {
    /// Last component of the path.
    pub name: Vec<u8>,
    /// The path as far as it is known, for [`PathState::Whole`] absolute.
    pub path: Vec<u8>,
    /// How much of it is known.
    pub state: PathState,
}

/// An ancestor of a process, as the kernel knew it at the time of the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ancestor {
    /// Its identity.
    pub key: ProcessKey,
    /// Real user id.
    pub uid: u32,
    /// comm of its group leader.
    pub comm: Vec<u8>,
    /// Last component of its executable's path, at most 31 bytes; empty for a kernel thread.
    pub exe: Vec<u8>,
}

/// The ancestors of a process, the parent first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage {
    /// The parent first.
    pub ancestors: Vec<Ancestor>,
    /// Whether the chain goes on behind the last one.
    pub more: bool,
}

/// A TCP connection that a process made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Identity of the connection within one run of the sensor.
    pub arm: u64,
    /// When it was seen.
    pub at: BootTime,
    /// Whether connect or accept made it.
    pub direction: Direction,
    /// The process.
    pub process: ProcessKey,
    /// The thread that made the call.
    pub tid: u32,
    /// Real user and group id.
    pub uid: u32,
    /// Real group id.
    pub gid: u32,
    /// comm of the thread.
    pub comm: Vec<u8>,
    /// comm of the group leader.
    pub leader_comm: Vec<u8>,
    /// The executable.
    pub executable: Executable,
    /// The ancestors; empty if the connection is known from an execution's record only.
    pub lineage: Lineage,
    /// Local end; port 0 if it was not known when the connection was seen.
    pub local: SocketAddr,
    /// Remote end.
    pub remote: SocketAddr,
    /// Found in /proc when the sensor started: `at` is then the time of that look, the connection is older.
    pub found_at_start: bool,
    /// Which hooks saw it, `WITNESS_…` of `sensor_common::record`.
    pub witness: u8,
}

/// Why the kernel side sent an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The process has made a connection within the span.
    Armed,
    /// The table of connections was under pressure, so that nothing was held back.
    Pressure,
    /// The program is one whose arguments decide about its children.
    Parent,
    /// Standard input and output are connections.
    Streams,
    /// The parent has made a connection within the span, or another ancestor had before the process was forked.
    Inherited,
}

/// The arguments of a program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args {
    /// The arguments that were copied; the last one may be cut, see `truncated`.
    pub copied: Vec<Vec<u8>>,
    /// The true number of arguments.
    pub count: u32,
    /// Whether anything is missing from `copied`.
    pub truncated: bool,
    /// Flags that stand behind the copied part: `-i`, `-l`.
    pub found_beyond: Vec<&'static str>,
    /// Whether a part of the arguments could not be searched, which counts as if it held every flag.
    pub unsearched: bool,
    /// Whether secrets were taken out of `copied`.
    pub redacted: bool,
}

/// A program executed successfully.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// When it had succeeded.
    pub at: BootTime,
    /// The process.
    pub process: ProcessKey,
    /// The thread that called exec.
    pub old_tid: u32,
    /// Real user id.
    pub uid: u32,
    /// Real group id.
    pub gid: u32,
    /// Effective user id.
    pub euid: u32,
    /// User id of the login session, if there is one.
    pub loginuid: Option<u32>,
    /// comm after exec.
    pub comm: Vec<u8>,
    /// The executable.
    pub executable: Executable,
    /// The arguments as the new program sees them.
    pub args: Args,
    /// The ancestors.
    pub lineage: Lineage,
    /// The file that the parent runs.
    pub parent_executable: Executable,
    /// What stands on standard input, output and error.
    pub streams: [Stream; STREAMS],
    /// What rules do not ask for.
    pub surroundings: Surroundings,
    /// Why it was sent.
    pub reason: Reason,
    /// The process's connection, if it has made one within the span; otherwise the one that it has inherited, or its parent's.
    pub connection: Option<Connection>,
    /// Forks since the connection between the process that made it and this one; 0 if it was not inherited.
    pub generations: u8,
}
