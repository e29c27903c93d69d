//! A tool at work: its processes, whose output is read and thrown away, and what must be undone when it ends.

use super::audit::Audit;
use crate::parent::ends_with_parent;
use crate::process::named;
use crate::worker::{Shells, Work, perform};
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a tool may need to see something.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long it may need to end before it is killed.
const END: Duration = Duration::from_secs(3);
/// Bytes kept of what it says first, which is why it does not work.
const KEPT: usize = 2000;

/// A tool at work. It ends when this is dropped.
pub(crate) struct Tool {
    /// Dropped first: its rules go before the daemon does.
    audit: Option<Audit>,
    processes: Vec<Process>,
}

struct Process {
    child: Child,
    written: Arc<AtomicU64>,
    said: Arc<Mutex<Vec<u8>>>,
    /// Where it writes instead of its output.
    file: Option<PathBuf>,
}

impl Tool {
    /// Starts these commands, and waits until each has written something about a shell that has connected.
    pub(crate) fn start(commands: Vec<Command>, audit: Option<Audit>) -> Result<Self> {
        let file = audit.as_ref().map(Audit::log);
        let processes =
            commands.into_iter().map(|command| Process::start(command, file.clone())).collect::<Result<_>>()?;
        let mut tool = Self { audit, processes };
        if let Some(audit) = &mut tool.audit {
            let start = Instant::now();
            while let Err(error) = audit.watch() {
                tool.processes.iter_mut().try_for_each(Process::lives)?;
                if start.elapsed() > PATIENCE {
                    return Err(error);
                }
                thread::sleep(Duration::from_millis(100));
            }
        }
        tool.wait()?;
        Ok(tool)
    }

    fn wait(&mut self) -> Result<()> {
        let start = Instant::now();
        // What it says when it starts is nothing that it has seen.
        thread::sleep(Duration::from_millis(500));
        let before: Vec<_> = self.processes.iter().map(Process::written).collect();
        // One that writes into a pipe may keep some kilobytes before it does.
        loop {
            perform(Work::Shells(Shells { times: 10, pause: Duration::ZERO }))?;
            thread::sleep(Duration::from_millis(200));
            self.processes.iter_mut().try_for_each(Process::lives)?;
            if self.processes.iter().zip(&before).all(|(process, before)| process.written() > *before) {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                let said: Vec<_> = self.processes.iter().map(Process::said).collect();
                bail!("it sees nothing within {} s; it says: {}", PATIENCE.as_secs(), said.join(" | "));
            }
        }
    }

    /// Its processes.
    pub(crate) fn processes(&self) -> Vec<u32> {
        self.processes.iter().map(|process| process.child.id()).collect()
    }

    /// The kernel's thread that works for it alone.
    pub(crate) fn kernel_thread(&self) -> Option<u32> {
        self.audit.as_ref().and_then(|_| named("kauditd"))
    }
}

impl Process {
    fn start(mut command: Command, file: Option<PathBuf>) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        ends_with_parent(&mut command);
        let mut child = command.spawn().with_context(|| command.get_program().to_string_lossy().into_owned())?;
        let (written, said) = (Arc::default(), Arc::default());
        let output = child.stdout.take().context("no output")?;
        let errors = child.stderr.take().context("no errors")?;
        drain(output, Arc::clone(&written), Arc::clone(&said));
        drain(errors, Arc::clone(&written), Arc::clone(&said));
        Ok(Self { child, written, said, file })
    }

    fn written(&self) -> u64 {
        let file = self.file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |file| file.len());
        self.written.load(Ordering::Relaxed) + file
    }

    fn lives(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("it ended with {status}: {}", self.said()),
        }
    }

    /// The end of what it has said, in one line.
    fn said(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&said).into_owned();
        let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let last: Vec<_> = lines.iter().rev().take(3).rev().copied().collect();
        last.join("; ")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // All of it fails only if it has ended and was reaped.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let start = Instant::now();
        while start.elapsed() < END {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads all of it, so that the tool never waits, and keeps the beginning.
fn drain(mut from: impl Read + Send + 'static, written: Arc<AtomicU64>, said: Arc<Mutex<Vec<u8>>>) {
    thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            written.fetch_add(length as u64, Ordering::Relaxed);
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            let room = KEPT.saturating_sub(said.len());
            said.extend(buffer.iter().take(length.min(room)));
        }
    });
}
