//! Documents one behind the other, as lines of JSON or in another form, to a file or a pipe.
//!
//! A thread of its own writes, behind a bounded queue: a slow or stuck reader of a pipe never holds up the one who hands
//! documents over, and what finds no room is counted.

use rustix::event::{PollFd, PollFlags, poll};
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle, sleep};
use std::time::{Duration, Instant};

/// Bytes that wait at most: some thousand documents, and a bound for memory however large they are.
const QUEUE_BYTES: usize = 8 << 20;
/// How long the end waits for a reader that takes nothing.
const PATIENCE: Duration = Duration::from_secs(3);

/// Where the documents go.
#[derive(Debug)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// A file: created with mode 0600 if it is not there, appended to, opened anew on request.
    File(PathBuf),
}

/// How a document is written, with what ends it.
pub type Render = fn(&Value) -> Vec<u8>;

/// A document as one line of JSON.
#[must_use]
pub fn json_line(document: &Value) -> Vec<u8> {
    let mut line = document.to_string().into_bytes();
    line.push(b'\n');
    line
}

/// What both sides of the queue share.
#[derive(Debug, Default)]
struct Shared {
    delivered: AtomicU64,
    failed: AtomicU64,
    waiting_bytes: AtomicUsize,
    reopen: AtomicBool,
}

/// The numbers of a stream: queued = delivered + dropped, once it is closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Documents handed over.
    pub queued: u64,
    /// Documents written.
    pub delivered: u64,
    /// Documents that found no room in the queue, or could not be written.
    pub dropped: u64,
}

/// A stream of documents.
#[derive(Debug)]
pub struct Stream {
    sender: Sender<Vec<u8>>,
    writer: JoinHandle<()>,
    shared: Arc<Shared>,
    render: Render,
    queued: u64,
    refused: u64,
}

impl Stream {
    /// Opens the target and starts the writing thread. `name` stands in log messages.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened or the thread cannot be started.
    pub fn open(name: &'static str, target: Target, render: Render) -> io::Result<Self> {
        let sink = open(&target)?;
        let (sender, documents) = channel();
        let shared = Arc::new(Shared::default());
        let writer = Writer { name, target, sink, shared: Arc::clone(&shared), failing: false, cut: false };
        let writer = Builder::new().name(format!("{name}-writer")).spawn(move || writer.run(&documents))?;
        Ok(Self { sender, writer, shared, render, queued: 0, refused: 0 })
    }

    /// Hands a document over; never waits.
    pub fn send(&mut self, document: &Value) {
        self.queued += 1;
        let bytes = (self.render)(document);
        let len = bytes.len();
        // Only this side adds, so what is found free here stays free.
        if self.shared.waiting_bytes.load(Ordering::Relaxed).saturating_add(len) > QUEUE_BYTES {
            self.refused += 1;
            return;
        }
        self.shared.waiting_bytes.fetch_add(len, Ordering::Relaxed);
        if self.sender.send(bytes).is_err() {
            self.refused += 1;
        }
    }

    /// Has the file opened anew, as after a log rotation, in front of the next document; nothing happens on standard output.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
    }

    /// The numbers so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            queued: self.queued,
            delivered: self.shared.delivered.load(Ordering::Relaxed),
            dropped: self.refused + self.shared.failed.load(Ordering::Relaxed),
        }
    }

    /// Writes what is queued, and ends; a reader that takes nothing for [`PATIENCE`] is not waited for any longer, and what it
    /// has not taken counts as dropped.
    #[must_use]
    pub fn close(self) -> Stats {
        let Self { sender, writer, shared, queued, .. } = self;
        drop(sender);
        let settled = || shared.delivered.load(Ordering::Relaxed) + shared.failed.load(Ordering::Relaxed);
        let (mut before, mut since) = (settled(), Instant::now());
        while !writer.is_finished() && since.elapsed() < PATIENCE {
            sleep(Duration::from_millis(1));
            let now = settled();
            if now != before {
                (before, since) = (now, Instant::now());
            }
        }
        let delivered = shared.delivered.load(Ordering::Relaxed);
        Stats { queued, delivered, dropped: queued.saturating_sub(delivered) }
    }
}

struct Writer {
    name: &'static str,
    target: Target,
    sink: File,
    shared: Arc<Shared>,
    failing: bool,
    /// The last document was written in part.
    cut: bool,
}

impl Writer {
    fn run(mut self, documents: &Receiver<Vec<u8>>) {
        while let Ok(document) = documents.recv() {
            self.shared.waiting_bytes.fetch_sub(document.len(), Ordering::Relaxed);
            if self.shared.reopen.swap(false, Ordering::AcqRel) {
                self.reopen();
            }
            self.deliver(&document);
        }
    }

