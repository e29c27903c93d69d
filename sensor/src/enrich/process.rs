//! What /proc says of a process that the kernel's records name: for parents that started before the sensor, and for what
//! no record holds.
//!
//! All of this is read later than the event. A process that lives on can have rewritten it, so it explains and does not
//! prove; see [`super::proc`] for how the process meant is told from another one.

use super::proc::{Absent, Entry, Proc};
use crate::event::ProcessKey;

/// Most bytes of arguments that are read.
pub const ARGS_MAX: usize = 64 << 10;
/// Most bytes of /proc/PID/cgroup that are read.
const CGROUP_MAX: usize = 64 << 10;
/// What the kernel appends to the path of a file that is no longer there.
const DELETED: &[u8] = b" (deleted)";

/// The file that a process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exe {
    /// Its path as the process's mount namespace has it.
    pub path: Vec<u8>,
    /// It is no longer there. A file whose name ends in ` (deleted)` looks the same, and is taken for the name in front.
    pub deleted: bool,
}

/// The arguments of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args {
    /// As far as they were read; the last one may be cut if `truncated`.
    pub args: Vec<Vec<u8>>,
    /// There are more than [`ARGS_MAX`] bytes of them.
    pub truncated: bool,
}

impl Exe {
    /// The last component of the path.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
    }
}

/// The arguments of the process with this identity.
///
/// # Errors
/// There is no such process any more, or it may not be looked at.
pub fn args_of(proc: &Proc, process: ProcessKey) -> Result<Args, Absent> {
    args(&proc.open_same(process.tgid, proc.ticks(process.start))?)
}

/// Text of /proc/PID/cgroup of the process with this identity. Takes no lock of the process's, so it does not wait for it.
///
/// # Errors
/// There is no such process any more, or it may not be looked at.
pub fn cgroup(proc: &Proc, process: ProcessKey) -> Result<String, Absent> {
    cgroup_of(&proc.open_same(process.tgid, proc.ticks(process.start))?)
}

fn cgroup_of(entry: &Entry) -> Result<String, Absent> {
    entry.read("cgroup", CGROUP_MAX).map(|(text, _)| String::from_utf8_lossy(&text).into_owned())
}

/// The file that a process runs.
///
/// # Errors
/// It cannot be read, or there is none.
pub fn exe(entry: &Entry) -> Result<Exe, Absent> {
    let mut path = entry.link("exe")?;
    let deleted = path.ends_with(DELETED);
    if deleted {
        path.truncate(path.len() - DELETED.len());
    }
    Ok(Exe { path, deleted })
}

/// The arguments of a process, at most [`ARGS_MAX`] bytes.
///
/// # Errors
/// They cannot be read, or there are none.
pub fn args(entry: &Entry) -> Result<Args, Absent> {
    let (mut bytes, truncated) = entry.read("cmdline", ARGS_MAX)?;
    if bytes.is_empty() {
        return Err(Absent::Nothing);
    }
    // Each argument ends in a zero; a process that rewrote them may have left that out.
    if !truncated && bytes.last() == Some(&0) {
        bytes.pop();
    }
    Ok(Args { args: bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect(), truncated })
}

