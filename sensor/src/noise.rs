//! How many alerts of the same thing are told: what one process repeats becomes one alert with a number, and alerts of one rule
//! about one destination have a limit. Nothing is kept quiet silently: whatever is not told at once is counted, and the count is told.
//!
//! It has no clock and does no I/O, and the number of processes and destinations that it remembers is bounded. Where it has to forget
//! one, what it has counted of it is told early, and the next alert of it is told at once.

use crate::detect::moment::Digest;
use crate::event::BootTime;
use lru::LruCache;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

/// Processes and destinations remembered at most, each.
const MOST: usize = 4096;
/// Bytes of alerts that are kept to be told later.
const MOST_BYTES: usize = 4 << 20;
/// The time that the limit is for.
const MINUTE: Duration = Duration::from_secs(60);

/// What is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Further alerts about the same within this time become one; `None`: each is told.
    pub collapse: Option<Duration>,
    /// Alerts of one rule about one destination that are told in a minute; `None`: all.
    pub per_minute: Option<NonZeroU32>,
}

/// What an alert is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// `process.entity_id`.
    pub process: String,
    /// `rule.id`.
    pub rule: &'static str,
    /// `destination`; none if the connection is assumed.
    pub destination: Option<SocketAddr>,
}

/// What becomes of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is told at once.
    Tell,
    /// It is one more of the same process: [`Noise::keep`] has it told later.
    Collapse,
    /// It is beyond the limit, and only counted.
    Hold,
}

/// What was not told at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// A process has repeated itself.
    Repeated {
        /// The last of these alerts.
        alert: String,
        /// How many they are.
        count: u64,
        /// When the first of them came.
        first: BootTime,
        /// When the last of them came.
        last: BootTime,
    },
    /// Alerts were beyond the limit.
    Held {
        /// Of this rule.
        rule: &'static str,
        /// About this destination.
        destination: Option<SocketAddr>,
        /// How many they are.
        count: u64,
        /// When the first of them came.
        first: BootTime,
        /// When the last of them came.
        last: BootTime,
    },
}

/// Alerts that were not told at once.
#[derive(Clone, Copy, Debug, Default)]
struct Quiet {
    count: u64,
    first: BootTime,
    last: BootTime,
}

impl Quiet {
    fn add(&mut self, now: BootTime) {
        if self.count == 0 {
            self.first = now;
        }
        self.count += 1;
        self.last = now;
    }
}

/// A process and what it repeats.
#[derive(Debug)]
struct Repeats {
    until: BootTime,
    quiet: Quiet,
    /// The last alert that was collapsed.
    alert: String,
}

/// A rule and a destination.
#[derive(Debug)]
struct Rate {
    rule: &'static str,
    destination: Option<SocketAddr>,
    until: BootTime,
    told: u32,
    quiet: Quiet,
}

/// Decides about alerts. In both tables the oldest entry is the one that was made first: looking at one does not change its place.
#[derive(Debug)]
pub struct Noise {
    limits: Limits,
    most: usize,
    most_bytes: usize,
    repeats: LruCache<Digest, Repeats>,
    bytes: usize,
    rates: LruCache<Digest, Rate>,
    reports: Vec<Report>,
}

