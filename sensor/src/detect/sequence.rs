//! The state machine of one process: which of its connections an execution takes.
//!
//! EQL keeps one connection per process, the newest. An execution takes the latest connection before it and with it all
//! older ones, whether or not the span then accepts the match. Before it means in the order of the events: a connection
//! of the same millisecond comes before an execution, on the clock of one boot the nanosecond decides. Records of a live
//! run come through two ring buffers, so that a connection may arrive behind an execution that happened after it.
//! Therefore connections are kept in the order in which they happened, and the time of the last execution that
//! matched: what happened before that is gone for good.
//!
//! An execution in a process that has inherited a connection names it, and takes that one alone: each child of a server has its own.

use super::moment::Moment;
use std::collections::VecDeque;

/// Connections kept per process. Since an execution takes the older ones along, more than one matters only for those
/// that arrive out of order and for those that descendants have inherited.
const KEPT: usize = 256;
/// Connections that descendants have taken, of which that is known: not to be taken again when they are told of once more.
const KEPT_TAKEN: usize = 64;

/// A connection that no execution has taken yet.
#[derive(Clone, Debug)]
pub struct Waiting<P> {
    /// When it was made.
    pub at: Moment,
    /// Its identity, if it has one.
    pub arm: Option<u64>,
    /// What the caller wants back.
    pub payload: P,
}

/// What an execution found.
#[derive(Clone, Debug)]
pub enum Taken<P> {
    /// No connection before it.
    Nothing,
    /// The connection is older than the span; it is gone nevertheless.
    TooOld(Waiting<P>, u64),
    /// The connection, and the milliseconds since.
    Match(Waiting<P>, u64),
}

/// The connections of one process.
#[derive(Clone, Debug)]
pub struct Process<P> {
    /// Oldest first.
    waiting: VecDeque<Waiting<P>>,
    /// The last match.
    taken: Option<Taking>,
    /// Connections that were taken by their identity, the oldest first.
    named: VecDeque<(u64, Moment)>,
}

#[derive(Clone, Debug)]
struct Taking {
    exec: Moment,
    connection: Moment,
    arm: Option<u64>,
}

impl<P> Default for Process<P> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), taken: None, named: VecDeque::new() }
    }
}

impl<P> Process<P> {
    /// Whether a connection is waiting, or was taken or passed over by a match: whether [`Process::connect`] would refuse it.
    #[must_use]
    pub fn knows(&self, at: &Moment, arm: Option<u64>) -> bool {
        // An arm is unique within one run of the sensor only; together with its time it is unique.
        let same = |other: Option<u64>, then: &Moment| arm.is_some() && arm == other && at.is_same_time(then);
        let gone = self
            .taken
            .as_ref()
            .is_some_and(|Taking { exec, connection, arm: taken }| at.is_before(exec) || same(*taken, connection));
        let named = self.named.iter().any(|(taken, then)| same(Some(*taken), then));
        gone || named || self.waiting.iter().any(|one| same(one.arm, &one.at))
    }

    /// How many connections wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Forgets the oldest of several connections, as an execution that takes a later one would. Gives `false` if there is only one.
    pub fn forget_oldest(&mut self) -> bool {
        self.waiting.len() > 1 && self.waiting.pop_front().is_some()
    }

    /// The process made a connection. Gives `false` if it was known.
    pub fn connect(&mut self, connection: Waiting<P>) -> bool {
        if self.knows(&connection.at, connection.arm) {
            return false;
        }
        let later = self.waiting.iter().rev().take_while(|one| connection.at.is_before(&one.at)).count();
        let place = self.waiting.len() - later;
        // Of connections of the same time only the newest can ever be taken.
        match place.checked_sub(1).and_then(|before| self.waiting.get_mut(before)) {
            Some(before) if !before.at.is_before(&connection.at) => *before = connection,
            _ => self.waiting.insert(place, connection),
        }
        if self.waiting.len() > KEPT {
            // Not the new one: an execution that carries it may be the next event.
            self.waiting.remove(usize::from(place == 0));
        }
        true
    }

    /// The connection with which an execution at this time would match; `arm` as for [`Self::execute`].
    #[must_use]
    pub fn matching(&self, at: &Moment, arm: Option<u64>, span_ms: u64) -> Option<&Waiting<P>> {
        let wanted = |one: &&Waiting<P>| !at.is_before(&one.at) && (arm.is_none() || arm == one.arm);
        let latest = self.waiting.iter().rev().find(wanted)?;
        (latest.at.millis_until(at) <= span_ms).then_some(latest)
    }

    /// The process, or a descendant that has inherited the connection `arm`, executed a program that the rule asks for.
    pub fn execute(&mut self, at: &Moment, arm: Option<u64>, span_ms: u64) -> Taken<P> {
        if let Some(arm) = arm {
            return self.take(arm, at, span_ms);
        }
        let older = self.waiting.iter().rev().skip_while(|one| at.is_before(&one.at)).count();
        let Some(connection) = self.waiting.drain(..older).next_back() else { return Taken::Nothing };
        let elapsed = connection.at.millis_until(at);
        if elapsed > span_ms {
            // It is too old for any later execution as well, so nothing need be remembered of it.
            return Taken::TooOld(connection, elapsed);
        }
        if self.taken.as_ref().is_none_or(|last| last.exec.is_before(at)) {
            self.taken = Some(Taking { exec: *at, connection: connection.at, arm: connection.arm });
        }
        Taken::Match(connection, elapsed)
    }

    fn take(&mut self, arm: u64, at: &Moment, span_ms: u64) -> Taken<P> {
        let place = self.waiting.iter().rposition(|one| one.arm == Some(arm) && !at.is_before(&one.at));
        let Some(connection) = place.and_then(|place| self.waiting.remove(place)) else { return Taken::Nothing };
        let elapsed = connection.at.millis_until(at);
        if elapsed > span_ms {
            return Taken::TooOld(connection, elapsed);
        }
        if self.named.len() == KEPT_TAKEN {
            self.named.pop_front();
        }
        self.named.push_back((arm, connection.at));
        Taken::Match(connection, elapsed)
    }
}
