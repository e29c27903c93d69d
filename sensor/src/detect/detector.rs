//! All rules together: one execution, one finding, however many of them match.
//!
//! Each rule has a correlator of its own, which is given every event whether the rule is on or not, so that a rule that is turned on knows the
//! connections that were made before.

use super::correlator::{Correlator, Match, Outcome, Stats};
use super::moment::{Key, Moment};
use super::rule::{Parameters, RULES, Rule};
use crate::event::facts::{Facts, Field};

/// What the rules make of an execution.
#[derive(Clone, Debug)]
pub struct Found<P> {
    /// The rule that names the alert.
    pub rule: &'static Rule,
    /// The other rules that match.
    pub others: Vec<&'static Rule>,
    /// The connection, and the milliseconds since. None if there is none, or if it is assumed.
    pub connection: Option<(P, u64)>,
    /// The arguments of which an unsearched part had to be taken as what the first rule asks for.
    pub assumed: Vec<Field>,
}

impl<P> Found<P> {
    /// All rules that match, the one that names the alert first.
    pub fn rules(&self) -> impl Iterator<Item = &'static Rule> {
        std::iter::once(self.rule).chain(self.others.iter().copied())
    }
}

/// The state of all rules.
#[derive(Debug)]
pub struct Detector<P> {
    parameters: Parameters,
    correlators: Vec<Correlator<P>>,
}

impl<P: Clone> Detector<P> {
    /// One that has seen nothing, and remembers at most so many processes for each rule that asks for a connection.
    #[must_use]
    pub fn new(parameters: Parameters, max_processes: usize) -> Self {
        let correlators =
            RULES.into_iter().map(|rule| Correlator::new(rule, parameters.clone(), max_processes)).collect();
        Self { parameters, correlators }
    }

    /// Changes the parameters for the events to come, and which rules are on.
    pub fn set_parameters(&mut self, parameters: &Parameters) {
        self.parameters = parameters.clone();
        self.correlators.iter_mut().for_each(|one| one.set_parameters(parameters.clone()));
    }

    /// Whether a connection is known to a rule: see [`Correlator::holds`].
    #[must_use]
    pub fn holds(&self, key: &Key, at: &Moment, arm: u64) -> bool {
        self.correlators.iter().any(|one| one.holds(key, at, arm))
    }

    /// The connection that an execution of this time would take: see [`Correlator::matching`].
    #[must_use]
    pub fn matching(&self, key: &Key, at: &Moment, arm: Option<u64>) -> Option<&P> {
        self.correlators.iter().find_map(|one| one.matching(key, at, arm))
    }

    /// Takes in an event. `assume` says of an execution that a connection may have been missed: then a rule that requires one takes it as
    /// made.
    pub fn push(&mut self, facts: &Facts<'_>, payload: &P, assume: bool) -> Option<Found<P>> {
        let mut found: Option<Found<P>> = None;
        for correlator in &mut self.correlators {
            let (connection, assumed) = match correlator.push(facts, payload.clone()) {
                Outcome::Match(Match { connection, assumed, .. }) => (connection, assumed),
                Outcome::NoConnection if assume => (None, Vec::new()),
                _ => continue,
            };
            let rule = correlator.rule();
            if !self.parameters.is_on(rule) {
                continue;
            }
            match &mut found {
                None => found = Some(Found { rule, others: Vec::new(), connection, assumed }),
                Some(found) => found.others.push(rule),
            }
        }
        found
    }

    /// Forgets what cannot match any more: see [`Correlator::forget_expired`].
    pub fn forget_expired(&mut self, now: &Moment) {
        self.correlators.iter_mut().for_each(|one| one.forget_expired(now));
    }

    /// Figures for metrics: of the rule that remembers most.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let all = self.correlators.iter().map(Correlator::stats);
        all.reduce(|one, other| Stats {
            processes: one.processes.max(other.processes),
            expired: one.expired.max(other.expired),
            evicted: one.evicted.max(other.evicted),
        })
        .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn connection(at: i64) -> Value {
        json!({
            "@timestamp": at,
            "event": {"category": "network", "type": "start", "action": "connection_attempted"},
            "host": {"id": "h"},
            "process": {"entity_id": "p", "name": "bash"},
            "destination": {"ip": "198.51.100.1"},
        })
    }

