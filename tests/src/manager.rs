//! The test in the part of systemd: the socket that a service tells its state to, and the descriptors that it has kept there
//! (sd_notify(3), `FDSTORE=1`), which the next start gets (sd_listen_fds(3)).

use crate::actor::{EXIT_FAILED, VARIABLE};
use crate::wait::until;
use anyhow::{Context, Result, ensure};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The first descriptor that a service gets.
const FIRST: RawFd = 3;
/// Most descriptors that come with a message.
const MOST: usize = 32;

/// Value of [`VARIABLE`] that has the program become the service that its arguments name.
pub(crate) const SERVICE: &str = "service";

/// Becomes the service that the arguments name, as the process that is meant by what is handed over.
pub(crate) fn become_service() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if let Some(program) = arguments.next() {
        let mut command = Command::new(program);
        command.args(arguments).env_remove(VARIABLE).env("LISTEN_PID", std::process::id().to_string());
        // It comes back only if that fails.
        let _ = command.exec();
    }
    ExitCode::from(EXIT_FAILED)
}

/// Descriptors that are kept, with their names.
pub(crate) type Kept = Vec<(String, OwnedFd)>;

/// A socket that a sensor tells its state to.
pub(crate) struct Manager {
    socket: UnixDatagram,
    /// Where it lies.
    path: PathBuf,
    watchdog: Duration,
    kept: Mutex<Kept>,
}

impl Manager {
    /// Listens in a directory.
    pub(crate) fn new(directory: &Path, watchdog: Duration) -> Result<Self> {
        let path = directory.join("notify");
        let socket = UnixDatagram::bind(&path).with_context(|| path.display().to_string())?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, path, watchdog, kept: Mutex::default() })
    }

    /// What systemd sets in the environment of a service.
    pub(crate) fn environment(&self) -> [(&'static str, String); 2] {
        let micros = self.watchdog.as_micros().to_string();
        [("NOTIFY_SOCKET", self.path.display().to_string()), ("WATCHDOG_USEC", micros)]
    }

    /// How often the sensor has to show that it is alive.
    pub(crate) fn watchdog(&self) -> Duration {
        self.watchdog
    }

    /// The next message, if there is one; what it keeps and lets go is not among them.
    pub(crate) fn next(&self) -> Result<Option<String>> {
        loop {
            let mut bytes = [0; 4096];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(&mut bytes)];
            let len = match recvmsg(&self.socket, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
                Ok(received) => received.bytes,
                Err(rustix::io::Errno::AGAIN) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            let message = String::from_utf8_lossy(bytes.get(..len).unwrap_or_default()).into_owned();
            let descriptors = ancillary.drain().filter_map(|part| match part {
                RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                _ => None,
            });
            let name = message.lines().find_map(|line| line.strip_prefix("FDNAME=")).map(str::to_owned);
            match (message.lines().next(), name) {
                (Some("FDSTORE=1"), Some(name)) => {
                    self.kept().extend(descriptors.flatten().map(|one| (name.clone(), one)));
                }
                (Some("FDSTOREREMOVE=1"), Some(name)) => self.kept().retain(|(of, _)| *of != name),
                _ => return Ok(Some(message)),
            }
        }
    }

    /// What is kept now, for a test to change.
    pub(crate) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same command as the next start of the service: it gets what is kept.
    pub(crate) fn handing_over(&self, command: &Command) -> Result<Command> {
        let kept = self.kept();
        ensure!(kept.len() <= MOST, "{} descriptors are kept", kept.len());
        // Its own number a process knows only once it is there.
        let mut next = Command::new("/proc/self/exe");
        next.arg(command.get_program()).args(command.get_args()).env(VARIABLE, SERVICE);
        let names = kept.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(":");
        next.envs(self.environment()).env("LISTEN_FDS", kept.len().to_string()).env("LISTEN_FDNAMES", names);
        let numbers: Vec<RawFd> = kept.iter().map(|(_, one)| one.as_raw_fd()).collect();
        let place = move || {
            // Out of the way first of the places to which they go.
            let mut copies = [0; MOST];
            for (copy, number) in copies.iter_mut().zip(&numbers) {
                // SAFETY: takes and gives plain numbers.
                *copy = unsafe { libc::fcntl(*number, libc::F_DUPFD_CLOEXEC, 100) };
            }
            for (place, copy) in (FIRST..).zip(copies).take(numbers.len()) {
                // SAFETY: as above; the descriptors of this process are all that it touches.
                if copy < 0 || unsafe { libc::dup2(copy, place) } < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        };
        // SAFETY: what is called between fork and exec takes no lock and no memory.
        unsafe { next.pre_exec(place) };
        Ok(next)
    }

    /// Waits for a message that begins so, and passes over others.
    pub(crate) fn told(&self, start: &str) -> Result<String> {
        until(&format!("the message {start}"), || {
            while let Some(message) = self.next()? {
                if message.starts_with(start) {
                    return Ok(Some(message));
                }
            }
            Ok(None)
        })
    }
}
