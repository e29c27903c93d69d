//! Messages to the host, each one line on the console, and the count of the results among them.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the console is how the guest speaks")]

use crate::protocol::{Message, Outcome, PREFIX};
use anyhow::{Error, Result};
use std::io::Write;

/// The results told so far.
#[derive(Debug, Default)]
pub(crate) struct Told {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Told {
    /// Tells something. Written as one piece, so that the kernel's own lines come before or after it.
    pub(crate) fn tell(&mut self, message: &Message) -> Result<()> {
        if let Message::Result { outcome, .. } = message {
            match outcome {
                Outcome::Passed => self.passed += 1,
                Outcome::Failed => self.failed += 1,
                Outcome::Skipped => self.skipped += 1,
            }
        }
        let line = format!("{PREFIX}{}\n", serde_json::to_string(message)?);
        let mut console = std::io::stdout().lock();
        console.write_all(line.as_bytes())?;
        Ok(console.flush()?)
    }

    /// Tells how a test of the guest's own ended.
    pub(crate) fn result(&mut self, test: &str, outcome: Result<()>) -> Result<()> {
        let (outcome, details) = match outcome {
            Ok(()) => (Outcome::Passed, String::new()),
            Err(error) => (Outcome::Failed, describe(&error)),
        };
        self.tell(&Message::Result { run: "kernel".to_owned(), test: test.to_owned(), outcome, details })
    }

    /// Tells that everything was done.
    pub(crate) fn end(&mut self) -> Result<()> {
        let Self { passed, failed, skipped } = *self;
        self.tell(&Message::End { passed, failed, skipped })
    }

    /// Counts a result that is not told.
    pub(crate) fn lose(&mut self) {
        self.passed += 1;
    }
}

fn describe(error: &Error) -> String {
    format!("{error:#}")
}

/// Writes a line to the console that is no message.
pub(crate) fn log(text: &str) {
    eprintln!("{text}");
}

/// Writes a line to the console as if it were a message.
pub(crate) fn garbage() {
    println!("{PREFIX}{{\"Result\":{{\"run\":\"au[   12.345678] interrupted");
}
