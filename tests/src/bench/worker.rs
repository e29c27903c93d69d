//! Work whose price is measured: this program once more, in a place of its own (see [`place`]), which tells what the work itself has taken.

use crate::cost::actor::{connects_first, path};
use crate::cost::{COUNTED, prepare};
use crate::parent::ends_with_parent;
use crate::place;
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The variable that makes this program a worker, and holds its work.
pub(crate) const VARIABLE: &str = "SENSOR_BENCH_WORK";

/// Work.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Work {
    /// Executes the smallest program so often, one after the other.
    Execute(u32),
    /// Connects to itself, accepts and closes so often.
    Connect(u32),
    /// Starts so many shells, one after the other: each a child of one called bash, which connects and executes `sh -i`.
    Shells(Shells),
    /// The process called bash that does so; to this address.
    Bash(Shells, SocketAddr),
}

/// Shells to be started.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Shells {
    /// How many.
    pub(crate) times: u32,
    /// From the end of one to the start of the next.
    pub(crate) pause: Duration,
}

/// What it has taken.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Taken {
    /// Time on a processor, that of the processes started included.
    pub(crate) processor_ns: u64,
    /// Time that has passed.
    pub(crate) time_ns: u64,
}

/// Has it done by another process, and waits for the end.
pub(crate) fn perform(work: Work) -> Result<Taken> {
    done_by(&mut Command::new("/proc/self/exe"), work)
}

fn done_by(command: &mut Command, work: Work) -> Result<Taken> {
    command.env_clear().env(VARIABLE, serde_json::to_string(&work)?).stdin(Stdio::null()).stderr(Stdio::inherit());
    ends_with_parent(command);
    let output = command.output()?;
    ensure!(output.status.success(), "{work:?}: {}", output.status);
    serde_json::from_slice(&output.stdout).with_context(|| format!("{work:?} says {}", output.stdout.escape_ascii()))
}

/// The worker's own side: what it prints.
pub(crate) fn main(work: &str) -> Result<String> {
    let work: Work = serde_json::from_str(work)?;
    if !matches!(work, Work::Bash(..)) {
        place::enter()?;
        prepare()?;
    }
    let taken = match work {
        Work::Execute(times) => measured(|| execute(times))?,
        Work::Connect(times) => measured(|| connect(times))?,
        Work::Shells(all) => shells(all)?,
        Work::Bash(all, to) => measured(|| bash(all, to))?,
    };
    Ok(serde_json::to_string(&taken)?)
}

fn measured(work: impl FnOnce() -> Result<()>) -> Result<Taken> {
    let (start, before) = (Instant::now(), used()?);
    work()?;
    Ok(Taken { processor_ns: used()? - before, time_ns: u64::try_from(start.elapsed().as_nanos())? })
}

/// Time on a processor that this process and those that it has waited for have had so far.
fn used() -> Result<u64> {
    [libc::RUSAGE_SELF, libc::RUSAGE_CHILDREN].into_iter().map(usage).sum()
}

fn usage(whose: libc::c_int) -> Result<u64> {
    // SAFETY: a structure of integers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the structure is of the type that the call fills in.
    ensure!(unsafe { libc::getrusage(whose, &raw mut usage) } == 0, "getrusage: {}", std::io::Error::last_os_error());
    let of =
        |time: libc::timeval| Ok::<_, anyhow::Error>(u64::try_from(time.tv_sec * 1_000_000 + time.tv_usec)? * 1000);
    Ok(of(usage.ru_utime)? + of(usage.ru_stime)?)
}

fn execute(times: u32) -> Result<()> {
    let mut command = Command::new(path("true"));
    command.env_clear().stdin(Stdio::null());
    for _ in 0..times {
        ensure!(command.status()?.success(), "true failed");
    }
    Ok(())
}

fn connect(times: u32) -> Result<()> {
    let listener = TcpListener::bind((COUNTED, 0))?;
    let to = listener.local_addr()?;
    for _ in 0..times {
        let _near = TcpStream::connect(to)?;
        let _far = listener.accept()?;
    }
    Ok(())
}

/// The connections are accepted here, by a process that is no shell.
fn shells(all: Shells) -> Result<Taken> {
    let bash = path("bash");
    std::fs::copy("/proc/self/exe", &bash).context("bash")?;
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let to = SocketAddr::new(COUNTED.into(), listener.local_addr()?.port());
    std::thread::spawn(move || listener.incoming().for_each(drop));
    done_by(&mut Command::new(bash), Work::Bash(all, to))
}

fn bash(Shells { times, pause }: Shells, to: SocketAddr) -> Result<()> {
    let mut command = Command::new(path("sh"));
    command.env_clear().arg0("sh").arg("-i").stdin(Stdio::null());
    connects_first(&mut command, to);
    for _ in 0..times {
        let status = command.status()?;
        if !status.success() {
            bail!("sh: {status}");
        }
        std::thread::sleep(pause);
    }
    Ok(())
}
