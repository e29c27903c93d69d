//! How far a long replay has come: one line on a terminal, gone when it is done.

use std::io::Write;
use std::time::{Duration, Instant};

/// How often the line changes, and how long a replay must take before there is one.
const EVERY: Duration = Duration::from_millis(500);
/// Lines between two looks at the clock.
const LINES: u64 = 4096;

/// Tells how far a replay has come.
#[derive(Debug)]
pub struct Progress {
    terminal: bool,
    size: Option<u64>,
    last: Instant,
    shown: bool,
}

impl Progress {
    /// Tells nothing unless it writes to a terminal.
    #[must_use]
    pub fn new(terminal: bool) -> Self {
        Self { terminal, size: None, last: Instant::now(), shown: false }
    }

    /// A file of this many bytes begins.
    pub fn open(&mut self, size: Option<u64>) {
        self.size = size;
    }

    /// So much of the file has been read.
    pub fn tell(&mut self, to: &mut dyn Write, name: &str, lines: u64, bytes: u64) {
        if !self.terminal || !lines.is_multiple_of(LINES) || self.last.elapsed() < EVERY {
            return;
        }
        self.last = Instant::now();
        self.shown = true;
        let part = self.size.filter(|size| *size > 0).map(|size| format!("{} %, ", bytes.min(size) * 100 / size));
        let _ = write!(to, "\r\x1b[K{name}: {}line {lines}, {} MB", part.unwrap_or_default(), bytes / 1_000_000);
        let _ = to.flush();
    }

    /// Takes the line away.
    pub fn clear(&mut self, to: &mut dyn Write) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(to, "\r\x1b[K");
            let _ = to.flush();
        }
    }
}
