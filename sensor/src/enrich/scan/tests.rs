//! A made-up /proc for every shape, and the real one with real sockets.

use super::*;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const WANTED: Wanted<'_> = Wanted { connecting: &["bash", "socat"], parent: "socat" };

/// A /proc under construction.
struct Fake(TempDir);

impl Fake {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        // What else stands in /proc.
        std::fs::create_dir(root.path().join("sys")).unwrap();
        std::fs::write(root.path().join("uptime"), "1 1").unwrap();
        Self(root)
    }

    fn file(&self, tgid: u32, name: &str, text: &str) {
        let path = self.path(tgid, name);
        std::fs::write(path, text).unwrap();
    }

    fn link(&self, tgid: u32, name: &str, target: &str) {
        symlink(target, self.path(tgid, name)).unwrap();
    }

    fn path(&self, tgid: u32, name: &str) -> PathBuf {
        let path = self.0.path().join(tgid.to_string()).join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    /// A process with one thread, in the network namespace 1, holding these sockets as descriptors 3 and up.
    fn process(&self, tgid: u32, comm: &str, exe: &str, sockets: &[u64]) {
        let stat = format!("{tgid} ({comm}) S 1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 {} 0 0", tgid * 10);
        self.file(tgid, "stat", &stat);
        self.file(tgid, "status", "Uid:\t1000\t0\t0\t0\nGid:\t100\t0\t0\t0\n");
        self.file(tgid, "cmdline", &format!("{comm}\0arg of {tgid}\0"));
        self.file(tgid, &format!("task/{tgid}/wchan"), "do_wait");
        self.link(tgid, "exe", exe);
        self.link(tgid, "ns/net", "net:[1]");
        self.link(tgid, "fd/0", "/dev/null");
        self.link(tgid, "fd/1", "pipe:[77]");
        for (place, inode) in sockets.iter().enumerate() {
            self.link(tgid, &format!("fd/{}", place + 3), &format!("socket:[{inode}]"));
        }
    }

    fn scan(&self, limits: &Limits) -> Found {
        let mut found = scan(&Proc::at(self.0.path()), &WANTED, limits).unwrap();
        // The order is that of the directory.
        found.parents.sort_by_key(|parent| parent.process.tgid);
        found.connections.sort_by_key(|connection| (connection.process.tgid, connection.remote));
        found.waiting.sort_by_key(|waiting| waiting.tid);
        found
    }
}

/// A line of net/tcp: everything in the order of the arguments.
fn line(local: (Ipv4Addr, u16), remote: (Ipv4Addr, u16), state: u8, inode: u64) -> String {
    let end = |(address, port): (Ipv4Addr, u16)| format!("{:08X}:{port:04X}", u32::from_ne_bytes(address.octets()));
    format!("   0: {} {} {state:02X} 0:0 00:0 0 0 0 {inode} 1 0\n", end(local), end(remote))
}

const HERE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const THERE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

#[test]
fn parent_programs_are_found_by_either_name() {
    let fake = Fake::new();
    fake.process(10, "socat", "/usr/bin/socat1", &[]);
    fake.process(11, "renamed", "/opt/socat (deleted)", &[]);
    fake.process(12, "SOCAT", "/usr/bin/SOCAT", &[]);
    fake.process(13, "cat", "/usr/bin/cat", &[]);
    let found = fake.scan(&Limits::default());
    assert_eq!(found.parents.iter().map(|parent| parent.process.tgid).collect::<Vec<_>>(), [10, 11]);
    let Parent { process, args } = &found.parents[0];
    let Process { tgid: 10, start_ticks: 100, ppid: 1, ids: Some((1000, 100)), comm, exe } = process else {
        panic!("{process:?}")
    };
    assert_eq!((&**comm, exe.as_ref().map(Exe::name)), (b"socat".as_slice(), Ok(b"socat1".as_slice())));
    assert_eq!(args.as_ref().unwrap().args, [b"socat".as_slice(), b"arg of 10"]);
    assert_eq!((found.processes, found.denied, found.incomplete), (4, 0, false));
}