/// Real user and group id.
///
/// # Errors
/// They cannot be read.
pub fn ids(entry: &Entry) -> Result<(u32, u32), Absent> {
    let (status, _) = entry.read("status", 8192)?;
    // A comm in front of them has its line ends escaped, so that it cannot pretend to be a line.
    let id = |key: &[u8]| {
        let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(key))?;
        std::str::from_utf8(line).ok()?.split_ascii_whitespace().next()?.parse().ok()
    };
    id(b"Uid:").zip(id(b"Gid:")).ok_or(Absent::Unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::BootTime;
    use std::os::unix::fs::symlink;
    use std::os::unix::process::CommandExt as _;
    use std::path::Path;
    use std::process::{Child, Command};
    use tempfile::TempDir;

    /// A /proc with the process 7, started at tick 500.
    fn fake(files: &[(&str, &[u8])], exe: Option<&str>) -> (TempDir, Proc) {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("7");
        std::fs::create_dir(&directory).unwrap();
        let stat = b"7 (so cat) S 3 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 500 0 0".as_slice();
        for (name, text) in [("stat", stat)].iter().chain(files) {
            std::fs::write(directory.join(name), text).unwrap();
        }
        if let Some(target) = exe {
            symlink(target, directory.join("exe")).unwrap();
        }
        let proc = Proc::at(root.path());
        (root, proc)
    }

    fn key(tgid: u32, start: u64) -> ProcessKey {
        ProcessKey { tgid, start: BootTime(start) }
    }

    #[test]
    fn everything_is_read() {
        let files: &[(&str, &[u8])] = &[
            ("cmdline", b"socat\0TCP:198.51.100.1:1\0EXEC:bash -i\0\0last\0"),
            ("status", b"Name:\tso\\nUid:\t7\nState:\tS\nUid:\t1000\t0\t0\t0\nGid:\t100\t0\t0\t0\n"),
            ("cgroup", b"0::/system.slice\n"),
        ];
        let (_root, proc) = fake(files, Some("/usr/bin/socat1 (deleted)"));
        let entry = proc.open(7).unwrap();
        let exe = exe(&entry).unwrap();
        assert_eq!((&*exe.path, exe.name(), exe.deleted), (b"/usr/bin/socat1".as_slice(), b"socat1".as_slice(), true));
        assert_eq!(ids(&entry), Ok((1000, 100)));
        let process = key(7, 5_009_999_999);
        let args = args_of(&proc, process).unwrap();
        assert_eq!(args.args, [b"socat".as_slice(), b"TCP:198.51.100.1:1", b"EXEC:bash -i", b"", b"last"]);
        assert!(!args.truncated);
        assert_eq!(cgroup(&proc, process).as_deref(), Ok("0::/system.slice\n"));
        for (other, expected) in [
            (key(7, 4_999_999_999), Absent::Reused),
            (key(7, 5_010_000_000), Absent::Reused),
            (key(8, 5_000_000_000), Absent::Gone),
        ] {
            assert_eq!(args_of(&proc, other), Err(expected));
        }
    }

    #[test]
    fn what_is_absent_says_why() {
        let (_root, proc) = fake(&[("cmdline", b""), ("status", b"Uid:\tx\n")], None);
        let entry = proc.open(7).unwrap();
        assert_eq!((exe(&entry), args(&entry)), (Err(Absent::Nothing), Err(Absent::Nothing)));
        assert_eq!((ids(&entry), cgroup_of(&entry)), (Err(Absent::Unreadable), Err(Absent::Gone)));
    }

    #[test]
    fn long_arguments_are_cut_and_marked() {
        let mut bytes = vec![b'a'; ARGS_MAX - 1];
        bytes.push(0);
        let read = |bytes: &[u8]| {
            let (_root, proc) = fake(&[("cmdline", bytes)], None);
            args_of(&proc, key(7, 5_000_000_000)).unwrap()
        };
        assert_eq!(read(&bytes), Args { args: vec![vec![b'a'; ARGS_MAX - 1]], truncated: false });
        bytes.extend(b"-i\0");
        let args = read(&bytes);
        assert!(args.truncated);
        assert_eq!(args.args, [vec![b'a'; ARGS_MAX - 1], vec![]]);
        // As a process leaves them that writes a title there.
        assert_eq!(read(b"nginx: worker").args, [b"nginx: worker"]);
    }

    /// Ends its process however the test ends.
    struct Ended(Child);

    impl Drop for Ended {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_real_process_is_described() {
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join("sleeper");
        std::fs::copy("/bin/sleep", &copy).unwrap();
        // A copy that is written to cannot be executed while another test's fork holds it open.
        let child = loop {
            match Command::new(&copy).arg0("-x y").arg("60").spawn() {
                Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
                child => break Ended(child.unwrap()),
            }
        };
        let proc = Proc::live();
        let ticks = proc.open(child.0.id()).unwrap().stat.start_ticks;
        let process = ProcessKey { tgid: child.0.id(), start: proc.start(ticks) };
        // Its parent goes on a moment before it has its arguments.
        let args = loop {
            match args_of(&proc, process) {
                Err(Absent::Nothing) => std::thread::yield_now(),
                args => break args.unwrap(),
            }
        };
        assert_eq!(args.args, [b"-x y".as_slice(), b"60"]);
        let entry = proc.open_same(process.tgid, ticks).unwrap();
        assert_eq!((&*entry.stat.comm, entry.stat.ppid), (b"sleeper".as_slice(), std::process::id()));
        assert_eq!(exe(&entry).as_ref().map(Exe::name), Ok(b"sleeper".as_slice()));
        assert_eq!(ids(&entry), Ok((rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw())));
        assert!(cgroup(&proc, process).unwrap().lines().all(|line| line.contains(":/")));
        std::fs::remove_file(&copy).unwrap();
        let exe = exe(&entry).unwrap();
        assert_eq!((Path::new(std::str::from_utf8(&exe.path).unwrap()), exe.deleted), (&*copy, true));
    }
}
