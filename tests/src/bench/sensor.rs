//! A sensor that is measured: configured through its standard input, so that it needs no file and finds none of the host's.

use crate::parent::ends_with_parent;
use crate::wait;
use anyhow::{Context, Result, bail};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A sensor at work. It is ended when this is dropped, and ends with the thread that has started it.
pub(crate) struct Sensor {
    process: Child,
    /// From its start to its being ready.
    pub(crate) took: Duration,
    /// What it says when it is ready.
    pub(crate) ready: String,
    log: Option<JoinHandle<()>>,
}

impl Sensor {
    /// Starts one with this configuration, and waits until it is attached. Its standard output goes nowhere.
    pub(crate) fn start(binary: &Path, config: &str) -> Result<Self> {
        Self::start_to(binary, config, Stdio::null())
    }

    /// The same, with its standard output to be read.
    pub(crate) fn start_to(binary: &Path, config: &str, output: impl Into<Stdio>) -> Result<Self> {
        let mut file = File::from(memfd_create("sensor.toml", MemfdFlags::CLOEXEC)?);
        file.write_all(config.as_bytes())?;
        file.rewind()?;
        let mut command = Command::new(binary);
        command.args(["run", "--format", "json", "--config", "/dev/stdin"]);
        command.stdin(file).stdout(output).stderr(Stdio::piped());
        ends_with_parent(&mut command);
        let start = Instant::now();
        let mut process = command.spawn().with_context(|| binary.display().to_string())?;
        let mut log = BufReader::new(process.stderr.take().context("no log")?);
        let mut said = String::new();
        loop {
            let begin = said.len();
            if log.read_line(&mut said)? == 0 {
                let status = process.wait()?;
                bail!("the sensor ended with {status}:\n{said}");
            }
            let line = said.get(begin..).unwrap_or_default();
            if line.contains("sensor ready") {
                let (took, ready) = (start.elapsed(), line.trim().to_owned());
                // What it says later must not get stuck.
                let log = thread::spawn(move || {
                    let _ = std::io::copy(&mut log, &mut std::io::sink());
                });
                return Ok(Self { process, took, ready, log: Some(log) });
            }
        }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Its standard output, once, if that is a pipe.
    pub(crate) fn output(&mut self) -> Result<ChildStdout> {
        self.process.stdout.take().context("its output goes elsewhere")
    }

    /// Ends it, as one does.
    pub(crate) fn stop(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.process), Signal::TERM)?;
        let status = wait::until("the sensor to end", || Ok(self.process.try_wait()?))?;
        if let Some(log) = self.log.take() {
            let _ = log.join();
        }
        anyhow::ensure!(status.success(), "the sensor ended with {status}");
        Ok(())
    }
}

impl Drop for Sensor {
    fn drop(&mut self) {
        // Both fail only if it has ended and was reaped.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