    fn deliver(&mut self, document: &[u8]) {
        // What is left of a document that was cut must not run into this one.
        let result = if self.cut { self.write(b"\n") } else { Ok(()) };
        match result.and_then(|()| self.write(document)) {
            Ok(()) => {
                self.shared.delivered.fetch_add(1, Ordering::Relaxed);
                self.failing = false;
            }
            Err(error) => {
                self.shared.failed.fetch_add(1, Ordering::Relaxed);
                if !self.failing {
                    tracing::error!("{}: documents cannot be written: {error}", self.name);
                }
                self.failing = true;
            }
        }
    }

    /// Writes all bytes; a reader that shares a non-blocking descriptor is waited for.
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.sink.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes = bytes.get(written..).unwrap_or_default();
                    self.cut = !bytes.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll(&mut [PollFd::new(&self.sink, PollFlags::OUT)], None)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn reopen(&mut self) {
        match open(&self.target) {
            Ok(sink) => (self.sink, self.cut) = (sink, false),
            Err(error) => tracing::error!("{}: cannot be opened anew, the old file stays in use: {error}", self.name),
        }
    }
}

fn open(target: &Target) -> io::Result<File> {
    Ok(match target {
        Target::Stdout => File::from(rustix::io::dup(rustix::stdio::stdout())?),
        Target::File(path) => OpenOptions::new().create(true).append(true).mode(0o600).open(path)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn lines_arrive_in_order_in_a_private_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        let mut stream = Stream::open("test", Target::File(path.clone()), json_line).unwrap();
        for n in 0..100 {
            stream.send(&json!({ "n": n }));
        }
        assert_eq!(stream.close(), Stats { queued: 100, delivered: 100, dropped: 0 });
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.lines().enumerate().all(|(n, line)| line == format!("{{\"n\":{n}}}")));
        assert_eq!(text.lines().count(), 100);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_rotated_file_is_left_behind_on_request() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("events"), folder.path().join("events.1"));
        let mut stream = Stream::open("test", Target::File(path.clone()), json_line).unwrap();
        stream.send(&json!(1));
        while stream.stats().delivered == 0 {
            sleep(Duration::from_millis(1));
        }
        fs::rename(&path, &old).unwrap();
        stream.reopen();
        stream.send(&json!(2));
        let _ = stream.close();
        assert_eq!(fs::read_to_string(&old).unwrap(), "1\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "2\n");
    }

    #[test]
    fn a_full_disk_is_counted() {
        let mut stream = Stream::open("test", Target::File(PathBuf::from("/dev/full")), json_line).unwrap();
        stream.send(&json!(1));
        stream.send(&json!(2));
        assert_eq!(stream.close(), Stats { queued: 2, delivered: 0, dropped: 2 });
    }

    #[test]
    fn a_reader_that_takes_nothing_is_not_waited_for() {
        let (reader, writer) = io::pipe().unwrap();
        let path = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer)));
        let mut stream = Stream::open("test", Target::File(path), json_line).unwrap();
        let document = json!("x".repeat(100_000));
        for _ in 0..100 {
            stream.send(&document);
        }
        let stats = stream.close();
        assert_eq!(stats.queued, 100);
        assert!(stats.delivered < 10 && stats.delivered + stats.dropped == 100, "{stats:?}");
        drop(reader);
    }

    #[test]
    fn a_slow_reader_of_a_non_blocking_pipe_gets_everything() {
        let (mut reader, writer) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let sink = File::from(std::os::fd::OwnedFd::from(writer));
        let shared = Arc::new(Shared::default());
        let target = Target::Stdout;
        let mut writer = Writer { name: "test", target, sink, shared: Arc::clone(&shared), failing: false, cut: false };
        let writing = Builder::new().spawn(move || (0..40).for_each(|_| writer.deliver(&[b'x'; 10_000]))).unwrap();
        let mut all = Vec::new();
        io::Read::read_to_end(&mut reader, &mut all).unwrap();
        writing.join().unwrap();
        assert_eq!((all.len(), shared.delivered.load(Ordering::Relaxed)), (400_000, 40));
    }

    #[test]
    fn behind_a_document_that_was_cut_the_next_begins_on_a_line_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        let target = Target::File(path.clone());
        let sink = open(&target).unwrap();
        let shared = Arc::new(Shared::default());
        let mut writer = Writer { name: "test", target, sink, shared, failing: false, cut: false };
        writer.write(b"{\"half").unwrap();
        writer.cut = true;
        writer.deliver(b"{}\n");
        writer.deliver(b"{}\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"half\n{}\n{}\n");
    }

    #[test]
    fn a_place_that_cannot_be_written_is_an_error_at_once() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Stream::open("test", Target::File(folder.path().to_owned()), json_line).is_err());
    }
}
