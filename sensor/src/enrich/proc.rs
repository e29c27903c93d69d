//! Reads /proc/PID so that a reused process number is never taken for the process meant.
//!
//! A directory /proc/PID that is held open belongs to one process for good: once that is gone, everything below it says
//! `ESRCH`, whoever has the number by then. So the directory is opened first, the start time is compared, and everything
//! else is read through it.

use crate::event::BootTime;
use rustix::fs::{Dir, Mode, OFlags, openat, readlinkat};
use rustix::io::Errno;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Why /proc does not say something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Absent {
    /// There is no such process any more, or it is hidden (`hidepid`).
    #[error("gone")]
    Gone,
    /// The number belongs to another process by now.
    #[error("number reused")]
    Reused,
    /// The sensor may not look (`hidepid`, `ptrace_scope`, missing capabilities).
    #[error("not permitted")]
    Denied,
    /// There is nothing to say: a kernel thread has no executable and no arguments, a process that has ended neither.
    #[error("has none")]
    Nothing,
    /// Reading failed for another reason, or what was read made no sense.
    #[error("unreadable")]
    Unreadable,
}

impl From<Errno> for Absent {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOENT | Errno::SRCH => Self::Gone,
            Errno::ACCESS | Errno::PERM => Self::Denied,
            _ => Self::Unreadable,
        }
    }
}

/// A mounted /proc.
#[derive(Clone, Debug)]
pub struct Proc {
    root: PathBuf,
    /// Nanoseconds of one tick of the clock in which /proc/PID/stat tells start times.
    tick_ns: u64,
}

/// One process of it, held open.
#[derive(Debug)]
pub struct Entry {
    directory: OwnedFd,
    /// What its `stat` said when it was opened.
    pub stat: Stat,
}

/// The parts of /proc/PID/stat that are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// comm of the group leader, at most 15 bytes for a user process.
    pub comm: Vec<u8>,
    /// Number of the parent process.
    pub ppid: u32,
    /// Start since boot in clock ticks.
    pub start_ticks: u64,
}

impl Proc {
    /// What is mounted on /proc.
    #[must_use]
    pub fn live() -> Self {
        Self::at(Path::new("/proc"))
    }

    /// A /proc mounted elsewhere.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        let ticks = rustix::param::clock_ticks_per_second().max(1);
        Self { root: root.to_owned(), tick_ns: 1_000_000_000 / ticks }
    }

    /// Where it is mounted.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A start time as /proc tells it: in clock ticks, usually of 10 ms, rounded down.
    #[must_use]
    pub fn ticks(&self, start: BootTime) -> u64 {
        start.0 / self.tick_ns
    }

    /// The earliest start time that /proc tells as this number of ticks.
    #[must_use]
    pub fn start(&self, ticks: u64) -> BootTime {
        BootTime(ticks.saturating_mul(self.tick_ns))
    }

    /// Opens whatever process has the number now.
    ///
    /// # Errors
    /// There is none, or it may not be looked at.
    pub fn open(&self, tgid: u32) -> Result<Entry, Absent> {
        let path = self.root.join(tgid.to_string());
        let directory = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let (stat, _) = read(&directory, "stat", 4096)?;
        Ok(Entry { directory, stat: parse_stat(&stat).ok_or(Absent::Unreadable)? })
    }

    /// Opens the process that has the number and started at that tick.
    ///
    /// # Errors
    /// As [`Proc::open`], and [`Absent::Reused`] if another process has the number.
    pub fn open_same(&self, tgid: u32, start_ticks: u64) -> Result<Entry, Absent> {
        let entry = self.open(tgid)?;
        if entry.stat.start_ticks == start_ticks { Ok(entry) } else { Err(Absent::Reused) }
    }
}

impl Entry {
    /// The first bytes of a file below the directory, and whether there are more.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self, file: &str, most: usize) -> Result<(Vec<u8>, bool), Absent> {
        read(&self.directory, file, most)
    }

    /// Opens a file below the directory, to read it line by line.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn file(&self, file: &str) -> Result<File, Absent> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
        Ok(openat(&self.directory, file, flags, Mode::empty())?.into())
    }

    /// Where a link below the directory points to.
    ///
    /// # Errors
    /// It cannot be read; a kernel thread's `exe` is [`Absent::Nothing`].
    pub fn link(&self, link: &str) -> Result<Vec<u8>, Absent> {
        match readlinkat(&self.directory, link, Vec::new()) {
            Ok(target) => Ok(target.into_bytes()),
            // The process is there, or this would be ESRCH.
            Err(Errno::NOENT) => Err(Absent::Nothing),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The numbers that a directory below the directory has as names, such as open descriptors or threads: at most so
    /// many, and whether there are more.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn numbers(&self, directory: &str, most: usize) -> Result<(Vec<u32>, bool), Absent> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(&self.directory, directory, flags, Mode::empty())?;
        let mut numbers = Vec::new();
        for entry in Dir::new(directory)? {
            let name: Option<u32> = entry?.file_name().to_str().ok().and_then(|name| name.parse().ok());
            if name.is_some() && numbers.len() == most {
                return Ok((numbers, true));
            }
            numbers.extend(name);
        }
        Ok((numbers, false))
    }
}

