//! System calls by the 32-bit entry to the kernel (`int 0x80`), as 32-bit programs make them: the tracepoints of system
//! calls are silent for those. Only on x86_64, and only where the kernel has that entry.

use anyhow::Result;
use rustix::io::Errno;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

#[cfg(target_arch = "x86_64")]
mod entry {
    use rustix::io::Errno;
    use std::os::fd::{FromRawFd, OwnedFd};

    pub(super) const GETPID: i64 = 20;
    pub(super) const CONNECT: i64 = 362;
    pub(super) const ACCEPT4: i64 = 364;

    /// The 32-bit system call `number`.
    ///
    /// # Safety
    /// As that call; pointers must lie below 4 GiB.
    pub(super) unsafe fn call(number: i64, [a, b, c, d]: [u64; 4]) -> Result<i32, Errno> {
        let result: i64;
        // SAFETY: rbx, which the compiler keeps for itself, is put back; r8 to r11 are lost at this entry and said to be.
        unsafe {
            std::arch::asm!(
                "xchg rbx, {first}", "int 0x80", "xchg rbx, {first}",
                first = inout(reg) a => _, inlateout("rax") number => result,
                in("rcx") b, in("rdx") c, in("rsi") d,
                lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _,
            );
        }
        #[expect(clippy::cast_possible_truncation, reason = "a 32-bit result in a 64-bit register")]
        let result = result as i32;
        if result < 0 { Err(Errno::from_raw_os_error(-result)) } else { Ok(result) }
    }

    pub(super) fn owned(descriptor: i32) -> OwnedFd {
        // SAFETY: the kernel has just made this descriptor, and nothing else knows of it.
        unsafe { OwnedFd::from_raw_fd(descriptor) }
    }
}

/// Accepts a connection.
#[cfg(target_arch = "x86_64")]
pub(super) fn accept(listener: i32) -> Result<OwnedFd> {
    // SAFETY: accept4 with null pointers touches no memory.
    let accepted = unsafe { entry::call(entry::ACCEPT4, [u64::try_from(listener)?, 0, 0, 0]) }?;
    Ok(entry::owned(accepted))
}

/// Connects a socket to an IPv4 address; the outer error is this function's own.
#[cfg(target_arch = "x86_64")]
pub(super) fn connect(socket: i32, to: SocketAddr) -> Result<Result<(), Errno>> {
    let SocketAddr::V4(to) = to else { anyhow::bail!("only IPv4 here") };
    // A sockaddr_in: family in host order, port and address in network order, eight bytes of nothing.
    let mut address = [0_u8; 16];
    let fields = libc::AF_INET.to_ne_bytes().into_iter().take(2).chain(to.port().to_be_bytes()).chain(to.ip().octets());
    address.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
    // SAFETY: a new mapping, which replaces none.
    let low = unsafe { libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    anyhow::ensure!(low != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
    // SAFETY: the page is writable, aligned for bytes, and nothing else refers to it.
    unsafe { low.cast::<[u8; 16]>().write(address) };
    let args = [u64::try_from(socket)?, u64::try_from(low.addr())?, 16, 0];
    // SAFETY: connect reads 16 bytes of the page, which stays mapped for as long as the program runs.
    Ok(unsafe { entry::call(entry::CONNECT, args) }.map(drop))
}

/// Whether this kernel has the 32-bit entry.
/// One without it ends the caller by a signal.
#[cfg(target_arch = "x86_64")]
pub(super) fn probe() -> std::process::ExitCode {
    // SAFETY: getpid touches no memory.
    let pid = unsafe { entry::call(entry::GETPID, [0; 4]) };
    std::process::ExitCode::from(u8::from(pid.is_err()))
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn accept(_listener: i32) -> Result<OwnedFd> {
    anyhow::bail!("only x86_64 has a 32-bit entry")
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn connect(_socket: i32, _to: SocketAddr) -> Result<Result<(), Errno>> {
    anyhow::bail!("only x86_64 has a 32-bit entry")
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn probe() -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}
