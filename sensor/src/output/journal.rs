//! Alerts in the journal of systemd, by its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): fields that `journalctl` can
//! filter by, and the whole document in `SENSOR_ALERT`; what is told of the sensor itself has its document in `SENSOR_LIFE`.
//!
//! The protocol is a datagram of names and values; what is too large for one goes in a sealed file. Libraries for it bring parsers
//! and hashes along that nothing here needs.

use super::document::{Document, is_life};
use super::priority;
use super::sink::Sink;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fstat, memfd_create};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    sendmsg_addr, socket_with,
};
use serde_json::Value;
use std::fs::File;
use std::io::{self, IoSlice, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

/// The journal's socket.
pub const SOCKET: &str = "/run/systemd/journal/socket";
/// Marks every alert, as `MESSAGE_ID=` in `journalctl`.
pub const MESSAGE_ID: &str = "8a4f1c7e0d5b4b6f9c2e3d7a1b605f48";
/// Marks what is told of the sensor itself.
pub const LIFE_ID: &str = "b6b77320fbae4e208f14378e63e2fa4b";

/// Fields of the journal that are values of the document.
const FIELDS: [(&str, &str); 16] = [
    ("MESSAGE", "/message"),
    ("SENSOR_EVENT_ACTION", "/event/action"),
    ("SENSOR_RULE_ID", "/rule/id"),
    ("SENSOR_EVENT_ID", "/event/id"),
    ("SENSOR_RISK_SCORE", "/event/risk_score"),
    ("SENSOR_SEVERITY", "/sensor/severity"),
    ("SENSOR_PROCESS_ENTITY_ID", "/process/entity_id"),
    ("SENSOR_PROCESS_EXECUTABLE", "/process/executable"),
    ("SENSOR_PROCESS_COMMAND_LINE", "/process/command_line"),
    ("SENSOR_PARENT_EXECUTABLE", "/process/parent/executable"),
    ("SENSOR_SOURCE_IP", "/source/ip"),
    ("SENSOR_DESTINATION_IP", "/destination/ip"),
    ("SENSOR_DESTINATION_PORT", "/destination/port"),
    ("SENSOR_USER_NAME", "/user/name"),
    ("SENSOR_CONTAINER_ID", "/container/id"),
    // The journal adds what it knows of this process, if it is still there.
    ("OBJECT_PID", "/process/pid"),
];

/// The journal.
#[derive(Debug)]
pub struct Journal {
    socket: OwnedFd,
    address: SocketAddrUnix,
}

impl Journal {
    /// Prepares to write to the journal at this socket.
    ///
    /// # Errors
    ///
    /// When there is no such socket, as where systemd does not run.
    pub fn open(path: &Path) -> io::Result<Self> {
        path.metadata()?;
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        Ok(Self { socket, address: SocketAddrUnix::new(path)? })
    }

    fn send(&self, bytes: &[u8], ancillary: &mut SendAncillaryBuffer<'_, '_, '_>) -> rustix::io::Result<usize> {
        rustix::io::retry_on_intr(|| {
            sendmsg_addr(&self.socket, &self.address, &[IoSlice::new(bytes)], ancillary, SendFlags::NOSIGNAL)
        })
    }
}

impl Sink for Journal {
    fn deliver(&mut self, document: &Document) -> io::Result<()> {
        let entry = entry(document);
        match self.send(&entry, &mut SendAncillaryBuffer::default()) {
            // Larger than a datagram may be.
            Err(Errno::MSGSIZE | Errno::NOBUFS) => {
                let file = sealed(&entry)?;
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut ancillary = SendAncillaryBuffer::new(&mut space);
                let files = [file.as_fd()];
                if !ancillary.push(SendAncillaryMessage::ScmRights(&files)) {
                    return Err(io::Error::other("no room for a file"));
                }
                self.send(&[], &mut ancillary)?;
                Ok(())
            }
            result => Ok(result.map(drop)?),
        }
    }
}

/// Whether what is written to standard output goes to the journal (`JOURNAL_STREAM` of systemd.exec(5)), which cuts long lines there.
#[must_use]
pub fn takes_stdout() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    fstat(rustix::stdio::stdout()).is_ok_and(|file| stream == format!("{}:{}", file.st_dev, file.st_ino))
}

/// A file in memory that cannot change any more, as the journal demands.
fn sealed(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create("alert", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    file.write_all(bytes)?;
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL)?;
    Ok(file)
}

