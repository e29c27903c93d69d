//! A program while it is measured, beside an empty one.

use super::Cost;
use super::side::Runs;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::ops::Sub;

/// What the kernel says of a program and of the empty one beside it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) mine: Runs,
    pub(crate) empty: Runs,
}

impl Sub for Reading {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self { mine: self.mine - before.mine, empty: self.empty - before.empty }
    }
}

/// A program, and what it has cost so far.
pub(super) struct Program {
    /// Which kernel side it belongs to.
    pub(super) side: usize,
    pub(super) name: &'static str,
    /// By how often it ran in an operation, what each of these has cost.
    costs: BTreeMap<u64, Vec<i64>>,
}

impl Program {
    pub(super) fn new(side: usize, name: &'static str) -> Self {
        Self { side, name, costs: BTreeMap::new() }
    }

    /// Whether both have run equally often in an operation.
    pub(super) fn check(&self, Reading { mine, empty }: &Reading) -> Result<()> {
        let name = self.name;
        ensure!(mine.count == empty.count, "{name} ran {} times, an empty program {} times", mine.count, empty.count);
        Ok(())
    }

    /// Takes in what one operation has cost.
    pub(super) fn add(&mut self, Reading { mine, empty }: Reading) {
        let more = i64::try_from(mine.time_ns).unwrap_or(i64::MAX);
        let less = i64::try_from(empty.time_ns).unwrap_or(i64::MAX);
        self.costs.entry(mine.count).or_default().push(more - less);
    }

    /// The median of what it has cost, and all of it in words. It runs equally often in each operation, but for a few in which the end
    /// of an earlier connection falls: `usual` is how many operations must agree at least.
    pub(super) fn median(self, situation: &'static str, usual: usize) -> Result<(Cost, String)> {
        let Self { name: program, costs, .. } = self;
        let counts: Vec<_> = costs.iter().map(|(runs, costs)| format!("{} x {runs}", costs.len())).collect();
        let counts = counts.join(", ");
        let most = costs.into_iter().max_by_key(|(_, costs)| costs.len());
        let (runs, mut costs) = most.context("nothing was measured")?;
        ensure!(costs.len() >= usual, "{program} does not run equally often in each operation: {counts}");
        costs.sort_unstable();
        let different = costs.chunk_by(|one, next| one == next);
        let different: Vec<_> =
            different.filter_map(|same| Some(format!("{} x {}", same.len(), same.first()?))).collect();
        let log = format!("{program}, {runs} runs each ({counts}): {}", different.join(", "));
        let time_ns = costs.get(costs.len() / 2).copied().context("nothing was measured")?;
        Ok((Cost { situation, program, runs, time_ns }, log))
    }
}
