//! What has arrived on the outputs, without keeping it.

use super::load::ALERTED;
use crate::expect::field;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, PipeReader};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, spawn};

/// How many alerts there are of each process.
#[derive(Debug)]
pub(super) struct Arrived {
    directory: String,
    alerts: HashMap<String, u32>,
}

impl Arrived {
    /// None so far, of programs below a directory.
    pub(super) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_string_lossy().into_owned(), alerts: HashMap::new() }
    }

    /// Takes in a document.
    pub(super) fn add(&mut self, document: &Value) {
        let path = field(document, "process.executable").and_then(Value::as_str);
        let ours = path.is_some_and(|path| path.starts_with(&self.directory));
        if ours && field(document, "event.kind") == Some(&json!("alert")) {
            // One that is not about a process that was meant has a place of its own, which is one too many.
            let meant = field(document, "process.args") == Some(&json!(ALERTED));
            let of = field(document, "process.entity_id").filter(|_| meant).and_then(Value::as_str);
            *self.alerts.entry(of.map_or_else(|| document.to_string(), str::to_owned)).or_default() += 1;
        }
    }

    /// Takes in a line.
    fn line(&mut self, line: &str) -> Result<()> {
        self.add(&serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?);
        Ok(())
    }

    /// Processes with an alert.
    pub(super) fn count(&self) -> u64 {
        self.alerts.len() as u64
    }

    /// There is one for each of so many processes.
    pub(super) fn each_once(&self, made: u64) -> Result<()> {
        let more: Vec<_> = self.alerts.iter().filter(|(_, count)| **count != 1).take(3).collect();
        ensure!(more.is_empty(), "more than one alert: {more:?}");
        ensure!(self.count() == made, "alerts of {} processes, {made} shells", self.count());
        Ok(())
    }
}

/// Reads a pipe.
pub(super) struct Listener {
    arrived: Arc<Mutex<Arrived>>,
    thread: JoinHandle<Result<()>>,
}

impl Listener {
    /// Until the other end is closed.
    pub(super) fn new(pipe: PipeReader, directory: &Path) -> Self {
        let arrived = Arc::new(Mutex::new(Arrived::new(directory)));
        let into = Arc::clone(&arrived);
        let thread = spawn(move || {
            let add = |line: String| into.lock().unwrap_or_else(PoisonError::into_inner).line(&line);
            BufReader::new(pipe).lines().try_for_each(|line| add(line?))
        });
        Self { arrived, thread }
    }

    /// Processes with an alert so far.
    pub(super) fn count(&self) -> u64 {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner).count()
    }

    /// All that there was, once the other end is closed.
    pub(super) fn close(self) -> Result<Arrived> {
        let Self { arrived, thread } = self;
        thread.join().map_err(|_| anyhow::anyhow!("the reader of the pipe has panicked"))??;
        let arrived = Arc::into_inner(arrived).context("still in use")?;
        Ok(arrived.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A file of lines that is rotated, and read when nothing is written to it any more.
pub(super) struct File {
    path: PathBuf,
    old: PathBuf,
    pub(super) arrived: Arrived,
}

impl File {
    /// At a path.
    pub(super) fn new(path: PathBuf, directory: &Path) -> Self {
        let old = path.with_extension("old");
        Self { path, old, arrived: Arrived::new(directory) }
    }

    /// Moves the file away, to be opened anew by whoever writes it, and reads what was moved away before.
    pub(super) fn rotate(&mut self) -> Result<()> {
        let old = self.old.clone();
        self.read(&old)?;
        // It is gone if it has not been opened anew since the last time.
        if self.path.exists() {
            fs::rename(&self.path, &self.old)?;
        }
        Ok(())
    }

    /// Reads what is left.
    pub(super) fn close(&mut self) -> Result<()> {
        for path in [self.old.clone(), self.path.clone()] {
            self.read(&path)?;
        }
        Ok(())
    }

    fn read(&mut self, path: &Path) -> Result<()> {
        if path.exists() {
            fs::read_to_string(path)?.lines().try_for_each(|line| self.arrived.line(line))?;
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(entity: &str, args: &[&str]) -> Value {
        json!({"event": {"kind": "alert"}, "process": {"entity_id": entity, "executable": "/lab/bin/dash", "args": args}})
    }

    #[test]
    fn each_process_once_and_none_that_was_not_meant() {
        let mut arrived = Arrived::new(Path::new("/lab"));
        arrived.add(&alert("a", ALERTED));
        arrived.add(&alert("b", ALERTED));
        arrived.add(&json!({"event": {"kind": "state"}}));
        arrived.each_once(2).unwrap();
        assert!(arrived.each_once(3).is_err());
        arrived.add(&alert("b", ALERTED));
        assert!(arrived.each_once(2).is_err());
        let mut arrived = Arrived::new(Path::new("/lab"));
        arrived.add(&alert("a", &["dash", "-c", ":"]));
        arrived.add(&alert("a", ALERTED));
        assert!(arrived.each_once(1).is_err());
    }

    #[test]
    fn what_is_rotated_is_read_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("alerts");
        let mut file = File::new(path.clone(), Path::new("/lab"));
        file.rotate().unwrap();
        for entity in ["a", "b", "c"] {
            fs::write(&path, format!("{}\n", alert(entity, ALERTED))).unwrap();
            file.rotate().unwrap();
        }
        assert_eq!(file.arrived.count(), 2);
        file.close().unwrap();
        file.arrived.each_once(3).unwrap();
    }
}
