//! Tries every candidate for every fact, whether the sensor would come to it or not: attaches it alone, lets a canary go by, and
//! detaches it.

use super::canary::{self, Canary, Seen};
use super::survey::{AUTO, Candidate, Hook, OFF, State};
use crate::config::{self, Config};
use crate::enrich::proc::Proc;
use crate::enrich::{clock, namespace};
use crate::kernel::counters::Sums;
use crate::kernel::error::LoadError;
use crate::kernel::hook::{self, Fact, Refusal, ordered};
use crate::kernel::load::{Options, Prepared, prepare};
use crate::kernel::preemption::Kernel;
use crate::kernel::ring::Ring;
use bytemuck::Zeroable as _;
use sensor_common::record::{Arm, WITNESS_PROC};
use std::io;
use std::path::Path;

/// A program that can be preempted may be skipped once: then another canary is sent.
const CANARIES: usize = 3;
/// Records that are taken at a time; other doctors and other programs with the canary's name may have made some.
const RECORDS: usize = 4096;

/// How a candidate went.
struct Outcome {
    state: State,
    reason: String,
    not_permitted: bool,
}

/// The hooks where nothing can be attached, because of `reason`.
pub(super) fn not_tried(config: &Config, reason: &str) -> Vec<Hook> {
    each(config, |_, _| Outcome { state: State::NotTried, reason: reason.to_owned(), not_permitted: false })
}

/// Tries all of them. Within a tokio runtime.
///
/// # Errors
///
/// When the maps cannot be created, or are not what the object declares.
pub(super) fn try_all(config: &Config, options: Options) -> Result<Vec<Hook>, LoadError> {
    let options = Options { names: canary::NAMES, slot: canary::SETTINGS, ..options };
    let mut prepared = prepare(&options)?;
    let (connections, executions) = prepared.rings()?;
    let mut trial = Trial { prepared, connections, executions };
    Ok(each(config, |fact, candidate| trial.candidate(fact, candidate)))
}

fn each(config: &Config, mut outcome: impl FnMut(Fact, &hook::Candidate) -> Outcome) -> Vec<Hook> {
    let kernel = Kernel::running();
    let mut one = |fact, candidate: &hook::Candidate| {
        let Outcome { state, reason, not_permitted } = outcome(fact, candidate);
        Candidate {
            mechanism: candidate.mechanism.to_string(),
            places: candidate.attachments.iter().map(|attachment| attachment.place.to_string()).collect(),
            state,
            chosen: false,
            reason,
            not_permitted,
            preempted: kernel.preempts(candidate.preempted),
            degraded: candidate.degraded,
        }
    };
    let hook = |fact| {
        let candidates = ordered(fact, kernel).iter().map(|candidate| one(fact, candidate)).collect();
        Hook::new(fact.to_string(), configured(config, fact), candidates)
    };
    Fact::ALL.map(hook).into()
}

/// What the configuration says about a fact.
fn configured(config: &Config, fact: Fact) -> &'static str {
    match fact {
        Fact::Exec => AUTO,
        Fact::Connect => config.hooks.connect.name(),
        Fact::Accept => config.hooks.accept.map_or(OFF, config::Hook::name),
        Fact::Fork if config.watches_forks() => AUTO,
        Fact::Fork => OFF,
    }
}

/// The kernel side with at most one candidate attached.
struct Trial {
    prepared: Prepared,
    connections: Ring,
    executions: Ring,
}

impl Trial {
    fn candidate(&mut self, fact: Fact, candidate: &hook::Candidate) -> Outcome {
        tracing::debug!("trying {fact} by {}", candidate.mechanism);
        if let Err(Refusal { reason, not_permitted, .. }) = self.prepared.try_out(candidate) {
            return Outcome { state: State::Refused, reason, not_permitted };
        }
        let before = self.prepared.counters().snapshot();
        let (mut state, mut reason) = self.canary(fact);
        for _ in 1..CANARIES {
            if state == State::Blind {
                (state, reason) = self.canary(fact);
            }
        }
        if state == State::Blind {
            reason = blindness(&before.sums(), &self.prepared.counters().snapshot().sums());
        }
        self.prepared.detach();
        Outcome { state, reason, not_permitted: false }
    }

