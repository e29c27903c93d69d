//! The matches of a stream, in the order of their executions.

use super::bytes::{join, take};
use super::input::Stop;
use super::sorter::Sorter;
use super::store::{Kept, Store};
use super::stream::{KEPT, PLACE, Step, Steps, Stream, kept_bytes, place_bytes, take_kept};
use crate::detect::sequence::{Process, Taken, Waiting};
use std::io;

/// A match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The rule, by its number in the list that the stream was given.
    pub rule: u8,
    /// The connection's line.
    pub connection: Kept,
    /// The execution's line.
    pub exec: Kept,
}

/// Place of the execution, rule, the two lines.
const MATCH: usize = PLACE + 1 + 2 * KEPT;

/// Gives the matches of a stream: for each execution all rules that it matches, the first rule first.
///
/// # Errors
/// When events cannot be put aside or read back, or `give` fails.
pub fn matches(
    stream: Stream<'_>,
    span_ms: u64,
    hold: usize,
    mut give: impl FnMut(&Store, &[Found]) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let (steps, lines) = stream.steps().map_err(Stop::Spill)?;
    let mut matches = judge(steps, span_ms, hold).and_then(Sorter::sorted).map_err(Stop::Spill)?;
    let mut of_one_exec: Vec<Found> = Vec::new();
    let mut place = [0; PLACE];
    while let Some(record) = matches.pop().map_err(Stop::Spill)? {
        let mut record = &record[..];
        let own = take(&mut record);
        let [rule] = take(&mut record);
        if own != place && !of_one_exec.is_empty() {
            give(&lines, &of_one_exec)?;
            of_one_exec.clear();
        }
        place = own;
        of_one_exec.push(Found { rule, connection: take_kept(&mut record), exec: take_kept(&mut record) });
    }
    if of_one_exec.is_empty() { Ok(()) } else { give(&lines, &of_one_exec) }
}

/// Takes each process through the state machine.
fn judge(mut steps: Steps, span_ms: u64, hold: usize) -> io::Result<Sorter<MATCH>> {
    let mut matches = Sorter::new(hold);
    let mut current = None;
    let mut state = Process::default();
    while let Some(Step { rule, process, place, is_exec, at, arm, line }) = steps.pop()? {
        if current.replace((rule, process)) != Some((rule, process)) {
            state = Process::default();
        }
        if !is_exec {
            state.connect(Waiting { at, arm, payload: line });
        } else if let Taken::Match(connection, _) = state.execute(&at, span_ms) {
            matches.push(join(&[&place_bytes(place), &[rule], &kept_bytes(connection.payload), &kept_bytes(line)]))?;
        }
    }
    Ok(matches)
}
