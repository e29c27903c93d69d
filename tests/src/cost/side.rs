//! The kernel side of a sensor, loaded and attached as the sensor does it, with its buffers read here.

use super::Heard;
use anyhow::{Context, Result, ensure};
use aya::Ebpf;
use aya::maps::{MapData, RingBuf};
use aya::programs::ProgramInfo;
use sensor::config::Config;
use sensor::detect::rule::kernel_names;
use sensor::kernel::counters::Snapshot;
use sensor::kernel::hook::{Attachment, Candidate, Fact, Refusal, candidates};
use sensor::kernel::load::{KERNEL_BTF, Options, Prepared, prepare};
use std::ops::Sub;

const FACTS: [Fact; 4] = Fact::ALL;

/// How many it takes to have all hooks: as many as there are for the fact that has the most.
pub(crate) fn enough() -> usize {
    FACTS.into_iter().map(|fact| candidates(fact).len()).max().unwrap_or(0)
}

/// How often a program has run, and how long altogether.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Runs {
    pub(crate) count: u64,
    pub(crate) time_ns: u64,
}

impl Sub for Runs {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self { count: self.count.wrapping_sub(before.count), time_ns: self.time_ns.wrapping_sub(before.time_ns) }
    }
}

/// The runs of an object's program; counted only while statistics are on.
pub(super) fn runs(ebpf: &Ebpf, program: &str) -> Result<Runs> {
    runs_of(&info(ebpf, program)?)
}

fn runs_of(info: &ProgramInfo) -> Result<Runs> {
    Ok(Runs { count: info.run_count(), time_ns: info.run_time().as_nanos().try_into()? })
}

fn info(ebpf: &Ebpf, program: &str) -> Result<ProgramInfo> {
    ebpf.program(program).with_context(|| format!("no program {program}"))?.info().context("program")
}

/// A kernel side at work.
pub(crate) struct Side {
    pub(crate) prepared: Prepared,
    attached: Vec<(Fact, Candidate)>,
    rings: [RingBuf<MapData>; 2],
}

impl Side {
    /// Loads one with the hooks of that number for each fact, and everything else as it is by default. A hook that the kernel refuses
    /// is left out, and reported. Where connections would not be seen at all, another hook sees them without being measured, so that
    /// executions find what they look for.
    pub(crate) fn load(number: usize, heard: &mut dyn FnMut(Heard) -> Result<()>) -> Result<Self> {
        let config = Config::default();
        let options = Options {
            btf: KERNEL_BTF.into(),
            names: kernel_names(&config.rule.relays),
            slot: config.kernel_slot(),
            connect: None,
            accept: None,
            accept_off: false,
            fork: true,
            connections_bytes: config.rings.connections,
            executions_bytes: config.rings.executions,
        };
        let mut prepared = prepare(&options)?;
        let mut attached = Vec::new();
        for fact in FACTS {
            let Some(candidate) = candidates(fact).get(number) else { continue };
            match prepared.try_out(candidate) {
                Ok(()) => attached.push((fact, *candidate)),
                Err(Refusal { mechanism, reason, .. }) => {
                    heard(Heard::Refused { hook: format!("{fact}={mechanism}"), reason })?;
                }
            }
        }
        if !attached.iter().any(|(fact, _)| *fact == Fact::Connect) {
            let seen = candidates(Fact::Connect).iter().any(|candidate| prepared.try_out(candidate).is_ok());
            ensure!(seen, "no hook for connections can be had");
        }
        let mut take = |name| {
            let map = prepared.ebpf().take_map(name).context(name)?;
            RingBuf::try_from(map).context(name)
        };
        let rings = [take("CONNECTIONS")?, take("EXECUTIONS")?];
        Ok(Self { prepared, attached, rings })
    }

    /// What is attached where.
    pub(crate) fn attachments(&mut self) -> Vec<Attachment> {
        FACTS.into_iter().flat_map(|fact| self.attached(fact)).collect()
    }

    /// The programs that see a fact.
    pub(crate) fn programs(&mut self, fact: Fact) -> Vec<&'static str> {
        let mut programs: Vec<_> = self.attached(fact).into_iter().map(|attachment| attachment.program).collect();
        programs.dedup();
        programs
    }

    /// Whether one of its programs sees a fact.
    pub(crate) fn sees(&self, fact: Fact) -> bool {
        self.attached.iter().any(|(seen, _)| *seen == fact)
    }

    fn attached(&mut self, fact: Fact) -> Vec<Attachment> {
        let ebpf = self.prepared.ebpf();
        // Of programs for several declarations of a function, only the one that fits is loaded.
        let is_loaded = |name: &str| ebpf.program(name).is_some_and(|program| program.fd().is_ok());
        let candidates = self.attached.iter().filter(|(seen, _)| *seen == fact);
        let attachments = candidates.flat_map(|(_, candidate)| candidate.attachments);
        attachments.copied().filter(|attachment| is_loaded(attachment.program)).collect()
    }

    /// How often one of its programs has run, and how long.
    pub(crate) fn runs(&mut self, program: &str) -> Result<Runs> {
        runs_of(&self.info(program)?)
    }

    /// What the kernel says of one of its programs.
    pub(crate) fn info(&mut self, program: &str) -> Result<ProgramInfo> {
        info(self.prepared.ebpf(), program)
    }

    /// What it has counted so far.
    pub(crate) fn counters(&self) -> Snapshot {
        self.prepared.counters().snapshot()
    }

    /// Empties its buffers.
    pub(crate) fn drain(&mut self) {
        for ring in &mut self.rings {
            while ring.next().is_some() {}
        }
    }
}
