//! An output whose far end is elsewhere: every document goes to a spool, and from there, in batches, to the far end.
//!
//! Two threads: the queue's appends to the spool, one of its own sends what is there. What the far end has taken is settled in the
//! spool; everything else waits there, for a later try or for the next start. So a document arrives at least once, and once only
//! where the far end knows it by its id.

use super::backoff::Backoff;
use super::document::Document;
use super::sink::Sink;
use super::spool::{Record, Spool, Tally};
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

/// Documents of a batch at most, and bytes after which there are no more.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 1 << 20;
/// How long the end waits for what is in the spool to be sent; what is left is for the next start.
const FAREWELL: Duration = Duration::from_secs(2);

/// What became of a document that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The far end has it.
    Delivered,
    /// The far end will never take it.
    Rejected(String),
    /// It is to be sent again.
    Later(String),
}

/// Why a whole batch was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It is to be sent again, not before the time that the far end asks for.
    Later {
        /// What is wrong.
        reason: String,
        /// How long to wait at least.
        after: Option<Duration>,
    },
    /// It is too large, or something in it cannot be taken: a smaller one may do.
    Smaller(String),
}

/// The way to a far end.
pub trait Transport: Send + 'static {
    /// Sends documents, each JSON on one line, and waits for what becomes of them; bounded in time.
    ///
    /// # Errors
    ///
    /// When nothing is known to have been taken.
    fn send(&mut self, documents: &[&str]) -> Result<Vec<Verdict>, Failure>;
}

impl Transport for Box<dyn Transport> {
    fn send(&mut self, documents: &[&str]) -> Result<Vec<Verdict>, Failure> {
        (**self).send(documents)
    }
}

/// What both threads share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    tally: Arc<Tally>,
}

#[derive(Debug)]
struct State {
    spool: Spool,
    /// Until when sending may go on, once no further document comes.
    until: Option<Instant>,
    /// The sending thread has ended.
    ended: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change, at most so long.
    fn wait<'a>(&self, state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Does something with the spool, and makes its numbers known.
    fn spool<T>(&self, act: impl FnOnce(&mut Spool) -> T) -> T {
        let mut state = self.lock();
        let result = act(&mut state.spool);
        self.tally.write(state.spool.numbers());
        result
    }
}

/// The near end: appends to the spool.
#[derive(Debug)]
pub struct Remote {
    shared: Arc<Shared>,
}

impl Remote {
    /// Starts to send what is in the spool. `name` stands in log messages.
    ///
    /// # Errors
    ///
    /// When the thread cannot be started.
    pub fn start(name: &'static str, spool: Spool, transport: impl Transport) -> io::Result<Self> {
        let numbers = spool.numbers();
        if numbers.spooled > 0 {
            tracing::info!("{name}: {} documents of an earlier run wait in the spool", numbers.spooled);
        }
        let tally = Arc::new(Tally::default());
        tally.write(numbers);
        let state = Mutex::new(State { spool, until: None, ended: false });
        let shared = Arc::new(Shared { state, changed: Condvar::new(), tally });
        let sender =
            Sender { name, transport, shared: Arc::clone(&shared), backoff: Backoff::default(), trouble: None };
        Builder::new().name(format!("send/{name}")).spawn(move || sender.run())?;
        Ok(Self { shared })
    }
}

impl Sink for Remote {
    fn deliver(&mut self, document: &Document) -> io::Result<()> {
        let result = self.shared.spool(|spool| spool.append(&document.json));
        self.shared.changed.notify_all();
        result
    }

    fn rest(&mut self) -> io::Result<()> {
        self.shared.spool(Spool::sync)
    }

    fn finish(&mut self) {
        let end = Instant::now() + FAREWELL;
        let mut state = self.shared.lock();
        state.until = Some(end);
        self.shared.changed.notify_all();
        while !state.ended
            && let Some(left) = end.checked_duration_since(Instant::now())
        {
            state = self.shared.wait(state, left);
        }
    }

    fn spool(&self) -> Option<Arc<Tally>> {
        Some(Arc::clone(&self.shared.tally))
    }
}

/// The far end's side: sends what is in the spool.
struct Sender<T> {
    name: &'static str,
    transport: T,
    shared: Arc<Shared>,
    backoff: Backoff,
    /// What is wrong with the far end, as it was last logged.
    trouble: Option<String>,
}

/// A document that was given out, and whether the far end has taken it or never will, once that is known.
struct Item {
    record: Record,
    taken: Option<bool>,
}

impl<T: Transport> Sender<T> {
    fn run(mut self) {
        while let Some(batch) = self.next_batch() {
            if !self.deliver(batch) {
                break;
            }
        }
        self.shared.lock().ended = true;
        self.shared.changed.notify_all();
    }

