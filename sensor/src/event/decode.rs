//! From the bytes of a record to an event. The bytes are untrusted: any length and any content gives an event or an error.

mod surroundings;

use super::stream::Stream;
use super::{
    Ancestor, Args, BootTime, Connection, Direction, Exec, Executable, Lineage, PathState, ProcessKey, Reason,
};
use bytemuck::AnyBitPattern;
use sensor_common::address::{Address, is_mapped};
use sensor_common::record::{
    self, ACCEPTED, Arm, ConnectionRecord, ExecRecord, FLAG_ARGV_UNREADABLE, FLAG_I, FLAG_L, FLAG_UNSEARCHED, NAME_LEN,
    PATH_CUT, PATH_DETACHED, PATH_WHOLE, PathPart, REASON_ARMED, REASON_INHERITED, REASON_PARENT, REASON_PRESSURE,
    REASON_STREAMS, STREAMS, WITNESS_PROC,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Stands for what was cut off: behind a cut argument, and as an argument of its own before flags found farther on.
pub const ELLIPSIS: &str = "…";

/// A record that is not what the kernel side writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The record ends before its header or the parts that the header announces.
    #[error("a record of {len} bytes needs at least {needed}")]
    Short {
        /// Bytes of the record.
        len: usize,
        /// Bytes that it should have.
        needed: usize,
    },
    /// A field has a value that has no meaning.
    #[error("the field {field} has the meaningless value {value}")]
    Value {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: u32,
    },
}

/// The event of a record from the ring buffer of connections.
///
/// # Errors
///
/// See [`DecodeError`].
pub fn connection(record: &[u8]) -> Result<Connection, DecodeError> {
    let (header, tail) = split::<ConnectionRecord>(record)?;
    let path = part(record, tail, 0, header.path.len)?;
    Ok(Connection {
        executable: executable(header.path, path)?,
        lineage: lineage(&header.lineage),
        ..arm(&header.arm)?
    })
}

/// The event of a record from the ring buffer of executions.
///
/// # Errors
///
/// See [`DecodeError`].
pub fn exec(record: &[u8]) -> Result<Exec, DecodeError> {
    let (header, tail) = split::<ExecRecord>(record)?;
    let mut at = 0_u32;
    let mut next = |len: u32| {
        let piece = part(record, tail, at, len);
        at = at.saturating_add(len);
        piece
    };
    let path = next(header.path.len)?;
    let parent_path = next(header.parent_path.len)?;
    let ancestors = header.surroundings.ancestors.map(|part| next(part.len));
    let directory = next(header.surroundings.directory.len)?;
    let argv = next(header.argv_len)?;
    let environment = next(header.surroundings.environment_len)?;
    let ancestors = ancestors.into_iter().collect::<Result<Vec<_>, _>>()?;
    let reason = match header.reason {
        REASON_ARMED => Reason::Armed,
        REASON_PRESSURE => Reason::Pressure,
        REASON_PARENT => Reason::Parent,
        REASON_STREAMS => Reason::Streams,
        REASON_INHERITED => Reason::Inherited,
        value => return Err(DecodeError::Value { field: "reason", value }),
    };
    let process = ProcessKey { tgid: header.tgid, start: BootTime(header.start_ns) };
    Ok(Exec {
        at: BootTime(header.boot_ns),
        process,
        old_tid: header.old_tid,
        uid: header.uid,
        gid: header.gid,
        euid: header.euid,
        loginuid: (header.loginuid != u32::MAX).then_some(header.loginuid),
        comm: text(&header.comm),
        executable: executable(header.path, path)?,
        args: args(header.argc, header.argv_total, header.flags, argv),
        lineage: lineage(&header.lineage),
        parent_executable: executable(header.parent_path, parent_path)?,
        streams: streams(&header.streams)?,
        surroundings: surroundings::surroundings(&header.surroundings, &ancestors, directory, environment)?,
        reason,
        connection: match (header.arm.sequence, reason) {
            (0, _) => None,
            (_, Reason::Inherited) => Some(arm(&header.arm)?),
            _ => Some(carried(&header.arm, process)?),
        },
        generations: if reason == Reason::Inherited { header.arm.generations } else { 0 },
    })
}

