//! Storms of executions and of connections that matter to nobody: what they take on processors with nothing watching, with the sensor, and with
//! each tool that people use for the same.
//!
//! In each round and for each tool the storms are run without it and then with it, so that both see the same machine; what is told is the
//! median of the ratios. With it, what the tool itself takes counts too, its kernel threads included. Nothing at all is one of the tools:
//! what it seems to cost is what cannot be resolved.

pub(crate) mod audit;
mod peer;
mod tool;

use crate::process::{Memory, family, map_memory};
use crate::sensor::Sensor;
use crate::statistics::{median, quartiles};
use crate::worker::{Taken, Work, perform};
use crate::{Setting, tell};
use anyhow::{Context, Result};
use peer::Peer;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;
use tool::Tool;

const ROUNDS: usize = 7;
const EXECUTIONS: u32 = 2000;
const CONNECTIONS: u32 = 4000;
/// What a tool still has to do when the storm is over.
const AFTERWARDS: Duration = Duration::from_millis(300);

/// One that is compared.
enum Contender {
    Nothing,
    Sensor,
    Peer(Peer),
}

/// What came of one in all rounds.
struct Standing {
    contender: Contender,
    executions: Vec<f64>,
    connections: Vec<f64>,
    /// Resident, and maps in the kernel, in KiB.
    memory: Option<(u64, u64)>,
    /// Why it takes no further part.
    out: Option<String>,
}

/// Runs the storms; `peers` is where further tools are unpacked.
pub(crate) fn measure(setting: &Setting, peers: Option<&Path>) -> Result<()> {
    show_tracepoints()?;
    let contenders =
        [Contender::Nothing, Contender::Sensor].into_iter().chain(peer::all(peers).into_iter().map(Contender::Peer));
    let mut standings: Vec<_> = contenders.map(Standing::new).collect();
    for _ in 0..setting.times(ROUNDS).max(3) {
        for standing in standings.iter_mut().filter(|standing| standing.out.is_none()) {
            if let Err(error) = standing.round(setting) {
                match standing.contender {
                    Contender::Peer(_) => standing.out = Some(format!("{error:#}")),
                    _ => return Err(error),
                }
            }
        }
    }
    standings.iter().try_for_each(Standing::tell)
}

/// Some tools look for tracepoints where they used to be shown. Gone with this process.
fn show_tracepoints() -> Result<()> {
    const PLACE: &str = "/sys/kernel/debug";
    // SAFETY: the flag does not touch the descriptors.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.context("mounts")?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    if !Path::new(PLACE).join("tracing/events").exists() {
        mount("debugfs", PLACE, "debugfs", MountFlags::empty(), None).context(PLACE)?;
    }
    Ok(())
}

impl Standing {
    fn new(contender: Contender) -> Self {
        Self { contender, executions: Vec::new(), connections: Vec::new(), memory: None, out: None }
    }

    fn name(&self) -> &str {
        match &self.contender {
            Contender::Nothing => "nothing",
            Contender::Sensor => "sensor",
            Contender::Peer(peer) => peer.name,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "seconds in nanoseconds")]
    fn round(&mut self, setting: &Setting) -> Result<()> {
        let works = [
            Work::Execute(if setting.quick { EXECUTIONS / 10 } else { EXECUTIONS }),
            Work::Connect(if setting.quick { CONNECTIONS / 10 } else { CONNECTIONS }),
        ];
        let run = |work: &Work| perform(*work).map(|Taken { processor_ns, .. }| processor_ns as f64);
        let without = works.iter().map(run).collect::<Result<Vec<_>>>()?;
        let running = self.contender.start(setting)?;
        let mut with = Vec::new();
        for work in &works {
            let before = running.processor_ns()?;
            let work = run(work)?;
            sleep(AFTERWARDS);
            with.push(work + running.processor_ns()?.saturating_sub(before) as f64);
        }
        self.memory = running.memory()?;
        running.stop()?;
        let mut ratios = with.iter().zip(&without).map(|(with, without)| with / without);
        self.executions.extend(ratios.next());
        self.connections.extend(ratios.next());
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "kibibytes")]
    fn tell(&self) -> Result<()> {
        if let Some(reason) = &self.out {
            return tell::not_measured(self.name(), reason);
        }
        for (quantity, ratios) in [("executions", &self.executions), ("connections", &self.connections)] {
            let half = quartiles(ratios);
            let note = format!("half of {} rounds within {:.2} to {:.2}", ratios.len(), half.start(), half.end());
            tell::figure(self.name(), quantity, median(ratios), "x", note)?;
        }
        let Some((resident, maps)) = self.memory else { return Ok(()) };
        tell::figure(
            self.name(),
            "memory",
            (resident + maps) as f64 / 1024.0,
            "MiB",
            format!("resident {resident} KiB, maps in the kernel {maps} KiB"),
        )
    }
}

/// A contender at work.
enum Running {
    Nothing,
    Sensor(Sensor),
    Tool(Tool),
}

impl Contender {
    fn start(&self, setting: &Setting) -> Result<Running> {
        Ok(match self {
            Self::Nothing => Running::Nothing,
            Self::Sensor => Running::Sensor(Sensor::start(&setting.sensor, "")?),
            Self::Peer(peer) => Running::Tool(peer.start()?),
        })
    }
}

impl Running {
    fn processes(&self) -> Vec<u32> {
        let first = match self {
            Self::Nothing => Vec::new(),
            Self::Sensor(sensor) => vec![sensor.pid()],
            Self::Tool(tool) => tool.processes(),
        };
        first.into_iter().flat_map(|pid| family(pid).unwrap_or_default()).collect()
    }

    fn processor_ns(&self) -> Result<u64> {
        let kernel = match self {
            Self::Tool(tool) => tool.kernel_thread(),
            _ => None,
        };
        self.processes().into_iter().chain(kernel).map(crate::process::processor_ns).sum()
    }

    fn memory(&self) -> Result<Option<(u64, u64)>> {
        let processes = self.processes();
        if processes.is_empty() {
            return Ok(None);
        }
        let (mut resident, mut maps) = (0, 0);
        for pid in processes {
            resident += Memory::of(pid)?.resident;
            maps += map_memory(pid)?;
        }
        Ok(Some((resident, maps)))
    }

    fn stop(self) -> Result<()> {
        match self {
            Self::Sensor(sensor) => sensor.stop(),
            Self::Nothing | Self::Tool(_) => Ok(()),
        }
    }
}
