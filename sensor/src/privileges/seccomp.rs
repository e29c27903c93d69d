//! Filters of system calls, taken on for good (seccomp(2)).

use seccompiler::BpfProgram;
use std::io;

/// Which threads take a filter on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Threads {
    /// All at once (`SECCOMP_FILTER_FLAG_TSYNC`).
    All,
    /// The calling one.
    #[cfg(test)]
    This,
}

/// What becomes known of a call that a filter refuses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusals {
    /// The kernel's audit log, or where nobody takes that the kernel's own log, has a line about each (`SECCOMP_FILTER_FLAG_LOG`).
    Logged,
    /// Nothing.
    Silent,
}

/// Has threads take on a filter.
///
/// # Errors
/// The kernel refuses, or another thread has a filter that this one has not.
pub(super) fn take_on(filter: &BpfProgram, threads: Threads, refusals: Refusals) -> io::Result<()> {
    let instruction =
        |it: &seccompiler::sock_filter| libc::sock_filter { code: it.code, jt: it.jt, jf: it.jf, k: it.k };
    let mut instructions: Vec<libc::sock_filter> = filter.iter().map(instruction).collect();
    let len = instructions.len().try_into().map_err(io::Error::other)?;
    let program = libc::sock_fprog { len, filter: instructions.as_mut_ptr() };
    let flags = [
        (threads == Threads::All, libc::SECCOMP_FILTER_FLAG_TSYNC),
        (refusals == Refusals::Logged, libc::SECCOMP_FILTER_FLAG_LOG),
    ];
    let flags = flags.into_iter().filter(|(wanted, _)| *wanted).fold(0, |all, (_, flag)| all | flag);
    // Without it the kernel asks for a capability.
    rustix::thread::set_no_new_privs(true)?;
    // SAFETY: the program points to as many instructions as it says, which live until the call is over; the kernel checks them.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    match result {
        0 => Ok(()),
        tid if tid > 0 => Err(io::Error::other(format!("thread {tid} has another filter"))),
        _ => Err(io::Error::last_os_error()),
    }
}
