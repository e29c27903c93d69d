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
pub mod syslog;
pub mod tls;

use document::Document;
use queue::{Queue, Stats};
use serde_json::Value;
use std::sync::Arc;

/// All outputs of a sensor.
#[derive(Debug)]
pub struct Outputs {
    /// Each takes every alert.
    pub alerts: Vec<Queue>,
    /// The names of those that also take what is told of the sensor itself.
    pub life: Vec<&'static str>,
    /// Takes every connection and execution, where that is asked for.
    pub events: Option<Queue>,
}

impl Outputs {
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
        self.all().map(|queue| (queue.name(), queue.stats())).collect()
    }

    /// Flushes all of them, one after the other; their numbers.
    #[must_use]
    pub fn close(self) -> Vec<(&'static str, Stats)> {
        self.alerts.into_iter().chain(self.events).map(|queue| (queue.name(), queue.close())).collect()
    }

    fn all(&self) -> impl Iterator<Item = &Queue> {
        self.alerts.iter().chain(&self.events)
    }
}
