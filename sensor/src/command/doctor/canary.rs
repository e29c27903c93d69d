//! Canaries: a connection made and accepted on the loopback device, a program executed, and a process forked, that a hook must see as they
//! are.
//!
//! The kernel side is loaded with names that only the canaries have and with no excluded networks, so that nothing else on the
//! host is recorded, and other sensors on the host see nothing that matters to them. A hook's program runs inside the
//! system call, so its record is there when the call returns: nothing is waited for.

use super::survey::State;
use crate::event::decode::{self, DecodeError};
use crate::event::{Connection, Direction, Exec};
use crate::kernel::hook::Fact;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use sensor_common::name::Name;
use sensor_common::record::Inherited;
use sensor_common::settings::{MAX_EXCLUDED, MAX_NAMES, Names, Slot, WANT_DESCENDANTS};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

/// comm of the thread that connects and accepts.
const CONNECTING: &str = "sensor-doctor";
/// comm of what is executed: this program by its link in /proc.
const EXECUTED: &str = "exe";
/// The program that is executed, and its argument: it prints its version and ends.
const PROGRAM: &str = "/proc/self/exe";
const ARGUMENT: &str = "version";
/// How long a connection to the host itself may take; a packet filter may drop it.
const PATIENCE: Duration = Duration::from_secs(2);

/// The names that the kernel side looks for.
pub(super) const NAMES: Names = Names::new(only(CONNECTING), [Name::NEVER; MAX_NAMES], Name::new(EXECUTED));

const fn only(name: &str) -> [Name; MAX_NAMES] {
    let mut names = [Name::NEVER; MAX_NAMES];
    let (first, _) = names.split_at_mut(1);
    first.copy_from_slice(&[Name::new(name)]);
    names
}

/// The settings: the loopback network is not excluded.
pub(super) const SETTINGS: Slot = Slot {
    span_ns: 5_000_000_000,
    wanted: WANT_DESCENDANTS,
    environment: 0,
    excluded: [sensor_common::address::Prefix::NONE; MAX_EXCLUDED],
};

/// What was really there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Canary {
    /// A connection, made and accepted by the same thread.
    Connection {
        /// The end that connected.
        client: SocketAddr,
        /// The end that accepted.
        server: SocketAddr,
    },
    /// An execution with these arguments.
    Exec(Vec<Vec<u8>>),
    /// A process of this number, forked by this one.
    Fork(u32),
}

/// What the hooks have recorded.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) connections: Vec<Result<Connection, DecodeError>>,
    pub(super) executions: Vec<Result<Exec, DecodeError>>,
    /// What the forked process has inherited.
    pub(super) inherited: Option<Inherited>,
}

impl Seen {
    /// Takes a record from the ring buffer of connections.
    pub(super) fn connection(&mut self, record: &[u8]) {
        self.connections.push(decode::connection(record));
    }

    /// Takes a record from the ring buffer of executions.
    pub(super) fn execution(&mut self, record: &[u8]) {
        self.executions.push(decode::exec(record));
    }
}

/// Does what is to be seen.
pub(super) fn make(fact: Fact) -> io::Result<Canary> {
    match fact {
        Fact::Connect | Fact::Accept => {
            let thread = thread::Builder::new().name(CONNECTING.to_owned()).spawn(connect_and_accept)?;
            thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that connects has ended early")))
        }
        Fact::Exec => execute().map(|(_, args)| Canary::Exec(args)),
        Fact::Fork => execute().map(|(pid, _)| Canary::Fork(pid)),
    }
}

fn connect_and_accept() -> io::Result<Canary> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    set_socket_timeout(&listener, Timeout::Recv, Some(PATIENCE))?;
    let server = listener.local_addr()?;
    let stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    let client = stream.local_addr()?;
    listener.accept()?;
    Ok(Canary::Connection { client, server })
}

/// Runs the program; the number of its process, and its arguments.
fn execute() -> io::Result<(u32, Vec<Vec<u8>>)> {
    // Nobody else's execution has this name.
    let name = format!("sensor-doctor-{}-{}", std::process::id(), crate::enrich::clock::now().0.0);
    let mut command = Command::new(PROGRAM);
    command.arg0(&name).arg(ARGUMENT).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    child.wait()?;
    Ok((child.id(), vec![name.into_bytes(), ARGUMENT.into()]))
}

/// Whether a hook for `fact` has seen the canary, and if not as it was, what is wrong.
pub(super) fn judge(fact: Fact, canary: &Canary, seen: &Seen) -> (State, String) {
    let differences: Result<Vec<String>, String> = match (fact, canary) {
        (Fact::Exec, Canary::Exec(args)) => {
            seen.executions.iter().map(|record| told(record).map(|exec| exec_differs(args, exec))).collect()
        }
        (Fact::Fork, Canary::Fork(pid)) => {
            Ok(seen.inherited.iter().map(|inherited| inherited_differs(*pid, inherited)).collect())
        }
        (Fact::Connect | Fact::Accept, Canary::Connection { client, server }) => {
            let ends = [*client, *server];
            let of_fact =
                |connection: &&Connection| (connection.direction == Direction::Accepted) == (fact == Fact::Accept);
            let all: Result<Vec<&Connection>, String> = seen.connections.iter().map(told).collect();
            all.map(|all| all.into_iter().filter(of_fact).map(|one| connection_differs(ends, one)).collect())
        }
        _ => Err("there was no such canary".to_owned()),
    };
    match differences {
        Err(error) => (State::Wrong, error),
        Ok(differences) if differences.is_empty() => (State::Blind, String::new()),
        // Another doctor may be at work at the same time.
        Ok(differences) if differences.iter().any(String::is_empty) => (State::Works, String::new()),
        Ok(mut differences) => (State::Wrong, differences.swap_remove(0)),
    }
}

fn told<T>(record: &Result<T, DecodeError>) -> Result<&T, String> {
    record.as_ref().map_err(ToString::to_string)
}

/// What is wrong about a connection; empty if nothing is. The local port of a connect may be unknown.
fn connection_differs([client, server]: [SocketAddr; 2], seen: &Connection) -> String {
    let (local, remote) = match seen.direction {
        Direction::Attempted => (client, server),
        Direction::Accepted => (server, client),
    };
    let unknown = SocketAddr::new(local.ip(), 0);
    if seen.remote != remote
        || (seen.local != local && (seen.local != unknown || seen.direction == Direction::Accepted))
    {
        return format!("it shows {} -> {}, but it was {local} -> {remote}", seen.local, seen.remote);
    }
    if seen.comm != CONNECTING.as_bytes() {
        return format!("it shows the thread {:?}", String::from_utf8_lossy(&seen.comm));
    }
    String::new()
}

fn inherited_differs(pid: u32, seen: &Inherited) -> String {
    let Inherited { tgid, arm, .. } = seen;
    if *tgid != pid || arm.tgid != std::process::id() || arm.generations != 1 {
        return format!("it shows process {tgid}, {} forks from process {}", arm.generations, arm.tgid);
    }
    String::new()
}

fn exec_differs(args: &[Vec<u8>], seen: &Exec) -> String {
    if seen.args.copied != args {
        let shown: Vec<_> = seen.args.copied.iter().map(|arg| String::from_utf8_lossy(arg)).collect();
        return format!("it shows the arguments {shown:?}");
    }
    if seen.comm != EXECUTED.as_bytes() {
        return format!("it shows the thread {:?}", String::from_utf8_lossy(&seen.comm));
    }
    String::new()
}

#[cfg(test)]
#[path = "canary_tests.rs"]
mod tests;
