//! The matches of a stream, in the order of their executions.

use super::bytes::{join, take};
use super::input::Stop;
use super::sorter::Sorter;
use super::store::{Kept, Store};
use super::stream::{KEPT, PLACE, Step, Steps, Stream, kept_bytes, place_bytes, take_kept};
use crate::detect::rule::Rule;
use crate::detect::sequence::{Process, Taken, Waiting};
use std::io;

/// A match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The rule, by its number in the list that the stream was given.
    pub rule: u8,
    /// The connection's line, if there is one.
    pub connection: Option<Kept>,
    /// The execution's line.
    pub exec: Kept,
}

/// Place of the execution, rule, whether there is a connection, its line or the execution's instead, the execution's line.
const MATCH: usize = PLACE + 1 + 1 + 2 * KEPT;

/// Gives the matches of a stream: for each execution all rules that it matches, the first rule first.
///
/// # Errors
/// When events cannot be put aside or read back, or `give` fails.
pub fn matches(
    stream: Stream<'_>,
    rules: &[&'static Rule],
    span_ms: u64,
    hold: usize,
    mut give: impl FnMut(&Store, &[Found]) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let (steps, lines) = stream.steps().map_err(Stop::Spill)?;
    let mut matches = judge(steps, rules, span_ms, hold).and_then(Sorter::sorted).map_err(Stop::Spill)?;
    let mut of_one_exec: Vec<Found> = Vec::new();
    let mut place = [0; PLACE];
    while let Some(record) = matches.pop().map_err(Stop::Spill)? {
        let mut record = &record[..];
        let own = take(&mut record);
        let [rule, connected] = take(&mut record);
        if own != place && !of_one_exec.is_empty() {
            give(&lines, &of_one_exec)?;
            of_one_exec.clear();
        }
        place = own;
        let connection = Some(take_kept(&mut record)).filter(|_| connected == 1);
        of_one_exec.push(Found { rule, connection, exec: take_kept(&mut record) });
    }
    if of_one_exec.is_empty() { Ok(()) } else { give(&lines, &of_one_exec) }
}

/// Takes each process through the state machine.
fn judge(mut steps: Steps, rules: &[&'static Rule], span_ms: u64, hold: usize) -> io::Result<Sorter<MATCH>> {
    let mut matches = Sorter::new(hold);
    let mut current = None;
    let mut state = Process::default();
    while let Some(Step { rule, process, place, is_exec, at, arm, line }) = steps.pop()? {
        if current.replace((rule, process)) != Some((rule, process)) {
            state = Process::default();
        }
        if !is_exec {
            state.connect(Waiting { at, arm, payload: line });
        } else {
            let connection = match state.execute(&at, arm, span_ms) {
                Taken::Match(connection, _) => Some(connection.payload),
                _ if rules.get(usize::from(rule)).is_some_and(|rule| !rule.requires_connection()) => None,
                _ => continue,
            };
            let kept = kept_bytes(connection.unwrap_or(line));
            let head = [rule, u8::from(connection.is_some())];
            matches.push(join(&[&place_bytes(place), &head, &kept, &kept_bytes(line)]))?;
        }
    }
    Ok(matches)
}
