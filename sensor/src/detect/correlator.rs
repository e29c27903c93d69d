//! The correlator: events in, matches out, in the order in which the sensor learns of the events.
//!
//! It has no clock and does no I/O. What is too old to matter is forgotten when it is told the time, and the number of
//! processes it remembers is bounded, whatever arrives.

use super::moment::{Key, Moment};
use super::rule::{Parameters, Rule, Unsearched};
use super::sequence::{Process, Taken, Waiting};
use crate::event::facts::{Facts, Field};
use lru::LruCache;

/// Processes remembered unless the caller says otherwise.
pub const MAX_PROCESSES: usize = 65_536;

/// How much later than the span a process is still remembered, in milliseconds: how far apart the records of one process
/// may arrive out of order.
const SLACK_MS: u64 = 10_000;

/// What a rule makes of an event before it looks at any other event.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It is no stage of the rule.
    Irrelevant,
    /// It is a stage, but does not say which process it belongs to, so that it can match nothing.
    NoKey,
    /// It is a stage.
    Stage(Candidate),
}

/// An event that is a stage of a rule.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// When it happened.
    pub at: Moment,
    /// Identity of the connection.
    pub arm: Option<u64>,
    /// Identity of the connection that the process has inherited.
    pub inherited: Option<u64>,
    /// The process, if it is the first stage.
    pub connection: Option<Key>,
    /// The process whose connection is asked for, if it is the second stage.
    pub exec: Option<Key>,
    /// The arguments of which an unsearched part had to be taken as what the rule asks for.
    pub assumed: Vec<Field>,
}

impl Candidate {
    /// Judges an event by itself. An event with several categories can be both stages.
    #[must_use]
    pub fn judge(rule: &Rule, parameters: &Parameters, facts: &Facts<'_>) -> Verdict {
        let Rule { connection, exec, .. } = rule;
        let connection = connection.as_ref().filter(|stage| stage.holds(facts, parameters, Unsearched::Holds));
        let is_exec = exec.holds(facts, parameters, Unsearched::Holds);
        if connection.is_none() && !is_exec {
            return Verdict::Irrelevant;
        }
        let assumed = if is_exec { rule.assumed(parameters, facts) } else { Vec::new() };
        let connection = connection.and_then(|stage| stage.key(facts));
        let exec = is_exec.then(|| exec.key(facts)).flatten();
        if connection.is_none() && exec.is_none() {
            return Verdict::NoKey;
        }
        let inherited = exec_inherits(rule, facts);
        Verdict::Stage(Self { at: Moment::of(facts), arm: facts.arm, inherited, connection, exec, assumed })
    }
}

/// The connection that an execution names to a rule that asks for inherited ones.
#[must_use]
pub fn exec_inherits(rule: &Rule, facts: &Facts<'_>) -> Option<u64> {
    facts.inherited.filter(|_| rule.exec.by.contains(&Field::InheritedFrom))
}

/// What became of an event.
#[derive(Clone, Debug)]
pub enum Outcome<P> {
    /// It is no stage of the rule; nothing changed.
    Irrelevant,
    /// It is a stage without `host.id` or without the process's id; nothing changed.
    NoKey,
    /// A connection that was known already, or that a match has taken or passed over; nothing changed.
    Duplicate,
    /// A connection; it waits for an execution.
    Pending,
    /// An execution in a process that has no connection waiting.
    NoConnection,
    /// An execution whose process's connection is older than the span. The connection no longer waits.
    TooOld {
        /// The connection.
        connection: P,
        /// Milliseconds between the two.
        elapsed_ms: u64,
    },
    /// The rule matches.
    Match(Match<P>),
}

/// A match of a rule.
#[derive(Clone, Debug)]
pub struct Match<P> {
    /// The first event, and the milliseconds between both. None if the rule asks for none.
    pub connection: Option<(P, u64)>,
    /// The second event.
    pub exec: P,
    /// The arguments of which an unsearched part had to be taken as what the rule asks for.
    pub assumed: Vec<Field>,
}

/// Figures about a correlator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Processes remembered now.
    pub processes: usize,
    /// Processes forgotten because nothing of theirs could matter any more.
    pub expired: u64,
    /// Processes forgotten to stay within the bound, the ones heard of longest ago first: an alert may have been lost.
    pub evicted: u64,
}

/// The state of one rule.
#[derive(Debug)]
pub struct Correlator<P> {
    rule: &'static Rule,
    parameters: Parameters,
    max_processes: usize,
    processes: LruCache<Key, Remembered<P>>,
    /// Connections that wait, of all processes.
    waiting: usize,
    expired: u64,
    evicted: u64,
}

#[derive(Debug)]
struct Remembered<P> {
    process: Process<P>,
    /// The last event of the process.
    last: Moment,
}

impl<P> Correlator<P> {
    /// A correlator for a rule that remembers at most so many processes (at least one). Of connections it remembers a quarter more, so
    /// that its memory has a bound whatever they do: beyond that a process keeps its last one.
    #[must_use]
    pub fn new(rule: &'static Rule, parameters: Parameters, max_processes: usize) -> Self {
        let max_processes = max_processes.max(1);
        Self { rule, parameters, max_processes, processes: LruCache::unbounded(), waiting: 0, expired: 0, evicted: 0 }
    }

