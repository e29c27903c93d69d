//! Guests that go wrong, to show that it is noticed.

use crate::protocol::{Fault, Message, Outcome};
use crate::tell::{Told, garbage};
use anyhow::{Result, bail};
use std::time::Duration;

/// Goes wrong behind one good result.
pub(crate) fn commit(fault: Fault, told: &mut Told) -> Result<()> {
    let (run, test) = ("auto".to_owned(), "a test".to_owned());
    told.tell(&Message::Result { run, test, outcome: Outcome::Passed, details: String::new() })?;
    match fault {
        Fault::Panic => std::fs::write("/proc/sysrq-trigger", "c")?,
        Fault::InitEnds => std::process::exit(0),
        Fault::PowerOff => return Ok(()),
        Fault::Hang => loop {
            std::thread::sleep(Duration::from_secs(3600));
        },
        Fault::Garbage => garbage(),
        Fault::LostResult => told.lose(),
    }
    match fault {
        Fault::Panic => bail!("the kernel did not panic"),
        _ => told.end(),
    }
}
