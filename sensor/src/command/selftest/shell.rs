//! The harmless reverse shell: a process that is called sh connects, makes the connection its standard streams, and executes
//! `sh -i -c :`, a shell that does nothing. It ends with the selftest.

use super::loopback;
use super::sensor::{Failure, ends_with_parent};
use crate::command::exit::Exit;
use crate::detect::eql::Networks;
use rustix::fs::symlinkat;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// The shell of every system.
const SHELL: &str = "/bin/sh";
/// Addresses set aside for documentation and for benchmarks: nobody's.
const ADDRESSES: [Ipv4Addr; 4] = [
    Ipv4Addr::new(203, 0, 113, 1),
    Ipv4Addr::new(198, 51, 100, 1),
    Ipv4Addr::new(192, 0, 2, 1),
    Ipv4Addr::new(198, 18, 0, 1),
];
/// How long the shell may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// An address that the rule does not exclude.
pub(super) fn address(excluded: &Networks) -> Result<Ipv4Addr, Failure> {
    let free = ADDRESSES.into_iter().find(|address| !excluded.contain((*address).into()));
    free.ok_or_else(|| {
        let all = ADDRESSES.map(|address| address.to_string()).join(", ");
        Failure::new(Exit::Failed, format!("the configuration excludes every address that a test could use: {all}"))
    })
}

/// Makes one in a network namespace with this address, which the calling thread is in from then on; what was done, in words. The
/// shell has ended when this returns, and `mark` was its last argument.
pub(super) fn reverse(address: Ipv4Addr, mark: &str) -> Result<String, Failure> {
    let failed = |what: &'static str| move |error: io::Error| Failure::of(&error, what);
    loopback::enter(address).map_err(failed("a network namespace of its own cannot be made"))?;
    let listener = TcpListener::bind((address, 0)).map_err(failed("no socket can listen"))?;
    let to = listener.local_addr().map_err(failed("no socket can listen"))?;
    let (program, _stand_in) = program().map_err(failed("there is no /bin/sh, and nothing can stand in for it"))?;
    let arguments = ["-i", "-c", ":", mark];
    let mut command = Command::new(&program);
    // Without a HOME and without ENV there are no start-up files.
    command.arg0("sh").args(arguments).env_clear();
    ends_with_parent(&mut command);
    // SAFETY: system calls and no allocation between fork and exec.
    unsafe { command.pre_exec(move || become_reverse_shell(to)) };
    let mut shell = command.spawn().map_err(failed("the test shell cannot be executed"))?;
    let ended = listener.accept().and_then(|(stream, _)| {
        // The program and its children have ended when nobody holds the other end.
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.take(1 << 16).read_to_end(&mut Vec::new())?;
        reap(&mut shell)
    });
    if ended.is_err() {
        // It may have ended by itself.
        let _ = shell.kill();
    }
    let reaped = shell.wait();
    ended.and(reaped).map_err(failed("the test shell does not end"))?;
    Ok(format!("a process called sh connected to {to} and executed {}: sh {}", program.display(), arguments.join(" ")))
}

/// Called between fork and exec.
fn become_reverse_shell(to: SocketAddr) -> io::Result<()> {
    // Without a terminal, from which an interactive shell would take the keyboard.
    rustix::process::setsid()?;
    rustix::thread::set_name(c"sh")?;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    connect(&socket, &to)?;
    dup2_stdin(&socket)?;
    dup2_stdout(&socket)?;
    Ok(dup2_stderr(&socket)?)
}

/// The shell to execute; with what must stay open until then.
fn program() -> io::Result<(PathBuf, Option<OwnedFd>)> {
    if Path::new(SHELL).exists() {
        return Ok((SHELL.into(), None));
    }
    let directory = stand_in()?;
    Ok((format!("/proc/self/fd/{}/sh", directory.as_raw_fd()).into(), Some(directory)))
}

/// A file system that is mounted nowhere, in which this program is called sh; given such arguments it says that they are wrong.
fn stand_in() -> io::Result<OwnedFd> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    let directory = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    symlinkat("/proc/self/exe", &directory, "sh")?;
    Ok(directory)
}

fn reap(shell: &mut Child) -> io::Result<()> {
    let start = Instant::now();
    while shell.try_wait()?.is_none() {
        if start.elapsed() > PATIENCE {
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn chosen(excluded: &[&str]) -> Result<Ipv4Addr, Failure> {
        let mut config = Config::default();
        config.rule.excluded.extend(excluded.iter().map(|network| network.parse::<ipnet::IpNet>().unwrap()));
        address(&crate::command::run::parameters(&config).excluded)
    }

    #[test]
    fn an_address_that_is_excluded_is_not_taken() {
        assert_eq!(chosen(&[]).unwrap(), ADDRESSES[0]);
        assert_eq!(chosen(&["203.0.113.0/24", "198.51.100.0/25"]).unwrap(), ADDRESSES[2]);
        let failure = chosen(&["0.0.0.0/0"]).unwrap_err();
        assert_eq!(failure.exit, Exit::Failed);
        assert!(failure.to_string().contains("203.0.113.1"), "{failure}");
    }
}