fn streams(records: &[record::Stream; STREAMS]) -> Result<[Stream; STREAMS], DecodeError> {
    let mut streams = [Stream::default(); STREAMS];
    for (stream, record) in streams.iter_mut().zip(records) {
        *stream = Stream::from_record(record)?;
    }
    Ok(streams)
}

/// The connection that an execution carries. The kernel side has found that it is one of the same process; for one that was
/// found in /proc, only the execution knows the process's start exactly.
fn carried(carried: &Arm, process: ProcessKey) -> Result<Connection, DecodeError> {
    Ok(Connection { process, ..arm(carried)? })
}

/// The connection that a pending entry holds. Of its executable only the name is known, of its ancestors nothing.
fn arm(arm: &Arm) -> Result<Connection, DecodeError> {
    let direction = match arm.direction {
        record::ATTEMPTED => Direction::Attempted,
        ACCEPTED => Direction::Accepted,
        value => return Err(DecodeError::Value { field: "direction", value: value.into() }),
    };
    Ok(Connection {
        arm: arm.sequence,
        at: BootTime(arm.boot_ns),
        direction,
        process: ProcessKey { tgid: arm.tgid, start: BootTime(arm.start_ns) },
        tid: arm.tid,
        uid: arm.uid,
        gid: arm.gid,
        comm: text(&arm.comm),
        leader_comm: text(&arm.leader_comm),
        executable: Executable { name: name(&arm.exe), path: Vec::new(), state: PathState::Unknown },
        lineage: Lineage::default(),
        local: socket_address(&arm.local, arm.local_port),
        remote: socket_address(&arm.remote, arm.remote_port),
        found_at_start: arm.witness & WITNESS_PROC != 0,
        witness: arm.witness,
    })
}

/// The header at the front of a record, and what follows it.
fn split<T: AnyBitPattern>(record: &[u8]) -> Result<(T, &[u8]), DecodeError> {
    let short = DecodeError::Short { len: record.len(), needed: size_of::<T>() };
    let (header, tail) = record.split_at_checked(size_of::<T>()).ok_or(short)?;
    Ok((bytemuck::try_pod_read_unaligned(header).map_err(|_| short)?, tail))
}

/// `len` bytes of a record's variable part, from `start`.
fn part<'a>(record: &[u8], tail: &'a [u8], start: u32, len: u32) -> Result<&'a [u8], DecodeError> {
    let range = (start as usize)..(start as usize).saturating_add(len as usize);
    let needed = (record.len() - tail.len()).saturating_add(range.end);
    tail.get(range).ok_or(DecodeError::Short { len: record.len(), needed })
}

/// The bytes before the first zero.
fn text(bytes: &[u8]) -> Vec<u8> {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
}

/// A name of at most 31 bytes; one that fills the field was cut, which is made visible.
fn name(bytes: &[u8; NAME_LEN]) -> Vec<u8> {
    let mut name = text(bytes);
    if name.len() == NAME_LEN - 1 {
        name.extend_from_slice(ELLIPSIS.as_bytes());
    }
    name
}

fn lineage(lineage: &record::Lineage) -> Lineage {
    let ancestors = lineage.ancestors.iter().take(lineage.count as usize);
    Lineage {
        ancestors: ancestors
            .map(|ancestor| Ancestor {
                key: ProcessKey { tgid: ancestor.tgid, start: BootTime(ancestor.start_ns) },
                uid: ancestor.uid,
                comm: text(&ancestor.comm),
                exe: name(&ancestor.exe),
            })
            .collect(),
        more: lineage.more != 0,
    }
}

