//! Where documents go. An output takes whole documents and knows nothing of what they mean.
//!
//! Each output is a [`sink::Sink`] behind a [`queue::Queue`] of its own, whose thread hands the documents over: a slow, stuck or
//! broken output holds up neither the others nor the one who reads the rings. To add one, write a sink.

pub mod backoff;
pub mod document;
pub mod elasticsearch;
pub mod journal;
mod priority;
pub mod queue;
pub mod remote;
pub mod secret;
pub mod sink;
pub mod spool;
pub mod stream;
pub mod switch;
pub mod syslog;
pub mod tls;

use document::Document;
use queue::{Queue, Stats};
use serde_json::Value;
use std::sync::Arc;

/// Outputs that were taken away and are still at their last documents, at most.
const MOST_CLOSING: usize = 4;

/// All outputs of a sensor.
#[derive(Debug)]
pub struct Outputs {
    /// Each takes every alert.
    alerts: Vec<Queue>,
    /// The names of those that also take what is told of the sensor itself.
    life: Vec<&'static str>,
    /// Takes every connection and execution, where that is asked for.
    events: Option<Queue>,
    /// Taken away, and still delivering what they were given.
    closing: Vec<Queue>,
    /// The numbers of those that have ended.
    closed: Vec<(&'static str, Stats)>,
}

impl Outputs {
    /// Outputs for alerts, and one for connections and executions if that is asked for.
    #[must_use]
    pub fn new(alerts: Vec<Queue>, events: Option<Queue>) -> Self {
        Self { alerts, life: Vec::new(), events, closing: Vec::new(), closed: Vec::new() }
    }

    /// What is told of the sensor itself goes to the outputs of these names from now on.
    pub fn set_life(&mut self, names: Vec<&'static str>) {
        self.life = names;
    }

    /// Whether connections and executions are asked for.
    #[must_use]
    pub fn take_events(&self) -> bool {
        self.events.is_some()
    }

    /// Whether another output can be taken away, or are too many still at their last documents.
    #[must_use]
    pub fn can_take_away(&self) -> bool {
        self.closing.len() < MOST_CLOSING
    }

    /// Puts an output in the place of the one of its name, or beside the others if there is none.
    pub fn put(&mut self, queue: Queue) {
        self.take_away(queue.name());
        self.alerts.push(queue);
    }

    /// Takes the output of a name away: it delivers what it was given, and ends. Never waits.
    pub fn take_away(&mut self, name: &str) {
        let (gone, left) = std::mem::take(&mut self.alerts).into_iter().partition(|queue| queue.name() == name);
        self.alerts = left;
        let gone: Vec<Queue> = gone;
        for mut queue in gone {
            queue.end();
            self.closing.push(queue);
        }
        self.tidy();
    }

    /// Lets go of outputs that have delivered their last documents.
    pub fn tidy(&mut self) {
        let (ended, left) = std::mem::take(&mut self.closing).into_iter().partition(Queue::has_ended);
        self.closing = left;
        let ended: Vec<Queue> = ended;
        for queue in &ended {
            let Stats { queued, delivered, spooled, dropped } = queue.stats();
            // What is in a spool is counted by whoever opens it next.
            let stats = Stats { queued: queued.saturating_sub(spooled), delivered, spooled: 0, dropped };
            add(&mut self.closed, queue.name(), stats);
        }
    }

    /// Hands an alert to each output; never waits.
    pub fn alert(&mut self, alert: Value) {
        let document = Arc::new(Document::from(alert));
        for queue in &mut self.alerts {
            queue.send(Arc::clone(&document));
        }
    }

    /// Hands on what is told of the sensor itself; never waits.
    pub fn life(&mut self, document: Value) {
        let document = Arc::new(Document::from(document));
        for queue in self.alerts.iter_mut().filter(|queue| self.life.contains(&queue.name())) {
            queue.send(Arc::clone(&document));
        }
    }