/// A document as an entry of the journal. Values are given with their length: they may hold anything, ends of lines too.
fn entry(document: &Document) -> Vec<u8> {
    let mut entry = Vec::with_capacity(document.json.len() + 1024);
    let mut field = |name: &str, value: &[u8]| {
        entry.extend_from_slice(name.as_bytes());
        entry.push(b'\n');
        entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
        entry.extend_from_slice(value);
        entry.push(b'\n');
    };
    field("SYSLOG_IDENTIFIER", b"sensor");
    let alert = !is_life(&document.value);
    field("MESSAGE_ID", if alert { MESSAGE_ID } else { LIFE_ID }.as_bytes());
    field("PRIORITY", priority::of(&document.value).to_string().as_bytes());
    for (name, place) in FIELDS {
        match document.value.pointer(place) {
            Some(Value::String(text)) => field(name, text.as_bytes()),
            Some(Value::Number(number)) => field(name, number.to_string().as_bytes()),
            _ => {}
        }
    }
    field(if alert { "SENSOR_ALERT" } else { "SENSOR_LIFE" }, document.json.as_bytes());
    entry
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    use serde_json::json;
    use std::collections::BTreeMap;
    use std::io::{IoSliceMut, Read as _, Seek as _};
    use std::os::unix::net::UnixDatagram;

    /// The entry that a journal would read, in whichever way it came.
    fn received(socket: &UnixDatagram) -> Vec<u8> {
        let mut bytes = vec![0; 1 << 20];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let message = recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::empty()).unwrap();
        bytes.truncate(message.bytes);
        for message in ancillary.drain() {
            let RecvAncillaryMessage::ScmRights(files) = message else { panic!() };
            for file in files {
                assert!(rustix::fs::fcntl_get_seals(&file).unwrap().contains(SealFlags::WRITE));
                let mut file = File::from(file);
                file.rewind().unwrap();
                file.read_to_end(&mut bytes).unwrap();
            }
        }
        bytes
    }

    fn parsed(mut bytes: &[u8]) -> BTreeMap<String, String> {
        let mut fields = BTreeMap::new();
        while !bytes.is_empty() {
            let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
            let (name, rest) = (String::from_utf8(bytes[..end].to_vec()).unwrap(), &bytes[end + 1..]);
            let length = usize::try_from(u64::from_le_bytes(rest[..8].try_into().unwrap())).unwrap();
            let value = String::from_utf8(rest[8..8 + length].to_vec()).unwrap();
            assert_eq!(rest[8 + length], b'\n');
            assert!(fields.insert(name, value).is_none());
            bytes = &rest[9 + length..];
        }
        fields
    }

    fn delivered(alert: Value) -> BTreeMap<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let socket = UnixDatagram::bind(&path).unwrap();
        Journal::open(&path).unwrap().deliver(&alert.into()).unwrap();
        parsed(&received(&socket))
    }

    #[test]
    fn an_alert_has_fields_to_filter_by_and_the_whole_document() {
        let alert = json!({
            "message": "bash did\nPRIORITY=0",
            "process": {"pid": 7, "executable": "/bin/bash", "parent": {"executable": "/bin/x"}},
            "sensor": {"severity": "high"},
            "rule": {"id": "r"},
        });
        let fields = delivered(alert.clone());
        assert_eq!(fields["MESSAGE"], "bash did\nPRIORITY=0");
        assert_eq!((fields["PRIORITY"].as_str(), fields["OBJECT_PID"].as_str()), ("3", "7"));
        assert_eq!((fields["SENSOR_RULE_ID"].as_str(), fields["SENSOR_PARENT_EXECUTABLE"].as_str()), ("r", "/bin/x"));
        assert_eq!(serde_json::from_str::<Value>(&fields["SENSOR_ALERT"]).unwrap(), alert);
        assert!(!fields.contains_key("SENSOR_USER_NAME"));
    }

    #[test]
    fn what_is_told_of_the_sensor_is_no_alert() {
        let life = json!({
            "message": "m",
            "log": {"level": "info"},
            "event": {"kind": "state", "dataset": "sensor.life", "action": "sensor-heartbeat"},
        });
        let fields = delivered(life.clone());
        assert_eq!((fields["MESSAGE_ID"].as_str(), fields["PRIORITY"].as_str()), (LIFE_ID, "6"));
        assert_eq!(fields["SENSOR_EVENT_ACTION"], "sensor-heartbeat");
        assert_eq!(serde_json::from_str::<Value>(&fields["SENSOR_LIFE"]).unwrap(), life);
        assert!(!fields.contains_key("SENSOR_ALERT"));
    }

    #[test]
    fn a_large_alert_goes_in_a_file() {
        let text = "x".repeat(600_000);
        assert_eq!(delivered(json!({"message": text.clone()}))["MESSAGE"], text);
    }

    #[test]
    fn a_journal_that_is_not_there_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        assert!(Journal::open(&path).is_err());
        let socket = UnixDatagram::bind(&path).unwrap();
        let mut journal = Journal::open(&path).unwrap();
        drop(socket);
        assert!(journal.deliver(&json!({}).into()).is_err());
    }
}
