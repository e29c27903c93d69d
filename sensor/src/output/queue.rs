//! A bounded queue in front of an output, and the thread that empties it. Handing a document over never waits; what finds no
//! room is counted.

use super::document::Document;
use super::sink::Sink;
use super::spool::{Numbers, Tally};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::{Builder, JoinHandle, sleep};
use std::time::{Duration, Instant};

/// Bytes of JSON that wait at most: some thousand documents, and a bound for memory however large they are.
const QUEUE_BYTES: usize = 8 << 20;
/// How long the end waits for an output that takes nothing.
const PATIENCE: Duration = Duration::from_secs(3);

/// The numbers of an output: queued = delivered + spooled + dropped, once it is closed; before, the difference waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Documents handed over, and those that earlier runs left in the output's spool.
    pub queued: u64,
    /// Documents that the output took.
    pub delivered: u64,
    /// Documents that wait in the output's spool for its far end; 0 for an output without one.
    pub spooled: u64,
    /// Documents that found no room, or that the output did not take.
    pub dropped: u64,
}

/// What both sides of the queue share.
#[derive(Debug, Default)]
struct Shared {
    /// Documents that the sink took.
    taken: AtomicU64,
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
    spool: Option<Arc<Tally>>,
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
        let spool = sink.spool();
        let worker = Worker { name, sink, shared: Arc::clone(&shared), failing: false };
        let worker = Builder::new().name(format!("output/{name}")).spawn(move || worker.run(&documents))?;
        Ok(Self { name, sender, worker, shared, spool, queued: 0, refused: 0 })
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
        let taken = self.shared.taken.load(Ordering::Relaxed);
        let lost = self.refused + self.shared.failed.load(Ordering::Relaxed);
        match self.spool.as_ref().map(|tally| tally.read()) {
            None => Stats { queued: self.queued, delivered: taken, spooled: 0, dropped: lost },
            Some(Numbers { found, delivered, spooled, dropped }) => {
                Stats { queued: self.queued + found, delivered, spooled, dropped: dropped + self.refused }
            }
        }
    }

    /// No further document comes: what is queued is delivered, and then it ends. Never waits.
    pub fn end(&mut self) {
        // Without a sender there is no more to come.
        self.sender = channel().0;
    }

    /// Whether the output has delivered its last document.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.worker.is_finished()
    }

    /// Delivers what is queued, and ends; an output that takes nothing for [`PATIENCE`] is not waited for any longer, and what
    /// it has not taken counts as dropped.
    #[must_use]
    pub fn close(mut self) -> Stats {
        self.end();
        let mut before = (self.stats(), Instant::now());
        while !self.worker.is_finished() && before.1.elapsed() < PATIENCE {
            sleep(Duration::from_millis(1));
            let now = self.stats();
            if now != before.0 {
                before = (now, Instant::now());
            }
        }
        let stats = self.stats();
        Stats { dropped: stats.queued.saturating_sub(stats.delivered + stats.spooled), ..stats }
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
        while let Some(document) = self.next(documents) {
            self.shared.waiting_bytes.fetch_sub(document.json.len(), Ordering::Relaxed);
            if self.shared.reopen.swap(false, Ordering::AcqRel)
                && let Err(error) = self.sink.reopen()
            {
                tracing::error!("{}: cannot be opened anew, the old file stays in use: {error}", self.name);
            }
            let result = self.sink.deliver(&document);
            let count = if result.is_ok() { &self.shared.taken } else { &self.shared.failed };
            count.fetch_add(1, Ordering::Relaxed);
            self.told(&result);
        }
        self.sink.finish();
    }

    /// The next document; `None` when there will be none any more.
    fn next(&mut self, documents: &Receiver<Arc<Document>>) -> Option<Arc<Document>> {
        match documents.try_recv() {
            Err(TryRecvError::Empty) => {
                if let Err(error) = self.sink.rest() {
                    self.told(&Err(error));
                }
                documents.recv().ok()
            }
            result => result.ok(),
        }
    }

    /// Logs a failure, once for many in a row.
    fn told(&mut self, result: &io::Result<()>) {
        if let Err(error) = result
            && !self.failing
        {
            tracing::error!("{}: documents cannot be written: {error}", self.name);
        }
        self.failing = result.is_err();
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
        assert_eq!(queue.close(), Stats { queued: 100, delivered: 100, ..Stats::default() });
        assert!(taken.iter().eq((0..100).map(|n| n.to_string())));
    }

    #[test]
    fn failures_are_counted() {
        let (mut queue, may, _taken) = told();
        drop(may);
        queue.send(document(json!(1)));
        queue.send(document(json!(2)));
        assert_eq!(queue.close(), Stats { queued: 2, dropped: 2, ..Stats::default() });
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
        assert_eq!(queue.close(), Stats { queued: 200, dropped: 200, ..Stats::default() });
        assert!(start.elapsed() >= PATIENCE);
        drop(may);
    }
}
