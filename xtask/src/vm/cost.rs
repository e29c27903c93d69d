//! What the programs of the kernel side cost, in instructions: measured in guests whose processor counts them, so that the
//! figures are the same whatever else the host does, and compared with those that are committed.

mod figures;
mod table;

use super::expected::Table;
use super::guests::{Guests, side_by_side};
use super::kernels::Kernel;
use super::machine::{Accelerator, Limits, X86_64_COUNTING};
use super::protocol::Plan;
use super::suite::Tests;
use super::verdict::{Case, Verdict};
use crate::tally::Tally;
use anyhow::{Result, ensure};
use figures::{Comparison, Figures, newest};
use std::time::{Duration, Instant};

/// A guest takes half a minute, and several where others take the processors.
const LIMITS: Limits = Limits { total: Duration::from_secs(1200), silence: Duration::from_secs(600) };

/// What came of a kernel.
struct Measured {
    kernel: Kernel,
    figures: Figures,
    tally: Tally,
}

/// Measures on each kernel, and compares, or writes down what was measured.
pub(super) fn measure(guests: &Guests<'_>, kernels: &[Kernel], record: bool) -> Result<Tally> {
    ensure!(guests.processor.arch == X86_64_COUNTING.arch, "there is no {} that counts", guests.processor.arch);
    let guests = Guests { processor: X86_64_COUNTING, accelerator: Accelerator::Single, ..*guests };
    let Guests { root, processor, accelerator, .. } = guests;
    println!("{} guests with {}", processor.arch, accelerator.name());
    let table = Table::read(root)?;
    let mut all = side_by_side(kernels, |kernel| one(&guests, &table, kernel, record))?;
    all.sort_by_key(|measured| measured.kernel.series);
    let mut sum = Tally::default();
    for Measured { kernel, figures, tally } in &all {
        println!("\n{} ({}), instructions:\n\n{}", kernel.series, kernel.version, table::of(&figures.instructions));
        sum += *tally;
    }
    if record {
        table::write(root, processor.arch)?;
    }
    Ok(sum)
}

fn one(guests: &Guests<'_>, table: &Table, kernel: &Kernel, record: bool) -> Result<Measured> {
    let Kernel { series, version, .. } = kernel;
    let arch = guests.processor.arch;
    let expected = table.of(arch, *series)?;
    let plan = Plan { cost: true, ..Plan::default() };
    let start = Instant::now();
    let heard = guests.run(kernel, &Tests::cost(), &plan, LIMITS)?;
    let took = start.elapsed().as_secs();
    let case = Case { version, plan: &plan, expected: &expected, fixture: None, whole: false };
    // What is committed about the kernel's types is compared where the tests are run.
    let Verdict { mut faults, .. } = case.judge(&heard.transcript, &heard.ran);
    let figures = Figures::new(version, &heard.transcript.costs);
    if record && faults.is_empty() {
        figures.write(guests.root, arch, *series)?;
    }
    let mut text = String::new();
    for (hook, reason) in &heard.transcript.refused {
        text += &format!("note    {series} ({version}): {hook} is refused: {reason:.300}\n");
    }
    let mut tally = Tally::default();
    match Figures::read(guests.root, arch, *series)? {
        Some(committed) => {
            if committed.version != *version {
                text += &format!("note    {series} ({version}): the figures committed are of {}\n", committed.version);
            }
            let Comparison { within, faults: compared } = figures.compare(&committed);
            tally.passed = within;
            faults.extend(compared);
        }
        // Debian has a new series every few months.
        None if newest(guests.root, arch)?.is_some_and(|newest| newest < *series) => {
            text += &format!("skipped {series} ({version}): no figures are committed; write them down with --record\n");
            tally.skipped = 1;
        }
        None => faults.push("no figures are committed; write them down with --record".to_owned()),
    }
    tally.failed = u64::try_from(faults.len()).unwrap_or(u64::MAX);
    for fault in &faults {
        text += &format!("FAILED  {series} ({version}): {}\n", fault.replace('\n', "\n        "));
    }
    if heard.transcript.end.is_none() {
        text += &format!("        the last lines of {}:\n", heard.log.display());
        text += &heard.transcript.tail().map(|line| format!("        | {line}\n")).collect::<String>();
    }
    let word = if faults.is_empty() { "ok    " } else { "FAILED" };
    println!("{text}{word}  {arch} {series} ({version}): {tally} in {took} s");
    Ok(Measured { kernel: kernel.clone(), figures, tally })
}
