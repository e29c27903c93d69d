//! The events of one process, and the nearest it came to a match.

use super::FARTHEST;
use super::why::unmet;
use crate::alert::text::{SAME, actor, command_line, deed, maker};
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
    /// The latest execution that would match if a connection had been before it.
    bare: Option<Executed>,
    matches: u64,
    nearest: Option<Miss>,
}

/// An event of the sort of a connection.
#[derive(Clone, Debug)]
struct Connected {
    at: Moment,
    /// `connected to 198.51.100.1:4444`
    deed: String,
    document: Value,
    /// What it lacks to be the rule's connection.
    unmet: Vec<String>,
}

/// An event of the sort of an execution.
#[derive(Clone, Debug)]
struct Executed {
    at: Moment,
    place: Place,
    /// `2026-05-28T20:26:41.700000000Z bash (pid 42) executed "bash -i"`
    deed: String,
    document: Value,
}

impl Executed {
    fn new(step: &Step, document: &Value) -> Self {
        let time = WallTime(step.at.wall.0.saturating_mul(1_000_000));
        let command = command_line(document).map(|command| format!(" \"{command}\"")).unwrap_or_default();
        Self {
            at: step.at,
            place: step.place,
            deed: format!("{time} {} executed{command}", actor(document)),
            document: document.clone(),
        }
    }
}

impl<'j> Judge<'j> {
    /// A process of which nothing has been seen.
    #[must_use]
    pub fn new(rule: &'static Rule, parameters: &'j Parameters) -> Self {
        Self { rule, parameters, state: Process::default(), latest: None, bare: None, matches: 0, nearest: None }
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
        let Some(stage) = &self.rule.connection else { return };
        let unmet = unmet("the connecting program", &stage.condition, facts, self.parameters);
        let connected = Connected { at: step.at, deed: deed(document), document: document.clone(), unmet };
        if connected.unmet.is_empty() {
            let waiting = Waiting { at: step.at, arm: step.arm, payload: connected.clone() };
            if !self.state.connect(waiting) {
                return;
            }
            self.executed_before(&connected);
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
        let condition = &self.rule.exec.condition;
        let mut unmet = unmet("the executed program", condition, facts, self.parameters);
        if !self.rule.requires_connection() {
            return self.alone(step, document, &unmet);
        }
        if unmet.is_empty()
            && let Taken::Match(connection, _) = self.state.execute(&step.at, step.arm, self.parameters.span_ms())
        {
            self.matches += 1;
            self.latest = Some((connection.payload, true));
            return;
        }
        let executed = Executed::new(step, document);
        let Some((connected, taken)) = &self.latest else {
            self.bare = Some(executed).filter(|_| unmet.is_empty());
            return;
        };
        if step.at.is_before(&connected.at) {
            let connected = connected.clone();
            self.bare = Some(executed).filter(|_| unmet.is_empty());
            return self.executed_before(&connected);
        }
        let elapsed = connected.at.millis_until(&step.at);
        unmet.extend(connected.unmet.iter().cloned());
        if self.is_old(connected, &step.at) {
            unmet.push(format!("{elapsed} ms is more than the span of {} s", self.parameters.span.as_secs_f64()));
        }
        if *taken {
            unmet.push("an earlier execution has taken that connection".to_owned());
        }
        let line = format!(
            "{} {elapsed} ms after {} {}, but {}",
            executed.deed,
            it(&executed.document, &connected.document),
            connected.deed,
            unmet.join("; ")
        );
        self.miss(Miss { failing: unmet.len(), place: executed.place, line });
    }

    /// An execution that is judged by itself.
    fn alone(&mut self, step: &Step, document: &Value, unmet: &[String]) {
        if unmet.is_empty() {
            self.matches += 1;
            return;
        }
        let Executed { place, deed, .. } = Executed::new(step, document);
        let line = format!("{deed}, but {}", unmet.join("; "));
        self.miss(Miss { failing: unmet.len(), place, line });
    }

    /// A connection behind an execution that lacked nothing else.
    fn executed_before(&mut self, connected: &Connected) {
        let Some(Executed { at, place, deed, document }) = self.bare.take() else { return };
        let elapsed = at.millis_until(&connected.at);
        if elapsed <= self.parameters.span_ms() && connected.unmet.is_empty() {
            let it = it(&document, &connected.document);
            let line =
                format!("{deed} {elapsed} ms before {it} {}, but the connection must come first", connected.deed);
            self.miss(Miss { failing: 1, place, line });
        }
    }

    fn miss(&mut self, miss: Miss) {
        if miss.failing <= FARTHEST && self.nearest.as_ref().is_none_or(|nearest| miss.failing < nearest.failing) {
            self.nearest = Some(miss);
        }
    }
}

/// Who made a connection, in a sentence about the process that executed something.
fn it(exec: &Value, connection: &Value) -> String {
    match maker(exec, connection) {
        same if same == SAME => "it".to_owned(),
        other => other,
    }
}
