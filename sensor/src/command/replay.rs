//! `sensor replay`: events from files through the same rules, in the order in which they happened.
//!
//! In this order: lines are read, judged by themselves, and kept if they are a stage of a rule; what was kept is sorted
//! so that the events of a process follow each other in the order of the rule; each process goes through the state
//! machine; the matches are sorted by the time of the execution and written as alerts. However long a file is and
//! however disordered, only a bounded part of it is in memory, and the answer is exact.

mod bytes;
pub mod lines;
pub mod matches;
pub mod progress;
pub mod sorter;
pub mod store;
pub mod stream;

use super::exit::Exit;
use crate::alert::{self, Finding, text};
use crate::detect::moment::Moment;
use crate::detect::rule::{self, Parameters, Rule};
use crate::event::WallTime;
use crate::event::facts::Facts;
use clap::{Args, ValueEnum};
use matches::{Found, matches};
use progress::Progress;
use serde_json::Value;
use std::fs::{File, Metadata};
use std::io::{self, IsTerminal as _, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use store::Store;
use stream::{Keep, Line, Stream};

/// What `sensor replay` is asked to do.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Files of ECS events, one JSON document a line; `-` is the standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Take all files as one stream, in which a connection of one file can match an execution of another
    #[arg(long)]
    pub merge: bool,
    /// Judge by this rule only; may be given several times
    #[arg(long = "rule", value_name = "ID")]
    pub rules: Vec<String>,
    /// How alerts are written [default: json, on a terminal text]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Events held in memory; more of them are sorted in files without a name in TMPDIR
    #[arg(long, value_name = "EVENTS", default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub hold: u32,
}

/// How an alert is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON document a line.
    Json,
    /// A block of lines for people.
    Text,
}

/// Why a replay stops before its end.
#[derive(Debug)]
pub enum Stop {
    /// Nobody reads the alerts any more.
    NoReader,
    /// Alerts cannot be written.
    Output(io::Error),
    /// Events that do not fit into memory cannot be put aside.
    Spill(io::Error),
}

/// Runs `sensor replay` on the process's own streams.
#[must_use]
pub fn run(options: &Options, parameters: &Parameters) -> Exit {
    let mut out = io::BufWriter::with_capacity(64 << 10, io::stdout().lock());
    let terminal = io::stderr().is_terminal();
    replay(options, parameters, &mut out, &mut io::stderr().lock(), terminal)
}

/// Replays the files; alerts go to `out`, everything else to `err`, with progress if that is a terminal.
pub fn replay(
    options: &Options,
    parameters: &Parameters,
    out: &mut dyn Write,
    err: &mut dyn Write,
    terminal: bool,
) -> Exit {
    let rules = match chosen(&options.rules) {
        Ok(rules) => rules,
        Err(unknown) => {
            let known: Vec<_> = rule::RULES.iter().map(|rule| rule.id).collect();
            let _ = writeln!(err, "sensor replay: no rule {unknown:?}; the rules are {}", known.join(", "));
            return Exit::Usage;
        }
    };
    let format = options.format.unwrap_or_else(|| if io::stdout().is_terminal() { Format::Text } else { Format::Json });
    let mut writer = Writer { rules: &rules, parameters, out, format, created: now() };
    let mut reader = Reader { parameters, rules: &rules, err, complete: true, progress: Progress::new(terminal) };
    let ended = reader.files(options, &mut writer).and_then(|()| writer.out.flush().map_err(Stop::from_output));
    match ended {
        Ok(()) | Err(Stop::NoReader) if reader.complete => Exit::Ok,
        Ok(()) | Err(Stop::NoReader) => Exit::Failed,
        Err(Stop::Output(error)) => {
            let _ = writeln!(err, "sensor replay: cannot write alerts: {error}");
            Exit::Failed
        }
        Err(Stop::Spill(error)) => {
            let place = std::env::temp_dir();
            let _ = writeln!(err, "sensor replay: cannot put events aside in {}: {error}", place.display());
            Exit::Failed
        }
    }
}

/// The rules with these ids, all rules if there are none.
///
/// # Errors
/// Gives the first id that no rule has.
pub fn chosen(ids: &[String]) -> Result<Vec<&'static Rule>, &str> {
    if ids.is_empty() {
        return Ok(rule::RULES.to_vec());
    }
    for id in ids {
        rule::find(id).ok_or(id.as_str())?;
    }
    Ok(rule::RULES.into_iter().filter(|rule| ids.iter().any(|id| id == rule.id)).collect())
}

