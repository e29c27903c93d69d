//! One look over /proc when the sensor starts, for what happened before: running parent programs with their arguments,
//! connections that shells hold already, shells asleep in accept.
//!
//! It is made once, after the hooks are attached, so that whatever is younger is seen by them. /proc is not a snapshot:
//! processes come and go while it is read, others hide, and that is no error. Time and memory are bounded, and what is left
//! out is said.

#[cfg(test)]
mod tests;

use super::proc::{Absent, Entry, Proc};
use super::process::{self, Args, Exe};
use super::tcp::{self, Socket};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufReader};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Programs whose connections count; letters' case does not matter.
    pub connecting: &'a [&'a str],
    /// The program whose arguments decide about its children; compared exactly.
    pub parent: &'a str,
}

/// How much is looked at, at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Processes.
    pub processes: usize,
    /// Descriptors, and threads, of one process.
    pub per_process: usize,
    /// Results of each sort.
    pub found: usize,
    /// Time for all of it.
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { processes: 65_536, per_process: 1024, found: 4096, time: Duration::from_secs(1) }
    }
}

/// A running process that has one of the names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Process (thread group).
    pub tgid: u32,
    /// Start since boot in clock ticks, see [`Proc::ticks`].
    pub start_ticks: u64,
    /// Number of its parent.
    pub ppid: u32,
    /// Real user and group id, if they could be read.
    pub ids: Option<(u32, u32)>,
    /// comm of the group leader.
    pub comm: Vec<u8>,
    /// What it runs.
    pub exe: Result<Exe, Absent>,
}

/// A running parent program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The process.
    pub process: Process,
    /// Its arguments as it shows them now.
    pub args: Result<Args, Absent>,
}

/// A TCP connection that a process holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The process. Others may hold the same connection.
    pub process: Process,
    /// Local end.
    pub local: SocketAddr,
    /// Remote end.
    pub remote: SocketAddr,
    /// State, `TCP_…` of the kernel's `include/net/tcp_states.h`.
    pub state: u8,
    /// Something listens on the local port in the same network namespace, so it was probably accepted; otherwise
    /// probably attempted. A program that accepts one connection and closes its listening socket looks as if it had
    /// connected.
    pub accepted: bool,
}

/// A thread that waits in accept: its next connection is seen by some hooks only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its process.
    pub process: Process,
    /// The thread.
    pub tid: u32,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Running parent programs.
    pub parents: Vec<Parent>,
    /// Connections held.
    pub connections: Vec<Connection>,
    /// Threads that wait in accept, as far as the kernel tells.
    pub waiting: Vec<Waiting>,
    /// Processes looked at.
    pub processes: usize,
    /// Of these, ones that could not be looked at for lack of permission.
    pub denied: usize,
    /// A limit was reached: there may be more.
    pub incomplete: bool,
}

/// Looks over /proc once.
///
/// # Errors
/// /proc cannot be listed at all.
pub fn scan(proc: &Proc, wanted: &Wanted<'_>, limits: &Limits) -> io::Result<Found> {
    let mut scan = Scan { proc, limits, deadline: Instant::now() + limits.time, found: Found::default() };
    let mut holders = Vec::new();
    for entry in std::fs::read_dir(proc.root())? {
        let Some(tgid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if scan.found.processes == limits.processes || scan.is_late() {
            scan.found.incomplete = true;
            break;
        }
        scan.found.processes += 1;
        match scan.look(tgid, wanted) {
            Ok(holder) => holders.extend(holder),
            Err(Absent::Denied) => scan.found.denied += 1,
            // Ended in between, or hidden.
            Err(_) => {}
        }
    }
    scan.connections(&holders);
    Ok(scan.found)
}

struct Scan<'a> {
    proc: &'a Proc,
    limits: &'a Limits,
    deadline: Instant,
    found: Found,
}

/// A process that has sockets of whatever sort.
struct Holder {
    process: Process,
    /// Inodes of its sockets.
    sockets: HashSet<u64>,
    /// Its network namespace.
    network: Vec<u8>,
}