/// The path from its components, which the record holds from the last to the first.
fn executable(part: PathPart, components: &[u8]) -> Result<Executable, DecodeError> {
    let state = match part.state {
        PATH_WHOLE => PathState::Whole,
        PATH_CUT => PathState::Cut,
        PATH_DETACHED => PathState::Detached,
        record::PATH_UNREADABLE => PathState::Unknown,
        value => return Err(DecodeError::Value { field: "path.state", value }),
    };
    if components.is_empty() {
        return Ok(Executable { name: Vec::new(), path: Vec::new(), state: PathState::Unknown });
    }
    let components = components.strip_suffix(&[0]).unwrap_or(components);
    let name = text(components);
    let mut path = Vec::with_capacity(components.len() + 1);
    for component in components.split(|byte| *byte == 0).rev() {
        if state == PathState::Whole || !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(component);
    }
    Ok(Executable { name, path, state })
}

fn args(count: u32, total: u64, flags: u32, argv: &[u8]) -> Args {
    let truncated = (argv.len() as u64) < total || flags & FLAG_ARGV_UNREADABLE != 0;
    let mut copied: Vec<Vec<u8>> = Vec::new();
    if !argv.is_empty() {
        let ended = argv.strip_suffix(&[0]);
        copied.extend(ended.unwrap_or(argv).split(|byte| *byte == 0).map(<[u8]>::to_vec));
        if ended.is_none()
            && let Some(last) = copied.last_mut()
        {
            // What is left of a cut argument must not pass for another one, such as `-i` for `-invisible`.
            last.extend_from_slice(ELLIPSIS.as_bytes());
        }
    }
    let found_beyond = [(FLAG_I, "-i"), (FLAG_L, "-l")]
        .into_iter()
        .filter(|(flag, text)| flags & flag != 0 && !copied.iter().skip(1).any(|arg| arg == text.as_bytes()))
        .map(|(_, text)| text)
        .collect();
    Args { copied, count, truncated, found_beyond, unsearched: flags & FLAG_UNSEARCHED != 0, redacted: false }
}

