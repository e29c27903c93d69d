//! From a match to its alert, and what is told of alerts that are not told at once.

use super::{Held, Payload, Pipeline};
use crate::alert::{self, Finding};
use crate::detect::detector::Found;
use crate::detect::exception::{Exception, Exceptions};
use crate::enrich::clock;
use crate::event::ecs::{self, Extras, Known};
use crate::event::stream::Stream;
use crate::event::{BootTime, Connection, Direction, Exec, WallOffset};
use crate::life::{self, Interval};
use crate::noise::{Decision, Limits, Report, Subject};
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;

/// What is looked up for an alert.
struct Evidence {
    extras: Extras,
    ancestors: Vec<Known>,
}

impl Pipeline {
    /// How many alerts of the same thing are told from now on.
    pub fn set_noise(&mut self, limits: Limits) {
        self.noise.set_limits(limits);
    }

    /// Matches that give no alert from now on.
    pub fn set_exceptions(&mut self, exceptions: Vec<Exception>) {
        self.exceptions.set(exceptions);
    }

    /// Those in force, with their uses.
    #[must_use]
    pub fn exceptions(&self) -> &Exceptions {
        &self.exceptions
    }

    /// An execution, of this number and dated by this offset, has matched: tells it, or counts it to be told later, or as excepted.
    pub(super) fn alert(&mut self, found: &Found<Payload>, exec: &Exec, at: (u64, WallOffset), extras: &Extras) {
        self.stats.matched(found.rules());
        let (boot, _) = clock::now();
        let mut looked_up = None;
        if !self.exceptions.is_empty() {
            let evidence = self.look_up(exec, extras);
            // By what is known, secrets and all.
            let whole = self.alert_of(found, exec, at, &evidence);
            if let Some(exception) = self.exceptions.cover(&whole, self.origin.offset.wall(exec.at)) {
                let (name, pid) = (&exception.name, exec.process.tgid);
                tracing::debug!(name, pid, "an alert is excepted");
                self.stats.excepted += 1;
                self.tell_noise(boot);
                return;
            }
            looked_up = Some(evidence);
        }
        let rule = found.rule;
        let subject = Subject {
            process: self.origin.entity_id(exec.process),
            rule: rule.id,
            destination: if rule.requires_connection() {
                held(found).map(|held| destination(&held.event))
            } else {
                far_end(exec)
            },
        };
        match self.noise.judge(&subject, boot) {
            Decision::Tell => {
                let evidence = looked_up.unwrap_or_else(|| self.look_up(exec, extras));
                let alert = self.alert_told(found, exec, at, evidence);
                self.send(alert);
                let (boot, _) = clock::now();
                self.stats.alerted(Duration::from_nanos(boot.0.saturating_sub(exec.at.0)));
            }
            Decision::Collapse => {
                let evidence = looked_up.unwrap_or_else(|| self.look_up(exec, extras));
                let alert = self.alert_told(found, exec, at, evidence);
                self.noise.keep(&subject, alert.to_string());
                self.stats.collapsed += 1;
            }
            Decision::Hold => self.stats.held += 1,
        }
        self.tell_noise(boot);
    }

    /// Hands an alert to the outputs, marked with what was lost since the one before.
    fn send(&mut self, mut alert: Value) {
        let lost = self.marked.news(self.losses());
        if !lost.is_empty() {
            alert::mark(&mut alert, "lost", lost.to_json());
        }
        self.outputs.alert(alert);
    }

    /// Tells what is to be told by now of alerts that were not told at once.
    pub fn tell_noise(&mut self, now: BootTime) {
        for report in self.noise.due(now) {
            self.report(report);
        }
    }

    /// Tells all of it.
    pub fn finish_noise(&mut self) {
        for report in self.noise.finish() {
            self.report(report);
        }
    }

