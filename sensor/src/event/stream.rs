//! What stands on standard input, output and error of a program when it is executed.

use super::decode::{DecodeError, socket_address};
use sensor_common::record::{self, PTS_MAJORS};
use serde_json::{Map, Value, json};
use std::net::SocketAddr;

/// `IPPROTO_MPTCP`.
const MULTIPATH: u16 = 262;

/// What stands on a descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stream {
    /// Nothing: the descriptor is closed.
    Closed,
    /// A TCP socket.
    Tcp(Tcp),
    /// Any other socket.
    Socket {
        /// `AF_…`
        family: u16,
    },
    /// A pipe or FIFO.
    Pipe,
    /// A character device.
    Device {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A regular file.
    File,
    /// Anything else.
    Other,
    /// The kernel side could not read it.
    #[default]
    Unknown,
}

/// A TCP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Local end.
    pub local: SocketAddr,
    /// Remote end; none if the socket is not connected and never was.
    pub remote: Option<SocketAddr>,
    /// Its state, as in `include/net/tcp_states.h`.
    pub state: u8,
    /// Whether it is Multipath TCP.
    pub multipath: bool,
}

impl Stream {
    /// From the record.
    pub(super) fn from_record(stream: &record::Stream) -> Result<Self, DecodeError> {
        Ok(match stream.kind {
            record::STREAM_CLOSED => Self::Closed,
            record::STREAM_TCP => Self::Tcp(Tcp {
                local: socket_address(&stream.local, stream.local_port),
                remote: (stream.remote_port != 0).then(|| socket_address(&stream.remote, stream.remote_port)),
                state: stream.state,
                multipath: stream.protocol == MULTIPATH,
            }),
            record::STREAM_SOCKET => Self::Socket { family: stream.family },
            record::STREAM_PIPE => Self::Pipe,
            record::STREAM_DEVICE => Self::Device { major: stream.device >> 20, minor: stream.device & 0xf_ffff },
            record::STREAM_FILE => Self::File,
            record::STREAM_OTHER => Self::Other,
            record::STREAM_UNREADABLE => Self::Unknown,
            value => return Err(DecodeError::Value { field: "streams.kind", value: value.into() }),
        })
    }

    /// The entry of `sensor.stdio` for this descriptor.
    fn document(self, descriptor: usize) -> Value {
        let mut entry = Map::new();
        let mut put = |name: &str, value: Value| drop(entry.insert(name.to_owned(), value));
        put("fd", descriptor.into());
        let kind = match self {
            Self::Closed => "closed",
            Self::Tcp(_) => "tcp",
            Self::Socket { .. } => "socket",
            Self::Pipe => "pipe",
            Self::Device { major, .. } if PTS_MAJORS.contains(&major) => "pty",
            Self::Device { .. } => "device",
            Self::File => "file",
            Self::Other => "other",
            Self::Unknown => "unknown",
        };
        put("kind", kind.into());
        match self {
            Self::Tcp(Tcp { local, remote, state, multipath }) => {
                if let Some(state) = state_name(state) {
                    put("state", state.into());
                }
                put("local", json!({"ip": local.ip(), "port": local.port()}));
                if let Some(remote) = remote {
                    put("remote", json!({"ip": remote.ip(), "port": remote.port()}));
                }
                if multipath {
                    put("multipath", true.into());
                }
            }
            Self::Socket { family } => put("family", family_name(family).into()),
            Self::Device { major, minor } => put("device", device_name(major, minor).into()),
            _ => {}
        }
        Value::Object(entry)
    }
}

/// `sensor.stdio`: an entry for each descriptor; nothing if nothing is known of any.
pub(super) fn documents(streams: &[Stream]) -> Option<Value> {
    let known = streams.iter().any(|stream| *stream != Stream::Unknown);
    known.then(|| streams.iter().enumerate().map(|(descriptor, stream)| stream.document(descriptor)).collect())
}

/// The state of a TCP socket in small letters, as netstat and ss have it; nothing for a number that the kernel does not give out.
fn state_name(state: u8) -> Option<&'static str> {
    Some(match state {
        1 => "established",
        2 => "syn_sent",
        3 | 12 => "syn_recv",
        4 => "fin_wait1",
        5 => "fin_wait2",
        6 => "time_wait",
        7 => "close",
        8 => "close_wait",
        9 => "last_ack",
        record::TCP_LISTEN => "listen",
        11 => "closing",
        _ => return None,
    })
}

/// The family of a socket, by its name where it is a common one.
fn family_name(family: u16) -> String {
    let name = match family {
        1 => "unix",
        2 => "inet",
        10 => "inet6",
        16 => "netlink",
        17 => "packet",
        40 => "vsock",
        43 => "smc",
        other => return other.to_string(),
    };
    name.to_owned()
}