pub(super) fn socket_address(address: &Address, port: u16) -> SocketAddr {
    let ip = if is_mapped(address) {
        let [.., a, b, c, d] = *address;
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    } else {
        IpAddr::V6(Ipv6Addr::from(*address))
    };
    SocketAddr::new(ip, port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable;
    use proptest::prelude::*;
    use sensor_common::address::mapped;

    fn exec_record(argv: &[u8], path: &[u8], edit: impl FnOnce(&mut ExecRecord)) -> Vec<u8> {
        exec_record_below(argv, path, b"", edit)
    }

    fn exec_record_below(argv: &[u8], path: &[u8], parent: &[u8], edit: impl FnOnce(&mut ExecRecord)) -> Vec<u8> {
        let mut header = ExecRecord::zeroed();
        header.argv_total = argv.len() as u64;
        header.argv_len = u32::try_from(argv.len()).unwrap();
        header.path.len = u32::try_from(path.len()).unwrap();
        header.parent_path.len = u32::try_from(parent.len()).unwrap();
        edit(&mut header);
        [bytemuck::bytes_of(&header), path, parent, argv].concat()
    }

    #[test]
    fn a_path_is_put_together_from_its_last_component() {
        let event = exec(&exec_record(b"sh\0-i\0", b"bash\0bin\0usr\0", |_| {})).unwrap();
        assert_eq!(event.executable.path, b"/usr/bin/bash");
        assert_eq!(event.executable.name, b"bash");
        assert_eq!(event.args.copied, [b"sh".to_vec(), b"-i".to_vec()]);
        assert!(!event.args.truncated && event.connection.is_none());
    }

    #[test]
    fn the_parents_path_stands_between_the_process_and_its_arguments() {
        let event = exec(&exec_record_below(b"sh\0-i\0", b"sh\0bin\0", b"socat1\0bin\0usr\0", |_| {})).unwrap();
        assert_eq!((event.executable.path.as_slice(), event.args.count), (&b"/bin/sh"[..], 0));
        assert_eq!(event.parent_executable.path, b"/usr/bin/socat1");
        assert_eq!(event.args.copied, [b"sh".to_vec(), b"-i".to_vec()]);
        // A kernel thread runs no file.
        let event = exec(&exec_record(b"", b"sh\0", |_| {})).unwrap();
        assert_eq!(event.parent_executable.state, PathState::Unknown);
    }

    #[test]
    fn a_file_in_no_directory_has_a_name_and_no_root() {
        let record = exec_record(b"x\0", b"memfd:x\0", |header| header.path.state = PATH_DETACHED);
        let event = exec(&record).unwrap();
        assert_eq!((event.executable.path.as_slice(), event.executable.state), (&b"memfd:x"[..], PathState::Detached));
    }

    #[test]
    fn empty_arguments_and_no_arguments_are_different() {
        assert_eq!(exec(&exec_record(b"\0\0", b"", |_| {})).unwrap().args.copied, [Vec::new(), Vec::<u8>::new()]);
        assert!(exec(&exec_record(b"", b"", |_| {})).unwrap().args.copied.is_empty());
    }

    #[test]
    fn a_cut_argument_is_marked_and_is_no_flag() {
        let record = exec_record(b"bash\0-i", b"", |header| {
            header.argv_total = 20_000;
            header.flags = FLAG_L;
        });
        let args = exec(&record).unwrap().args;
        assert_eq!(args.copied, [b"bash".to_vec(), "-i…".as_bytes().to_vec()]);
        assert!(args.truncated);
        assert_eq!(args.found_beyond, ["-l"]);
    }

    #[test]
    fn a_flag_that_was_copied_is_not_found_again() {
        let record = exec_record(b"bash\0-i\0xx", b"", |header| {
            header.argv_total = 20_000;
            header.flags = FLAG_I | FLAG_UNSEARCHED;
        });
        let args = exec(&record).unwrap().args;
        assert!(args.found_beyond.is_empty() && args.unsearched);
    }

    #[test]
    fn the_carried_connection_is_decoded() {
        let record = exec_record(b"bash\0", b"", |header| {
            header.arm.sequence = 7;
            header.arm.remote = mapped([198, 51, 100, 1]);
            header.arm.remote_port = 4444;
            header.arm.exe[..4].copy_from_slice(b"bash");
        });
        let connection = exec(&record).unwrap().connection.unwrap();
        assert_eq!(connection.remote.to_string(), "198.51.100.1:4444");
        assert_eq!((connection.arm, connection.executable.name.as_slice()), (7, &b"bash"[..]));
    }

    #[test]
    fn a_connection_found_in_proc_belongs_to_the_process_that_executes() {
        let record = exec_record(b"bash\0", b"", |header| {
            (header.tgid, header.start_ns) = (9, 1_234_567_890);
            (header.arm.sequence, header.arm.tgid, header.arm.start_ns) = (8, 9, 1_230_000_000);
            header.arm.witness = WITNESS_PROC;
        });
        let event = exec(&record).unwrap();
        let connection = event.connection.unwrap();
        assert!(connection.found_at_start);
        assert_eq!(connection.process, event.process);
    }

    #[test]
    fn lies_about_lengths_and_values_are_refused() {
        let whole = exec_record(b"bash\0", b"bash\0", |_| {});
        for len in 0..whole.len() {
            assert!(exec(&whole[..len]).is_err(), "{len}");
        }
        assert!(exec(&exec_record(b"", b"", |header| header.argv_len = u32::MAX)).is_err());
        assert!(exec(&exec_record(b"", b"", |header| header.path.len = u32::MAX)).is_err());
        assert!(exec(&exec_record(b"", b"", |header| header.parent_path.len = u32::MAX)).is_err());
        assert!(
            exec(&exec_record(b"", b"", |header| (header.path.len, header.parent_path.len) = (u32::MAX, 5))).is_err()
        );
        assert!(exec(&exec_record(b"", b"", |header| header.parent_path.state = 99)).is_err());
        assert!(exec(&exec_record(b"", b"", |header| header.reason = 99)).is_err());
        assert!(exec(&exec_record(b"", b"", |header| header.streams[2].kind = 99)).is_err());
        assert!(exec(&exec_record(b"", b"", |header| header.path.state = 99)).is_err());
        let many = exec_record(b"", b"", |header| header.lineage.count = u32::MAX);
        assert_eq!(exec(&many).unwrap().lineage.ancestors.len(), record::ANCESTORS);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
            let _ = exec(&bytes);
            let _ = connection(&bytes);
        }
    }
}
