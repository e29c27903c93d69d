//! From records to alerts: decode, enrich, encode, correlate, hand to the outputs.
//!
//! A connection may arrive in two ways, in its own record and carried by an execution's, in either order. The first one makes its
//! document; the correlator knows the other by its identity.

mod account;
mod alerts;
mod extras;
mod told;

pub use extras::from_proc;

use crate::detect::detector::{Detector, Found};
use crate::detect::exception::Exceptions;
use crate::detect::moment::{Key, Moment};
use crate::detect::redact::Redactor;
use crate::detect::rule::{Parameters, SOCAT};
use crate::enrich::clock;
use crate::enrich::onlooker::Onlooker;
use crate::enrich::parents::Parents;
use crate::enrich::proc::Proc;
use crate::enrich::runtime::Runtimes;
use crate::enrich::user::Users;
use crate::event::decode::{self, DecodeError};
use crate::event::ecs::{Extras, Origin};
use crate::event::facts::Facts;
use crate::event::{BootTime, Connection, Exec, ProcessKey, Reason, WallOffset, WallTime};
use crate::health::losses::{Ledger, Losses};
use crate::kernel::counters::Counters;
use crate::life::Life;
use crate::noise::{Limits, Noise};
use crate::output::Outputs;
use crate::stats::Stats;
use sensor_common::settings::PENDING_CAPACITY;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Processes whose connections are remembered: as many as the kernel side remembers.
const PROCESSES: usize = PENDING_CAPACITY as usize;

/// What the correlator keeps: little, for as many processes as an attacker starts.
#[derive(Clone, Debug)]
enum Payload {
    Connection(Arc<Held>),
    Exec,
}

/// A connection that waits for its execution; its document is made when there is a match.
#[derive(Debug)]
struct Held {
    event: Connection,
    sequence: u64,
    offset: WallOffset,
    /// Its document, if that was written to the events: the alert then holds the very same.
    recorded: Option<Value>,
}

/// The user side.
#[derive(Debug)]
pub struct Pipeline {
    origin: Origin,
    detector: Detector<Payload>,
    parents: Parents,
    users: Users,
    proc: Proc,
    runtimes: Runtimes,
    onlooker: Onlooker,
    outputs: Outputs,
    sequence: u64,
    stats: Stats,
    life: Life,
    /// Losses that alerts are marked with.
    marked: Ledger,
    exceptions: Exceptions,
    redactor: Redactor,
    /// Variables of a shell's environment that are told.
    environment: Vec<String>,
    noise: Noise,
    /// The kernel side's numbers, where there is one.
    counters: Option<Arc<Counters>>,
    /// Runs of its programs that the kernel skipped, by hook, as far as is known.
    missed: BTreeMap<String, u64>,
    /// What an earlier sensor's kernel side has lost.
    inherited: Losses,
}

impl Pipeline {
    /// A pipeline that has seen nothing yet.
    #[must_use]
    pub fn new(parameters: Parameters, origin: Origin, users: Users, outputs: Outputs) -> Self {
        let now = clock::now();
        Self {
            life: Life::new(&origin.boot_id, now),
            origin,
            detector: Detector::new(parameters, PROCESSES),
            parents: Parents::default(),
            users,
            proc: Proc::live(),
            runtimes: Runtimes::new(Vec::new()),
            onlooker: Onlooker::new(Proc::live()),
            outputs,
            // Microseconds since boot: higher than any number of an earlier run, whose events may stand in the same file.
            sequence: now.0.0 / 1_000,
            stats: Stats::default(),
            marked: Ledger::default(),
            exceptions: Exceptions::default(),
            redactor: Redactor::default(),
            environment: Vec::new(),
            noise: Noise::new(Limits::default()),
            counters: None,
            missed: BTreeMap::new(),
            inherited: Losses::default(),
        }
    }

    /// The parent programs, to remember those that ran before the sensor.
    pub fn parents(&mut self) -> &mut Parents {
        &mut self.parents
    }

    /// What was seen so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Where the documents go.
    #[must_use]
    pub fn outputs(&self) -> &Outputs {
        &self.outputs
    }

    /// The same, to change them.
    pub fn outputs_mut(&mut self) -> &mut Outputs {
        &mut self.outputs
    }

    /// Forgets what cannot match any more at this time.
    pub fn forget_expired(&mut self, boot: BootTime, wall: WallTime) {
        self.detector.forget_expired(&Moment::on_boot_clock(&self.origin.boot_id, boot, wall));
    }

    /// The rules' parameters after a reload.
    pub fn set_parameters(&mut self, parameters: &Parameters) {
        self.detector.set_parameters(parameters);
    }

    /// Follows the wall clock, for the events to come. An execution that matches a connection is dated as that was, whatever has
    /// become of the clock since: the time between both documents is what has really passed.
    pub fn follow_clock(&mut self, boot: BootTime, wall: WallTime) {
        let offset = WallOffset::between(boot, wall);
        if !offset.is_near(self.origin.offset) {
            self.origin.offset = offset;
        }
    }