/// Bytes that most files below /proc/PID fit into: read by one call, and another one that sees the end.
const USUAL: usize = 1024;

fn read(directory: &OwnedFd, file: &str, most: usize) -> Result<(Vec<u8>, bool), Absent> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = File::from(openat(directory, file, flags, Mode::empty())?);
    let mut bytes = Vec::with_capacity(USUAL);
    let result = file.take(most as u64 + 1).read_to_end(&mut bytes);
    result.map_err(|error| Errno::from_io_error(&error).map_or(Absent::Unreadable, Absent::from))?;
    let more = bytes.len() > most;
    bytes.truncate(most);
    Ok((bytes, more))
}

/// Reads `PID (COMM) STATE PPID …`; a comm may contain spaces and parentheses, so its end is the last one.
fn parse_stat(stat: &[u8]) -> Option<Stat> {
    let start = stat.iter().position(|byte| *byte == b'(')?;
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let comm = stat.get(start + 1..end)?.to_vec();
    let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    // The third field of proc_pid_stat(5), the state, is the first one here.
    let ppid = fields.nth(1)?.parse().ok()?;
    let start_ticks = fields.nth(22 - 5)?.parse().ok()?;
    Some(Stat { comm, ppid, start_ticks })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_comm_may_contain_anything() {
        let rest = "S 7 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 1000 200 18446744073709551615";
        for comm in ["sh", "", "a b", ") S 9 (", "((", "))", "\n"] {
            let stat = parse_stat(format!("12 ({comm}) {rest}").as_bytes()).unwrap();
            assert_eq!(stat, Stat { comm: comm.as_bytes().to_vec(), ppid: 7, start_ticks: 4711 });
        }
        for broken in ["", "12", "12 (", "12 )(", "12 (sh)", "12 (sh) S 7 1 1", "12 (sh) S x 1"] {
            assert_eq!(parse_stat(broken.as_bytes()), None, "{broken}");
        }
    }

    #[test]
    fn this_process_started_when_it_says() {
        let proc = Proc::live();
        let own = std::process::id();
        let entry = proc.open(own).unwrap();
        assert_eq!(entry.stat.ppid, std::os::unix::process::parent_id());
        assert!(proc.open_same(own, entry.stat.start_ticks).is_ok());
        assert_eq!(proc.open_same(own, entry.stat.start_ticks + 1).unwrap_err(), Absent::Reused);
        let start = proc.start(entry.stat.start_ticks);
        assert_eq!(proc.ticks(start), entry.stat.start_ticks);
        assert_eq!(proc.ticks(BootTime(start.0 + 9_999_999)), entry.stat.start_ticks);
        assert_eq!(entry.link("exe").unwrap(), std::env::current_exe().unwrap().as_os_str().as_encoded_bytes());
        let (cmdline, more) = entry.read("cmdline", 4).unwrap();
        assert!(cmdline.len() == 4 && more);
        let (threads, more) = entry.numbers("task", 1000).unwrap();
        assert!(threads.contains(&own) && !more);
        assert_eq!(entry.numbers("task", 0).unwrap(), (vec![], true));
    }

    #[test]
    fn a_process_that_ended_is_gone_whoever_has_its_number() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let proc = Proc::live();
        let entry = proc.open(child.id()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(entry.read("stat", 100).unwrap_err(), Absent::Gone);
        assert_eq!(entry.read("cmdline", 100).unwrap_err(), Absent::Gone);
        assert_eq!(entry.numbers("task", 100).unwrap_err(), Absent::Gone);
        assert_eq!(proc.open(child.id()).unwrap_err(), Absent::Gone);
    }

    #[test]
    fn a_kernel_thread_has_no_executable() {
        let kthreadd = Proc::live().open(2).ok().filter(|entry| entry.stat.comm == b"kthreadd");
        let Some(kthreadd) = kthreadd else {
            eprintln!("SKIPPED proc::a_kernel_thread_has_no_executable: no kernel threads are visible here");
            return;
        };
        // Without privileges the link cannot even be looked at.
        assert!(matches!(kthreadd.link("exe").unwrap_err(), Absent::Nothing | Absent::Denied));
    }

    proptest! {
        #[test]
        fn no_stat_panics(stat in proptest::collection::vec(any::<u8>(), 0..200), text in "[0-9() SR]{0,120}") {
            let _ = parse_stat(&stat);
            let _ = parse_stat(text.as_bytes());
        }
    }
}
