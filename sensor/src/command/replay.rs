//! `sensor replay`: events from files through the same rules, in the order in which they happened.
//!
//! In this order: lines are read, judged by themselves, and kept if they are a stage of a rule; what was kept is sorted
//! so that the events of a process follow each other in the order of the rule; each process goes through the state
//! machine; the matches are sorted by the time of the execution and written as alerts. However long a file is and
//! however disordered, only a bounded part of it is in memory, and the answer is exact.

mod bytes;
pub mod input;
pub mod lines;
pub mod matches;
pub mod progress;
pub mod sorter;
pub mod store;
pub mod stream;

use super::exit::Exit;
use crate::alert::{self, Finding};
use crate::detect::exception::Exception;
use crate::detect::moment::Moment;
use crate::detect::rule::{Parameters, Rule};
use crate::event::WallTime;
use crate::event::facts::Facts;
use crate::render::block::block;
use crate::render::look::Look;
use clap::{Args, ValueEnum};
use input::{Source, Stop, judge_all};
use matches::{Found, matches};
use serde_json::Value;
use std::io::{self, IsTerminal as _, Write};
use std::time::{SystemTime, UNIX_EPOCH};
use store::Store;
use stream::Keep;

/// What `sensor replay` is asked to do.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// What is judged.
    #[command(flatten)]
    pub source: Source,
    /// How alerts are written [default: json, on a terminal text]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
}

/// How an alert is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON document a line.
    Json,
    /// A block of lines for people.
    Text,
}

/// Runs `sensor replay` on the process's own streams.
#[must_use]
pub fn run(options: &Options, parameters: &Parameters, exceptions: &[Exception]) -> Exit {
    let mut out = io::BufWriter::with_capacity(64 << 10, io::stdout().lock());
    let terminal = io::stderr().is_terminal();
    replay(options, (parameters, exceptions), &mut out, &mut io::stderr().lock(), terminal)
}

/// Replays the files; alerts go to `out`, everything else to `err`, with progress if that is a terminal.
pub fn replay(
    options: &Options,
    (parameters, exceptions): (&Parameters, &[Exception]),
    out: &mut dyn Write,
    err: &mut dyn Write,
    terminal: bool,
) -> Exit {
    let Options { source, format } = options;
    let format = format.unwrap_or_else(|| if io::stdout().is_terminal() { Format::Text } else { Format::Json });
    let look = Look::of(&io::stdout());
    let mut writer = Writer { parameters, exceptions, out, format, look, created: now() };
    let hold = source.hold as usize;
    judge_all("replay", (source, Keep::Stages), parameters, (err, terminal), &mut |stream, rules| {
        matches(stream, rules, parameters.span_ms(), hold, |lines, found| writer.alert(rules, lines, found))?;
        writer.out.flush().map_err(Stop::from_output)
    })
}

fn now() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

struct Writer<'w> {
    parameters: &'w Parameters,
    exceptions: &'w [Exception],
    out: &'w mut dyn Write,
    format: Format,
    look: Look,
    /// When the alerts were made, the same for all.
    created: WallTime,
}

impl Writer<'_> {
    /// Writes the alert for what the rules found about one execution.
    fn alert(&mut self, rules: &[&'static Rule], lines: &Store, found: &[Found]) -> Result<(), Stop> {
        let rule = |found: &Found| rules.get(usize::from(found.rule)).copied();
        let Some((first, others)) = found.split_first() else { return Ok(()) };
        let Some(rule_of_first) = rule(first) else { return Ok(()) };
        // Both lines were read as events, and nothing more is asked of them here.
        let document = |kept| {
            let line = lines.line(kept).map_err(Stop::Spill)?;
            serde_json::from_slice::<Value>(&line).map_err(|error| Stop::Output(error.into()))
        };
        let (connection, exec) = (first.connection.map(document).transpose()?, document(first.exec)?);
        let facts = |document| Facts::from_value(document).map_err(|error| Stop::Output(io::Error::other(error)));
        let exec_facts = facts(&exec)?;
        let since = connection.as_ref().map(|connection| Ok(Moment::of(&facts(connection)?))).transpose()?;
        let finding = Finding {
            rule: rule_of_first,
            others: &others.iter().filter_map(rule).collect::<Vec<_>>(),
            connection: connection.as_ref(),
            exec: &exec,
            elapsed_ms: since.map_or(0, |since| since.millis_until(&Moment::of(&exec_facts))),
            assumed: &rule_of_first.assumed(self.parameters, &exec_facts),
        };
        let alert = alert::document(&finding, self.created);
        let at = WallTime(exec_facts.time.0.saturating_mul(1_000_000));
        if self.exceptions.iter().any(|exception| exception.covers(&alert, at)) {
            return Ok(());
        }
        let text = match self.format {
            Format::Json => format!("{alert}\n"),
            Format::Text => block(&alert, self.look),
        };
        self.out.write_all(text.as_bytes()).map_err(Stop::from_output)
    }
}
