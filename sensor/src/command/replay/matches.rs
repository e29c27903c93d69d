//! The matches of a stream, in the order of their executions.

use super::Stop;
use super::sorter::Sorter;
use super::stream::{PLACE, Step, Stream, bytes};
use crate::detect::moment::Moment;
use crate::detect::sequence::{Process, Taken, Waiting};
use crate::event::facts::Facts;
use std::io;

/// A match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The rule, by its number in the list that the stream was given.
    pub rule: u8,
    /// The connection's line.
    pub connection: Vec<u8>,
    /// The execution's line.
    pub exec: Vec<u8>,
}

/// Place of the execution, rule.
const MATCH_KEY: usize = PLACE + 1;

/// Gives the matches of a stream: for each execution all rules that it matches, the first rule first.
///
/// # Errors
/// When events cannot be put aside or read back, or `give` fails.
pub fn matches(
    stream: Stream<'_>,
    span_ms: u64,
    hold: usize,
    give: &mut dyn FnMut(&[Found]) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let mut matches = judge(stream, span_ms, hold).and_then(Sorter::sorted).map_err(Stop::Spill)?;
    let mut of_one_exec: Vec<Found> = Vec::new();
    let mut place = [0; PLACE];
    while let Some((key, value)) = matches.pop().map_err(Stop::Spill)? {
        let Some(([rule], own)) = key.split_last_chunk().map(|(own, rule)| (*rule, own)) else { continue };
        if own != place && !of_one_exec.is_empty() {
            give(&of_one_exec)?;
            of_one_exec.clear();
        }
        place.copy_from_slice(own);
        let Some((length, lines)) = value.split_first_chunk() else { continue };
        let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let Some((connection, exec)) = lines.split_at_checked(length) else { continue };
        of_one_exec.push(Found { rule, connection: connection.to_vec(), exec: exec.to_vec() });
    }
    if of_one_exec.is_empty() { Ok(()) } else { give(&of_one_exec) }
}

/// Takes each process through the state machine.
fn judge(stream: Stream<'_>, span_ms: u64, hold: usize) -> io::Result<Sorter<MATCH_KEY>> {
    let mut steps = stream.steps()?;
    let mut matches = Sorter::new(hold);
    let mut current = None;
    let mut process = Process::default();
    while let Some(Step { process: of, place, is_exec, line }) = steps.pop()? {
        if current.replace(of) != Some(of) {
            process = Process::default();
        }
        // It was kept because it is an event.
        let Ok(facts) = Facts::from_slice(&line) else { continue };
        let (at, arm) = (Moment::of(&facts), facts.arm);
        if !is_exec {
            process.connect(Waiting { at, arm, payload: line });
        } else if let Taken::Match(connection, _) = process.execute(&at, span_ms) {
            let mut key = [of.0; MATCH_KEY];
            for (to, from) in key.iter_mut().zip(bytes(place)) {
                *to = from;
            }
            let length = (connection.payload.len() as u64).to_le_bytes();
            matches.push(key, &[&length, &connection.payload, &line])?;
        }
    }
    Ok(matches)
}