    /// Hands on a connection or an execution; never waits.
    pub fn event(&mut self, event: Value) {
        if let Some(queue) = &mut self.events {
            queue.send(Arc::new(event.into()));
        }
    }

    /// Has all of them opened anew.
    pub fn reopen(&self) {
        self.all().for_each(Queue::reopen);
    }

    /// The numbers so far, by the output's name.
    #[must_use]
    pub fn stats(&self) -> Vec<(&'static str, Stats)> {
        let mut all = Vec::new();
        let running = self.all().chain(&self.closing).map(|queue| (queue.name(), queue.stats()));
        running.chain(self.closed.iter().copied()).for_each(|(name, stats)| add(&mut all, name, stats));
        all
    }

    /// Flushes all of them, one after the other; their numbers.
    #[must_use]
    pub fn close(self) -> Vec<(&'static str, Stats)> {
        let Self { alerts, life: _, events, closing, closed } = self;
        let mut all = Vec::new();
        for queue in alerts.into_iter().chain(events).chain(closing) {
            let name = queue.name();
            add(&mut all, name, queue.close());
        }
        closed.into_iter().for_each(|(name, stats)| add(&mut all, name, stats));
        all
    }

    fn all(&self) -> impl Iterator<Item = &Queue> {
        self.alerts.iter().chain(&self.events)
    }
}

/// Adds numbers to those of a name.
fn add(all: &mut Vec<(&'static str, Stats)>, name: &'static str, more: Stats) {
    let Stats { queued, delivered, spooled, dropped } = more;
    match all.iter_mut().find(|(one, _)| *one == name) {
        Some((_, stats)) => {
            stats.queued += queued;
            stats.delivered += delivered;
            stats.spooled += spooled;
            stats.dropped += dropped;
        }
        None => all.push((name, more)),
    }
}

#[cfg(test)]
mod tests {
    use super::stream::{Stream, Target, json_line};
    use super::*;
    use serde_json::json;
    use std::path::Path;
    use std::thread::sleep;
    use std::time::Duration;

    fn queue(name: &'static str, path: &Path) -> Queue {
        Queue::start(name, Stream::open(Target::File(path.to_owned()), json_line).unwrap()).unwrap()
    }

    #[test]
    fn an_output_that_another_takes_the_place_of_delivers_what_it_was_given() {
        let folder = tempfile::tempdir().unwrap();
        let [old, new, events] = ["old", "new", "events"].map(|name| folder.path().join(name));
        let mut outputs = Outputs::new(vec![queue("file", &old)], Some(queue("events", &events)));
        for n in 0..100 {
            if n == 50 {
                outputs.put(queue("file", &new));
            }
            outputs.alert(json!(n));
        }
        let numbers = outputs.stats();
        assert_eq!(
            numbers.iter().map(|(name, stats)| (*name, stats.queued)).collect::<Vec<_>>(),
            [("file", 100), ("events", 0)]
        );
        outputs.take_away("file");
        outputs.alert(json!("to nobody"));
        while outputs.closed.is_empty() {
            outputs.tidy();
            sleep(Duration::from_millis(1));
        }
        let closed = outputs.close();
        let expected = Stats { queued: 100, delivered: 100, ..Stats::default() };
        assert_eq!(closed.iter().find(|(name, _)| *name == "file"), Some(&("file", expected)));
        let lines = |path| std::fs::read_to_string(path).unwrap().lines().count();
        assert_eq!((lines(&old), lines(&new)), (50, 50));
    }

    #[test]
    fn what_is_told_of_the_sensor_goes_where_it_is_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| folder.path().join(name));
        let mut outputs = Outputs::new(vec![queue("one", &one), queue("other", &other)], None);
        outputs.life(json!("nowhere"));
        outputs.set_life(vec!["other", "absent"]);
        outputs.life(json!("life"));
        let _ = outputs.close();
        assert_eq!([one, other].map(|path| std::fs::read_to_string(path).unwrap()), ["", "\"life\"\n"]);
    }
}