#[test]
fn connections_are_joined_to_the_processes_that_hold_them() {
    let fake = Fake::new();
    fake.process(20, "BASH", "/bin/BASH", &[500, 501, 502, 503]);
    fake.process(21, "bash", "/bin/bash", &[501, 999]);
    fake.process(22, "sshd", "/usr/sbin/sshd", &[504]);
    let tcp = [
        "  sl  local_address rem_address   st\n".to_owned(),
        line((Ipv4Addr::UNSPECIFIED, 4444), (Ipv4Addr::UNSPECIFIED, 0), tcp::LISTEN, 500),
        line((HERE, 4444), (THERE, 40_000), tcp::ESTABLISHED, 501),
        line((HERE, 50_000), (THERE, 443), 2, 502),
        line((HERE, 50_001), (THERE, 444), 7, 503),
        line((HERE, 22), (THERE, 50_002), 1, 504),
    ]
    .concat();
    for tgid in [20, 21] {
        fake.file(tgid, "net/tcp", &tcp);
    }
    let found = fake.scan(&Limits::default());
    let expected = [(20, 443, 2, false), (20, 40_000, 1, true), (21, 40_000, 1, true)];
    let seen = found.connections.iter().map(|connection| {
        let Connection { process, local, remote, state, accepted } = connection;
        assert_eq!((local.ip(), remote.ip()), (HERE.into(), THERE.into()));
        (process.tgid, remote.port(), *state, *accepted)
    });
    let seen: Vec<_> = seen.collect();
    assert_eq!(seen, expected);
}

#[test]
fn each_network_namespace_has_its_own_tables() {
    let fake = Fake::new();
    fake.process(30, "bash", "/bin/bash", &[600]);
    fake.process(31, "bash", "/bin/bash", &[600]);
    std::fs::remove_file(fake.path(31, "ns/net")).unwrap();
    fake.link(31, "ns/net", "net:[2]");
    fake.file(30, "net/tcp", &line((HERE, 1000), (THERE, 1), 1, 600));
    let other =
        "   0: B80D0120000000000000000001000000:03E8 B80D0120000000000000000002000000:0002 01 0:0 00:0 0 0 0 600 1\n";
    fake.file(31, "net/tcp", &line((HERE, 1000), (Ipv4Addr::UNSPECIFIED, 0), tcp::LISTEN, 1));
    fake.file(31, "net/tcp6", other);
    let found = fake.scan(&Limits::default());
    let seen = found.connections.iter().map(|found| (found.process.tgid, found.remote.port(), found.accepted));
    assert_eq!(seen.collect::<Vec<_>>(), [(30, 1, false), (31, 2, true)]);
}

#[test]
fn threads_in_accept_are_found_as_far_as_the_kernel_tells() {
    let fake = Fake::new();
    fake.process(40, "bash", "/bin/bash", &[]);
    let accept = if cfg!(target_arch = "x86_64") { "288 0x3 0x0" } else { "242 0x3 0x0" };
    for (tid, wchan, syscall) in [
        (41, "inet_csk_accept", accept),
        (42, "inet_csk_wait_for_connect.isra.0", accept),
        (43, "0", accept),
        (44, "", accept),
        (45, "unix_accept", accept),
        (46, "0", "7 0x3"),
        (47, "0", "running"),
    ] {
        fake.file(40, &format!("task/{tid}/wchan"), wchan);
        fake.file(40, &format!("task/{tid}/syscall"), syscall);
    }
    let found = fake.scan(&Limits::default());
    assert_eq!(found.waiting.iter().map(|waiting| waiting.tid).collect::<Vec<_>>(), [41, 42, 43, 44]);
    assert!(found.waiting.iter().all(|waiting| waiting.process.tgid == 40));
}