    fn exec(at: i64, args: &[&str], remote: Option<&str>) -> Value {
        let stream = |fd: u8| json!({"fd": fd, "kind": "tcp", "remote": {"ip": remote}});
        json!({
            "@timestamp": at,
            "event": {"category": "process", "type": "start", "action": "exec"},
            "host": {"id": "h"},
            "process": {"entity_id": "p", "name": "bash", "args": args},
            "sensor": {"stdio": [stream(0), stream(1)]},
        })
    }

    /// Ids of rules, and the connection.
    type Told = (Vec<&'static str>, Option<(u8, u64)>);

    fn push(detector: &mut Detector<u8>, event: &Value, payload: u8, assume: bool) -> Option<Told> {
        let found = detector.push(&Facts::from_value(event).unwrap(), &payload, assume)?;
        Some((found.rules().map(|rule| rule.id).collect(), found.connection))
    }

    const CHILD: &str = "reverse-shell-via-child";
    const SOCKET: &str = "shell-on-socket";

    #[test]
    fn one_execution_gives_one_finding_of_all_rules_that_match() {
        let mut detector = Detector::new(Parameters::default(), 8);
        assert_eq!(push(&mut detector, &connection(1000), 1, false), None);
        let found = push(&mut detector, &exec(1100, &["bash", "-i"], Some("198.51.100.1")), 2, false);
        assert_eq!(found, Some((vec![CHILD, SOCKET], Some((1, 100)))));
        // The connection is taken; the streams are what they are.
        let found = push(&mut detector, &exec(1200, &["bash", "-i"], Some("198.51.100.1")), 3, false);
        assert_eq!(found, Some((vec![SOCKET], None)));
    }

    #[test]
    fn a_rule_that_asks_for_no_connection_matches_whatever_was_before() {
        let mut detector = Detector::new(Parameters::default(), 8);
        let found = push(&mut detector, &exec(1000, &["bash"], Some("198.51.100.1")), 1, false);
        assert_eq!(found, Some((vec![SOCKET], None)));
        push(&mut detector, &connection(2000), 2, false);
        let found = push(&mut detector, &exec(2100, &["bash"], Some("198.51.100.1")), 3, false);
        assert_eq!(found, Some((vec![SOCKET], None)), "the connection is still the other rule's");
        let found = push(&mut detector, &exec(2200, &["bash", "-i"], Some("198.51.100.1")), 4, false);
        assert_eq!(found, Some((vec![CHILD, SOCKET], Some((2, 200)))));
        assert_eq!(push(&mut detector, &exec(2300, &["bash"], Some("127.0.0.1")), 5, false), None);
        assert_eq!(push(&mut detector, &exec(2400, &["bash"], None), 6, false), None);
        assert_eq!(detector.stats().processes, 1);
    }

    #[test]
    fn a_rule_that_is_off_finds_nothing_and_forgets_nothing() {
        let mut detector = Detector::new(Parameters::default(), 8);
        let off = |disabled: &[&'static str]| Parameters { disabled: disabled.to_vec(), ..Parameters::default() };
        detector.set_parameters(&off(&[CHILD]));
        push(&mut detector, &connection(1000), 1, false);
        detector.set_parameters(&off(&[SOCKET]));
        let shell = |at| exec(at, &["bash", "-i"], Some("198.51.100.1"));
        assert_eq!(push(&mut detector, &shell(1100), 2, false), Some((vec![CHILD], Some((1, 100)))));
        assert_eq!(push(&mut detector, &shell(1200), 2, false), None);
        detector.set_parameters(&off(&[]));
        assert_eq!(push(&mut detector, &shell(1300), 2, false), Some((vec![SOCKET], None)));
    }

    #[test]
    fn what_may_have_been_missed_is_assumed_for_the_rule_that_needs_it() {
        let mut detector = Detector::new(Parameters::default(), 8);
        assert_eq!(push(&mut detector, &exec(1, &["bash", "-i"], None), 1, true), Some((vec![CHILD], None)));
        assert_eq!(push(&mut detector, &exec(1, &["bash"], None), 1, true), None);
        let found = push(&mut detector, &exec(1, &["bash", "-i"], Some("::ffff:198.51.100.1")), 1, true);
        assert_eq!(found, Some((vec![CHILD, SOCKET], None)));
    }
}
