//! The sensor as a service: signals, the alarm, and what systemd is told.

pub mod alarm;
pub mod store;
pub mod systemd;

use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What the outside asks of a running sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// SIGTERM, SIGINT: finish what was begun and end.
    Stop,
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGUSR1: open the output files anew.
    Reopen,
}

/// The signals that a sensor listens to.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user1: Signal,
}

impl Signals {
    /// Starts to listen. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// When a handler cannot be installed.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
        })
    }

    /// The next request.
    pub async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.terminate.recv() => Request::Stop,
            _ = self.interrupt.recv() => Request::Stop,
            _ = self.hangup.recv() => Request::Reload,
            _ = self.user1.recv() => Request::Reopen,
        }
    }
}
