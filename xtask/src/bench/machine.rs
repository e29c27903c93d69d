//! The machine on which something was measured.

use crate::shell;
use anyhow::Result;
use serde::Serialize;
use std::fmt::{self, Display, Formatter};
use std::fs::read_to_string;
use std::path::Path;
use std::process::Command;
use std::str::FromStr;

/// A machine, and what was measured on it.
#[derive(Serialize)]
pub(crate) struct Machine {
    /// UTC.
    pub(crate) date: String,
    /// Of the sensor's sources, by Git; with a mark if they were changed since. Empty outside of a repository.
    revision: String,
    rust: String,
    /// uname(2).
    kernel: String,
    arch: &'static str,
    processor: String,
    processors: usize,
    memory_mb: u64,
    /// The hypervisor's mark in /proc/cpuinfo.
    virtual_machine: bool,
    /// How many others wanted a processor when it began (/proc/loadavg): with more than a few the figures are worth little.
    load: f64,
}

impl Machine {
    /// This one, now.
    pub(crate) fn this(root: &Path) -> Result<Self> {
        let now = jiff::Timestamp::now();
        let mut git = Command::new("git");
        git.arg("-C").arg(root).args(["describe", "--always", "--dirty", "--abbrev=12"]);
        let cpu = read_to_string("/proc/cpuinfo")?;
        let field = |name: &str| {
            let line = cpu.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let uname = rustix::system::uname();
        Ok(Self {
            date: now.strftime("%Y-%m-%dT%H-%M-%SZ").to_string(),
            revision: shell::output(&mut git).map(|text| text.trim().to_owned()).unwrap_or_default(),
            rust: shell::output(Command::new("rustc").arg("--version"))?.trim().to_owned(),
            kernel: format!("{} {}", uname.release().to_string_lossy(), uname.version().to_string_lossy()),
            arch: std::env::consts::ARCH,
            processor: field("model name").or_else(|| field("CPU implementer")).unwrap_or_default(),
            processors: std::thread::available_parallelism()?.get(),
            memory_mb: number::<u64>(&read_to_string("/proc/meminfo")?, 1).unwrap_or(0) / 1024,
            virtual_machine: field("flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            load: number(&read_to_string("/proc/loadavg")?, 0).unwrap_or(0.0),
        })
    }
}

/// The word of that number, as a number.
fn number<T: FromStr>(text: &str, word: usize) -> Option<T> {
    text.split_whitespace().nth(word)?.parse().ok()
}

impl Display for Machine {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { date, revision, rust, kernel, arch, processor, processors, memory_mb, virtual_machine, load } = self;
        let kind = if *virtual_machine { "a virtual machine" } else { "no virtual machine" };
        writeln!(f, "{date}, sensor {revision}, {rust}")?;
        writeln!(f, "{arch}, {processors} x {processor}, {memory_mb} MB, {kind}; load {load} at the beginning")?;
        write!(f, "Linux {kernel}")
    }
}
