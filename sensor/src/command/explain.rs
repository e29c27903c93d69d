//! `sensor explain`: why recorded events gave no alert.
//!
//! For each process that has a connection and an execution of which at most [`FARTHEST`] conditions fail, one line:
//! what was executed, which connection it was judged against and how old that was, and what did not hold. The lines are
//! those of the nearest misses, in the order of time; the rest is counted.

pub mod process;
pub mod why;

use super::exit::Exit;
use super::replay::input::{Source, Stop, judge_all};
use super::replay::stream::{Keep, Place, Stream};
use crate::detect::rule::{Parameters, Rule};
use clap::Args;
use process::{Judge, Miss};
use std::collections::BinaryHeap;
use std::io::{self, IsTerminal as _, Write};

/// Conditions that fail at most in what is still called near.
pub const FARTHEST: usize = 2;

/// What `sensor explain` is asked to do.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// What is judged.
    #[command(flatten)]
    pub source: Source,
    /// Lines at most; the nearest misses are shown, the rest is counted
    #[arg(long, value_name = "LINES", default_value_t = 100)]
    pub most: u32,
}

/// Runs `sensor explain` on the process's own streams.
#[must_use]
pub fn run(options: &Options, parameters: &Parameters) -> Exit {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let terminal = io::stderr().is_terminal();
    explain(options, parameters, &mut out, &mut io::stderr().lock(), terminal)
}

/// Explains the files; explanations go to `out`, everything else to `err`, with progress if that is a terminal.
pub fn explain(
    options: &Options,
    parameters: &Parameters,
    out: &mut dyn Write,
    err: &mut dyn Write,
    terminal: bool,
) -> Exit {
    let Options { source, most } = options;
    judge_all("explain", (source, Keep::Sorts), parameters, (err, terminal), &mut |stream, rules| {
        let summary = Summary::of(stream, rules, parameters, *most as usize).map_err(Stop::Spill)?;
        summary.write(out).and_then(|()| out.flush()).map_err(Stop::from_output)
    })
}

/// What is said about one stream.
#[derive(Debug)]
struct Summary {
    /// The nearest misses, the farthest of them on top.
    nearest: BinaryHeap<Ranked>,
    most: usize,
    /// What was found by each rule, in their order.
    rules: Vec<(&'static Rule, Tally)>,
    keyless: u64,
}

/// What was found by one rule.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    near: u64,
    matches: u64,
    processes: u64,
}

/// A miss by how near it was: conditions that fail, then time.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ranked {
    failing: usize,
    place: Place,
    line: String,
}

impl Summary {
    fn of(stream: Stream<'_>, rules: &[&'static Rule], parameters: &Parameters, most: usize) -> io::Result<Self> {
        let rules_found = rules.iter().map(|rule| (*rule, Tally::default())).collect();
        let mut summary = Self { nearest: BinaryHeap::new(), most, rules: rules_found, keyless: stream.keyless() };
        let (mut steps, lines) = stream.steps()?;
        let mut current: Option<((u8, [u8; 32]), Judge<'_>)> = None;
        while let Some(step) = steps.pop()? {
            let of = (step.rule, step.process);
            let Some(rule) = rules.get(usize::from(step.rule)) else { continue };
            let judge = match &mut current {
                Some((same, judge)) if *same == of => judge,
                other => {
                    summary.finish(other.take());
                    &mut other.insert((of, Judge::new(rule, parameters))).1
                }
            };
            judge.step(&step, &lines.line(step.line)?);
        }
        summary.finish(current);
        Ok(summary)
    }

    fn finish(&mut self, judge: Option<((u8, [u8; 32]), Judge<'_>)>) {
        let Some(((rule, _), judge)) = judge else { return };
        let Some((_, tally)) = self.rules.get_mut(usize::from(rule)) else { return };
        tally.processes += 1;
        tally.matches += judge.matches();
        if let Some(Miss { failing, place, line }) = judge.nearest() {
            tally.near += 1;
            self.nearest.push(Ranked { failing, place, line });
            if self.nearest.len() > self.most {
                self.nearest.pop();
            }
        }
    }

    fn write(self, out: &mut dyn Write) -> io::Result<()> {
        let Self { nearest, rules, keyless, .. } = self;
        let near: u64 = rules.iter().map(|(_, tally)| tally.near).sum();
        let hidden = near.saturating_sub(nearest.len() as u64);
        let mut nearest = nearest.into_vec();
        nearest.sort_by_key(|miss| miss.place);
        nearest.iter().try_for_each(|miss| writeln!(out, "{}", miss.line))?;
        for (rule, Tally { near, matches, processes }) in rules {
            let of = if rule.requires_connection() {
                "with connections or executions"
            } else {
                "that executed something on a TCP socket"
            };
            writeln!(
                out,
                "{}: {}, {} came near one, of {} {of}",
                rule.id,
                count(matches, "match", "matches"),
                count(near, "process", "processes"),
                count(processes, "process", "processes"),
            )?;
        }
        if hidden > 0 {
            writeln!(out, "{} not shown", count(hidden, "miss", "misses"))?;
        }
        if keyless > 0 {
            let events = count(keyless, "event", "events");
            writeln!(out, "{events} without host.id or process.entity_id can match nothing")?;
        }
        Ok(())
    }
}

fn count(number: u64, one: &str, several: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { several })
}
