//! One stream of events: what is kept of it, and in which order it is judged.
//!
//! Events are ordered by (time in milliseconds, network before process, position in the input). Two events of one boot
//! of a host that runs this sensor are ordered by `event.sequence` instead, so that a replay repeats what the live run
//! did: an event whose place lies before that of an event with a lower sequence follows directly behind that one. Only
//! events of one process can match each other, so the process comes first in the sort key, and whoever judges needs the
//! state of one process at a time.

use super::bytes::{join, number, optional, signed, take, take_optional, unsigned};
use super::input::Stop;
use super::sorter::{Sorted, Sorter};
use super::store::{Kept, Store};
use crate::detect::correlator::exec_inherits;
use crate::detect::moment::{BootMoment, Digest, Key, Moment};
use crate::detect::rule::{Parameters, Rule, Stage, Unsearched};
use crate::event::BootTime;
use crate::event::facts::{Facts, Field, Millis, NotAnEvent};
use std::io;

/// Which events are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Those that are a stage of a rule.
    Stages,
    /// Those of the sort of a stage, whatever else a rule asks of them.
    Sorts,
}

/// What became of a line.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// It is an event and was kept.
    Kept,
    /// It is an event of no interest.
    Passed,
    /// It is no event.
    Malformed(NotAnEvent),
}

/// An event of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The rule, by its number in the list that the stream was given.
    pub rule: u8,
    /// The process.
    pub process: [u8; 32],
    /// Where the event stands among those of all processes.
    pub place: Place,
    /// Whether it is kept as the rule's second stage, or as the first.
    pub is_exec: bool,
    /// When it happened.
    pub at: Moment,
    /// Identity of the connection; of an execution, that of the connection which it names.
    pub arm: Option<u64>,
    /// Its line.
    pub line: Kept,
}

/// Where an event stands: milliseconds of the wall clock, network before process, position in the stream, rank among the
/// events that were moved there. No two events have the same.
pub type Place = (i64, u8, u64, u64);

/// Bytes of a place.
pub const PLACE: usize = 8 + 1 + 8 + 8;
/// Bytes of a step.
const STEP: usize = 1 + 32 + PLACE + 1 + (8 + 1 + 32 + 8 + 9) + 9 + KEPT;
/// Bytes of where a line is kept.
pub const KEPT: usize = 8 + 4;
/// Bytes of the order within a boot: boot, sequence, boot time, position.
const BOOT: usize = 32 + 8 + 8 + 8;

/// An execution stands before a connection if one document is both: it cannot take itself.
const EXEC: u8 = 0;
const CONNECTION: u8 = 1;

/// Takes the lines of a stream, then gives the events that matter.
#[derive(Debug)]
pub struct Stream<'s> {
    keep: Keep,
    rules: &'s [&'static Rule],
    parameters: &'s Parameters,
    position: u64,
    keyless: u64,
    lines: Store,
    /// Events whose place depends on their sequence within a boot.
    booted: Sorter<{ BOOT + STEP }>,
    events: Sorter<STEP>,
}

