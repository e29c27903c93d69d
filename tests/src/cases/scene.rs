//! What many tests have in common: a player that does something and then becomes a shell.

use crate::actor::step::{Step, exec};
use crate::expect::Expect;
use crate::lab::Lab;
use crate::player::Player;
use crate::skip::skip;
pub(super) use crate::supervise::PROGRAM as SUITE;
use crate::wait::until;
use anyhow::{Context, Result};
use sensor_receiver::Server;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A process that has executed `bash -i`.
pub(super) struct Shell {
    /// Ends it when dropped.
    _player: Player,
    file: PathBuf,
    pid: u32,
}

impl Shell {
    /// A player that has become one.
    pub(super) fn new(player: Player, file: PathBuf, pid: u32) -> Self {
        Self { _player: player, file, pid }
    }

    /// Its number on the host.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// The alert about it, the connection apart.
    pub(super) fn alert(&self) -> Expect {
        Expect::alert(self.pid, &self.file, SHELL).parent(std::process::id(), SUITE)
    }
}

/// The arguments of [`Shell`].
pub(super) const SHELL: &[&str] = &["bash", "-i"];

/// A bash that takes the steps and then executes `bash -i`.
pub(super) fn shell_after(lab: &Lab, steps: Vec<Step>) -> Result<Shell> {
    shell_of(lab, "bash", steps)
}

/// A program of any name that takes the steps and then executes `bash -i`.
pub(super) fn shell_of(lab: &Lab, name: &str, mut steps: Vec<Step>) -> Result<Shell> {
    let file = lab.program("bash")?;
    steps.push(exec(&file, SHELL));
    let mut player = lab.play(&lab.program(name)?, &[name], steps)?;
    let pid = player.reached("end")?.pid;
    Ok(Shell::new(player, file, pid))
}

/// A far end where nobody listens: a connection is refused, and counts.
pub(super) fn closed(lab: &Lab) -> SocketAddr {
    SocketAddr::new(lab.remote(), 9)
}

/// A server where there was one before; for a moment a connection of somebody else may have the port.
pub(super) fn listen_again(port: u16) -> Result<Server> {
    until("the server's port", || match Server::listen(port, Box::new(|stream| Ok(Box::new(stream)))) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => Ok(None),
        result => result.map(Some).context("the server's port"),
    })
}

/// Skips the test where there is no Multipath TCP.
pub(super) fn needs_multipath() -> Result<()> {
    let enabled = std::fs::read_to_string("/proc/sys/net/mptcp/enabled").unwrap_or_default();
    if enabled.trim() == "1" { Ok(()) } else { skip("this kernel has no Multipath TCP, or it is switched off") }
}
