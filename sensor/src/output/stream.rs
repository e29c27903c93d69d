//! Documents one behind the other, as lines of JSON or in another form, to a file or a pipe.
//!
//! A thread of its own writes, behind a bounded queue: a slow or stuck reader of a pipe never holds up the one who hands
//! documents over, and what finds no room is counted.

use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{Builder, JoinHandle, sleep};
use std::time::{Duration, Instant};

/// Documents that wait at most.
const QUEUE: usize = 4096;

/// How long the end waits for a reader that takes nothing.
const PATIENCE: Duration = Duration::from_secs(3);

/// Where the lines go.
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

enum Job {
    Write(Arc<Value>),
    Reopen,
}

/// What has become of the documents.
#[derive(Debug, Default)]
struct Counts {
    delivered: AtomicU64,
    failed: AtomicU64,
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
    sender: SyncSender<Job>,
    writer: JoinHandle<()>,
    counts: Arc<Counts>,
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
        let (sender, jobs) = sync_channel(QUEUE);
        let counts = Arc::new(Counts::default());
        let writer = Writer { name, target, render, sink, counts: Arc::clone(&counts), failing: false };
        let writer = Builder::new().name(format!("{name}-writer")).spawn(move || writer.run(&jobs))?;
        Ok(Self { sender, writer, counts, queued: 0, refused: 0 })
    }

    /// Hands a document over; never waits.
    pub fn send(&mut self, document: Arc<Value>) {
        self.queued += 1;
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.sender.try_send(Job::Write(document)) {
            self.refused += 1;
        }
    }

    /// Has the file opened anew, as after a log rotation; nothing happens on standard output.
    pub fn reopen(&self) {
        // With a full queue the next request will do.
        let _ = self.sender.try_send(Job::Reopen);
    }

    /// The numbers so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            queued: self.queued,
            delivered: self.counts.delivered.load(Ordering::Relaxed),
            dropped: self.refused + self.counts.failed.load(Ordering::Relaxed),
        }
    }

    /// Writes what is queued, and ends; a reader that takes nothing for [`PATIENCE`] is not waited for any longer, and what it
    /// has not taken counts as dropped.
    #[must_use]
    pub fn close(self) -> Stats {
        let Self { sender, writer, counts, queued, .. } = self;
        drop(sender);
        let settled = || counts.delivered.load(Ordering::Relaxed) + counts.failed.load(Ordering::Relaxed);
        let (mut before, mut since) = (settled(), Instant::now());
        while !writer.is_finished() && since.elapsed() < PATIENCE {
            sleep(Duration::from_millis(1));
            let now = settled();
            if now != before {
                (before, since) = (now, Instant::now());
            }
        }
        let delivered = counts.delivered.load(Ordering::Relaxed);
        Stats { queued, delivered, dropped: queued.saturating_sub(delivered) }
    }
}

struct Writer {
    name: &'static str,
    target: Target,
    render: Render,
    sink: File,
    counts: Arc<Counts>,
    failing: bool,
}

impl Writer {
    fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            match job {
                Job::Write(document) => self.write(&document),
                Job::Reopen => self.reopen(),
            }
        }
    }

    fn write(&mut self, document: &Value) {
        // One write for one document: a reader never sees half of one unless the file is full.
        match self.sink.write_all(&(self.render)(document)) {
            Ok(()) => {
                self.counts.delivered.fetch_add(1, Ordering::Relaxed);
                self.failing = false;
            }
            Err(error) => {
                self.counts.failed.fetch_add(1, Ordering::Relaxed);
                if !self.failing {
                    tracing::error!("{}: documents cannot be written: {error}", self.name);
                }
                self.failing = true;
            }
        }
    }

    fn reopen(&mut self) {
        match open(&self.target) {
            Ok(sink) => self.sink = sink,
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
            stream.send(Arc::new(json!({ "n": n })));
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
        stream.send(Arc::new(json!(1)));
        fs::rename(&path, &old).unwrap();
        stream.reopen();
        stream.send(Arc::new(json!(2)));
        let _ = stream.close();
        // Whether the first document was written before the renaming or after it, it is in the old file.
        assert_eq!(fs::read_to_string(&old).unwrap(), "1\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "2\n");
    }

    #[test]
    fn a_full_disk_is_counted() {
        let mut stream = Stream::open("test", Target::File(PathBuf::from("/dev/full")), json_line).unwrap();
        stream.send(Arc::new(json!(1)));
        stream.send(Arc::new(json!(2)));
        assert_eq!(stream.close(), Stats { queued: 2, delivered: 0, dropped: 2 });
    }

    #[test]
    fn a_reader_that_takes_nothing_is_not_waited_for() {
        let (reader, writer) = io::pipe().unwrap();
        let path = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer)));
        let mut stream = Stream::open("test", Target::File(path), json_line).unwrap();
        let document = Arc::new(json!("x".repeat(10_000)));
        for _ in 0..100 {
            stream.send(Arc::clone(&document));
        }
        let stats = stream.close();
        assert_eq!(stats.queued, 100);
        assert!(stats.delivered < 10 && stats.delivered + stats.dropped == 100, "{stats:?}");
        drop(reader);
    }

    #[test]
    fn a_place_that_cannot_be_written_is_an_error_at_once() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Stream::open("test", Target::File(folder.path().to_owned()), json_line).is_err());
    }
}
