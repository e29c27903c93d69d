//! The records that cross the ring buffers.
//!
//! Times are boot time in nanoseconds (`CLOCK_BOOTTIME`), ports are in host order, process numbers are those of the
//! initial namespace. A record is its header followed by variable parts whose lengths the header gives.

use crate::address::Address;
use bytemuck::{Pod, Zeroable};

/// Bytes of a name with its terminating zero; longer names are cut.
pub const NAME_LEN: usize = 32;
/// Ancestors reported with a process, the parent first.
pub const ANCESTORS: usize = 8;
/// Most bytes of argv in a record.
pub const ARGV_MAX: usize = 8192;
/// Most bytes of the executable's path in the record of an execution.
pub const EXEC_PATH_MAX: usize = 4096;
/// Most bytes of the executable's path in the record of a connection, which has a fixed size.
pub const CONNECTION_PATH_MAX: usize = 1024;
/// Most bytes of the path of the file that the parent runs.
pub const PARENT_PATH_MAX: usize = 1024;
/// Most bytes of the working directory's path.
pub const DIRECTORY_PATH_MAX: usize = 1024;
/// Ancestors beyond the parent of whose executables the path is told.
pub const ANCESTOR_PATHS: usize = 4;
/// Most bytes of each of these paths.
pub const ANCESTOR_PATH_MAX: usize = 256;
/// Most bytes of the environment in a record.
pub const ENVIRONMENT_MAX: usize = 8192;
/// A component of a path may begin at the last byte of the room for the path: what it needs behind it, with its zero.
pub const PATH_SLACK: usize = 256;
/// Arguments that are searched for flags through the new stack's pointer table, when argv is longer than [`ARGV_MAX`].
pub const ARGS_SEARCHED: u32 = 2048;

/// [`Arm::direction`]: the process connected.
pub const ATTEMPTED: u8 = 0;
/// [`Arm::direction`]: the process accepted.
pub const ACCEPTED: u8 = 1;

/// [`Arm::witness`]: seen by the connect hook.
pub const WITNESS_CONNECT: u8 = 1;
/// [`Arm::witness`]: seen when accept returned.
pub const WITNESS_ACCEPT: u8 = 2;
/// [`Arm::witness`]: seen when the accepted socket was joined to its descriptor.
pub const WITNESS_GRAFT: u8 = 4;
/// [`Arm::witness`]: found in /proc when the sensor started; its time is that of the start, and its process start time is
/// known to 10 ms only.
pub const WITNESS_PROC: u8 = 8;

/// [`Arm::class`]: made by a shell or socat.
pub const CLASS_SHELL: u8 = 0;
/// [`Arm::class`]: made by a program that may stand between a connection and a shell, and by nothing else.
pub const CLASS_RELAY: u8 = 1;

/// Forks over which a connection is inherited at most.
pub const GENERATIONS: u8 = 16;

/// A connection that its process made, as the pending table remembers it and both records carry it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Arm {
    /// Unique among the connections of one run of the sensor, and rising with time on each CPU. The identity of a connection.
    pub sequence: u64,
    /// When it was seen.
    pub boot_ns: u64,
    /// Start of the process's group leader.
    pub start_ns: u64,
    /// Kernel address of the socket; only to complete a port that was not known yet, never an identity.
    pub sock: u64,
    /// Process (thread group).
    pub tgid: u32,
    /// Thread that made the call.
    pub tid: u32,
    /// Real user id.
    pub uid: u32,
    /// Real group id.
    pub gid: u32,
    /// Local address.
    pub local: Address,
    /// Remote address.
    pub remote: Address,
    /// Local port; 0 if the kernel had not chosen it yet.
    pub local_port: u16,
    /// Remote port.
    pub remote_port: u16,
    /// [`ATTEMPTED`] or [`ACCEPTED`].
    pub direction: u8,
    /// Which hooks have seen it, `WITNESS_…`.
    pub witness: u8,
    /// What sort of program made it, `CLASS_…`.
    pub class: u8,
    /// Forks between the process that made it and the one that holds it: 0 in that process itself.
    pub generations: u8,
    /// comm of the thread.
    pub comm: [u8; 16],
    /// comm of the group leader.
    pub leader_comm: [u8; 16],
    /// Last component of the executable's path, cut to 31 bytes.
    pub exe: [u8; NAME_LEN],
}

/// A connection that a process has inherited from the one that forked it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Inherited {
    /// When it was forked. A process of the same number that started later is another one.
    pub forked_ns: u64,
    /// The process that has inherited it.
    pub tgid: u32,
    /// Always 0.
    pub reserved: u32,
    /// The connection, with the process that made it.
    pub arm: Arm,
}

