//! One thread of another process stands still while the others go on, as ptrace(2) can make it.

use anyhow::{Result, ensure};
use std::io;
use std::marker::PhantomData;
use std::ptr::null_mut;

/// A thread that stands still; it goes on when this is dropped. Only the thread that made it can let it go.
pub(crate) struct Frozen {
    tid: i32,
    here: PhantomData<*mut ()>,
}

impl Frozen {
    /// Stops a thread, and waits until it stands.
    pub(crate) fn new(tid: u32) -> Result<Self> {
        let tid = i32::try_from(tid)?;
        ptrace(libc::PTRACE_SEIZE, tid)?;
        let frozen = Self { tid, here: PhantomData };
        ptrace(libc::PTRACE_INTERRUPT, tid)?;
        let mut status = 0;
        // SAFETY: the status is a local variable.
        let waited = unsafe { libc::waitpid(tid, &raw mut status, libc::__WALL) };
        ensure!(waited == tid && libc::WIFSTOPPED(status), "thread {tid} did not stop: {waited}, status {status:#x}");
        Ok(frozen)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // It fails only if the thread has ended.
        let _ = ptrace(libc::PTRACE_DETACH, self.tid);
    }
}

fn ptrace(request: libc::c_uint, tid: i32) -> io::Result<()> {
    // SAFETY: these requests take no memory.
    let result = unsafe { libc::ptrace(request, tid, null_mut::<libc::c_void>(), null_mut::<libc::c_void>()) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