    fn canary(&mut self, fact: Fact) -> (State, String) {
        // What others have left there is of no interest.
        let made = self.take().and_then(|_| self.arm(fact)).and_then(|()| canary::make(fact));
        let canary = match made {
            Ok(canary) => canary,
            Err(error) => return (State::Untested, format!("there could be no canary: {error}")),
        };
        match self.seen(&canary) {
            Ok(seen) => canary::judge(fact, &canary, &seen),
            Err(error) => (State::Untested, error.to_string()),
        }
    }

    /// Gives this process a connection to hand on, where the canary is a fork.
    fn arm(&mut self, fact: Fact) -> io::Result<()> {
        if fact != Fact::Fork {
            return Ok(());
        }
        // The kernel side knows this process by its number in the first namespace.
        namespace::check(Path::new("/")).map_err(io::Error::other)?;
        let proc = Proc::live();
        let own = proc.open(std::process::id()).map_err(io::Error::other)?;
        let start = proc.start(own.stat.start_ticks);
        let (now, _) = clock::now();
        let arm = Arm {
            sequence: 1,
            boot_ns: now.0,
            start_ns: start.0,
            tgid: std::process::id(),
            witness: WITNESS_PROC,
            ..Arm::zeroed()
        };
        self.prepared.remember(&[arm], now).map_err(io::Error::other)
    }

    fn seen(&mut self, canary: &Canary) -> io::Result<Seen> {
        let inherited = match canary {
            Canary::Fork(pid) => self.prepared.inherited(*pid).map_err(io::Error::other)?,
            _ => None,
        };
        Ok(Seen { inherited, ..self.take()? })
    }

    /// Empties the ring buffers.
    fn take(&mut self) -> io::Result<Seen> {
        let mut seen = Seen::default();
        self.connections.drain(RECORDS, |record| seen.connection(record))?;
        self.executions.drain(RECORDS, |record| seen.execution(record))?;
        Ok(seen)
    }
}

/// What the counters say about a candidate that has seen no canary.
fn blindness(before: &[Sums], after: &[Sums]) -> String {
    let total = |sums: &[Sums], of: fn(&Sums) -> u64| sums.iter().map(of).sum::<u64>();
    let grown = |of| total(after, of).saturating_sub(total(before, of));
    match (grown(|sums| sums.seen), grown(|sums| sums.lost)) {
        (0, _) => "attached, but it did not run".to_owned(),
        (_, 0) => "attached, and it ran, but not for the canary".to_owned(),
        (_, lost) => format!("attached, and it ran, but {lost} times could not read what it needs or pass it on"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counters_tell_why_nothing_was_seen() {
        let sums = |seen, lost| vec![Sums { hook: "connect", seen, settled: seen, lost }, Sums::default()];
        assert!(blindness(&sums(3, 1), &sums(3, 1)).contains("did not run"));
        assert!(blindness(&sums(3, 1), &sums(4, 1)).contains("not for the canary"));
        assert!(blindness(&sums(3, 1), &sums(5, 3)).contains("2 times"));
    }

    #[test]
    fn what_is_not_tried_stands_in_the_order_in_which_it_would_be() {
        let mut config = Config::default();
        config.hooks.connect = config::Hook::Kprobe;
        config.hooks.accept = None;
        let hooks = not_tried(&config, "no memory");
        let facts: Vec<_> = hooks.iter().map(|hook| (&*hook.fact, hook.configured)).collect();
        assert_eq!(facts, [("exec", "auto"), ("fork", "auto"), ("connect", "kprobe"), ("accept", "off")]);
        assert!(hooks.iter().all(|hook| hook.candidates.len() >= 3 && hook.chosen.is_none()));
        assert!(hooks.iter().flat_map(|hook| &hook.candidates).all(|one| one.reason == "no memory"));
    }
}
