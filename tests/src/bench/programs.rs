//! Time that each program takes, over an empty one beside it.
//!
//! The programs of one hook at a time, so that what one of them has brought into a cache helps no other one; once with the empty programs
//! attached after them and once before, since whoever comes second finds warmer caches. The mean of the two is told.

use crate::cost::{self, Cost, Heard, Terms};
use crate::{Setting, place, tell};
use anyhow::Result;

/// Operations in each situation and order.
const OPERATIONS: usize = 100;

/// Characters of a line of the log.
const LINE: usize = 120;

/// Measures all that this kernel takes.
pub(crate) fn measure(setting: &Setting) -> Result<()> {
    place::enter()?;
    cost::prepare()?;
    for number in 0..cost::side::enough() {
        let [after, before] = [false, true].map(|empty_first| {
            let mut costs = Vec::new();
            let terms = Terms { operations: setting.times(OPERATIONS), shared: true, empty_first };
            cost::measure([number], terms, &mut |heard| {
                match heard {
                    Heard::Cost(cost) => costs.push(cost),
                    // Once is enough.
                    Heard::Refused { hook, reason } if !empty_first => tell::not_measured(&hook, &reason)?,
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
            both(&cost, other)?;
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of one operation, far below 2^52")]
fn both(after: &Cost, before: &Cost) -> Result<()> {
    let [first, second] = [after, before].map(|cost| cost.time_ns as f64);
    let note = format!(
        "{} {} an operation; {first} with the empty program behind it, {second} before",
        after.runs,
        if after.runs == 1 { "run" } else { "runs" }
    );
    tell::figure(after.situation, after.program, f64::midpoint(first, second), "ns", note)
}
