//! Time that each program takes, over an empty one beside it.
//!
//! The programs of one hook at a time, so that what one of them has brought into a cache helps no other one; once with the empty programs
//! attached after them and once before, since whoever comes second finds warmer caches. The mean of the two is told. Executions and forks
//! are measured twice: one at a time after a pause, where the caches hold what others have used since, and in a storm.

use crate::cost::{self, Cost, Heard, Terms};
use crate::{Setting, place, tell};
use anyhow::Result;

/// Operations in each situation and order.
const OPERATIONS: usize = 100;
/// Executions in an operation that is a storm.
const STORM: u32 = 50;

/// Characters of a line of the log.
const LINE: usize = 120;

/// Measures all that this kernel takes.
pub(crate) fn measure(setting: &Setting) -> Result<()> {
    place::enter()?;
    cost::prepare()?;
    for (number, in_a_row) in (0..cost::side::enough()).flat_map(|number| [1, STORM].map(|storm| (number, storm))) {
        let [after, before] = [false, true].map(|empty_first| {
            let mut costs = Vec::new();
            let terms = Terms { operations: setting.times(OPERATIONS), shared: true, empty_first, in_a_row };
            cost::measure([number], terms, &mut |heard| {
                match heard {
                    Heard::Cost(cost) => costs.push(cost),
                    // Once is enough.
                    Heard::Refused { hook, reason } if !empty_first && in_a_row == 1 => {
                        tell::not_measured(&hook, &reason)?;
                    }
                    Heard::Refused { .. } => {}
                    // Who waits sees that it goes on; a hundred figures in a line say nothing more.
                    Heard::Log(text) => tell::log(&text.chars().take(LINE).collect::<String>()),
                }
                Ok(())
            })?;
            anyhow::Ok(costs)
        });
        let before = before?;
        for cost in after? {
            let same = |other: &&Cost| (other.situation, other.program) == (cost.situation, cost.program);
            let Some(other) = before.iter().find(same) else { continue };
            both(&cost, other, in_a_row)?;
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of one operation, far below 2^52")]
fn both(after: &Cost, before: &Cost, in_a_row: u32) -> Result<()> {
    let [first, second] = [after, before].map(|cost| cost.time_ns as f64);
    let runs = after.runs / u64::from(in_a_row);
    let note = format!(
        "{runs} {}; {first} with the empty program behind it, {second} before",
        if runs == 1 { "run" } else { "runs" }
    );
    let name = if in_a_row == 1 { after.situation.to_owned() } else { format!("in a storm: {}", after.situation) };
    tell::figure(&name, after.program, f64::midpoint(first, second), "ns", note)
}
