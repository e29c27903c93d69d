//! What a sensor gives up when it is attached.
//!
//! From then on it reads memory that is mapped already, /proc and a few files, and writes to what is open already. Every
//! capability (capabilities(7)), every other system call (seccomp(2)), every other file and port (landlock(7)) is given up, by all
//! threads and for good: a reload needs none of them.

mod capabilities;
mod reach;
mod seccomp;
mod syscalls;
mod threads;

use rustix::thread::CapabilitySet;
use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;

/// What a running sensor still has to do beside reading /proc.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    /// Files that are read again on request.
    pub reads: Vec<PathBuf>,
    /// Directories below which files of container runtimes are read.
    pub looks: Vec<PathBuf>,
    /// Files that are opened anew for appending on request, and made if they are not there.
    pub appends: Vec<PathBuf>,
    /// Files that are removed at the end.
    pub removes: Vec<PathBuf>,
    /// Directories in which files are made, appended to, cut and removed.
    pub spools: Vec<PathBuf>,
    /// Documents go to the journal of systemd: a datagram each, a large one in a sealed file in memory.
    pub journal: bool,
    /// Datagrams go to a UNIX socket, which is connected to anew when it was made anew.
    pub unix: bool,
    /// Ports to which connections over TCP are made, at addresses that are looked up. Without any there are no internet sockets.
    pub tcp: Vec<u16>,
    /// Connections are accepted where the sensor listens already.
    pub serves: bool,
    /// A person reads what is written: how wide the terminal is may change.
    pub terminal: bool,
}

impl Needs {
    /// Whether all that others need is among these.
    #[must_use]
    pub fn cover(&self, others: &Self) -> bool {
        let Self { reads, looks: _, appends, removes, spools, journal, unix, tcp, serves, terminal } = others;
        let same = |kept: &[PathBuf], wanted: &[PathBuf]| wanted.iter().all(|path| kept.contains(path));
        let readable = |path: &PathBuf| path.starts_with("/etc") || reach::within(&self.reads, path);
        reads.iter().all(readable)
            && appends.iter().all(|path| reach::within(&self.appends, path))
            && same(&self.removes, removes)
            && same(&self.spools, spools)
            && tcp.iter().all(|port| self.tcp.contains(port))
            && (self.journal || !journal)
            && (self.unix || !unix)
            && (self.serves || !serves)
            && (self.terminal || !terminal)
    }
}

/// What is left.
#[derive(Debug)]
pub struct Kept {
    capabilities: CapabilitySet,
    /// How many system calls are left, some of them only with certain arguments; none if all are.
    syscalls: Option<usize>,
    reach: String,
    /// What could not be given up, and why.
    pub failures: Vec<String>,
}

impl Display for Kept {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { capabilities, syscalls, reach, failures: _ } = self;
        write!(f, "capabilities: {}; ", capabilities::names(*capabilities))?;
        match syscalls {
            Some(number) => write!(f, "{number} system calls"),
            None => f.write_str("all system calls"),
        }?;
        write!(f, "; {reach}")
    }
}

/// Gives up what is not needed any more. What cannot be given up is named, and is no reason not to watch.
#[must_use]
pub fn give_up(needs: &Needs) -> Kept {
    let mut failures = Vec::new();
    let hidden = reach::hides_processes(&std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default());
    let wanted = if hidden { CapabilitySet::SYS_PTRACE } else { CapabilitySet::empty() };
    let rules = match reach::rules(needs) {
        _ if hidden => None,
        Ok(rules) => rules,
        Err(error) => {
            failures.push(format!("files: {error}"));
            None
        }
    };
    let reach = reach(needs, rules.is_some(), hidden);
    match threads::restrict_all(wanted, rules) {
        Ok(0) => {}
        Ok(held_up) => {
            failures.push(format!("{held_up} threads are held up in the kernel, and follow when they come back"));
        }
        Err(error) => failures.push(format!("capabilities and files: {error}")),
    }
    let capabilities = capabilities::permitted().unwrap_or_else(|error| {
        failures.push(format!("capabilities: {error}"));
        CapabilitySet::all()
    });
    let syscalls = match syscalls::restrict_all(needs) {
        Ok(number) => Some(number),
        Err(error) => {
            failures.push(format!("system calls: {error}"));
            None
        }
    };
    Kept { capabilities, syscalls, reach, failures }
}

/// The files and ports that are left, in words.
fn reach(needs: &Needs, kept: bool, hidden: bool) -> String {
    let ports = reach::ports(needs);
    let list = || ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    let tcp = match kept && reach::knows_ports() {
        _ if ports.is_empty() => String::new(),
        true => format!("; TCP to the ports {}", list()),
        false => "; TCP to all ports".to_owned(),
    };
    let files = match (kept, hidden) {
        (true, _) => "files below /proc, /etc and where the configuration says",
        (false, true) => "all files, since /proc hides processes",
        (false, false) => "all files, since there is no Landlock",
    };
    format!("{files}{tcp}")
}
