//! Descriptors that systemd keeps while the service is started anew (`FileDescriptorStoreMax=` of systemd.service(5)). It lets go of
//! them when the service is stopped or given up.

use rustix::io::fcntl_getfd;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};

/// Most descriptors of one message.
const MOST: usize = 32;
/// The number of the first descriptor that is handed over (`SD_LISTEN_FDS_START`).
const FIRST: RawFd = 3;

/// Has descriptors kept under a name. They are not looked at meanwhile (`FDPOLL=0`, since systemd 246): a perf event looks as if
/// its other end were gone.
///
/// # Errors
/// There are too many, or systemd cannot be told.
pub fn keep(socket: &UnixDatagram, name: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other(format!("{} descriptors are too many", descriptors.len())));
    }
    let message = format!("FDSTORE=1\nFDPOLL=0\nFDNAME={name}\n");
    sendmsg(socket, &[IoSlice::new(message.as_bytes())], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Has what is kept under a name let go.
///
/// # Errors
/// Systemd cannot be told.
pub fn let_go(socket: &UnixDatagram, name: &str) -> io::Result<()> {
    socket.send(format!("FDSTOREREMOVE=1\nFDNAME={name}\n").as_bytes()).map(drop)
}

/// What was kept for this process under names that begin so, with the names. There is something the first time alone.
#[must_use]
pub fn take_over(prefix: &str) -> Vec<(String, OwnedFd)> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::AcqRel) {
        return Vec::new();
    }
    let [process, number, names] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"].map(|name| std::env::var(name).ok());
    let meant = named(process.as_deref(), number.as_deref(), names.as_deref());
    let ours = meant.into_iter().filter(|(name, _)| name.starts_with(prefix));
    // SAFETY: a number that is not open is only found to be that.
    let open = ours.filter(|(_, number)| fcntl_getfd(unsafe { BorrowedFd::borrow_raw(*number) }).is_ok());
    // SAFETY: systemd has opened it for this process under this number, and this function is the only one that takes it, once.
    open.map(|(name, number)| (name, unsafe { OwnedFd::from_raw_fd(number) })).collect()
}

/// The names and numbers, by what sd_listen_fds_with_names(3) goes by.
fn named(process: Option<&str>, number: Option<&str>, names: Option<&str>) -> Vec<(String, RawFd)> {
    let meant = process.is_some_and(|process| process.parse() == Ok(std::process::id()));
    let (Some(number), Some(names)) = (number.and_then(|number| number.parse::<RawFd>().ok()), names) else {
        return Vec::new();
    };
    let numbers = FIRST..FIRST.saturating_add(number);
    names.split(':').map(str::to_owned).zip(numbers).filter(|_| meant).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    use std::io::{IoSliceMut, Read as _, Write as _};
    use std::os::fd::AsFd as _;

    #[test]
    fn what_is_kept_arrives_with_its_name() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let (mut reader, mut writer) = io::pipe().unwrap();
        keep(&ours, "sensor-x", &[writer.as_fd(), writer.as_fd()]).unwrap();
        let mut bytes = [0; 100];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received =
            recvmsg(&theirs, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::empty()).unwrap();
        assert_eq!(&bytes[..received.bytes], b"FDSTORE=1\nFDPOLL=0\nFDNAME=sensor-x\n");
        let Some(RecvAncillaryMessage::ScmRights(descriptors)) = ancillary.drain().next() else { panic!() };
        let mut files: Vec<std::fs::File> = descriptors.map(Into::into).collect();
        assert_eq!(files.len(), 2);
        writer.write_all(b"a").unwrap();
        files[1].write_all(b"b").unwrap();
        drop((writer, files));
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "ab");
        assert!(keep(&ours, "x", &[theirs.as_fd(); 2 * MOST]).is_err());
        let_go(&ours, "sensor-x").unwrap();
        let len = theirs.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..len], b"FDSTOREREMOVE=1\nFDNAME=sensor-x\n");
    }

    #[test]
    fn descriptors_have_the_names_of_the_environment() {
        let own = std::process::id().to_string();
        let of = |process, number, names| named(process, number, names);
        let expected = [("a".to_owned(), 3), ("b".to_owned(), 4)];
        assert_eq!(of(Some(&*own), Some("2"), Some("a:b")), expected);
        assert_eq!(of(Some(&*own), Some("2"), Some("a:b:c")), expected);
        for (process, number, names) in [
            (Some("1"), Some("2"), Some("a:b")),
            (None, Some("2"), Some("a:b")),
            (Some(&*own), None, Some("a:b")),
            (Some(&*own), Some("2"), None),
            (Some(&*own), Some("-1"), Some("a:b")),
            (Some(&*own), Some("many"), Some("a:b")),
        ] {
            assert_eq!(of(process, number, names), [], "{process:?} {number:?} {names:?}");
        }
    }
}
