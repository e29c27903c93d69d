//! The user side's numbers.

use crate::detect::rule::{RULE_COUNT, RULES, Rule};
use std::time::Duration;

/// What the user side has seen and made of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections with a document of their own.
    pub connections: u64,
    /// Connections that arrived a second time.
    pub duplicates: u64,
    /// Executions.
    pub executions: u64,
    /// Executions that a rule has taken: each is an alert that was told at once, or collapsed, or held back, or excepted.
    pub matched: u64,
    /// The same by rule, in the order of [`RULES`]; an execution that several rules take counts for each of them.
    pub by_rule: [u64; RULE_COUNT],
    /// Executions that no rule has taken.
    pub unmatched: u64,
    /// Alerts that were told at once.
    pub alerts: u64,
    /// Matches that were put together with others of the same process.
    pub collapsed: u64,
    /// Alerts that were told later and stand for those that were collapsed.
    pub repeats: u64,
    /// Matches beyond the limit of their destination, which were only counted.
    pub held: u64,
    /// Matches that an exception has taken.
    pub excepted: u64,
    /// Records that could not be decoded.
    pub undecodable: u64,
    /// Longest time from an execution to its alert being handed to the outputs, in nanoseconds.
    pub slowest_ns: u64,
    /// The sum of these times, in nanoseconds.
    pub latency_ns: u64,
    /// Alerts by this time: up to each of [`LATENCY_BOUNDS`] and above the one before, and above the last one.
    pub latency: [u64; LATENCY_BOUNDS.len() + 1],
}

/// Bounds of the histogram of the time from an execution to its alert.
pub const LATENCY_BOUNDS: [Duration; 10] = [
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_secs(10),
];

impl Stats {
    /// Counts an execution that these rules have taken.
    pub fn matched(&mut self, rules: impl Iterator<Item = &'static Rule>) {
        self.matched += 1;
        for rule in rules {
            let place = RULES.into_iter().position(|one| one.id == rule.id);
            if let Some(count) = place.and_then(|place| self.by_rule.get_mut(place)) {
                *count += 1;
            }
        }
    }

    /// Counts an alert that was handed to the outputs so long after its execution.
    pub fn alerted(&mut self, latency: Duration) {
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.alerts += 1;
        self.slowest_ns = self.slowest_ns.max(ns);
        self.latency_ns = self.latency_ns.saturating_add(ns);
        let place = LATENCY_BOUNDS.iter().take_while(|bound| **bound < latency).count();
        if let Some(count) = self.latency.get_mut(place) {
            *count += 1;
        }
    }
}
