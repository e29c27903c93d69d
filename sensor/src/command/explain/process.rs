//! The events of one process, and the nearest it came to a match.

use super::FARTHEST;
use super::why::unmet;
use crate::alert::text::{actor, command_line, deed};
use crate::command::replay::stream::{Place, Step};
use crate::detect::moment::Moment;
use crate::detect::rule::{Parameters, Rule};
use crate::detect::sequence::{Process, Taken, Waiting};
use crate::event::WallTime;
use crate::event::facts::Facts;
use serde_json::Value;

/// A miss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss {
    /// How many conditions fail.
    pub failing: usize,
    /// Where the execution stands among all events.
    pub place: Place,
    /// The explanation.
    pub line: String,
}

/// Goes through the events of one process in their order.
#[derive(Debug)]
pub struct Judge<'j> {
    rule: &'static Rule,
    parameters: &'j Parameters,
    state: Process<Connected>,
    /// The latest event of the sort of a connection, and whether an execution has taken it.
    latest: Option<(Connected, bool)>,
    matches: u64,
    nearest: Option<Miss>,
}

/// An event of the sort of a connection.
#[derive(Clone, Debug)]
struct Connected {
    at: Moment,
    /// `connected to 198.51.100.1:4444`
    deed: String,
    /// What it lacks to be the rule's connection.
    unmet: Vec<String>,
}

impl<'j> Judge<'j> {
    /// A process of which nothing has been seen.
    #[must_use]
    pub fn new(rule: &'static Rule, parameters: &'j Parameters) -> Self {
        Self { rule, parameters, state: Process::default(), latest: None, matches: 0, nearest: None }
    }

    /// How often the rule matches.
    #[must_use]
    pub fn matches(&self) -> u64 {
        self.matches
    }

    /// The nearest miss.
    #[must_use]
    pub fn nearest(self) -> Option<Miss> {
        self.nearest
    }

    /// Takes the next event of the process, with its line.
    pub fn step(&mut self, step: &Step, line: &[u8]) {
        // It was kept because it is an event.
        let (Ok(facts), Ok(document)) = (Facts::from_slice(line), serde_json::from_slice::<Value>(line)) else {
            return;
        };
        if step.is_exec {
            self.exec(step, &facts, &document);
        } else {
            self.connection(step, &facts, &document);
        }
    }

    fn connection(&mut self, step: &Step, facts: &Facts<'_>, document: &Value) {
        let unmet = unmet(&self.rule.connection.condition, facts, &self.parameters.excluded);
        let connected = Connected { at: step.at, deed: deed(document), unmet };
        if connected.unmet.is_empty() {
            let waiting = Waiting { at: step.at, arm: step.arm, payload: connected.clone() };
            if !self.state.connect(waiting) {
                return;
            }
        }
        // A connection that counts is better than a later one that does not.
        let better = |(latest, taken): &(Connected, bool)| {
            *taken || connected.unmet.is_empty() || !latest.unmet.is_empty() || self.is_old(latest, &step.at)
        };
        if self.latest.as_ref().is_none_or(better) {
            self.latest = Some((connected, false));
        }
    }

    fn is_old(&self, connected: &Connected, now: &Moment) -> bool {
        connected.at.millis_until(now) > self.parameters.span_ms()
    }

    fn exec(&mut self, step: &Step, facts: &Facts<'_>, document: &Value) {
        let mut unmet = unmet(&self.rule.exec.condition, facts, &self.parameters.excluded);
        if unmet.is_empty()
            && let Taken::Match(connection, _) = self.state.execute(&step.at, self.parameters.span_ms())
        {
            self.matches += 1;
            self.latest = Some((connection.payload, true));
            return;
        }
        let Some((connected, taken)) = &self.latest else { return };
        let elapsed = connected.at.millis_until(&step.at);
        unmet.extend(connected.unmet.iter().cloned());
        if self.is_old(connected, &step.at) {
            unmet.push(format!("that is longer than {} s", self.parameters.span.as_secs_f64()));
        }
        if *taken {
            unmet.push("an earlier execution has taken that connection".to_owned());
        }
        if unmet.is_empty() {
            unmet.push("the connection came later".to_owned());
        }
        let failing = unmet.len();
        if failing > FARTHEST || self.nearest.as_ref().is_some_and(|nearest| nearest.failing <= failing) {
            return;
        }
        let time = WallTime(step.at.wall.0.saturating_mul(1_000_000));
        let actor = actor(document);
        let command = command_line(document).map(|command| format!(" \"{command}\"")).unwrap_or_default();
        let line = format!(
            "{time} {actor} executed{command} {elapsed} ms after it {}, but {}",
            connected.deed,
            unmet.join("; "),
        );
        self.nearest = Some(Miss { failing, place: step.place, line });
    }
}
