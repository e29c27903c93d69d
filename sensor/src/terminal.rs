//! The last line of a terminal, which says how things stand while alerts and the log scroll by above it.
//!
//! Whoever writes to that terminal passes what it writes through [`above`]: one write then takes the line away, brings the text, and
//! puts the line back, so that the kernel keeps it from others' writes (tty_write of the kernel holds a lock for one write(2)). A thread
//! of its own draws the line: a terminal that is held up by its user holds up nothing else.
//!
//! The line belongs to the foreground of the terminal: a sensor that its shell has moved to the background (`bg`, `&`) has none, and
//! neither draws nor erases anything; moved to the foreground (`fg`) it has one again.

use crate::render::look::Look;
use crate::render::sheet::one_line;
use rustix::fs::fstat;
use rustix::process::{Pid, getpgrp};
use rustix::termios::tcgetpgrp;
use std::io::{self, IsTerminal as _, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;
use tokio::time::Instant;

/// Takes away the line on which the cursor is: to its beginning, and erase to its end (ECMA-48).
const CLEAR: &str = "\r\u{1b}[K";
/// How often the line is drawn.
const REFRESH: Duration = Duration::from_millis(500);
/// How long the end waits until the line is gone.
const PATIENCE: Duration = Duration::from_millis(200);

/// What stands on the last line of the terminal; empty where there is no such line. A process has one terminal.
static LINE: Mutex<String> = Mutex::new(String::new());

fn line() -> MutexGuard<'static, String> {
    LINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether standard output is a terminal. Asked of the kernel once, before the right to ask is given up.
#[must_use]
pub fn is_stdout() -> bool {
    static IT_IS: OnceLock<bool> = OnceLock::new();
    *IT_IS.get_or_init(|| io::stdout().is_terminal())
}

/// The same of standard error.
#[must_use]
pub fn is_stderr() -> bool {
    static IT_IS: OnceLock<bool> = OnceLock::new();
    *IT_IS.get_or_init(|| io::stderr().is_terminal())
}

/// Whether this process is in the foreground of the terminal that standard error is, if that is its controlling one (tcgetpgrp(3)).
fn in_front() -> bool {
    tcgetpgrp(io::stderr()).is_ok_and(|group| group == own_group())
}

/// The group of processes that a shell moves to the foreground and back. Asked of the kernel once, before the right to ask is given up.
fn own_group() -> Pid {
    static GROUP: OnceLock<Pid> = OnceLock::new();
    *GROUP.get_or_init(getpgrp)
}

/// Whole lines as they are to be written to the terminal, so that they come to stand above its last line.
#[must_use]
pub fn above(text: &[u8]) -> Vec<u8> {
    above_if(text, in_front)
}

fn above_if(text: &[u8], in_front: impl FnOnce() -> bool) -> Vec<u8> {
    let mut line = line();
    // In the background the last line of the terminal is another's.
    if !line.is_empty() && !in_front() {
        line.clear();
    }
    if line.is_empty() { text.to_vec() } else { [CLEAR.as_bytes(), text, line.as_bytes()].concat() }
}

/// Writes whole lines above the last line of the terminal.
#[derive(Debug)]
pub struct Above<W>(pub W);

impl<W: Write> Write for Above<W> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.write_all(&above(text))?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The last line of the terminal that standard error is.
#[derive(Debug)]
pub struct StatusLine {
    /// The next text; one waits at most.
    next: SyncSender<String>,
    /// When it is to be drawn again.
    at: Instant,
    /// Closed when the thread has ended.
    ended: Receiver<()>,
}

impl StatusLine {
    /// If there is a terminal on which a person reads along: standard error is one, and what comes on standard output comes to the same
    /// one as text, or elsewhere. The line is there while this process is in the terminal's foreground.
    #[must_use]
    pub fn start(text_on_stdout: bool) -> Option<Self> {
        let (stdout, stderr) = (io::stdout(), io::stderr());
        let clever = std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
        let same = || fstat(&stdout).ok().map(|file| file.st_rdev) == fstat(&stderr).ok().map(|file| file.st_rdev);
        let apart = !is_stdout() || text_on_stdout && same();
        if !(is_stderr() && clever && apart) {
            return None;
        }
        own_group();
        let (next, texts) = sync_channel(1);
        let (alive, ended) = channel();
        let draw = move || draw(&texts, &alive);
        thread::Builder::new().name("status".to_owned()).spawn(draw).ok()?;
        Some(Self { next, at: Instant::now(), ended })
    }

    /// Says how things stand if it is time to, and gives the time of the next time. Never waits: a terminal that does not take what is
    /// said shows what is said later.
    pub fn refresh(&mut self, status: impl FnOnce() -> String) -> Instant {
        let now = Instant::now();
        if now >= self.at {
            self.at = now + REFRESH;
            match self.next.try_send(status()) {
                Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
            }
        }
        self.at
    }

    /// Takes the line away.
    pub fn end(self) {
        let Self { next, ended, at: _ } = self;
        drop(next);
        // It is closed, not sent to. A terminal that is held up keeps its line.
        let _ = ended.recv_timeout(PATIENCE);
        line().clear();
    }
}

/// Draws what comes until nothing more can come; `_alive` is dropped at the end.
fn draw(texts: &Receiver<String>, _alive: &Sender<()>) {
    let stderr = io::stderr();
    for text in texts {
        let look = Look::plain().measured(&stderr);
        // Room for what the terminal shows of Ctrl-C (`^C`), and a column more: with less it would go to the next line.
        let text = one_line(&text, look.width.saturating_sub(3));
        if in_front() {
            line().clone_from(&text);
            let _ = stderr.lock().write_all(format!("{CLEAR}{text}").as_bytes());
        } else {
            line().clear();
        }
    }
    let had_one = !std::mem::take(&mut *line()).is_empty();
    if had_one && in_front() {
        let _ = stderr.lock().write_all(CLEAR.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_above_the_last_one_and_are_as_they_are_where_there_is_none() {
        // The only test that has a line.
        let mut out = Above(Vec::new());
        out.write_all(b"one\n").unwrap();
        line().push_str("status");
        out.0.extend(above_if(b"two\n", || true));
        out.0.extend(above_if(b"three\n", || false));
        out.write_all(b"four\n").unwrap();
        assert_eq!(String::from_utf8(out.0).unwrap(), "one\n\r\u{1b}[Ktwo\nstatusthree\nfour\n");
    }
}