    /// The rule.
    #[must_use]
    pub fn rule(&self) -> &'static Rule {
        self.rule
    }

    /// Changes the parameters for the events to come; the connections that wait keep waiting.
    pub fn set_parameters(&mut self, parameters: Parameters) {
        self.parameters = parameters;
    }

    /// Whether [`Correlator::push`] would find a connection known: it waits, or a match has taken or passed it over.
    /// `at` is the connection's own time ([`Moment::on_boot_clock`]), `arm` its `sensor.arm`.
    #[must_use]
    pub fn holds(&self, key: &Key, at: &Moment, arm: u64) -> bool {
        self.processes.peek(key).is_some_and(|remembered| remembered.process.knows(at, Some(arm)))
    }

    /// What was given with the connection that an execution in this process at this time would match; `arm` names it where another
    /// process has inherited it.
    #[must_use]
    pub fn matching(&self, key: &Key, at: &Moment, arm: Option<u64>) -> Option<&P> {
        let process = &self.processes.peek(key)?.process;
        process.matching(at, arm, self.parameters.span_ms()).map(|connection| &connection.payload)
    }

    /// Figures for metrics.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats { processes: self.processes.len(), expired: self.expired, evicted: self.evicted }
    }

    /// Takes in an event; `payload` is given back with the match that it becomes a part of.
    pub fn push(&mut self, facts: &Facts<'_>, payload: P) -> Outcome<P>
    where
        P: Clone,
    {
        match Candidate::judge(self.rule, &self.parameters, facts) {
            Verdict::Irrelevant => Outcome::Irrelevant,
            Verdict::NoKey => Outcome::NoKey,
            Verdict::Stage(candidate) => self.push_candidate(candidate, payload),
        }
    }

    fn push_candidate(&mut self, candidate: Candidate, payload: P) -> Outcome<P>
    where
        P: Clone,
    {
        let Candidate { at, arm, inherited, connection, exec, assumed } = candidate;
        let outcome = match (exec, connection) {
            (Some(key), Some(_)) => Some(self.execute(&key, (&at, inherited), payload.clone(), assumed)),
            (Some(key), None) => return self.execute(&key, (&at, inherited), payload, assumed),
            (None, _) => None,
        };
        let connected = match connection {
            Some(key) => self.connect(key, Waiting { at, arm, payload }),
            None => Outcome::Irrelevant,
        };
        outcome.unwrap_or(connected)
    }

    fn connect(&mut self, key: Key, connection: Waiting<P>) -> Outcome<P> {
        let last = connection.at;
        let remembered = self.processes.get_or_insert_mut(key, || Remembered { process: Process::default(), last });
        let before = remembered.process.waiting();
        let new = remembered.process.connect(connection);
        self.waiting += remembered.process.waiting().saturating_sub(before);
        let most = self.max_processes + self.max_processes / 4;
        if self.waiting > most && remembered.process.forget_oldest() {
            self.waiting -= 1;
        }
        if remembered.last.is_before(&last) {
            remembered.last = last;
        }
        while self.processes.len() > self.max_processes || self.waiting > most {
            self.forget_first();
            self.evicted += 1;
        }
        if new { Outcome::Pending } else { Outcome::Duplicate }
    }

    fn execute(&mut self, key: &Key, (at, arm): (&Moment, Option<u64>), exec: P, assumed: Vec<Field>) -> Outcome<P> {
        let span_ms = self.parameters.span_ms();
        let mut waited = 0;
        let taken = self.processes.get_mut(key).map_or(Taken::Nothing, |remembered| {
            if remembered.last.is_before(at) {
                remembered.last = *at;
            }
            let before = remembered.process.waiting();
            let taken = remembered.process.execute(at, arm, span_ms);
            waited = before.saturating_sub(remembered.process.waiting());
            taken
        });
        self.waiting -= waited;
        match taken {
            Taken::Match(connection, elapsed_ms) => {
                Outcome::Match(Match { connection: Some((connection.payload, elapsed_ms)), exec, assumed })
            }
            _ if !self.rule.requires_connection() => Outcome::Match(Match { connection: None, exec, assumed }),
            Taken::Nothing => Outcome::NoConnection,
            Taken::TooOld(connection, elapsed_ms) => Outcome::TooOld { connection: connection.payload, elapsed_ms },
        }
    }

    /// Forgets the processes of which nothing has been heard for so long that neither a connection nor a taken one of
    /// theirs can matter to an event of now. Each is looked at once, when it is forgotten.
    ///
    /// Call it when nothing is left to be pushed that happened before now: events of one process may be far behind those of
    /// others that were pushed already.
    pub fn forget_expired(&mut self, now: &Moment) {
        let longest = self.parameters.span_ms().saturating_add(SLACK_MS);
        while self.processes.peek_lru().is_some_and(|(_, process)| process.last.millis_until(now) > longest) {
            self.forget_first();
            self.expired += 1;
        }
    }

    /// Forgets the process heard of longest ago.
    fn forget_first(&mut self) {
        if let Some((_, first)) = self.processes.pop_lru() {
            self.waiting -= first.process.waiting();
        }
    }
}

#[cfg(test)]
mod inherited_tests;
#[cfg(test)]
mod tests;
