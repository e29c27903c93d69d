//! A bounded queue in front of an output, and the thread that empties it. Handing a document over never waits; what finds no
//! room is counted.

use super::document::Document;
use super::sink::Sink;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle, sleep};
use std::time::{Duration, Instant};

/// Bytes of JSON that wait at most: some thousand documents, and a bound for memory however large they are.
const QUEUE_BYTES: usize = 8 << 20;
/// How long the end waits for an output that takes nothing.
const PATIENCE: Duration = Duration::from_secs(3);

/// The numbers of an output: queued = delivered + dropped, once it is closed; before, the difference waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Documents handed over.
    pub queued: u64,
    /// Documents that the output took.
    pub delivered: u64,
    /// Documents that found no room in the queue, or that the output did not take.
    pub dropped: u64,
}

/// What both sides of the queue share.
#[derive(Debug, Default)]
struct Shared {
    delivered: AtomicU64,
    failed: AtomicU64,
    waiting_bytes: AtomicUsize,
    reopen: AtomicBool,
}

/// An output and its queue.
#[derive(Debug)]
pub struct Queue {
    name: &'static str,
    sender: Sender<Arc<Document>>,
    worker: JoinHandle<()>,
    shared: Arc<Shared>,
    queued: u64,
    refused: u64,
}

impl Queue {
    /// Starts the thread. `name` stands in log messages and numbers.
    ///
    /// # Errors
    ///
    /// When the thread cannot be started.
    pub fn start(name: &'static str, sink: impl Sink) -> io::Result<Self> {
        let (sender, documents) = channel();
        let shared = Arc::new(Shared::default());
        let worker = Worker { name, sink, shared: Arc::clone(&shared), failing: false };
        let worker = Builder::new().name(format!("output/{name}")).spawn(move || worker.run(&documents))?;
        Ok(Self { name, sender, worker, shared, queued: 0, refused: 0 })
    }

    /// The name of the output.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Hands a document over; never waits.
    pub fn send(&mut self, document: Arc<Document>) {
        self.queued += 1;
        let len = document.json.len();
        // Only this side adds, so what is found free here stays free.
        if self.shared.waiting_bytes.load(Ordering::Relaxed).saturating_add(len) > QUEUE_BYTES {
            self.refused += 1;
            return;
        }
        self.shared.waiting_bytes.fetch_add(len, Ordering::Relaxed);
        if self.sender.send(document).is_err() {
            self.refused += 1;
        }
    }

    /// Has the output opened anew in front of the next document.
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

    /// Delivers what is queued, and ends; an output that takes nothing for [`PATIENCE`] is not waited for any longer, and what
    /// it has not taken counts as dropped.
    #[must_use]
    pub fn close(self) -> Stats {
        let Self { sender, worker, shared, queued, .. } = self;
        drop(sender);
        let settled = || shared.delivered.load(Ordering::Relaxed) + shared.failed.load(Ordering::Relaxed);
        let (mut before, mut since) = (settled(), Instant::now());
        while !worker.is_finished() && since.elapsed() < PATIENCE {
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

struct Worker<S> {
    name: &'static str,
    sink: S,
    shared: Arc<Shared>,
    failing: bool,
}

impl<S: Sink> Worker<S> {
    fn run(mut self, documents: &Receiver<Arc<Document>>) {
        while let Ok(document) = documents.recv() {
            self.shared.waiting_bytes.fetch_sub(document.json.len(), Ordering::Relaxed);
            if self.shared.reopen.swap(false, Ordering::AcqRel)
                && let Err(error) = self.sink.reopen()
            {
                tracing::error!("{}: cannot be opened anew, the old file stays in use: {error}", self.name);
            }
            match self.sink.deliver(&document) {
                Ok(()) => {
                    self.shared.delivered.fetch_add(1, Ordering::Relaxed);
                    self.failing = false;
                }
                Err(error) => {
                    self.shared.failed.fetch_add(1, Ordering::Relaxed);
                    // Once for many in a row.
                    if !self.failing {
                        tracing::error!("{}: documents cannot be written: {error}", self.name);
                    }
                    self.failing = true;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::mpsc::SyncSender;

    /// Takes a document when it is told to; fails where that is no more possible.
    struct Told {
        may: Receiver<()>,
        taken: SyncSender<String>,
    }

    impl Sink for Told {
        fn deliver(&mut self, document: &Document) -> io::Result<()> {
            self.may.recv().map_err(|_| io::Error::other("gone"))?;
            self.taken.send(document.json.clone()).map_err(|_| io::Error::other("gone"))
        }
    }

    fn told() -> (Queue, Sender<()>, Receiver<String>) {
        let (may_sender, may) = channel();
        let (taken, taken_receiver) = std::sync::mpsc::sync_channel(1000);
        (Queue::start("test", Told { may, taken }).unwrap(), may_sender, taken_receiver)
    }

    fn document(value: serde_json::Value) -> Arc<Document> {
        Arc::new(value.into())
    }

    #[test]
    fn everything_arrives_in_order() {
        let (mut queue, may, taken) = told();
        for n in 0..100 {
            queue.send(document(json!(n)));
            may.send(()).unwrap();
        }
        assert_eq!(queue.close(), Stats { queued: 100, delivered: 100, dropped: 0 });
        assert!(taken.iter().eq((0..100).map(|n| n.to_string())));
    }

    #[test]
    fn failures_are_counted() {
        let (mut queue, may, _taken) = told();
        drop(may);
        queue.send(document(json!(1)));
        queue.send(document(json!(2)));
        assert_eq!(queue.close(), Stats { queued: 2, delivered: 0, dropped: 2 });
    }

    #[test]
    fn an_output_that_takes_nothing_is_not_waited_for_and_holds_a_bounded_number() {
        let (mut queue, may, _taken) = told();
        let large = document(json!("x".repeat(100_000)));
        for _ in 0..200 {
            queue.send(Arc::clone(&large));
        }
        let before = queue.stats();
        assert!((100..120).contains(&before.dropped), "{before:?}");
        let start = Instant::now();
        assert_eq!(queue.close(), Stats { queued: 200, delivered: 0, dropped: 200 });
        assert!(start.elapsed() >= PATIENCE);
        drop(may);
    }
}