fn now() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

struct Reader<'r> {
    parameters: &'r Parameters,
    rules: &'r [&'static Rule],
    err: &'r mut dyn Write,
    /// Whether every file could be read and every line was an event.
    complete: bool,
    progress: Progress,
}

impl Reader<'_> {
    fn files(&mut self, options: &Options, writer: &mut Writer<'_>) -> Result<(), Stop> {
        let (rules, parameters, hold) = (self.rules, self.parameters, options.hold as usize);
        let each = if options.merge { options.files.len().max(1) } else { 1 };
        for files in options.files.chunks(each) {
            let mut stream = Stream::new(Keep::Stages, rules, parameters, hold);
            for file in files {
                self.file(file, &mut stream)?;
            }
            matches(stream, parameters.span_ms(), hold, |lines, found| writer.alert(lines, found))?;
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, stream: &mut Stream<'_>) -> Result<(), Stop> {
        if path.as_os_str() == "-" {
            return self.lines("-", io::stdin().lock(), stream);
        }
        let name = path.display().to_string();
        match File::open(path) {
            Ok(file) => {
                self.progress.open(file.metadata().ok().filter(Metadata::is_file).map(|file| file.len()));
                self.lines(&name, file, stream)
            }
            Err(error) => {
                self.report(&name, None, &error);
                Ok(())
            }
        }
    }

    fn lines(&mut self, name: &str, input: impl Read, stream: &mut Stream<'_>) -> Result<(), Stop> {
        let mut lines = lines::Lines::new(input);
        loop {
            match lines.read() {
                Ok(Some(text)) => {
                    if let Line::Malformed(reason) = stream.line(text)? {
                        self.report(name, Some(lines.number()), &reason);
                    }
                }
                Ok(None) => break,
                Err(lines::Broken::Line(reason)) => self.report(name, Some(lines.number()), &reason),
                Err(lines::Broken::Input(error)) => {
                    self.report(name, None, &error);
                    break;
                }
            }
            self.progress.tell(self.err, name, lines.number(), lines.bytes());
        }
        self.progress.clear(self.err);
        Ok(())
    }

    fn report(&mut self, name: &str, line: Option<u64>, reason: &dyn std::fmt::Display) {
        self.complete = false;
        self.progress.clear(self.err);
        let _ = match line {
            Some(line) => writeln!(self.err, "{name}:{line}: {reason}"),
            None => writeln!(self.err, "{name}: {reason}"),
        };
    }
}

impl Stop {
    fn from_output(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::NoReader } else { Self::Output(error) }
    }
}

struct Writer<'w> {
    rules: &'w [&'static Rule],
    parameters: &'w Parameters,
    out: &'w mut dyn Write,
    format: Format,
    /// When the alerts were made, the same for all.
    created: WallTime,
}

impl Writer<'_> {
    /// Writes the alert for what the rules found about one execution.
    fn alert(&mut self, lines: &Store, found: &[Found]) -> Result<(), Stop> {
        let rule = |found: &Found| self.rules.get(usize::from(found.rule)).copied();
        let Some((first, others)) = found.split_first() else { return Ok(()) };
        let Some(rule_of_first) = rule(first) else { return Ok(()) };
        // Both lines were read as events, and nothing more is asked of them here.
        let document = |kept| {
            let line = lines.line(kept).map_err(Stop::Spill)?;
            serde_json::from_slice::<Value>(&line).map_err(|error| Stop::Output(error.into()))
        };
        let (connection, exec) = (document(first.connection)?, document(first.exec)?);
        let facts = |document| Facts::from_value(document).map_err(|error| Stop::Output(io::Error::other(error)));
        let (connection_facts, exec_facts) = (facts(&connection)?, facts(&exec)?);
        let finding = Finding {
            rule: rule_of_first,
            others: &others.iter().filter_map(rule).collect::<Vec<_>>(),
            connection: &connection,
            exec: &exec,
            elapsed_ms: Moment::of(&connection_facts).millis_until(&Moment::of(&exec_facts)),
            assumed: &rule_of_first.assumed(self.parameters, &exec_facts),
        };
        let alert = alert::document(&finding, self.created);
        let text = match self.format {
            Format::Json => format!("{alert}\n"),
            Format::Text => text::block(&alert),
        };
        self.out.write_all(text.as_bytes()).map_err(Stop::from_output)
    }
}
