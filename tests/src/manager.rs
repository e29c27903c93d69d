//! The test in the part of systemd: the socket that a service tells its state to.

use crate::wait::until;
use anyhow::{Context, Result};
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A socket that a sensor tells its state to.
pub(crate) struct Manager {
    socket: UnixDatagram,
    /// Where it lies.
    path: PathBuf,
    watchdog: Duration,
}

impl Manager {
    /// Listens in a directory.
    pub(crate) fn new(directory: &Path, watchdog: Duration) -> Result<Self> {
        let path = directory.join("notify");
        let socket = UnixDatagram::bind(&path).with_context(|| path.display().to_string())?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, path, watchdog })
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

    /// The next message, if there is one.
    pub(crate) fn next(&self) -> Result<Option<String>> {
        let mut bytes = [0; 4096];
        match self.socket.recv(&mut bytes) {
            Ok(len) => Ok(Some(String::from_utf8_lossy(bytes.get(..len).unwrap_or_default()).into_owned())),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.into()),
        }
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