    fn report(&mut self, report: Report) {
        let interval = |first, last| {
            let [from, to] = [first, last].map(|at| self.origin.offset.wall(at));
            Interval { from, to }
        };
        match report {
            Report::Repeated { alert, count, first, last } => {
                let interval = interval(first, last);
                // It was one when it was put there.
                let Ok(mut alert) = serde_json::from_str(&alert) else { return };
                alert::repeated(&mut alert, count, interval.from, interval.to);
                self.stats.repeats += 1;
                self.send(alert);
            }
            Report::Held { rule, destination, count, first, last } => {
                let interval = interval(first, last);
                let to = destination.map_or_else(|| "an unknown destination".to_owned(), |one| one.to_string());
                tracing::warn!("{count} alerts of {rule} about {to} are beyond the limit and held back");
                self.tell(&life::Event::Held { rule, destination, count, interval });
            }
        }
    }

    /// Looks up what the records do not hold.
    fn look_up(&mut self, exec: &Exec, extras: &Extras) -> Evidence {
        let ancestors = self.ancestors(&exec.lineage, extras.parent.as_ref());
        // A recorded execution stays as it was recorded, so that a replay gives the same alert.
        let extras = if self.outputs.take_events() {
            extras.clone()
        } else {
            let parent = ancestors.first().and_then(|parent| parent.program.clone());
            Extras { parent, ..self.extras(exec.uid, exec.process, None) }
        };
        Evidence { extras, ancestors }
    }

    /// The alert as it leaves the sensor.
    fn alert_told(
        &mut self,
        found: &Found<Payload>,
        exec: &Exec,
        at: (u64, WallOffset),
        mut evidence: Evidence,
    ) -> Value {
        self.told_ancestors(&mut evidence.ancestors);
        match self.told(exec, &evidence.extras) {
            Some((exec, extras)) => self.alert_of(found, &exec, at, &Evidence { extras, ..evidence }),
            None => self.alert_of(found, exec, at, &evidence),
        }
    }

    fn alert_of(&mut self, found: &Found<Payload>, exec: &Exec, at: (u64, WallOffset), evidence: &Evidence) -> Value {
        let Evidence { extras, ancestors } = evidence;
        let (sequence, offset) = at;
        let exec_document = self.dated(offset).exec(exec, sequence, extras);
        let connection = held(found).map(|held| self.connection_of(held, exec, extras));
        let finding = Finding {
            rule: found.rule,
            others: &found.others,
            connection: connection.as_ref(),
            exec: &exec_document,
            elapsed_ms: found.connection.as_ref().map_or(0, |(_, elapsed_ms)| *elapsed_ms),
            assumed: &found.assumed,
        };
        let mut alert = alert::document(&finding, clock::now().1);
        alert::add(&mut alert, self.dated(offset).ancestry(exec, ancestors));
        alert
    }

    /// The document of a connection that an execution has matched.
    fn connection_of(&mut self, held: &Held, exec: &Exec, extras: &Extras) -> Value {
        let mut document = match &held.recorded {
            Some(document) => document.clone(),
            None => {
                let user = self.users.name(held.event.uid).map(str::to_owned);
                let extras = Extras { user, parent: None, ..extras.clone() };
                self.dated(held.offset).connection(&held.event, held.sequence, &extras)
            }
        };
        if let Some(carried) = &exec.connection {
            ecs::complete_port(&mut document, carried.local.port());
        }
        document
    }
}

/// The connection that was found.
fn held(found: &Found<Payload>) -> Option<&Held> {
    match &found.connection {
        Some((Payload::Connection(held), _)) => Some(held),
        _ => None,
    }
}

/// Where the standard input of a program comes from.
fn far_end(exec: &Exec) -> Option<SocketAddr> {
    match exec.streams.first() {
        Some(Stream::Tcp(tcp)) => tcp.remote,
        _ => None,
    }
}

/// `destination`: where the process connected to, or the local end where it accepted.
fn destination(connection: &Connection) -> SocketAddr {
    match connection.direction {
        Direction::Attempted => connection.remote,
        Direction::Accepted => connection.local,
    }
}
