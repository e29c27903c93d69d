//! Restricting every thread of the process, also those that libraries have started.
//!
//! What capset(2) and landlock_restrict_self(2) change is the calling thread's alone. So a signal is sent to each, whose handler makes the call: the way in which
//! the C library does it for setuid(2). A thread that the kernel holds up runs the handler before anything else, whenever that is.

use super::capabilities;
use rustix::process::getpid;
use rustix::thread::{CapabilitySet, gettid};
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long threads may take to get there.
const PATIENCE: Duration = Duration::from_millis(200);

/// In the place of a descriptor.
const NO_RULES: i32 = -1;

/// What the handler is to do, and what has become of it.
static WANTED: AtomicU64 = AtomicU64::new(0);
static RULES: AtomicI32 = AtomicI32::new(NO_RULES);
static DONE: AtomicUsize = AtomicUsize::new(0);
static FAILED: AtomicUsize = AtomicUsize::new(0);

/// Takes all but the wanted capabilities from all threads, and has them take on the rules for files; how many of them are held up in the kernel, and follow when they
/// come back from there.
///
/// # Errors
/// The threads cannot be listed or reached, or the kernel refuses.
pub(super) fn restrict_all(wanted: CapabilitySet, rules: Option<OwnedFd>) -> io::Result<usize> {
    WANTED.store(wanted.bits(), Ordering::Release);
    // It stays open for threads that come back later.
    RULES.store(rules.map_or(NO_RULES, IntoRawFd::into_raw_fd), Ordering::Release);
    // Nothing else in this process uses a real-time signal.
    let signal = libc::SIGRTMAX();
    install(signal)?;
    let own = gettid().as_raw_nonzero().get();
    let mut sent = 0;
    for thread in std::fs::read_dir("/proc/self/task")? {
        let Some(tid) = thread?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if tid != own && send(tid, signal)? {
            sent += 1;
        }
    }
    restrict_this()?;
    let start = Instant::now();
    loop {
        let (done, failed) = (DONE.load(Ordering::Acquire), FAILED.load(Ordering::Acquire));
        if failed > 0 {
            return Err(io::Error::other(format!("the kernel refused it for {failed} threads")));
        }
        if done >= sent || start.elapsed() > PATIENCE {
            return Ok(sent.saturating_sub(done));
        }
        sleep(Duration::from_micros(100));
    }
}

/// Runs on each thread. System calls alone, which leave errno as it is.
extern "C" fn restrict(_: libc::c_int) {
    // SAFETY: the address of this thread's errno, which is valid as long as the thread is.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let before = unsafe { errno.read() };
    let counter = if restrict_this().is_ok() { &DONE } else { &FAILED };
    counter.fetch_add(1, Ordering::AcqRel);
    // SAFETY: as above.
    unsafe { errno.write(before) };
}

fn restrict_this() -> io::Result<()> {
    match RULES.load(Ordering::Acquire) {
        NO_RULES => {}
        // SAFETY: the descriptor is never closed.
        rules => take_on(unsafe { BorrowedFd::borrow_raw(rules) })?,
    }
    Ok(capabilities::keep(CapabilitySet::from_bits_retain(WANTED.load(Ordering::Acquire)))?)
}

/// Has the calling thread take on rules for files.
pub(super) fn take_on(rules: BorrowedFd<'_>) -> io::Result<()> {
    // Without the right to change rules the kernel asks for this.
    rustix::thread::set_no_new_privs(true)?;
    // SAFETY: a descriptor and no flags.
    let result = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn install(signal: libc::c_int) -> io::Result<()> {
    // SAFETY: all zeros is a valid value: no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { zeroed() };
    action.sa_sigaction = restrict as extern "C" fn(libc::c_int) as usize;
    // What a thread waits for goes on.
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: the handler takes one argument, as the flags say, and makes system calls alone.
    let result = unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether there was such a thread.
fn send(tid: i32, signal: libc::c_int) -> io::Result<bool> {
    let process = getpid().as_raw_nonzero().get();
    // SAFETY: three numbers; the signal has a handler.
    let result = unsafe { libc::syscall(libc::SYS_tgkill, process, tid, signal) };
    match io::Error::last_os_error() {
        _ if result == 0 => Ok(true),
        error if error.raw_os_error() == Some(libc::ESRCH) => Ok(false),
        error => Err(error),
    }
}
