//! The calls that make, take and refuse connections.

use super::step::{Accept, Connect, How, Outcome};
use super::{compat, uring};
use anyhow::{Context, Result, bail, ensure};
use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, ipproto};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Connects as told, and checks what comes of it.
pub(super) fn connect(connect: &Connect) -> Result<OwnedFd> {
    let kind = if connect.how == How::Datagram { SocketType::DGRAM } else { SocketType::STREAM };
    let protocol = (connect.how == How::Multipath).then_some(ipproto::MPTCP);
    let flags = if connect.how == How::Nonblocking { SocketFlags::NONBLOCK } else { SocketFlags::empty() };
    // Shells leave the socket open for the program that they execute, so no CLOEXEC here.
    let socket = rustix::net::socket_with(family(connect.to), kind, flags, protocol).context("socket")?;
    if let Some(from) = connect.from {
        rustix::net::bind(&socket, &SocketAddr::new(from, 0)).context("bind")?;
    }
    let result = match connect.how {
        How::Plain | How::Nonblocking | How::Multipath | How::Datagram => rustix::net::connect(&socket, &connect.to),
        How::FastOpen => fast_open(socket.as_fd(), connect.to),
        How::Uring => uring::connect(socket.as_raw_fd(), connect.to, uring::By::Submitter)?,
        How::UringWorker => uring::connect(socket.as_raw_fd(), connect.to, uring::By::Worker)?,
        How::UringPoll => uring::connect(socket.as_raw_fd(), connect.to, uring::By::Poller)?,
        How::Compat => compat::connect(socket.as_raw_fd(), connect.to)?,
    };
    let outcome = match result {
        Ok(()) => Outcome::Done,
        Err(Errno::CONNREFUSED) => Outcome::Refused,
        Err(Errno::INPROGRESS) => Outcome::InProgress,
        Err(Errno::NETUNREACH) => Outcome::NoRoute,
        Err(Errno::ADDRNOTAVAIL) => Outcome::NoPort,
        Err(error) => return Err(error).context("connect"),
    };
    if outcome != connect.outcome {
        bail!("connect ended with {outcome:?}, {:?} was expected", connect.outcome);
    }
    Ok(socket)
}

fn family(address: SocketAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 }
}

fn fast_open(socket: BorrowedFd<'_>, to: SocketAddr) -> Result<(), Errno> {
    /// `MSG_FASTOPEN`, which rustix has no name for.
    const FAST_OPEN: u32 = 0x2000_0000;
    rustix::net::sendto(socket, b"x", rustix::net::SendFlags::from_bits_retain(FAST_OPEN), &to).map(drop)
}

/// Listens, by TCP or by the given protocol.
pub(super) fn listen(at: SocketAddr, protocol: Option<Protocol>) -> Result<OwnedFd> {
    let socket = rustix::net::socket_with(family(at), SocketType::STREAM, SocketFlags::CLOEXEC, protocol)?;
    rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &at)?;
    rustix::net::listen(&socket, 16)?;
    Ok(socket)
}

/// Accepts as told; nothing if there must be nothing.
pub(super) fn accept(listener: BorrowedFd<'_>, how: Accept) -> Result<Option<OwnedFd>> {
    let four = || rustix::net::accept_with(listener, SocketFlags::CLOEXEC);
    match how {
        Accept::Plain => Ok(Some(rustix::net::accept(listener)?)),
        Accept::Four => Ok(Some(four()?)),
        Accept::High => {
            let _held = (0..700).map(|_| rustix::io::dup(listener)).collect::<Result<Vec<_>, _>>()?;
            let socket = four()?;
            ensure!(socket.as_raw_fd() > 700, "the new descriptor is {}", socket.as_raw_fd());
            Ok(Some(socket))
        }
        Accept::Nothing => {
            rustix::io::ioctl_fionbio(listener, true)?;
            ensure!(four().is_err_and(|error| error == Errno::AGAIN), "there was a connection");
            Ok(None)
        }
        Accept::Uring => uring::accept(listener.as_raw_fd()).map(Some),
        Accept::Compat => compat::accept(listener.as_raw_fd()).map(Some),
    }
}

/// Connects to a UNIX socket of its own and accepts that: both calls, and no TCP.
pub(super) fn local_pair() -> Result<OwnedFd> {
    let name =
        rustix::net::SocketAddrUnix::new_abstract_name(format!("sensor-tests-{}", std::process::id()).as_bytes())?;
    let socket = || rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None);
    let (listener, client) = (socket()?, socket()?);
    rustix::net::bind(&listener, &name)?;
    rustix::net::listen(&listener, 1)?;
    rustix::net::connect(&client, &name)?;
    Ok(rustix::net::accept(&listener)?)
}