/// An ancestor of a process, as it was when the record was made.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Ancestor {
    /// Start of its group leader.
    pub start_ns: u64,
    /// Process (thread group).
    pub tgid: u32,
    /// Real user id.
    pub uid: u32,
    /// comm of its group leader.
    pub comm: [u8; 16],
    /// Last component of its executable's path, cut to 31 bytes; empty for a kernel thread.
    pub exe: [u8; NAME_LEN],
}

/// The ancestors of a process: the parent first, up to the first process or to [`ANCESTORS`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Lineage {
    /// How many entries of `ancestors` are filled.
    pub count: u32,
    /// 1 if the chain goes on behind the last entry.
    pub more: u32,
    /// The parent first.
    pub ancestors: [Ancestor; ANCESTORS],
}

/// Header of a record in the ring buffer of connections; the executable's path follows.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct ConnectionRecord {
    /// The connection.
    pub arm: Arm,
    /// Ancestors of the process.
    pub lineage: Lineage,
    /// The path behind the header.
    pub path: PathPart,
}

/// A path of an executable: its components from the last to the first, each ended by a zero byte.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct PathPart {
    /// Bytes of the record that hold components.
    pub len: u32,
    /// One of `PATH_…`.
    pub state: u32,
}

/// [`PathPart::state`]: the path is whole, from the root of the mount tree.
pub const PATH_WHOLE: u32 = 0;
/// [`PathPart::state`]: the first components are missing, since the path is longer or deeper than what is copied.
pub const PATH_CUT: u32 = 1;
/// [`PathPart::state`]: the file is in no directory, as one made by `memfd_create`.
pub const PATH_DETACHED: u32 = 2;
/// [`PathPart::state`]: a read failed; what was read is kept.
pub const PATH_UNREADABLE: u32 = 3;

/// [`ExecRecord::reason`]: the process has made a connection.
pub const REASON_ARMED: u32 = 0;
/// [`ExecRecord::reason`]: the table of connections was under pressure.
pub const REASON_PRESSURE: u32 = 1;
/// [`ExecRecord::reason`]: the program is one whose arguments decide about its children.
pub const REASON_PARENT: u32 = 2;
/// [`ExecRecord::reason`]: standard input and output are connections.
pub const REASON_STREAMS: u32 = 3;

/// [`ExecRecord::reason`]: an ancestor of the process has made a connection: the process descends from it by forks since then or, with
/// [`Arm::generations`] 0, is its child.
pub const REASON_INHERITED: u32 = 4;

/// [`ExecRecord::flags`]: `-i` stands among the arguments that were searched.
pub const FLAG_I: u32 = 1;
/// [`ExecRecord::flags`]: `-l` stands among the arguments that were searched.
pub const FLAG_L: u32 = 2;
/// [`ExecRecord::flags`]: the arguments behind the copied part were searched only in part, or not at all.
pub const FLAG_UNSEARCHED: u32 = 4;
/// [`ExecRecord::flags`]: argv could not be copied.
pub const FLAG_ARGV_UNREADABLE: u32 = 8;

/// Descriptors that are looked at when a program is executed: standard input, output and error.
pub const STREAMS: usize = 3;

/// [`Stream::kind`]: the descriptor is closed.
pub const STREAM_CLOSED: u8 = 0;
/// [`Stream::kind`]: a TCP socket of either IP version, Multipath TCP included. Its ends are in the record.
pub const STREAM_TCP: u8 = 1;
/// [`Stream::kind`]: any other socket.
pub const STREAM_SOCKET: u8 = 2;
/// [`Stream::kind`]: a pipe or FIFO.
pub const STREAM_PIPE: u8 = 3;
/// [`Stream::kind`]: a character device, such as a terminal.
pub const STREAM_DEVICE: u8 = 4;
/// [`Stream::kind`]: a regular file.
pub const STREAM_FILE: u8 = 5;
/// [`Stream::kind`]: anything else.
pub const STREAM_OTHER: u8 = 6;
/// [`Stream::kind`]: a read failed.
pub const STREAM_UNREADABLE: u8 = 7;

/// [`Stream::state`] of a socket that listens (`TCP_LISTEN`, `include/net/tcp_states.h`): it is no connection.
pub const TCP_LISTEN: u8 = 10;

/// Major numbers of the terminals of pseudoterminals (`UNIX98_PTY_SLAVE_MAJOR` in `include/uapi/linux/major.h`).
pub const PTS_MAJORS: core::ops::RangeInclusive<u32> = 136..=143;

