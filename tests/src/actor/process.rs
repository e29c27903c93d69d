//! What an actor does to its own process.

use anyhow::{Context, Result, ensure};
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change, mount_move};
use rustix::process::{Pid, WaitOptions, waitpid};
use rustix::thread::UnshareFlags;
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The calling process and thread, as /proc numbers them: not as the actor's own namespace does.
pub(super) fn numbers() -> Result<(u32, u32)> {
    let link = std::fs::read_link("/proc/thread-self").context("/proc/thread-self")?;
    let text = link.to_str().unwrap_or_default();
    let (pid, tid) = text.split_once("/task/").with_context(|| format!("/proc/thread-self leads to {text}"))?;
    Ok((pid.parse()?, tid.parse()?))
}

/// Sets the comm of the calling thread.
pub(super) fn set_name(name: &str) -> Result<()> {
    Ok(rustix::thread::set_name(&CString::new(name)?)?)
}

/// Makes the kernel reap all children.
pub(super) fn let_children_go() -> Result<()> {
    // SAFETY: sets a disposition, installs no handler.
    let before = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    ensure!(before != libc::SIG_ERR, "signal: {}", std::io::Error::last_os_error());
    Ok(())
}

/// Forks; `None` in the child. With `pids` the child gets that number in each namespace, the innermost first
/// (`clone3(2)` with `set_tid`, Linux 5.5).
pub(super) fn fork(pids: &[i32]) -> Result<Option<Pid>> {
    let child = if pids.is_empty() {
        // SAFETY: an actor forks only while it has one thread, so the child may go on with everything it has.
        i64::from(unsafe { libc::fork() })
    } else {
        // SAFETY: a structure of integers, for which zero is "not used".
        let mut request: libc::clone_args = unsafe { std::mem::zeroed() };
        request.exit_signal = u64::try_from(libc::SIGCHLD)?;
        request.set_tid = u64::try_from(pids.as_ptr().addr())?;
        request.set_tid_size = u64::try_from(pids.len())?;
        // SAFETY: without CLONE_VM this is fork(2); the request and the numbers outlive the call. One thread, as above.
        unsafe { libc::syscall(libc::SYS_clone3, &raw const request, size_of_val(&request)) }
    };
    ensure!(child >= 0, "fork with numbers {pids:?}: {}", std::io::Error::last_os_error());
    Ok(Pid::from_raw(i32::try_from(child)?))
}

/// Waits for a child to end well.
pub(super) fn reap(child: Pid) -> Result<()> {
    let (_, status) = waitpid(Some(child), WaitOptions::empty())?.context("the child is not there")?;
    ensure!(status.exit_status() == Some(0), "the child ended with {status:?}");
    Ok(())
}

/// Overwrites the arguments in the process's memory, where ps and /proc find them.
pub(super) fn scribble(byte: u8) -> Result<()> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').context("/proc/self/stat")?;
    // arg_start and arg_end are fields 48 and 49 of proc(5); the text behind the name begins with field 3.
    let mut ends = fields.split_whitespace().skip(45).map(str::parse::<u64>);
    let (Some(Ok(start)), Some(Ok(end))) = (ends.next(), ends.next()) else { anyhow::bail!("/proc/self/stat: {stat}") };
    let memory = std::fs::OpenOptions::new().write(true).open("/proc/self/mem")?;
    // The last byte stays zero, so that whoever reads the arguments finds their end.
    let length = usize::try_from(end.saturating_sub(start).saturating_sub(1))?;
    Ok(memory.write_all_at(&vec![byte; length], start)?)
}

/// Begins a session that has a new pseudo-terminal, and gives both of its ends. They stay open over an execution, so that a program executed
/// later has it still.
pub(super) fn begin_session() -> Result<(OwnedFd, OwnedFd)> {
    let (master, terminal) = terminal()?;
    rustix::process::setsid()?;
    rustix::process::ioctl_tiocsctty(&terminal)?;
    for end in [&master, &terminal] {
        rustix::io::fcntl_setfd(end, rustix::io::FdFlags::empty())?;
    }
    Ok((master, terminal))
}

/// Becomes another user for good.
pub(super) fn become_user(user: u32) -> Result<()> {
    let (uid, gid) = (rustix::process::Uid::from_raw(user), rustix::process::Gid::from_raw(user));
    rustix::thread::set_thread_groups(&[gid])?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    Ok(rustix::thread::set_thread_res_uid(uid, uid, uid)?)
}

/// Makes and enters directories, and links `file` into the last one.
pub(super) fn descend(depth: u32, file: &Path) -> Result<()> {
    let name = "d".repeat(200);
    for _ in 0..depth {
        std::fs::create_dir(&name)?;
        std::env::set_current_dir(&name)?;
    }
    Ok(std::fs::hard_link(file, file.file_name().context("no file")?)?)
}

/// Ends the calling thread alone; the others of the process go on.
pub(super) fn end_thread() -> Result<()> {
    // SAFETY: exit(2) ends this thread, whose stack the other one does not use.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    anyhow::bail!("the thread goes on: {}", std::io::Error::last_os_error())
}

/// Makes a directory the root.
pub(super) fn change_root(directory: &Path) -> Result<()> {
    rustix::process::chroot(directory)?;
    Ok(std::env::set_current_dir("/")?)
}

/// Makes a directory the root of a new mount namespace, in which the rest of the host's files is gone.
pub(super) fn contain(directory: &Path) -> Result<()> {
    // SAFETY: an actor has one thread here; no other one sees its mounts or its directory.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }.context("mount namespace")?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).context("propagation")?;
    mount_bind(directory, directory).context("root")?;
    std::env::set_current_dir(directory)?;
    // pivot_root(2) would do, but not where the root is the initial RAM disk.
    mount_move(".", "/").context("moving the root")?;
    change_root(Path::new("."))
}

/// A terminal of its own: the side that a terminal's program has, and the one that is handed to a shell.
pub(super) fn terminal() -> Result<(OwnedFd, OwnedFd)> {
    use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let master = openpt(flags | OpenptFlags::CLOEXEC).context("/dev/ptmx")?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let terminal = ioctl_tiocgptpeer(&master, flags | OpenptFlags::CLOEXEC)?;
    Ok((master, terminal))
}
