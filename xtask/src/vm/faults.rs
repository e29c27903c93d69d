//! Guests that go wrong on purpose: each must be judged a failure, in words that say what happened. Without this nobody
//! would know that a good result means anything.

use super::expected::{Expected, Table};
use super::guests::Guests;
use super::kernels::Kernel;
use super::machine::Limits;
use super::protocol::{Fault, Plan};
use super::suite::Tests;
use super::verdict::{Case, Verdict};
use crate::tally::Tally;
use anyhow::{Context, Result};
use std::time::Duration;

/// Long enough for a guest to start, even where others take the processors.
const LIMITS: Limits = Limits { total: Duration::from_secs(240), silence: Duration::from_secs(60) };

/// What goes wrong, and what must be said of it.
const FAULTS: [(&str, Option<Fault>, &str); 7] = [
    ("a kernel that panics", Some(Fault::Panic), "Kernel panic"),
    ("a guest whose first process ends", Some(Fault::InitEnds), "Attempted to kill init"),
    ("a guest that goes off early", Some(Fault::PowerOff), "went off behind auto a test"),
    ("a guest that hangs", Some(Fault::Hang), "the guest hangs"),
    ("a message that was cut", Some(Fault::Garbage), "unintelligible"),
    ("a result that was lost", Some(Fault::LostResult), "have arrived"),
    ("a run without tests", None, "it has no test for"),
];

/// Runs all of them on the newest of the kernels.
pub(crate) fn all_noticed(guests: &Guests<'_>, kernels: &[Kernel]) -> Result<Tally> {
    let kernel = kernels.iter().max_by_key(|kernel| kernel.series).context("no kernel")?;
    let expected = Table::read(guests.root)?.of(guests.processor.arch, kernel.series)?;
    let mut sum = Tally::default();
    for (name, fault, words) in FAULTS {
        let faults = faults_of(guests, kernel, &expected, fault)?;
        let noticed = faults.iter().any(|fault| fault.contains(words));
        println!("{}  {name} is noticed", if noticed { "ok    " } else { "FAILED" });
        for fault in &faults {
            println!("        {}", fault.replace('\n', "\n        "));
        }
        sum += if noticed { Tally::PASSED } else { Tally::FAILED };
    }
    Ok(sum)
}

/// What is found wrong with a guest.
fn faults_of(guests: &Guests<'_>, kernel: &Kernel, expected: &Expected, fault: Option<Fault>) -> Result<Vec<String>> {
    let mut plan = match fault {
        Some(_) => Plan::default(),
        None => expected.plan(&["no test has this name"]),
    };
    plan.fault = fault;
    plan.refusals.clear();
    plan.runs.truncate(1);
    let tests = Tests { name: "fault", ..Tests::core() };
    let heard = guests.run(kernel, &tests, &plan, LIMITS)?;
    let case = Case { version: &kernel.version, plan: &plan, expected, fixture: None, whole: false };
    let Verdict { faults, .. } = case.judge(&heard.transcript, &heard.ran);
    Ok(faults)
}