impl<'s> Stream<'s> {
    /// A stream of which the events that matter to these rules are kept, at most `hold` at a time in memory.
    #[must_use]
    pub fn new(keep: Keep, rules: &'s [&'static Rule], parameters: &'s Parameters, hold: usize) -> Self {
        let (booted, events) = (Sorter::new(hold), Sorter::new(hold));
        Self { keep, rules, parameters, position: 0, keyless: 0, lines: Store::default(), booted, events }
    }

    /// Events so far that would have been kept if they said which process they belong to.
    #[must_use]
    pub fn keyless(&self) -> u64 {
        self.keyless
    }

    /// Takes the next line.
    ///
    /// # Errors
    /// When events that do not fit into memory cannot be put aside.
    pub fn line(&mut self, line: &[u8]) -> Result<Line, Stop> {
        let facts = match Facts::from_slice(line) {
            Ok(facts) => facts,
            Err(error) => return Ok(Line::Malformed(error)),
        };
        let stages = self.stages(&facts);
        if stages.is_empty() {
            return Ok(Line::Passed);
        }
        self.position += 1;
        self.take(&facts, &stages, line).map_err(Stop::Spill)?;
        Ok(Line::Kept)
    }

    fn take(&mut self, facts: &Facts<'_>, stages: &[(u8, u8, Key)], line: &[u8]) -> io::Result<()> {
        let is_network = stages.iter().any(|(_, stage, _)| *stage == CONNECTION);
        let place = (facts.time.0, u8::from(!is_network), self.position, 0);
        let line = self.lines.push(line)?;
        let at = Moment::of(facts);
        for (rule, stage, key) in stages {
            let named = self.rules.get(usize::from(*rule)).and_then(|rule| exec_inherits(rule, facts));
            let arm = if *stage == EXEC { named } else { facts.arm };
            let step =
                Step { rule: *rule, process: key.bytes(), place, is_exec: *stage == EXEC, at, arm, line }.to_bytes();
            match at.boot {
                None => self.events.push(step)?,
                Some(BootMoment { id: Digest(id), at, sequence }) => {
                    let [sequence, at, position] = [sequence.unwrap_or(0), at.0, self.position].map(u64::to_be_bytes);
                    self.booted.push(join(&[&id, &sequence, &at, &position, &step]))?;
                }
            }
        }
        Ok(())
    }

    /// For which stages of which rules an event is kept, and under which process.
    fn stages(&mut self, facts: &Facts<'_>) -> Vec<(u8, u8, Key)> {
        let wanted = |stage: &Stage| match self.keep {
            Keep::Stages => stage.holds(facts, self.parameters, Unsearched::Holds),
            Keep::Sorts => stage.event.holds(facts, self.parameters, Unsearched::Holds),
        };
        let mut stages = Vec::new();
        let mut keyless = false;
        for (number, rule) in (0..).zip(self.rules) {
            let connection = rule.connection.as_ref().map(|stage| (CONNECTION, stage));
            for (name, stage) in [(EXEC, &rule.exec)].into_iter().chain(connection) {
                if wanted(stage) {
                    match stage.key(facts) {
                        Some(key) => stages.push((number, name, key)),
                        // One that only lacks what a single rule asks for is of no interest to that rule.
                        None => keyless |= [Field::HostId, Field::EntityId].iter().any(|of| facts.first(*of).is_none()),
                    }
                }
            }
        }
        self.keyless += u64::from(keyless);
        stages
    }

    /// The events, process by process, and their lines.
    ///
    /// # Errors
    /// When events cannot be put aside or read back.
    pub fn steps(self) -> io::Result<(Steps, Store)> {
        let Self { booted, mut events, lines, .. } = self;
        let mut booted = booted.sorted()?;
        let mut before: Option<([u8; 32], Place)> = None;
        let mut last = 0;
        let mut rank = 0;
        while let Some(record) = booted.pop()? {
            let mut record = &record[..];
            let boot = take(&mut record);
            let [_sequence, _at, position] = [(); 3].map(|()| number(&mut record));
            let mut step = Step::from_bytes(record);
            // One event can be kept several times; its place is one.
            rank += u64::from(position != last);
            last = position;
            let latest =
                before.filter(|(same, _)| *same == boot).map_or(step.place, |(_, latest)| latest.max(step.place));
            before = Some((boot, latest));
            step.place = (latest.0, latest.1, latest.2, rank);
            events.push(step.to_bytes())?;
        }
        Ok((Steps(events.sorted()?), lines))
    }
}

/// Events process by process, each process's in its order.
#[derive(Debug)]
pub struct Steps(Sorted<STEP>);

impl Steps {
    /// The next event.
    ///
    /// # Errors
    /// When events that were put aside cannot be read back.
    pub fn pop(&mut self) -> io::Result<Option<Step>> {
        Ok(self.0.pop()?.map(|record| Step::from_bytes(&record)))
    }
}

impl Step {
    /// As bytes that are ordered by rule, process, place, stage.
    fn to_bytes(self) -> [u8; STEP] {
        let Self { rule, process, place, is_exec, at: Moment { wall, boot }, arm, line } = self;
        let BootMoment { id: Digest(id), at, sequence } =
            boot.unwrap_or(BootMoment { id: Digest([0; 32]), at: BootTime(0), sequence: None });
        join(&[
            &[rule],
            &process,
            &place_bytes(place),
            &[if is_exec { EXEC } else { CONNECTION }],
            &unsigned(wall.0).to_be_bytes(),
            &[u8::from(boot.is_some())],
            &id,
            &at.0.to_be_bytes(),
            &optional(sequence),
            &optional(arm),
            &kept_bytes(line),
        ])
    }

    fn from_bytes(mut from: &[u8]) -> Self {
        let from = &mut from;
        let [rule] = take(from);
        let process = take(from);
        let place = {
            let millis = signed(number(from));
            let [category] = take(from);
            (millis, category, number(from), number(from))
        };
        let [stage] = take(from);
        let wall = Millis(signed(number(from)));
        let [booted] = take(from);
        let boot = BootMoment { id: Digest(take(from)), at: BootTime(number(from)), sequence: take_optional(from) };
        let at = Moment { wall, boot: (booted == 1).then_some(boot) };
        let arm = take_optional(from);
        Self { rule, process, place, is_exec: stage == EXEC, at, arm, line: take_kept(from) }
    }
}

/// A place as bytes in the same order.
#[must_use]
pub fn place_bytes((millis, category, position, rank): Place) -> [u8; PLACE] {
    let [millis, position, rank] = [unsigned(millis), position, rank].map(u64::to_be_bytes);
    join(&[&millis, &[category], &position, &rank])
}

/// Where a line is kept, as bytes.
#[must_use]
pub fn kept_bytes(Kept { start, length }: Kept) -> [u8; KEPT] {
    join(&[&start.to_be_bytes(), &length.to_be_bytes()])
}

/// Takes off where a line is kept.
#[must_use]
pub fn take_kept(from: &mut &[u8]) -> Kept {
    Kept { start: number(from), length: u32::from_be_bytes(take(from)) }
}