/// A character device as it is called in /dev, where the number says that much; otherwise its numbers.
#[must_use]
pub fn device_name(major: u32, minor: u32) -> String {
    match (major, minor) {
        (1, 3) => "/dev/null".to_owned(),
        (1, 5) => "/dev/zero".to_owned(),
        (1, 7) => "/dev/full".to_owned(),
        (4, 0..64) => format!("/dev/tty{minor}"),
        (4, 64..256) => format!("/dev/ttyS{}", minor - 64),
        (5, 1) => "/dev/console".to_owned(),
        (major, 0..256) if PTS_MAJORS.contains(&major) => {
            format!("/dev/pts/{}", (major - PTS_MAJORS.start()) * 256 + minor)
        }
        _ => format!("{major}:{minor}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable;
    use proptest::prelude::*;
    use sensor_common::address::mapped;

    fn stream(kind: u8, edit: impl FnOnce(&mut record::Stream)) -> record::Stream {
        let mut stream = record::Stream { kind, ..Zeroable::zeroed() };
        edit(&mut stream);
        stream
    }

    fn document(kind: u8, edit: impl FnOnce(&mut record::Stream)) -> Value {
        Stream::from_record(&stream(kind, edit)).unwrap().document(1)
    }

    #[test]
    fn a_connection_has_two_ends_and_a_state() {
        let entry = document(record::STREAM_TCP, |stream| {
            (stream.local, stream.local_port) = (mapped([10, 0, 0, 9]), 40_000);
            (stream.remote, stream.remote_port) = (mapped([198, 51, 100, 1]), 4444);
            (stream.state, stream.protocol) = (1, MULTIPATH);
        });
        let expected = json!({
            "fd": 1, "kind": "tcp", "state": "established", "multipath": true,
            "local": {"ip": "10.0.0.9", "port": 40_000}, "remote": {"ip": "198.51.100.1", "port": 4444},
        });
        assert_eq!(entry, expected);
    }

    #[test]
    fn a_socket_that_was_never_connected_has_no_remote_end() {
        let entry = document(record::STREAM_TCP, |stream| (stream.state, stream.local_port) = (record::TCP_LISTEN, 80));
        assert_eq!(entry, json!({"fd": 1, "kind": "tcp", "state": "listen", "local": {"ip": "::", "port": 80}}));
    }

    #[test]
    fn devices_are_called_what_they_are_called_in_dev() {
        for (major, minor, kind, name) in [
            (1, 3, "device", "/dev/null"),
            (5, 1, "device", "/dev/console"),
            (4, 1, "device", "/dev/tty1"),
            (4, 65, "device", "/dev/ttyS1"),
            (136, 0, "pty", "/dev/pts/0"),
            (137, 3, "pty", "/dev/pts/259"),
            (143, 255, "pty", "/dev/pts/2047"),
            (144, 0, "device", "144:0"),
            (10, 229, "device", "10:229"),
        ] {
            let entry = document(record::STREAM_DEVICE, |stream| stream.device = major << 20 | minor);
            assert_eq!(entry, json!({"fd": 1, "kind": kind, "device": name}));
        }
    }

    #[test]
    fn other_kinds_have_a_word() {
        for (kind, word) in [
            (record::STREAM_CLOSED, "closed"),
            (record::STREAM_PIPE, "pipe"),
            (record::STREAM_FILE, "file"),
            (record::STREAM_OTHER, "other"),
            (record::STREAM_UNREADABLE, "unknown"),
        ] {
            assert_eq!(document(kind, |_| ()), json!({"fd": 1, "kind": word}));
        }
        let entry = document(record::STREAM_SOCKET, |stream| stream.family = 1);
        assert_eq!(entry, json!({"fd": 1, "kind": "socket", "family": "unix"}));
        assert_eq!(document(record::STREAM_SOCKET, |stream| stream.family = 99)["family"], "99");
    }

    #[test]
    fn of_what_nobody_could_read_nothing_is_said() {
        assert_eq!(documents(&[Stream::Unknown; 3]), None);
        let some = documents(&[Stream::Unknown, Stream::Pipe]).unwrap();
        assert_eq!(some, json!([{"fd": 0, "kind": "unknown"}, {"fd": 1, "kind": "pipe"}]));
    }

    proptest! {
        #[test]
        fn every_record_is_a_stream_or_refused(bytes in any::<[u8; 48]>()) {
            let record: record::Stream = bytemuck::cast(bytes);
            match Stream::from_record(&record) {
                Ok(stream) => prop_assert_eq!(&stream.document(2)["fd"], &json!(2)),
                Err(_) => prop_assert!(record.kind > record::STREAM_UNREADABLE),
            }
        }
    }
}
