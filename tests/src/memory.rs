//! Whether a sensor's memory stays what it was from one load to the next of the same size.

use crate::usage;
use anyhow::{Result, ensure};

/// What an allocator holds differs from time to time: so much, in KiB, and this part of what the first load takes, since tables that
/// are full replace entries by others of other sizes.
const SLACK: u64 = 4096;
const PART: u64 = 8;

/// Memory of a process in KiB, from load to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    pid: u32,
    before: u64,
    loads: Vec<Load>,
}

/// Memory at one load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Load {
    most: u64,
    behind: u64,
}

impl Memory {
    /// As it is before the first load.
    pub(crate) fn before(pid: u32) -> Result<Self> {
        usage::forget_peak(pid)?;
        Ok(Self { pid, before: usage::of(pid)?.resident, loads: Vec::new() })
    }

    /// A load is over.
    pub(crate) fn loaded(&mut self) -> Result<()> {
        let usage = usage::of(self.pid)?;
        self.loads.push(Load { most: usage.peak, behind: usage.resident });
        usage::forget_peak(self.pid)
    }

    /// That the first load took no more than `room` KiB, at any moment, and no later one more than the first.
    pub(crate) fn flat(&self, room: u64) -> Result<()> {
        let [first, later @ ..] = &self.loads[..] else { anyhow::bail!("no load") };
        ensure!(!later.is_empty(), "no second load");
        ensure!(first.most <= self.before + room, "{room} KiB more were allowed: {self:?}");
        let slack = SLACK + first.most.saturating_sub(self.before) / PART;
        let more = |load: &&Load| load.most > first.most + slack || load.behind > first.behind + slack;
        ensure!(!later.iter().any(|load| more(&load)), "each load takes more: {self:?}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_grows_with_each_load_is_noticed() {
        let memory = |loads: &[(u64, u64)]| {
            let loads = loads.iter().map(|(most, behind)| Load { most: *most, behind: *behind }).collect();
            Memory { pid: 1, before: 10_000, loads }
        };
        memory(&[(30_000, 25_000), (31_000, 26_000)]).flat(20_000).unwrap();
        assert!(memory(&[(30_001, 25_000), (30_000, 25_000)]).flat(20_000).is_err(), "more than there is room for");
        assert!(memory(&[(20_000, 15_000), (20_000, 20_347)]).flat(20_000).is_err(), "something stays");
        assert!(memory(&[(20_000, 15_000), (25_347, 15_000)]).flat(20_000).is_err(), "more at a moment");
        assert!(memory(&[(20_000, 15_000)]).flat(20_000).is_err(), "one load says nothing of the next");
    }

    #[test]
    fn the_peak_is_that_of_a_load() {
        let mut memory = Memory::before(std::process::id()).unwrap();
        let taken = vec![1_u8; 64 << 20];
        assert_eq!(taken.iter().map(|byte| u64::from(*byte)).sum::<u64>(), 64 << 20);
        drop(taken);
        memory.loaded().unwrap();
        memory.loaded().unwrap();
        let [with, without] = &memory.loads[..] else { panic!() };
        assert!(with.most >= memory.before + (60 << 10), "{memory:?}");
        assert!(without.most < with.most - (30 << 10), "{memory:?}");
    }
}
