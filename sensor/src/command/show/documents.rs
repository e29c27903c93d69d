//! The documents of files, one after the other, and what is wrong with them.

use super::name;
use crate::command::replay::lines::{Broken, Lines};
use crate::output::document::is_life;
use crate::render::is_alert;
use serde_json::Value;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

/// A document, by what it is about.
#[derive(Debug)]
pub(super) enum Document {
    Alert(Value),
    Life(Value),
    /// An event, if it is one.
    Other(Value),
}

/// Reads files line by line.
pub(super) struct Documents<'d> {
    files: std::slice::Iter<'d, PathBuf>,
    current: Option<(String, Lines<Box<dyn Read>>)>,
    err: &'d mut dyn Write,
    /// Files that could not be read and lines that are no documents.
    bad: u64,
}

impl<'d> Documents<'d> {
    /// Of these files; what is wrong is told on `err`.
    pub(super) fn new(files: &'d [PathBuf], err: &'d mut dyn Write) -> Self {
        Self { files: files.iter(), current: None, err, bad: 0 }
    }

    /// The next document of the files.
    pub(super) fn next(&mut self) -> Option<Document> {
        loop {
            let Some((_, lines)) = &mut self.current else {
                self.open()?;
                continue;
            };
            match lines.read() {
                Ok(Some(line)) => match serde_json::from_slice::<Value>(line) {
                    Ok(value) if is_alert(&value) => return Some(Document::Alert(value)),
                    Ok(value) if is_life(&value) => return Some(Document::Life(value)),
                    Ok(value) => return Some(Document::Other(value)),
                    Err(error) => self.refuse(&format_args!("no JSON: {error}")),
                },
                Ok(None) => self.current = None,
                Err(Broken::Line(reason)) => self.refuse(&reason),
                Err(Broken::Input(error)) => {
                    self.refuse(&error);
                    self.current = None;
                }
            }
        }
    }

    /// Tells that the line that was read last is of no use.
    pub(super) fn refuse(&mut self, reason: &dyn Display) {
        self.bad += 1;
        if let Some((name, lines)) = &self.current {
            let _ = writeln!(self.err, "{name}:{}: {reason}", lines.number());
        }
    }

    /// Where to tell more, and how many files and lines were of no use.
    pub(super) fn finish(self) -> (&'d mut dyn Write, u64) {
        (self.err, self.bad)
    }

    /// Opens the next file, if there is one.
    fn open(&mut self) -> Option<()> {
        let path = self.files.next()?;
        let name = name(path);
        let input: Box<dyn Read> = match path.as_os_str() == "-" {
            true => Box::new(io::stdin().lock()),
            false => match File::open(path) {
                Ok(file) => Box::new(file),
                Err(error) => {
                    self.bad += 1;
                    let _ = writeln!(self.err, "{name}: {error}");
                    return Some(());
                }
            },
        };
        self.current = Some((name, Lines::new(input)));
        Some(())
    }
}
