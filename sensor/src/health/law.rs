//! The law: what has come in has also become something, and all of it is counted. Of each hook of the kernel side, what was seen has been
//! filtered, held back, sent or lost; of the executions, each was matched or not; of the matches, each is an alert, or was collapsed,
//! held back or excepted; of each output, no more was delivered, spooled and dropped than was handed over.
//!
//! The kernel side's counters are read one after the other while programs run, so they agree only where nothing happens in between; an event
//! that a program is just looking at is seen and nothing more, one on each CPU. A difference that is larger, in two readings
//! that are the same, and still there when it is looked at the next time, is none of these.

use crate::kernel::counters::{Snapshot, Sums};
use crate::output::queue;
use crate::stats::Stats;
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

/// Counters that disagree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The hook, or what else is counted.
    pub place: &'static str,
    /// What has come in.
    pub seen: u64,
    /// That of which it is known what became of it.
    pub settled: u64,
}

impl Violation {
    /// What is violated where nothing is under way.
    #[must_use]
    pub fn of(sums: &Sums) -> Option<Self> {
        let Sums { hook, seen, settled, .. } = *sums;
        (seen != settled).then_some(Self { place: hook, seen, settled })
    }
}

impl Display for Violation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { place, seen, settled } = self;
        write!(f, "the counters of {place} disagree: {seen} seen, {settled} settled")
    }
}

/// The user side's numbers.
#[derive(Clone, Debug)]
pub struct Numbers {
    /// What was made of the records.
    pub stats: Stats,
    /// The outputs', by name.
    pub outputs: Vec<(&'static str, queue::Stats)>,
}

impl Numbers {
    /// What is violated.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        let Self { stats, outputs } = self;
        let Stats { executions, matched, unmatched, alerts, collapsed, held, excepted, .. } = *stats;
        let settled = alerts + collapsed + held + excepted;
        let exact = [("executions", executions, matched + unmatched), ("matches", matched, settled)];
        let exact = exact.into_iter().filter(|(_, seen, settled)| seen != settled);
        let outputs = outputs.iter().map(|(name, stats)| {
            let queue::Stats { queued, delivered, spooled, dropped } = *stats;
            (*name, queued, delivered + spooled + dropped)
        });
        let outputs = outputs.filter(|(_, queued, settled)| settled > queued);
        exact.chain(outputs).map(|(place, seen, settled)| Violation { place, seen, settled }).collect()
    }
}

/// Looks for violations.
#[derive(Debug)]
pub struct Law {
    /// Events that may be under way.
    under_way: u64,
    /// Hooks whose counters disagreed at the last look, and by how much.
    suspects: BTreeMap<&'static str, u64>,
    /// Those of which it was told, and how much.
    told: BTreeMap<&'static str, u64>,
    violations: u64,
}

impl Law {
    /// For a host with so many CPUs.
    #[must_use]
    pub fn new(cpus: usize) -> Self {
        let under_way = u64::try_from(cpus).unwrap_or(u64::MAX);
        Self { under_way, suspects: BTreeMap::new(), told: BTreeMap::new(), violations: 0 }
    }

    /// How often it was violated.
    #[must_use]
    pub fn violations(&self) -> u64 {
        self.violations
    }

    /// What is violated, by two readings one behind the other; each violation once.
    pub fn check(&mut self, first: &Snapshot, second: &Snapshot) -> Vec<Violation> {
        self.judge(&first.sums(), &second.sums())
    }

    /// What is violated by numbers of one thread, between which nothing happens; each violation once.
    pub fn check_exact(&mut self, numbers: &Numbers) -> Vec<Violation> {
        let mut violations = numbers.violations();
        violations.retain(|violation| {
            let difference = violation.seen.abs_diff(violation.settled);
            self.told.insert(violation.place, difference) != Some(difference)
        });
        self.violations += violations.len() as u64;
        violations
    }

    fn judge(&mut self, first: &[Sums], second: &[Sums]) -> Vec<Violation> {
        let mut violations = Vec::new();
        for (before, now) in first.iter().zip(second) {
            let Sums { hook, seen, settled, .. } = *now;
            let difference = seen.abs_diff(settled);
            if before != now {
                // Busy: another time. What was suspect stays so.
                continue;
            }
            if difference <= self.under_way {
                self.suspects.remove(hook);
                continue;
            }
            let again = self.suspects.insert(hook, difference).is_some();
            if again && self.told.get(hook) != Some(&difference) {
                self.told.insert(hook, difference);
                violations.push(Violation { place: hook, seen, settled });
            }
        }
        self.violations += violations.len() as u64;
        violations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(seen: u64, settled: u64) -> Vec<Sums> {
        vec![Sums { hook: "exec", seen, settled, lost: 0 }]
    }

    /// What was seen and what was settled, at two readings.
    type Look = ((u64, u64), (u64, u64));

    fn looks(looks: &[Look]) -> Vec<usize> {
        let mut law = Law::new(2);
        let look = |(first, second): &Look| law.judge(&sums(first.0, first.1), &sums(second.0, second.1)).len();
        looks.iter().map(look).collect()
    }

    #[test]
    fn what_is_under_way_is_no_violation() {
        assert_eq!(looks(&[((5, 5), (5, 5)), ((7, 5), (7, 5)), ((7, 5), (7, 5))]), [0, 0, 0]);
    }

    #[test]
    fn a_lasting_difference_is_told_once_and_again_when_it_grows() {
        let gap = ((9, 5), (9, 5));
        let more = ((19, 5), (19, 5));
        assert_eq!(looks(&[gap, gap, gap, more, more]), [0, 1, 0, 1, 0]);
        // More settled than seen is one too.
        assert_eq!(looks(&[((5, 9), (5, 9)), ((5, 9), (5, 9))]), [0, 1]);
    }

    #[test]
    fn the_user_side_s_numbers_add_up_or_are_told_once() {
        let good = Stats {
            executions: 10,
            matched: 7,
            unmatched: 3,
            alerts: 3,
            collapsed: 2,
            held: 1,
            excepted: 1,
            ..Stats::default()
        };
        let output = queue::Stats { queued: 5, delivered: 3, spooled: 1, dropped: 0 };
        let numbers = Numbers { stats: good, outputs: vec![("file", output)] };
        assert_eq!(numbers.violations(), []);
        let mut law = Law::new(2);
        for (bad, place) in [
            (Numbers { stats: Stats { unmatched: 2, ..good }, ..numbers.clone() }, "executions"),
            (Numbers { stats: Stats { held: 0, ..good }, ..numbers.clone() }, "matches"),
            (Numbers { outputs: vec![("file", queue::Stats { dropped: 2, ..output })], ..numbers.clone() }, "file"),
        ] {
            let told: Vec<_> = law.check_exact(&bad).iter().map(|violation| violation.place).collect();
            assert_eq!((told, law.check_exact(&bad)), (vec![place], vec![]));
        }
        assert_eq!(law.violations(), 3);
    }

    #[test]
    fn readings_while_something_happens_say_nothing() {
        let gap = ((9, 5), (9, 5));
        let busy = ((90, 50), (95, 50));
        assert_eq!(looks(&[busy, busy, busy]), [0, 0, 0]);
        assert_eq!(looks(&[gap, busy, gap]), [0, 0, 1]);
        // It was one that came late.
        assert_eq!(looks(&[gap, ((9, 9), (9, 9)), gap]), [0, 0, 0]);
    }
}
