//! Files and ports that a running sensor can reach (Landlock, since 5.13; ports since 6.7): /proc, /etc and what the configuration
//! names.
//!
//! Landlock also keeps a process from looking at others by what ptrace(2) would need: the links in /proc/PID, and all of /proc/PID
//! where it is mounted with `hidepid`. Of the links a running sensor needs none; with `hidepid` it does without Landlock.

use super::Needs;
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, NetPort, PathBeneath, PathFd,
    Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError,
};
use rustix::fs::{CWD, readlinkat};
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// The newest version of Landlock whose rights over files are known here; older kernels restrict what they can.
const NEWEST: ABI = ABI::V5;

/// Where to read from, whatever the configuration says: processes, and the names of users, whose file is replaced as a whole.
const READ: [&str; 2] = ["/proc", "/etc"];
/// What the address of a server is looked up in; often a link to a file that is made when there is a network.
const RESOLVER: &str = "/etc/resolv.conf";
/// Where a server of names is asked again for what is too long for a datagram.
const DNS: u16 = 53;
/// Links that are followed one after the other, as the kernel does it.
const LINKS: usize = 40;

/// A set of rules that threads can take on; `None` if the kernel has no Landlock.
pub(super) fn rules(needs: &Needs) -> Result<Option<OwnedFd>, RulesetError> {
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::ConnectTcp)?
        .create()?;
    let ruleset = allowed(needs).into_iter().try_fold(ruleset, |ruleset, (path, access)| match PathFd::new(&path) {
        Ok(directory) => ruleset.add_rule(PathBeneath::new(directory, access)),
        // What is not there cannot be read.
        Err(_) => Ok(ruleset),
    })?;
    let connect = |port: u16| NetPort::new(port, AccessNet::ConnectTcp);
    let ruleset = ports(needs).into_iter().try_fold(ruleset, |ruleset, port| ruleset.add_rule(connect(port)))?;
    Ok(ruleset.into())
}

/// Ports to which connections over TCP are made.
pub(super) fn ports(needs: &Needs) -> Vec<u16> {
    let names = (!needs.tcp.is_empty()).then_some(DNS);
    let mut ports: Vec<u16> = needs.tcp.iter().copied().chain(names).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// Whether the kernel's Landlock knows ports.
pub(super) fn knows_ports() -> bool {
    Ruleset::default().set_compatibility(CompatLevel::HardRequirement).handle_access(AccessNet::ConnectTcp).is_ok()
}

/// Directories, and what may be done below them. Files are replaced by others of the same name, so a file itself is no place.
fn allowed(needs: &Needs) -> Vec<(PathBuf, BitFlags<AccessFs>)> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let append = AccessFs::WriteFile | AccessFs::MakeReg;
    let resolver = (!needs.tcp.is_empty()).then_some(Path::new(RESOLVER));
    let reads = needs.reads.iter().map(PathBuf::as_path).chain(resolver).flat_map(directories);
    let reads = reads.map(|path| (path, AccessFs::ReadFile.into()));
    let appends = needs.appends.iter().flat_map(|path| directories(path)).map(|path| (path, append));
    let removes = needs.removes.iter().flat_map(|path| directories(path));
    let removes = removes.map(|path| (path, AccessFs::RemoveFile.into()));
    let spool = read | append | AccessFs::RemoveFile | AccessFs::Truncate;
    let spools = needs.spools.iter().map(|path| (path.clone(), spool));
    let looks = needs.looks.iter().map(|path| (path.clone(), AccessFs::ReadFile.into()));
    READ.map(|path| (path.into(), read))
        .into_iter()
        .chain(reads)
        .chain(appends)
        .chain(removes)
        .chain(looks)
        .chain(spools)
        .collect()
}

/// The directory of a file, and those of the files that links of this name lead to. Of one that is not there yet, the nearest above it
/// that is.
fn directories(path: &Path) -> Vec<PathBuf> {
    let mut directories = Vec::new();
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        let parent = match path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => Path::new("/"),
        };
        directories.extend(parent.ancestors().find(|above| above.is_dir()).map(Path::to_owned));
        // A running sensor has this call, not the older one.
        let Ok(target) = readlinkat(CWD, &path, Vec::new()) else { break };
        path = parent.join(OsStr::from_bytes(target.as_bytes()));
    }
    directories.dedup();
    directories
}

/// Whether a file lies in the directories of others.
pub(super) fn within(others: &[PathBuf], path: &Path) -> bool {
    let kept: Vec<PathBuf> = others.iter().flat_map(|path| directories(path)).collect();
    directories(path).iter().all(|directory| kept.contains(directory))
}