    /// A record from the ring buffer of connections.
    pub fn connection_record(&mut self, record: &[u8]) {
        match decode::connection(record) {
            Ok(event) => self.connection(&event),
            Err(error) => self.undecodable("connection", error),
        }
    }

    /// A record from the ring buffer of executions.
    pub fn exec_record(&mut self, record: &[u8]) {
        match decode::exec(record) {
            Ok(mut event) => {
                event.surroundings.keep_environment(&self.environment);
                self.exec(&event);
            }
            Err(error) => self.undecodable("execution", error),
        }
    }

    fn undecodable(&mut self, kind: &str, error: DecodeError) {
        self.stats.undecodable += 1;
        tracing::error!("the record of a {kind} cannot be decoded: {error}");
    }

    fn connection(&mut self, event: &Connection) {
        let (key, at) = self.place(event.process, event.at);
        if self.detector.holds(&key, &at, event.arm) {
            self.stats.duplicates += 1;
            return;
        }
        self.stats.connections += 1;
        let sequence = self.next_sequence();
        let is_recorded = self.outputs.take_events();
        let document = if is_recorded {
            let extras = self.extras(event.uid, event.process, None);
            self.origin.connection(event, sequence, &extras)
        } else {
            self.origin.connection_facts(event, sequence)
        };
        let held = Held {
            event: event.clone(),
            sequence,
            offset: self.origin.offset,
            recorded: is_recorded.then(|| document.clone()),
        };
        self.judge(&document, &Payload::Connection(Arc::new(held)), false);
        if is_recorded {
            self.outputs.event(document);
        }
        tracing::trace!(arm = event.arm, "connection");
    }

    fn exec(&mut self, event: &Exec) {
        if let Some(connection) = &event.connection {
            self.connection(connection);
        }
        self.stats.executions += 1;
        if event.comm == SOCAT.as_bytes() || event.executable.name == SOCAT.as_bytes() {
            self.parents.executed(event);
        }
        let sequence = self.next_sequence();
        let offset = self.offset_of(event, sequence);
        // What does not match needs nothing from /proc but the arguments that decide: a flood of executions is judged quickly.
        let is_recorded = self.outputs.take_events();
        let (extras, document) = if is_recorded {
            let extras = self.extras(event.uid, event.process, Some(&event.lineage));
            let document = self.dated(offset).exec(event, sequence, &extras);
            (extras, document)
        } else {
            let parent = self.deciding_parent(event.process, &event.lineage);
            let extras = Extras { parent, ..Extras::default() };
            let document = self.dated(offset).exec_facts(event, sequence, &extras);
            (extras, document)
        };
        // Under pressure the kernel side may have forgotten the connection and its record may have found no room: an execution that the
        // rule takes is then reported, rather than a shell missed.
        let found = self.judge(&document, &Payload::Exec, event.reason == Reason::Pressure);
        if is_recorded {
            let told = self.told(event, &extras);
            let told = told.map(|(event, extras)| self.dated(offset).exec(&event, sequence, &extras));
            self.outputs.event(told.unwrap_or(document));
        }
        tracing::trace!(?found, "execution");
        match found {
            Some(found) => self.alert(&found, event, (sequence, offset), &extras),
            None => self.stats.unmatched += 1,
        }
    }

    /// Where an event of a process stands for the rules.
    fn place(&self, process: ProcessKey, at: BootTime) -> (Key, Moment) {
        let key = Key::new(&self.origin.host_id, &self.origin.entity_id(process));
        (key, Moment::on_boot_clock(&self.origin.boot_id, at, self.origin.offset.wall(at)))
    }

    /// The offset by which an execution is dated: that of the connection which it would match, or today's.
    fn offset_of(&self, event: &Exec, sequence: u64) -> WallOffset {
        let connection = event.connection.as_ref();
        let (key, at) = self.place(connection.map_or(event.process, |one| one.process), event.at);
        let inherited = connection.filter(|_| event.generations != 0).map(|one| one.arm);
        match self.detector.matching(&key, &at.numbered(sequence), inherited) {
            Some(Payload::Connection(held)) => held.offset,
            Some(Payload::Exec) | None => self.origin.offset,
        }
    }

    /// What makes documents that are dated by this offset.
    fn dated(&self, offset: WallOffset) -> Cow<'_, Origin> {
        if offset == self.origin.offset {
            Cow::Borrowed(&self.origin)
        } else {
            Cow::Owned(Origin { offset, ..self.origin.clone() })
        }
    }

    fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    fn judge(&mut self, document: &Value, payload: &Payload, assume: bool) -> Option<Found<Payload>> {
        match Facts::from_value(document) {
            Ok(facts) => self.detector.push(&facts, payload, assume),
            Err(error) => {
                tracing::error!("the sensor does not understand its own document: {error}");
                None
            }
        }
    }

    /// What the outputs are for is done.
    #[must_use]
    pub fn into_outputs(self) -> Outputs {
        self.outputs
    }
}
