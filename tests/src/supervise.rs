//! The program around the suite: makes its temporary directory, and removes it however the suite ends, be it by a
//! signal, a panic or a kill. The suite's processes go with it: actors when their stream to it closes, sensors by the
//! signal that the kernel sends when a parent ends.

use crate::parent::ends_with_parent;
use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

/// The variable that tells the suite its directory.
const VARIABLE: &str = "SENSOR_TESTS_DIRECTORY";

/// Name of the suite's program in its directory.
pub(crate) const PROGRAM: &str = "sensor-tests";

/// The suite's directory, if this is the suite.
pub(crate) fn directory() -> Option<PathBuf> {
    std::env::var_os(VARIABLE).map(PathBuf::from)
}

/// Has an interrupt end this process and those that it starts. A shell that starts a command in the background has it ignored
/// there, which every descendant would inherit, and tests send it.
pub(crate) fn heed_interrupts() {
    // SAFETY: no handler is installed, and the default action may be set at any time.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
}

/// Runs the suite, which is a copy of this program, and cleans up behind it.
pub(crate) fn run() -> Result<ExitCode> {
    let _alone = wait_for_others()?;
    let directory = tempfile::Builder::new().prefix("sensor-tests-").tempdir().context("temporary directory")?;
    // Tests also run the sensor and programs as other users.
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755))?;
    let path = directory.path().canonicalize()?;
    let signals = block_signals()?;
    // What the suite leaves behind when it is killed comes here.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    // A copy: its name is known to the tests, and it stays the same while somebody builds a new one.
    let program = path.join(PROGRAM);
    std::fs::copy(std::env::current_exe()?, &program).context("the suite")?;
    let mut command = Command::new(program);
    command.args(std::env::args_os().skip(1)).env(VARIABLE, &path);
    ends_with_parent(&mut command);
    unblock(&mut command, signals);
    let suite = command.spawn().context("cannot start the suite")?;
    let pid = Pid::from_child(&suite);
    let code = loop {
        let signal = wait_for(&signals)?;
        if signal != libc::SIGCHLD {
            kill_process(pid, Signal::KILL)?;
            let _ = waitpid(Some(pid), WaitOptions::empty());
            break u8::try_from(128 + signal).unwrap_or(1);
        }
        if let Some((_, status)) = waitpid(Some(pid), WaitOptions::NOHANG)? {
            let code = status.exit_status().and_then(|code| u8::try_from(code).ok());
            break code.unwrap_or(1);
        }
    };
    reap_orphans()?;
    remove(directory.path())?;
    Ok(ExitCode::from(code))
}

/// Each sensor sees the whole host, so that two runs at a time would see each other's shells. The first one holds an
/// abstract UNIX address, which goes with it.
fn wait_for_others() -> Result<UnixListener> {
    let address = SocketAddr::from_abstract_name(PROGRAM)?;
    let mut told = false;
    loop {
        match UnixListener::bind_addr(&address) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                if !told {
                    crate::report::note("waiting for another run on this host to end");
                    told = true;
                }
                std::thread::sleep(Duration::from_millis(200));
            }
            result => return result.context("the address that keeps other runs out"),
        }
    }
}

/// They end by themselves, since the suite has; only what watches over containers does not, and what is in them.
fn reap_orphans() -> Result<()> {
    crate::wait::until("the suite's processes to end", || match rustix::process::wait(WaitOptions::NOHANG) {
        Err(rustix::io::Errno::CHILD) => Ok(Some(())),
        Err(error) => Err(error.into()),
        Ok(Some(_)) => Ok(None),
        Ok(None) => {
            crate::podman::kill_orphans();
            Ok(None)
        }
    })?;
    crate::podman::remove_groups();
    Ok(())
}

/// Processes that write into the directory may take a moment to be gone.
fn remove(directory: &Path) -> Result<()> {
    crate::wait::until("the temporary directory to be removed", || match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(None),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(Some(())),
    })
}

/// Gives the process that `command` starts the signals back that are blocked here.
fn unblock(command: &mut Command, signals: libc::sigset_t) {
    let before_exec = move || {
        // SAFETY: the set is a local variable, and the old one is not wanted.
        unsafe { libc::sigprocmask(libc::SIG_UNBLOCK, &raw const signals, std::ptr::null_mut()) };
        Ok(())
    };
    // SAFETY: a system call and no allocation between fork and exec.
    unsafe { command.pre_exec(before_exec) };
}

fn block_signals() -> Result<libc::sigset_t> {
    // SAFETY: a set of bits; sigemptyset makes it valid before it is used.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is a local variable.
    unsafe { libc::sigemptyset(&raw mut set) };
    for signal in [libc::SIGCHLD, libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: as above.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    // SAFETY: the set outlives the call; the old set is not wanted.
    let result = unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    ensure!(result == 0, "sigprocmask: {}", std::io::Error::last_os_error());
    Ok(set)
}

fn wait_for(signals: &libc::sigset_t) -> Result<i32> {
    let mut signal = 0;
    // SAFETY: both are valid for the time of the call.
    let error = unsafe { libc::sigwait(signals, &raw mut signal) };
    ensure!(error == 0, "sigwait: {}", std::io::Error::from_raw_os_error(error));
    Ok(signal)
}
