//! Connections made and accepted through io_uring, where no system call names them.

use anyhow::{Context, Result};
use io_uring::{IoUring, opcode, squeue, types::Fd};
use rustix::io::Errno;
use rustix::net::addr::SocketAddrArg;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, OwnedFd};

/// The thread that makes the call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// The one that submits it.
    Submitter,
    /// One of the ring's workers.
    Worker,
    /// The one that polls the ring (`IORING_SETUP_SQPOLL`).
    Poller,
}

/// Connects a socket; the outer error is the ring's own.
pub(super) fn connect(socket: i32, to: SocketAddr, by: By) -> Result<Result<(), Errno>> {
    // SAFETY: the address is read only while the closure runs, and it returns after the operation has ended.
    let done = unsafe {
        to.with_sockaddr(|address, length| {
            let request = opcode::Connect::new(Fd(socket), address.cast(), length).build();
            complete(&if by == By::Worker { request.flags(squeue::Flags::ASYNC) } else { request }, by)
        })
    }?;
    Ok(errno(done).map(drop))
}

/// Accepts a connection.
pub(super) fn accept(listener: i32) -> Result<OwnedFd> {
    let request = opcode::Accept::new(Fd(listener), std::ptr::null_mut(), std::ptr::null_mut()).build();
    let socket = errno(complete(&request, By::Submitter)?).context("accept")?;
    // SAFETY: the kernel has just made this descriptor, and nothing else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}

fn complete(request: &squeue::Entry, by: By) -> Result<i32> {
    let mut builder = IoUring::<squeue::Entry>::builder();
    if by == By::Poller {
        builder.setup_sqpoll(1000);
    }
    let mut ring = builder.build(2).context("io_uring_setup")?;
    // SAFETY: what the request points to is kept by the callers until this function has returned.
    unsafe { ring.submission().push(request) }.context("submission queue")?;
    ring.submit_and_wait(1).context("io_uring_enter")?;
    Ok(ring.completion().next().context("completion queue")?.result())
}

fn errno(result: i32) -> Result<i32, Errno> {
    if result < 0 { Err(Errno::from_raw_os_error(-result)) } else { Ok(result) }
}

/// Whether this kernel lets this process have a ring.
pub(crate) fn available() -> bool {
    IoUring::new(2).is_ok()
}