#[test]
fn processes_that_go_or_hide_do_no_harm() {
    let fake = Fake::new();
    // Gone between the listing and the look, a kernel thread, one without a readable namespace, nonsense.
    std::fs::create_dir(fake.0.path().join("50")).unwrap();
    fake.process(51, "bash", "/bin/bash", &[1]);
    std::fs::remove_file(fake.path(51, "ns/net")).unwrap();
    fake.process(52, "bash", "/bin/bash", &[2]);
    std::fs::remove_file(fake.path(52, "exe")).unwrap();
    fake.file(53, "stat", "nonsense");
    fake.process(54, "bash", "/bin/bash", &[3]);
    fake.file(54, "net/tcp", "nonsense\n");
    let found = fake.scan(&Limits::default());
    assert_eq!((found.processes, found.connections.len(), found.incomplete), (5, 0, false));
    assert!(scan(&Proc::at(Path::new("/proc/self/nowhere")), &WANTED, &Limits::default()).is_err());
}

#[test]
fn limits_are_kept_and_said() {
    let fake = Fake::new();
    for tgid in 60..64 {
        fake.process(tgid, "socat", "/usr/bin/socat", &[700, 701]);
        let tcp = [line((HERE, 1), (THERE, 1), 1, 700), line((HERE, 2), (THERE, 2), 1, 701)].concat();
        fake.file(tgid, "net/tcp", &tcp);
        fake.file(tgid, &format!("task/{tgid}/wchan"), "inet_csk_accept");
    }
    let all = fake.scan(&Limits::default());
    assert_eq!((all.parents.len(), all.connections.len(), all.waiting.len(), all.incomplete), (4, 8, 4, false));
    for (limits, expected) in [
        (Limits { processes: 3, ..Limits::default() }, (3, 6, 3)),
        (Limits { found: 2, ..Limits::default() }, (2, 2, 2)),
        (Limits { time: Duration::ZERO, ..Limits::default() }, (0, 0, 0)),
    ] {
        let found = fake.scan(&limits);
        assert_eq!((found.parents.len(), found.connections.len(), found.waiting.len()), expected, "{limits:?}");
        assert!(found.incomplete, "{limits:?}");
    }
    // One descriptor of each process.
    let found = fake.scan(&Limits { per_process: 1, ..Limits::default() });
    assert!(found.connections.len() <= 4 && found.incomplete);
}

#[test]
fn this_process_is_found_with_its_sockets() {
    let exe = std::env::current_exe().unwrap();
    let name = exe.file_name().unwrap().to_str().unwrap();
    let wanted = Wanted { connecting: &[&name.to_uppercase()], parent: name };
    let listener = TcpListener::bind("[::]:0").or_else(|_| TcpListener::bind("0.0.0.0:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let (_server, _) = listener.accept().unwrap();
    // A thread that waits until the connection at the end of the test.
    let waiter = std::thread::spawn(move || listener.accept().unwrap());
    let own = std::process::id();
    let deadline = Instant::now() + Duration::from_secs(30);
    let found = loop {
        let found =
            scan(&Proc::live(), &wanted, &Limits { time: Duration::from_secs(60), ..Limits::default() }).unwrap();
        if found.waiting.iter().any(|waiting| waiting.process.tgid == own && waiting.tid != own) {
            break found;
        }
        assert!(Instant::now() < deadline, "neither wchan nor syscall shows the thread in accept: {found:?}");
        std::thread::yield_now();
    };
    let parent = found.parents.iter().find(|parent| parent.process.tgid == own).unwrap();
    let args: Vec<Vec<u8>> = std::env::args_os().map(|arg| arg.as_encoded_bytes().to_vec()).collect();
    assert_eq!(parent.args.as_ref().unwrap().args, args);
    let ids = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    assert_eq!(parent.process.ids, Some(ids));
    let ends = found
        .connections
        .iter()
        .filter(|found| found.process.tgid == own)
        .map(|connection| ((connection.local, connection.remote), (connection.state, connection.accepted)));
    let ends: HashMap<_, _> = ends.collect();
    let (local, remote) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
    assert_eq!(ends.get(&(local, remote)), Some(&(tcp::ESTABLISHED, false)));
    assert_eq!(ends.get(&(remote, local)), Some(&(tcp::ESTABLISHED, true)));
    let _last = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    waiter.join().unwrap();
}