/// What stands on a descriptor. A field that the kind does not need is undefined.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Stream {
    /// Local address of a TCP socket.
    pub local: Address,
    /// Remote address of a TCP socket.
    pub remote: Address,
    /// Local port.
    pub local_port: u16,
    /// Remote port; 0 if the socket is not connected and never was.
    pub remote_port: u16,
    /// Address family of a socket, `AF_…`.
    pub family: u16,
    /// Protocol of a socket, `IPPROTO_…`; that of Multipath TCP is its own.
    pub protocol: u16,
    /// Number of a character device as the kernel holds it: the minor number in the lower 20 bits, the major one above.
    pub device: u32,
    /// One of `STREAM_…`.
    pub kind: u8,
    /// State of a TCP socket, as in `include/net/tcp_states.h`.
    pub state: u8,
    /// Always 0.
    pub reserved: [u8; 2],
}

/// What is told of an execution beyond what rules ask for. Each part is 0 where it could not be read.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Surroundings {
    /// Inode number of the executed file.
    pub inode: u64,
    /// Bytes of the environment in the process.
    pub environment_total: u64,
    /// Device that the file is on, as the kernel has it (`dev_t`: 12 bits major, 20 bits minor).
    pub device: u32,
    /// Owner of the file.
    pub uid: u32,
    /// Group of the file.
    pub gid: u32,
    /// Number of the session, which is that of its leader.
    pub session: u32,
    /// The session's terminal, as [`Self::device`]; 0 if it has none.
    pub tty: u32,
    /// Bytes of the environment behind argv.
    pub environment_len: u32,
    /// Type and permissions of the file (`i_mode`).
    pub mode: u32,
    /// Which of these could be read, `KNOWN_…`.
    pub known: u32,
    /// Path of the working directory, behind those of the ancestors.
    pub directory: PathPart,
    /// Paths of the files that ancestors run, the parent's parent first, behind the parent's.
    pub ancestors: [PathPart; ANCESTOR_PATHS],
}

/// [`Surroundings::known`]: what is told of the file.
pub const KNOWN_FILE: u32 = 1;
/// [`Surroundings::known`]: the file stands in its directory.
pub const KNOWN_LINKED: u32 = 2;
/// [`Surroundings::known`]: the file was removed from its directory, or never was in one.
pub const KNOWN_UNLINKED: u32 = 4;
/// [`Surroundings::known`]: the session.
pub const KNOWN_SESSION: u32 = 8;
/// [`Surroundings::known`]: the terminal.
pub const KNOWN_TTY: u32 = 16;

/// Header of a record in the ring buffer of executions; the executable's path, the parent's, the paths and the environment of
/// [`Surroundings`] around argv follow: path, parent's path, ancestors' paths, working directory, argv, environment.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct ExecRecord {
    /// When the execution had succeeded.
    pub boot_ns: u64,
    /// Start of the process's group leader.
    pub start_ns: u64,
    /// Bytes of argv in the process, terminating zeros included.
    pub argv_total: u64,
    /// Process (thread group).
    pub tgid: u32,
    /// Thread that called exec; it has the process's number afterwards.
    pub old_tid: u32,
    /// Real user id, after exec.
    pub uid: u32,
    /// Real group id, after exec.
    pub gid: u32,
    /// Effective user id, after exec.
    pub euid: u32,
    /// User id of the login session; `u32::MAX` if there is none or the kernel does not keep it.
    pub loginuid: u32,
    /// Number of arguments.
    pub argc: u32,
    /// Bytes of argv in this record, behind the paths.
    pub argv_len: u32,
    /// `FLAG_…`.
    pub flags: u32,
    /// Why it was sent, `REASON_…`.
    pub reason: u32,
    /// comm after exec.
    pub comm: [u8; 16],
    /// The path behind the header.
    pub path: PathPart,
    /// The path of the file that the parent runs, behind that.
    pub parent_path: PathPart,
    /// The connection that the process has made or, with [`REASON_INHERITED`], inherited; `sequence` is 0 if there is none.
    pub arm: Arm,
    /// Ancestors of the process.
    pub lineage: Lineage,
    /// Standard input, output and error.
    pub streams: [Stream; STREAMS],
    /// What rules do not ask for.
    pub surroundings: Surroundings,
}

impl ExecRecord {
    /// Bytes of the paths between the header and argv, as far as the record tells the truth.
    #[must_use]
    pub fn argv_start(&self) -> u32 {
        let Surroundings { directory, ancestors, .. } = &self.surroundings;
        let paths = [&self.path, &self.parent_path, directory].into_iter().chain(ancestors);
        paths.fold(0, |sum, path| sum.saturating_add(path.len))
    }
}

const _: () = assert!(size_of::<Arm>() == 152);
const _: () = assert!(size_of::<Inherited>() == 168);
const _: () = assert!(size_of::<Stream>() == 48);
const _: () = assert!(size_of::<Surroundings>() == 88);
const _: () = assert!(size_of::<Ancestor>() == 64);
const _: () = assert!(size_of::<Lineage>() == 8 + 64 * ANCESTORS);
const _: () = assert!(size_of::<ConnectionRecord>() == 680);
const _: () = assert!(size_of::<ExecRecord>() == 1000);
