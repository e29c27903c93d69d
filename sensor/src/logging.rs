//! The operational log, on standard error: standard output belongs to alerts.
//!
//! A thread of its own writes it, so that a reader of standard error that is stuck holds up no alert. What it does not take waits,
//! up to [`WAITING_LINES`]; the rest is counted and said at the end.

use crate::terminal::Above;
use clap::ValueEnum;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};

/// Lines that wait for a slow reader. A line has a few hundred bytes.
const WAITING_LINES: usize = 4096;

/// Form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Least severe message that is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// Failures.
    Error,
    /// What does not work as it should.
    Warn,
    /// Start, end, reloads.
    #[default]
    Info,
    /// How decisions were made.
    Debug,
    /// Every event.
    Trace,
}

/// The thread that writes the log. Dropped, it waits a second at most for what is left to be written.
#[must_use = "the log ends when this is dropped"]
#[derive(Debug)]
pub struct Log {
    thread: Option<WorkerGuard>,
    dropped: ErrorCounter,
}

impl Drop for Log {
    fn drop(&mut self) {
        let dropped = self.dropped.dropped_lines();
        drop(self.thread.take());
        // Standard error was stuck, and may be so still.
        if dropped > 0 && takes_a_line(&io::stderr()) {
            let _ = writeln!(io::stderr(), "{dropped} lines of this log were dropped, since nobody read it");
        }
    }
}

/// Whether a short line can be written without waiting, as pipe(7) and poll(2) say it.
fn takes_a_line(file: &impl AsFd) -> bool {
    let mut files = [PollFd::new(file, PollFlags::OUT)];
    poll(&mut files, Some(&Timespec::default())).is_ok() && files[0].revents().contains(PollFlags::OUT)
}

/// Starts logging; a second call changes nothing.
pub fn start(format: LogFormat, level: LogLevel) -> Log {
    let level = match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let (writer, thread) = NonBlockingBuilder::default()
        .buffered_lines_limit(WAITING_LINES)
        .thread_name("log")
        .finish(Above(io::stderr()));
    let log = Log { thread: Some(thread), dropped: writer.error_counter() };
    // A log that cannot be written must not end the sensor: reporting that on standard error would panic.
    let builder = tracing_subscriber::fmt()
        .log_internal_errors(false)
        .with_max_level(level)
        .with_target(false)
        .with_writer(writer);
    // Only the first call can succeed, and the first one is the one that counts.
    let _ = match format {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    log
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{PipeWriter, Read as _};

    #[test]
    fn a_pipe_takes_a_line_until_it_is_full() {
        let (mut reader, mut writer) = io::pipe().unwrap();
        assert!(takes_a_line(&writer));
        fill(&mut writer);
        assert!(!takes_a_line(&writer));
        reader.read_exact(&mut [0; 4096]).unwrap();
        assert!(takes_a_line(&writer));
    }

    fn fill(writer: &mut PipeWriter) {
        rustix::fs::fcntl_setfl(&*writer, rustix::fs::OFlags::NONBLOCK).unwrap();
        while writer.write(&[b'x'; 4096]).is_ok() {}
    }
}