impl Noise {
    /// One that has seen no alert.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self::bounded(limits, MOST, MOST_BYTES)
    }

    fn bounded(limits: Limits, most: usize, most_bytes: usize) -> Self {
        let (repeats, rates) = (LruCache::unbounded(), LruCache::unbounded());
        Self { limits, most, most_bytes, repeats, bytes: 0, rates, reports: Vec::new() }
    }

    /// Other limits from now on; times that have begun go on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Decides about an alert.
    pub fn judge(&mut self, subject: &Subject, now: BootTime) -> Decision {
        let key = subject.key();
        if self.limits.collapse.is_some()
            && let Some(repeats) = self.repeats.peek_mut(&key)
        {
            if now < repeats.until {
                repeats.quiet.add(now);
                return Decision::Collapse;
            }
            self.close_repeats(&key);
        }
        if let Some(limit) = self.limits.per_minute
            && !self.within(limit, subject, now)
        {
            return Decision::Hold;
        }
        if let Some(window) = self.limits.collapse {
            let repeats = Repeats { until: later(now, window), quiet: Quiet::default(), alert: String::new() };
            self.repeats.put(key, repeats);
            if self.repeats.len() > self.most {
                self.close_oldest_repeats();
            }
        }
        Decision::Tell
    }

    /// Whether an alert is within the limit of its rule and destination.
    fn within(&mut self, limit: NonZeroU32, subject: &Subject, now: BootTime) -> bool {
        let Subject { process: _, rule, destination } = *subject;
        let key = Digest::of(&[rule, &text(destination)]);
        if self.rates.peek(&key).is_some_and(|rate| now >= rate.until) {
            self.close_rate(&key);
        }
        let fresh = || Rate { rule, destination, until: later(now, MINUTE), told: 0, quiet: Quiet::default() };
        if !self.rates.contains(&key) {
            self.rates.put(key, fresh());
        }
        if self.rates.len() > self.most
            && let Some((_, rate)) = self.rates.pop_lru()
        {
            self.report_rate(&rate);
        }
        let Some(rate) = self.rates.peek_mut(&key) else { return true };
        if rate.told >= limit.get() {
            rate.quiet.add(now);
            return false;
        }
        rate.told += 1;
        true
    }

    /// Keeps an alert about a subject that was collapsed, to be told later instead of the one before.
    pub fn keep(&mut self, subject: &Subject, alert: String) {
        let Some(repeats) = self.repeats.peek_mut(&subject.key()) else { return };
        self.bytes = (self.bytes + alert.len()).saturating_sub(repeats.alert.len());
        repeats.alert = alert;
        while self.bytes > self.most_bytes {
            self.close_oldest_repeats();
        }
    }

    /// What is to be told by now.
    pub fn due(&mut self, now: BootTime) -> Vec<Report> {
        while self.repeats.peek_lru().is_some_and(|(_, repeats)| now >= repeats.until) {
            self.close_oldest_repeats();
        }
        while self.rates.peek_lru().is_some_and(|(_, rate)| now >= rate.until)
            && let Some((_, rate)) = self.rates.pop_lru()
        {
            self.report_rate(&rate);
        }
        std::mem::take(&mut self.reports)
    }

    /// What has not been told, at the end.
    pub fn finish(&mut self) -> Vec<Report> {
        self.due(BootTime(u64::MAX))
    }

    fn close_repeats(&mut self, key: &Digest) {
        if let Some(repeats) = self.repeats.pop(key) {
            self.report_repeats(repeats);
        }
    }

    fn close_oldest_repeats(&mut self) {
        match self.repeats.pop_lru() {
            Some((_, repeats)) => self.report_repeats(repeats),
            None => self.bytes = 0,
        }
    }

    fn report_repeats(&mut self, repeats: Repeats) {
        let Repeats { quiet: Quiet { count, first, last }, alert, .. } = repeats;
        self.bytes = self.bytes.saturating_sub(alert.len());
        if count > 0 {
            self.reports.push(Report::Repeated { alert, count, first, last });
        }
    }

    fn close_rate(&mut self, key: &Digest) {
        if let Some(rate) = self.rates.pop(key) {
            self.report_rate(&rate);
        }
    }

    fn report_rate(&mut self, rate: &Rate) {
        let Rate { rule, destination, quiet: Quiet { count, first, last }, .. } = *rate;
        if count > 0 {
            self.reports.push(Report::Held { rule, destination, count, first, last });
        }
    }
}

impl Subject {
    /// The same process is the same only as long as it goes for the same destination: another one is news.
    fn key(&self) -> Digest {
        Digest::of(&[&self.process, self.rule, &text(self.destination)])
    }
}

fn text(destination: Option<SocketAddr>) -> String {
    destination.map(|one| one.to_string()).unwrap_or_default()
}

fn later(now: BootTime, by: Duration) -> BootTime {
    BootTime(now.0.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests;
