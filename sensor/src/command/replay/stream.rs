//! One stream of events: what is kept of it, and in which order it is judged.
//!
//! Events are ordered by (time in milliseconds, network before process, position in the input). Two events of one boot
//! of a host that runs this sensor are ordered by `event.sequence` instead, so that a replay repeats what the live run
//! did: an event whose place lies before that of an event with a lower sequence follows directly behind that one. Only
//! events of one process can match each other, so the process comes first in the sort key, and whoever judges needs the
//! state of one process at a time.

use super::Stop;
use super::sorter::{Sorted, Sorter};
use crate::detect::moment::{Digest, Key, Moment};
use crate::detect::rule::{Parameters, Rule, Stage, Unsearched};
use crate::event::facts::{Facts, NotAnEvent};
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

/// An event of a process, in the order of that process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The rule, by its number in the list that the stream was given, and the process.
    pub process: (u8, [u8; 32]),
    /// Where the event stands among those of all processes.
    pub place: Place,
    /// Whether it is kept as the rule's second stage, or as the first.
    pub is_exec: bool,
    /// The line.
    pub line: Vec<u8>,
}

/// Where an event stands: milliseconds of the wall clock, network before process, position in the stream, rank among the
/// events that were moved there. No two events have the same.
pub type Place = (i64, u8, u64, u64);

/// Bytes of a place in a sort key.
pub const PLACE: usize = 8 + 1 + 8 + 8;
/// Rule, process, stage.
const TAIL: usize = 1 + 32 + 1;
/// Boot, sequence, boot time, place, tail: the order within a boot, and what the next sorter is told.
const BOOT_KEY: usize = 32 + 8 + 8 + PLACE + TAIL;
/// The tail's rule and process, place, the tail's stage.
const PROCESS_KEY: usize = TAIL + PLACE;

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
    /// Events whose place depends on their sequence within a boot.
    booted: Sorter<BOOT_KEY>,
    events: Sorter<PROCESS_KEY>,
}

impl<'s> Stream<'s> {
    /// A stream of which the events that matter to these rules are kept, at most `hold` at a time in memory.
    #[must_use]
    pub fn new(keep: Keep, rules: &'s [&'static Rule], parameters: &'s Parameters, hold: usize) -> Self {
        Self { keep, rules, parameters, position: 0, booted: Sorter::new(hold), events: Sorter::new(hold) }
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
        let is_network = stages.iter().any(|(_, stage, _)| *stage == CONNECTION);
        let place = (facts.time.0, u8::from(!is_network), self.position, 0);
        let boot = Moment::of(&facts).boot;
        for (rule, stage, key) in stages {
            match boot {
                None => self.events.push(process_key(rule, key.bytes(), place, stage), &[line]),
                Some(boot) => {
                    let Digest(id) = boot.id;
                    let sequence = boot.sequence.unwrap_or(0).to_be_bytes();
                    let at = boot.at.0.to_be_bytes();
                    let parts: [&[u8]; 7] = [&id, &sequence, &at, &bytes(place), &[rule], &key.bytes(), &[stage]];
                    self.booted.push(concat(&parts), &[line])
                }
            }
            .map_err(Stop::Spill)?;
        }
        Ok(Line::Kept)
    }

    /// For which stages of which rules an event is kept, and under which process.
    fn stages(&self, facts: &Facts<'_>) -> Vec<(u8, u8, Key)> {
        let wanted = |stage: &Stage| match self.keep {
            Keep::Stages => stage.holds(facts, &self.parameters.excluded, Unsearched::Holds),
            Keep::Sorts => stage.event.holds(facts, &self.parameters.excluded, Unsearched::Holds),
        };
        let mut stages = Vec::new();
        for (number, rule) in (0..).zip(self.rules) {
            for (name, stage) in [(EXEC, &rule.exec), (CONNECTION, &rule.connection)] {
                if let Some(key) = wanted(stage).then(|| stage.key(facts)).flatten() {
                    stages.push((number, name, key));
                }
            }
        }
        stages
    }

    /// The events, process by process.
    ///
    /// # Errors
    /// When events cannot be put aside or read back.
    pub fn steps(self) -> io::Result<Steps> {
        let Self { booted, mut events, .. } = self;
        let mut booted = booted.sorted()?;
        let mut before: Option<([u8; 32], Place)> = None;
        let mut last = 0;
        let mut rank = 0;
        while let Some((key, line)) = booted.pop()? {
            let mut key = &key[..];
            let boot = take::<32>(&mut key);
            let [_sequence, _at] = [take::<8>(&mut key), take::<8>(&mut key)];
            let own = place(&mut key);
            let [rule] = take(&mut key);
            let process = take(&mut key);
            let [stage] = take(&mut key);
            // One event can be kept several times; its place is one.
            rank += u64::from(own.2 != last);
            last = own.2;
            let latest = before.filter(|(same, _)| *same == boot).map_or(own, |(_, latest)| latest.max(own));
            before = Some((boot, latest));
            let place = (latest.0, latest.1, latest.2, rank);
            events.push(process_key(rule, process, place, stage), &[&line])?;
        }
        Ok(Steps(events.sorted()?))
    }
}

/// Events process by process, each process's in its order.
#[derive(Debug)]
pub struct Steps(Sorted<PROCESS_KEY>);

impl Steps {
    /// The next event.
    ///
    /// # Errors
    /// When events that were put aside cannot be read back.
    pub fn pop(&mut self) -> io::Result<Option<Step>> {
        let Some((key, line)) = self.0.pop()? else { return Ok(None) };
        let mut key = &key[..];
        let [rule] = take(&mut key);
        let process = take(&mut key);
        let place = place(&mut key);
        let [stage] = take(&mut key);
        Ok(Some(Step { process: (rule, process), place, is_exec: stage == EXEC, line }))
    }
}

fn process_key(rule: u8, process: [u8; 32], place: Place, stage: u8) -> [u8; PROCESS_KEY] {
    concat(&[&[rule], &process, &bytes(place), &[stage]])
}

/// A place as bytes in the same order.
#[must_use]
pub fn bytes((millis, category, position, rank): Place) -> [u8; PLACE] {
    let millis = millis.cast_unsigned() ^ (1 << 63);
    concat(&[&millis.to_be_bytes(), &[category], &position.to_be_bytes(), &rank.to_be_bytes()])
}

fn place(key: &mut &[u8]) -> Place {
    let millis = u64::from_be_bytes(take(key)) ^ (1 << 63);
    let [category] = take(key);
    (millis.cast_signed(), category, u64::from_be_bytes(take(key)), u64::from_be_bytes(take(key)))
}

/// Joins parts whose lengths add up to `N`.
fn concat<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut whole = [0; N];
    for (to, from) in whole.iter_mut().zip(parts.iter().copied().flatten()) {
        *to = *from;
    }
    whole
}

/// Takes the first `N` bytes off.
fn take<const N: usize>(from: &mut &[u8]) -> [u8; N] {
    let Some((head, rest)) = from.split_first_chunk() else { return [0; N] };
    *from = rest;
    *head
}