impl Scan<'_> {
    fn is_late(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// Whether there is room for one more result where there are so many.
    fn has_room(&mut self, results: usize) -> bool {
        let room = results < self.limits.found;
        self.found.incomplete |= !room;
        room
    }

    /// Looks at one process; gives back its sockets if its connections count.
    fn look(&mut self, tgid: u32, wanted: &Wanted<'_>) -> Result<Option<Holder>, Absent> {
        let entry = self.proc.open(tgid)?;
        let exe = process::exe(&entry);
        let name = exe.as_ref().map(Exe::name).unwrap_or_default();
        let comm = &entry.stat.comm;
        let is_parent = [name, comm].contains(&wanted.parent.as_bytes());
        let connects = wanted.connecting.iter().any(|wanted| {
            let wanted = wanted.as_bytes();
            name.eq_ignore_ascii_case(wanted) || comm.eq_ignore_ascii_case(wanted)
        });
        if !is_parent && !connects {
            return Ok(None);
        }
        let process = Process {
            tgid,
            start_ticks: entry.stat.start_ticks,
            ppid: entry.stat.ppid,
            ids: process::ids(&entry).ok(),
            comm: comm.clone(),
            exe,
        };
        if is_parent && self.has_room(self.found.parents.len()) {
            self.found.parents.push(Parent { process: process.clone(), args: process::args(&entry) });
        }
        if !connects {
            return Ok(None);
        }
        self.waiting(&entry, &process);
        let sockets = self.sockets(&entry)?;
        let network = entry.link("ns/net")?;
        Ok((!sockets.is_empty()).then_some(Holder { process, sockets, network }))
    }

    /// Inodes of the sockets among a process's descriptors.
    fn sockets(&mut self, entry: &Entry) -> Result<HashSet<u64>, Absent> {
        let (descriptors, more) = entry.numbers("fd", self.limits.per_process)?;
        self.found.incomplete |= more;
        let targets = descriptors.iter().filter_map(|number| entry.link(&format!("fd/{number}")).ok());
        Ok(targets.filter_map(|target| inode(&target)).collect())
    }

    /// Notes the threads of a process that wait in accept.
    fn waiting(&mut self, entry: &Entry, process: &Process) {
        let Ok((threads, more)) = entry.numbers("task", self.limits.per_process) else { return };
        self.found.incomplete |= more;
        for tid in threads {
            if is_in_accept(entry, tid) && self.has_room(self.found.waiting.len()) {
                self.found.waiting.push(Waiting { process: process.clone(), tid });
            }
        }
    }

    /// Finds the connections among the sockets; reads the tables of each network namespace once.
    fn connections(&mut self, holders: &[Holder]) {
        let mut networks: BTreeMap<&[u8], Vec<&Holder>> = BTreeMap::new();
        for holder in holders {
            networks.entry(&holder.network).or_default().push(holder);
        }
        for holders in networks.values() {
            // Any of them shows the tables of the namespace; the first may have ended by now.
            let entry = holders
                .iter()
                .find_map(|holder| self.proc.open_same(holder.process.tgid, holder.process.start_ticks).ok());
            let Some(entry) = entry else { continue };
            let mut by_inode: HashMap<u64, Vec<&Process>> = HashMap::new();
            for holder in holders {
                for inode in &holder.sockets {
                    by_inode.entry(*inode).or_default().push(&holder.process);
                }
            }
            self.network(&entry, &by_inode);
        }
    }

    /// Finds the connections of one network namespace.
    fn network(&mut self, entry: &Entry, by_inode: &HashMap<u64, Vec<&Process>>) {
        let mut listening = HashSet::new();
        let mut connections = Vec::new();
        for table in ["net/tcp", "net/tcp6"] {
            // Without IPv6 there is no tcp6.
            let Ok(file) = entry.file(table) else { continue };
            self.table(file, |socket| {
                if socket.state == tcp::LISTEN {
                    listening.insert(socket.local.port());
                } else if socket.is_connection() && by_inode.contains_key(&socket.inode) {
                    connections.push(socket);
                }
            });
        }
        for Socket { local, remote, state, inode } in connections {
            let accepted = listening.contains(&local.port());
            for process in by_inode.get(&inode).into_iter().flatten() {
                if self.has_room(self.found.connections.len()) {
                    let process = Process::clone(process);
                    self.found.connections.push(Connection { process, local, remote, state, accepted });
                }
            }
        }
    }

    /// Reads one table as long as there is time. What was read before an error is still true.
    fn table(&mut self, file: File, mut each: impl FnMut(Socket)) {
        let (mut lines, mut late) = (0_u32, false);
        let _ = tcp::sockets(BufReader::new(file), |socket| {
            each(socket);
            lines = lines.wrapping_add(1);
            late = lines.is_multiple_of(512) && self.is_late();
            !late
        });
        self.found.incomplete |= late;
    }
}

/// The number in `socket:[NUMBER]`.
fn inode(target: &[u8]) -> Option<u64> {
    let number = target.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

/// Whether a thread waits for a TCP connection to accept. The kernel tells where it sleeps (`wchan`), unless it was built
/// without symbols; then the system call that it is in, which may be an accept on another sort of socket.
fn is_in_accept(entry: &Entry, tid: u32) -> bool {
    #[cfg(target_arch = "x86_64")]
    const ACCEPTS: [&[u8]; 2] = [b"43", b"288"];
    #[cfg(target_arch = "aarch64")]
    const ACCEPTS: [&[u8]; 2] = [b"202", b"242"];
    let first_word = |file: &str| {
        let (text, _) = entry.read(&format!("task/{tid}/{file}"), 256).ok()?;
        text.split(u8::is_ascii_whitespace).next().map(<[u8]>::to_vec)
    };
    match first_word("wchan") {
        Some(place) if place != b"0" && !place.is_empty() => {
            place.starts_with(b"inet_csk_accept") || place.starts_with(b"inet_csk_wait_for_connect")
        }
        _ => first_word("syscall").is_some_and(|number| ACCEPTS.contains(&&*number)),
    }
}
