//! The input of the commands that judge recorded events: which files, as which streams, and what is wrong with them.

use super::lines::{Broken, Lines};
use super::progress::Progress;
use super::stream::{Keep, Line, Stream};
use crate::command::exit::Exit;
use crate::detect::rule::{self, Parameters, Rule};
use clap::Args;
use std::fmt::Display;
use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Which events are judged, and by what.
#[derive(Args, Clone, Debug)]
pub struct Source {
    /// Files of ECS events, one JSON document a line; `-` is the standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Take all files as one stream, in which a connection of one file can match an execution of another
    #[arg(long)]
    pub merge: bool,
    /// Judge by this rule only; may be given several times
    #[arg(long = "rule", value_name = "ID")]
    pub rules: Vec<String>,
    /// Events held in memory; more of them are sorted in files without a name in TMPDIR
    #[arg(long, value_name = "EVENTS", default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub hold: u32,
}

impl Source {
    /// The rules that were asked for, be they on or off; if none was, those that are on.
    fn chosen(&self, parameters: &Parameters) -> Result<Vec<&'static Rule>, &str> {
        if self.rules.is_empty() {
            return Ok(parameters.rules().collect());
        }
        for id in &self.rules {
            rule::find(id).ok_or(id.as_str())?;
        }
        Ok(rule::RULES.into_iter().filter(|rule| self.rules.iter().any(|id| id == rule.id)).collect())
    }
}

/// Why a command stops before its end.
#[derive(Debug)]
pub enum Stop {
    /// Nobody reads the output any more.
    NoReader,
    /// The output cannot be written.
    Output(io::Error),
    /// Events that do not fit into memory cannot be put aside.
    Spill(io::Error),
}

impl Stop {
    /// Why writing the output failed.
    pub fn from_output(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::NoReader } else { Self::Output(error) }
    }
}

/// Judges one stream by the rules.
pub type Judge<'a> = &'a mut dyn FnMut(Stream<'_>, &[&'static Rule]) -> Result<(), Stop>;

/// Reads every stream of a source and hands it to `judge` together with the rules; what is wrong is told on `err`, and
/// how far it has come if that is a terminal. `command` is the name under which it speaks.
pub fn judge_all(
    command: &str,
    (source, keep): (&Source, Keep),
    parameters: &Parameters,
    (err, terminal): (&mut dyn Write, bool),
    judge: Judge<'_>,
) -> Exit {
    let rules = match source.chosen(parameters) {
        Ok(rules) => rules,
        Err(unknown) => {
            let known: Vec<_> = rule::RULES.iter().map(|rule| rule.id).collect();
            let _ = writeln!(err, "sensor {command}: no rule {unknown:?}; the rules are {}", known.join(", "));
            return Exit::Usage;
        }
    };
    let mut reader = Reader { err, complete: true, progress: Progress::new(terminal) };
    let each = if source.merge { source.files.len().max(1) } else { 1 };
    let ended = source.files.chunks(each).try_for_each(|files| {
        let mut stream = Stream::new(keep, &rules, parameters, source.hold as usize);
        files.iter().try_for_each(|file| reader.file(file, &mut stream))?;
        judge(stream, &rules)
    });
    let Reader { err, complete, .. } = reader;
    match ended {
        Ok(()) | Err(Stop::NoReader) if complete => Exit::Ok,
        Ok(()) | Err(Stop::NoReader) => Exit::Failed,
        Err(Stop::Output(error)) => {
            let _ = writeln!(err, "sensor {command}: cannot write: {error}");
            Exit::Failed
        }
        Err(Stop::Spill(error)) => {
            let place = std::env::temp_dir();
            let _ = writeln!(err, "sensor {command}: cannot put events aside in {}: {error}", place.display());
            Exit::Failed
        }
    }
}

struct Reader<'r> {
    err: &'r mut dyn Write,
    /// Whether every file could be read and every line was an event.
    complete: bool,
    progress: Progress,
}

impl Reader<'_> {
    fn file(&mut self, path: &Path, stream: &mut Stream<'_>) -> Result<(), Stop> {
        if path.as_os_str() == "-" {
            self.progress.open(None);
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
        let mut lines = Lines::new(input);
        loop {
            match lines.read() {
                Ok(Some(text)) => {
                    if let Line::Malformed(reason) = stream.line(text)? {
                        self.report(name, Some(lines.number()), &reason);
                    }
                }
                Ok(None) => break,
                Err(Broken::Line(reason)) => self.report(name, Some(lines.number()), &reason),
                Err(Broken::Input(error)) => {
                    self.report(name, None, &error);
                    break;
                }
            }
            self.progress.tell(self.err, name, lines.number(), lines.bytes());
        }
        self.progress.clear(self.err);
        Ok(())
    }

    fn report(&mut self, name: &str, line: Option<u64>, reason: &dyn Display) {
        self.complete = false;
        self.progress.clear(self.err);
        let _ = match line {
            Some(line) => writeln!(self.err, "{name}:{line}: {reason}"),
            None => writeln!(self.err, "{name}: {reason}"),
        };
    }
}