/// Whether /proc hides processes from those who could not trace them, by what `mountinfo` of proc_pid_mountinfo(5) says.
pub(super) fn hides_processes(mountinfo: &str) -> bool {
    // The last mount at a place is the one that is seen.
    let proc = mountinfo.lines().rfind(|line| line.split(' ').nth(4) == Some("/proc"));
    let options = proc.and_then(|line| line.rsplit(' ').next()).unwrap_or_default();
    options.split(',').any(|option| option.strip_prefix("hidepid=").is_some_and(|mode| !["0", "off"].contains(&mode)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{File, OpenOptions};
    use std::io;
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    use std::os::fd::AsFd as _;

    #[test]
    fn hidden_processes_are_known_by_the_mount() {
        let line = |options| format!("22 28 0:20 / /proc rw,nosuid shared:13 - proc proc {options}\n");
        for (options, expected) in [
            ("rw", false),
            ("rw,gid=5,hidepid=2", true),
            ("rw,hidepid=invisible", true),
            ("rw,hidepid=ptraceable", true),
            ("rw,hidepid=0", false),
            ("rw,hidepid=off", false),
        ] {
            assert_eq!(hides_processes(&line(options)), expected, "{options}");
        }
        assert!(!hides_processes(&(line("rw,hidepid=2") + &line("rw"))));
        assert!(!hides_processes("22 28 0:20 / /sys rw - sysfs sysfs rw,hidepid=2\n") && !hides_processes(""));
    }

    #[test]
    fn servers_and_names_have_ports() {
        assert!(ports(&Needs::default()).is_empty());
        assert_eq!(ports(&Needs { tcp: vec![9200, 6514, 9200], ..Needs::default() }), [53, 6514, 9200]);
    }

    #[test]
    fn the_directory_of_a_file_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let [real, link] = ["real", "link"].map(|name| directory.path().join(name));
        std::fs::create_dir(&real).unwrap();
        std::fs::write(real.join("file"), "").unwrap();
        std::os::unix::fs::symlink(real.join("file"), &link).unwrap();
        assert_eq!(directories(&link), [directory.path(), &real]);
        assert_eq!(directories(Path::new("events")), [Path::new(".")]);
        assert_eq!(directories(Path::new("/nonexistent/file")), [Path::new("/")]);
    }

    /// As where the link is there from the start, and a service makes the file when there is a network.
    #[test]
    fn a_link_that_leads_nowhere_yet_is_followed_as_far_as_it_goes() {
        let directory = tempfile::tempdir().unwrap();
        let [etc, run] = ["etc", "run"].map(|name| directory.path().join(name));
        std::fs::create_dir(&etc).unwrap();
        std::fs::create_dir(&run).unwrap();
        let link = etc.join("resolv.conf");
        std::os::unix::fs::symlink("../run/resolved/stub.conf", &link).unwrap();
        let found: Vec<PathBuf> = directories(&link).iter().map(|path| path.canonicalize().unwrap()).collect();
        assert_eq!(found, [etc.canonicalize().unwrap(), run.canonicalize().unwrap()]);
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink("resolv.conf", &link).unwrap();
        assert_eq!(directories(&link), [etc]);
    }

    /// On a thread of its own; the rest of the tests go on as they are.
    #[test]
    fn only_what_is_named_is_reached() {
        let directory = tempfile::tempdir().unwrap();
        let [config, log, spool, runtime, other] =
            ["config", "log", "spool", "runtime", "other"].map(|name| directory.path().join(name));
        for place in [&config, &log, &spool, &runtime, &other] {
            std::fs::create_dir(place).unwrap();
            std::fs::write(place.join("file"), "").unwrap();
        }
        let [server, stranger] = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let needs = Needs {
            reads: vec![config.join("file")],
            appends: vec![log.join("file")],
            removes: vec![log.join("socket")],
            looks: vec![runtime.clone()],
            spools: vec![spool.clone()],
            tcp: vec![server.local_addr().unwrap().port()],
            ..Needs::default()
        };
        let Some(rules) = rules(&needs).unwrap() else {
            eprintln!("SKIPPED privileges::only_what_is_named_is_reached: this kernel has no Landlock");
            return;
        };
        fn denied<T>(result: io::Result<T>) -> Option<io::ErrorKind> {
            result.err().map(|error| error.kind())
        }
        let (none, refused) = (None, Some(io::ErrorKind::PermissionDenied));
        std::thread::spawn(move || {
            super::super::threads::take_on(rules.as_fd()).unwrap();
            assert_eq!(denied(File::open("/proc/self/stat")), none);
            assert_eq!(denied(File::open("/etc/passwd")), none);
            assert_eq!(denied(File::open(config.join("file"))), none);
            assert_eq!(denied(File::open(log.join("file"))), refused);
            assert_eq!(denied(File::open(other.join("file"))), refused);
            assert_eq!(denied(File::open(runtime.join("file"))), none);
            assert_eq!(denied(OpenOptions::new().append(true).open(runtime.join("file"))), refused);
            let append = |path: PathBuf| OpenOptions::new().append(true).create(true).open(path);
            assert_eq!(denied(append(log.join("file"))), none);
            assert_eq!(denied(append(log.join("new"))), none);
            assert_eq!(denied(append(config.join("file"))), refused);
            assert_eq!(denied(File::create(log.join("file"))), refused);
            assert!(std::fs::remove_file(log.join("new")).is_ok());
            assert!(std::fs::remove_file(config.join("file")).is_err());
            assert!(append(spool.join("new")).unwrap().set_len(0).is_ok());
            assert!(std::fs::read_dir(&spool).unwrap().count() == 2 && std::fs::read(spool.join("new")).is_ok());
            assert!(std::fs::remove_file(spool.join("new")).is_ok());
            let connect = |to: &TcpListener| TcpStream::connect(to.local_addr().unwrap());
            assert_eq!(denied(connect(&server)), none);
            assert_eq!(denied(connect(&stranger)), if knows_ports() { refused } else { none });
            // Nor is the memory of others, which a file of /proc shows to those who may trace them.
            let parent = rustix::process::getppid().unwrap().as_raw_nonzero();
            assert_eq!(denied(File::open(format!("/proc/{parent}/mem"))), refused);
        })
        .join()
        .unwrap();
    }
}