    /// Waits for documents; `None` at the end.
    fn next_batch(&mut self) -> Option<VecDeque<Item>> {
        loop {
            let batch = self.shared.spool(|spool| spool.take(BATCH, BATCH_BYTES));
            match batch {
                Ok(batch) if !batch.records.is_empty() => {
                    return Some(batch.records.into_iter().map(|record| Item { record, taken: None }).collect());
                }
                Ok(_) => {
                    let state = self.shared.lock();
                    if state.until.is_some() {
                        return None;
                    }
                    // Something may have come since the lock was let go.
                    if state.spool.is_given_out() {
                        drop(self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner));
                    }
                }
                Err(error) => {
                    if !self.later(&format!("the spool cannot be read: {error}"), None) {
                        return None;
                    }
                }
            }
        }
    }

    /// Sends a batch, again and again, until each document is settled; `false` if the end came before.
    fn deliver(&mut self, mut batch: VecDeque<Item>) -> bool {
        let mut at_once = batch.len();
        while !batch.is_empty() {
            if self.shared.lock().until.is_some_and(|until| Instant::now() >= until) {
                return false;
            }
            let waiting: Vec<&mut Item> = batch.iter_mut().filter(|item| item.taken.is_none()).take(at_once).collect();
            let documents: Vec<&str> = waiting.iter().map(|item| item.record.json.as_str()).collect();
            let result = self.transport.send(&documents);
            let go_on = match result {
                Ok(verdicts) => {
                    let mut later = None;
                    let mut progress = false;
                    let mut rejected: Vec<String> = Vec::new();
                    for (item, verdict) in waiting.into_iter().zip(verdicts) {
                        match verdict {
                            Verdict::Delivered => item.taken = Some(true),
                            Verdict::Rejected(reason) => {
                                item.taken = Some(false);
                                rejected.push(reason);
                            }
                            Verdict::Later(reason) => later = Some(reason),
                        }
                        progress |= item.taken.is_some();
                    }
                    self.settle(&mut batch);
                    self.tell_rejected(&rejected);
                    if progress {
                        self.backoff.reset();
                    }
                    match later {
                        Some(reason) => self.later(&reason, None),
                        None => {
                            self.tell_well();
                            true
                        }
                    }
                }
                Err(Failure::Smaller(reason)) if at_once == 1 => {
                    if let Some(item) = waiting.into_iter().next() {
                        item.taken = Some(false);
                    }
                    self.settle(&mut batch);
                    self.tell_rejected(&[reason]);
                    true
                }
                Err(Failure::Smaller(_)) => {
                    at_once = (at_once.min(documents.len()) / 2).max(1);
                    true
                }
                Err(Failure::Later { reason, after }) => self.later(&reason, after),
            };
            if !go_on {
                return false;
            }
        }
        true
    }

    /// Settles the documents at the beginning of a batch whose fate is known.
    fn settle(&self, batch: &mut VecDeque<Item>) {
        let (mut to, mut delivered) = (None, 0);
        while let Some(Item { record, taken: Some(taken) }) = batch.front() {
            to = Some(record.number + 1);
            delivered += u64::from(*taken);
            batch.pop_front();
        }
        if let Some(to) = to
            && let Err(error) = self.shared.spool(|spool| spool.settle(to, delivered))
        {
            tracing::error!("{}: what was sent cannot be noted, and is sent again after a restart: {error}", self.name);
        }
    }

    /// Logs what is wrong and waits before the next try; `false` if the end came.
    fn later(&mut self, reason: &str, asked: Option<Duration>) -> bool {
        let wait = self.backoff.next(fastrand::f64(), asked);
        if self.trouble.as_deref() == Some(reason) {
            tracing::debug!("{}: {reason}; trying again in {wait:?}", self.name);
        } else {
            tracing::error!("{}: {reason}; documents wait in the spool and are sent later", self.name);
            self.trouble = Some(reason.to_owned());
        }
        let end = Instant::now() + wait;
        let mut state = self.shared.lock();
        // A disk that was full may have room by now.
        if let Err(error) = state.spool.sync() {
            tracing::debug!("{}: spool: {error}", self.name);
        }
        while state.until.is_none() {
            let Some(left) = end.checked_duration_since(Instant::now()) else { return true };
            state = self.shared.wait(state, left);
        }
        false
    }

    fn tell_well(&mut self) {
        if self.trouble.take().is_some() {
            tracing::info!("{}: documents are taken again", self.name);
        }
    }

    fn tell_rejected(&self, reasons: &[String]) {
        if let Some(first) = reasons.first() {
            tracing::error!("{}: {} documents are refused for good and dropped: {first}", self.name, reasons.len());
        }
    }
}

#[cfg(test)]
mod tests;
