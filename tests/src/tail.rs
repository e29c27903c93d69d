//! A file of lines that another process is writing.

use anyhow::{Context, Result};
use serde_json::Value;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The whole lines so far.
pub(crate) struct Tail {
    file: File,
    rest: Vec<u8>,
    lines: Vec<String>,
    documents: Vec<Value>,
}

impl Tail {
    /// From the file's beginning.
    pub(crate) fn new(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| path.display().to_string())?;
        Ok(Self { file, rest: Vec::new(), lines: Vec::new(), documents: Vec::new() })
    }

    /// Takes in what was written since the last time; a line without its end waits.
    pub(crate) fn read(&mut self) -> Result<()> {
        self.file.read_to_end(&mut self.rest)?;
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line = self.rest.drain(..=end).collect::<Vec<u8>>();
            let line = String::from_utf8(line).context("a line is not UTF-8")?;
            self.lines.push(line.trim_end().to_owned());
        }
        Ok(())
    }

    /// The lines.
    pub(crate) fn raw(&self) -> &[String] {
        &self.lines
    }

    /// The lines as JSON, each of which must be.
    pub(crate) fn documents(&mut self) -> Result<&[Value]> {
        for line in self.lines.iter().skip(self.documents.len()) {
            let document = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
            self.documents.push(document);
        }
        Ok(&self.documents)
    }

    /// The last few lines, for a person.
    pub(crate) fn last(&self, count: usize) -> String {
        let from = self.lines.len().saturating_sub(count);
        self.lines.iter().skip(from).map(|line| format!("  {line}\n")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_line_counts_when_it_is_whole() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut tail = Tail::new(file.path()).unwrap();
        file.write_all(b"{\"a\":1}\n{\"a\"").unwrap();
        tail.read().unwrap();
        assert_eq!(tail.documents().unwrap().len(), 1);
        file.write_all(b":2}\n").unwrap();
        tail.read().unwrap();
        assert_eq!(tail.documents().unwrap().len(), 2);
        file.write_all(b"junk\n").unwrap();
        tail.read().unwrap();
        assert!(tail.documents().is_err());
    }
}
