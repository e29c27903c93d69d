//! What the programs of the kernel side cost in this machine, whose clock goes on by one nanosecond with each instruction.

use crate::cost::{self, Cost, Heard, Terms};
use crate::protocol::Message;
use crate::tell::{Told, log};
use anyhow::{Result, ensure};

/// Operations in each situation.
const OPERATIONS: usize = 200;

/// Measures the programs of all hooks that this kernel takes, side by side, and tells what they cost.
pub(crate) fn measure(told: &mut Told) -> Result<()> {
    cost::prepare()?;
    let terms = Terms { operations: OPERATIONS, shared: false, empty_first: false, in_a_row: 1 };
    cost::measure(0..cost::side::enough(), terms, &mut |heard| match heard {
        Heard::Log(text) => {
            log(&text);
            Ok(())
        }
        Heard::Refused { hook, reason } => told.tell(&Message::Refused { hook, reason }),
        Heard::Cost(Cost { situation, program, runs, time_ns }) => {
            ensure!(runs > 0, "{program} has not run: {situation}");
            let instructions = u64::try_from(time_ns.max(0))?;
            told.tell(&Message::Cost { situation: situation.to_owned(), program: program.to_owned(), instructions })
        }
    })
}
