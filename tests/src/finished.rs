//! Commands that end by themselves: their exit status, and what they have said.

use crate::parent::ends_with_parent;
use crate::player::Guard;
use anyhow::{Context, Result, ensure};
use std::io::Read;
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Its exit status; none if a signal ended it.
    pub(crate) code: Option<i32>,
    /// What it wrote to standard output.
    pub(crate) output: String,
    /// What it wrote to standard error.
    pub(crate) log: String,
}

impl Finished {
    /// Runs a command to its end.
    pub(crate) fn of(command: &mut Command) -> Result<Self> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        ends_with_parent(command);
        let mut process = Guard::spawn(command)?;
        let (output, log) = process.streams()?;
        // Both while it runs: a stream that nobody reads would hold it up.
        let (output, log) = (thread::spawn(move || text(output)), thread::spawn(move || text(log)));
        let code = process.wait()?.code();
        let read = |reader: JoinHandle<Result<String>>| reader.join().ok().context("a reader has panicked")?;
        Ok(Self { code, output: read(output)?, log: read(log)? })
    }

    /// It ended with this status, and without a panic.
    pub(crate) fn expect(&self, code: i32) -> Result<()> {
        let Self { code: ended, output, log } = self;
        ensure!(*ended == Some(code), "it ended with {ended:?}, {code} was expected: {log:.2000}{output:.2000}");
        ensure!(!log.contains("panicked"), "it panicked: {log}");
        Ok(())
    }
}

fn text(mut stream: impl Read) -> Result<String> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
