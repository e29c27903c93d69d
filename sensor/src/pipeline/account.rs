//! What a pipeline knows of its own losses, and what it tells of the sensor itself.

use super::Pipeline;
use crate::enrich::clock;
use crate::health::law::Numbers;
use crate::health::losses::Losses;
use crate::kernel::counters::Counters;
use crate::life::{self, Totals};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Pipeline {
    /// Connections that were forgotten because too many processes had some.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.detector.stats().evicted
    }

    /// Has the kernel side's losses counted too.
    pub fn count(&mut self, counters: Arc<Counters>) {
        self.counters = Some(counters);
    }

    /// Takes in how many runs of the kernel side's programs were skipped so far, by hook.
    pub fn set_missed(&mut self, missed: BTreeMap<String, u64>) {
        self.missed = missed;
    }

    /// Takes in what an earlier sensor's kernel side has lost and nobody has told.
    pub fn inherit(&mut self, losses: Losses) {
        self.inherited = losses;
    }

    /// Runs that were skipped, as they were last taken in.
    #[must_use]
    pub fn missed(&self) -> &BTreeMap<String, u64> {
        &self.missed
    }

    /// Everything that was lost so far.
    #[must_use]
    pub fn losses(&self) -> Losses {
        let mut losses = self.inherited.clone();
        if let Some(counters) = &self.counters {
            losses.extend(&counters.snapshot().losses());
        }
        self.missed.iter().for_each(|(hook, runs)| losses.add(hook, "skipped_by_kernel", *runs));
        losses.add("records", "undecodable", self.stats.undecodable);
        losses.add("correlator", "processes_forgotten", self.evicted());
        self.outputs.stats().iter().for_each(|(name, stats)| losses.add(name, "documents_dropped", stats.dropped));
        losses
    }

    /// The numbers that must add up.
    #[must_use]
    pub fn numbers(&self) -> Numbers {
        Numbers { stats: self.stats, outputs: self.outputs.stats() }
    }

    /// Tells what happened to the sensor itself, wherever that is wanted.
    pub fn tell(&mut self, event: &life::Event) {
        let totals = Totals {
            stats: self.stats,
            hooks: self.counters.as_ref().map(|counters| counters.snapshot().sums()).unwrap_or_default(),
            lost: self.losses(),
            outputs: self.outputs.stats(),
        };
        let document = self.life.document(event, &self.origin, &totals, clock::now());
        self.outputs.life(document);
    }

    /// The sensor sees less from now on, or what it sees again: every document says so.
    pub fn set_degraded(&mut self, reason: &'static str, degraded: bool) {
        self.origin.degraded.retain(|one| *one != reason);
        self.origin.degraded.extend(degraded.then_some(reason));
    }
}
