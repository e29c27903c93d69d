//! Processes of a lab, seen from the test: actors, which are told what to do and report, and real programs.

use crate::actor::step::Step;
use crate::actor::{Message, Part, VARIABLE};
use crate::wait::PATIENCE;
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus};
use std::time::Duration;

/// A process that is killed and reaped when the test no longer needs it.
pub(crate) struct Guard(Child);

impl Guard {
    /// Starts it.
    pub(crate) fn spawn(command: &mut Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        command.spawn().map(Self).with_context(|| format!("cannot start {name}"))
    }

    /// Its number on the host.
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Its status, if it has ended.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.0.try_wait()?)
    }

    /// Its piped standard output and standard error, once.
    pub(crate) fn streams(&mut self) -> Result<(ChildStdout, ChildStderr)> {
        self.0.stdout.take().zip(self.0.stderr.take()).context("its standard streams are no pipes, or taken")
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.pid())?).context("process number")?;
        kill_process(pid, signal).with_context(|| format!("process {} is gone", self.pid()))
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> Result<ExitStatus> {
        crate::wait::until(&format!("process {} to end", self.pid()), || Ok(self.0.try_wait()?))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Both fail only if it has ended and was reaped, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where and by which process and thread a step was reached.
#[derive(Clone, Debug)]
pub(crate) struct Reached {
    /// The process, on the host.
    pub(crate) pid: u32,
    /// The thread, on the host.
    pub(crate) tid: u32,
}

/// An actor at work.
pub(crate) struct Player {
    process: Guard,
    stream: BufReader<UnixStream>,
    early: Vec<(String, Reached)>,
}

impl Player {
    /// Starts `command`, which runs this program under some name, as an actor.
    pub(crate) fn spawn(command: &mut Command, steps: Vec<Step>) -> Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_read_timeout(Some(PATIENCE))?;
        let part = serde_json::to_string(&Part { control: 0, steps })?;
        let process = Guard::spawn(command.env(VARIABLE, part).stdin(OwnedFd::from(theirs)))?;
        // The command keeps its copy of the other end, and with it the end of the stream could never be seen.
        command.stdin(std::process::Stdio::null());
        Ok(Self { process, stream: BufReader::new(ours), early: Vec::new() })
    }

    /// Number of the first process on the host.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Waits until the step is reached, by whichever process of the actor.
    pub(crate) fn reached(&mut self, wanted: &str) -> Result<Reached> {
        if let Some(place) = self.early.iter().position(|(label, _)| label == wanted) {
            return Ok(self.early.swap_remove(place).1);
        }
        loop {
            let mut line = String::new();
            let read = self.stream.read_line(&mut line).with_context(|| format!("waiting for step {wanted}"))?;
            if read == 0 {
                bail!("the actor ended before step {wanted}");
            }
            match serde_json::from_str(&line).with_context(|| format!("the actor said {line}"))? {
                Message::Reached { label, pid, tid } if label == wanted => return Ok(Reached { pid, tid }),
                Message::Reached { label, pid, tid } => self.early.push((label, Reached { pid, tid })),
                Message::Failed(reason) => bail!("before step {wanted} the actor failed: {reason}"),
            }
        }
    }

    /// The same for a step that takes long.
    pub(crate) fn reached_within(&mut self, wanted: &str, patience: Duration) -> Result<Reached> {
        self.stream.get_ref().set_read_timeout(Some(patience))?;
        let reached = self.reached(wanted);
        self.stream.get_ref().set_read_timeout(Some(PATIENCE))?;
        reached
    }

    /// Lets the actor go on from a step that waits.
    pub(crate) fn go(&mut self) -> Result<()> {
        Ok(self.stream.get_mut().write_all(b"g")?)
    }

    /// Waits for the end of the first process.
    pub(crate) fn ended(&mut self) -> Result<ExitStatus> {
        self.process.wait()
    }
}
