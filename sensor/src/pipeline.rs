//! From records to alerts: decode, enrich, encode, correlate, hand to the outputs.
//!
//! A connection may arrive in two ways, in its own record and carried by an execution's, in either order. The first one makes its
//! document; the correlator knows the other by its identity.

use crate::alert::{self, Finding};
use crate::detect::correlator::{Correlator, MAX_PROCESSES, Match, Outcome};
use crate::detect::moment::{Key, Moment};
use crate::detect::rule::{Parameters, Rule, SOCAT};
use crate::enrich::parents::{Parents, Program};
use crate::enrich::proc::Proc;
use crate::enrich::user::Users;
use crate::enrich::{clock, container, process};
use crate::event::decode::{self, DecodeError};
use crate::event::ecs::{self, Extras, Origin, ParentProgram, ParentSource};
use crate::event::facts::Facts;
use crate::event::{Ancestor, Args, BootTime, Connection, Exec, Lineage, ProcessKey, WallOffset, WallTime};
use crate::output::stream::Stream;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// How long a changed wall clock is not followed because connections are waiting.
const CLOCK_PATIENCE: Duration = Duration::from_secs(60);

/// What the user side has seen and made of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections with a document of their own.
    pub connections: u64,
    /// Connections that arrived a second time.
    pub duplicates: u64,
    /// Executions.
    pub executions: u64,
    /// Alerts.
    pub alerts: u64,
    /// Records that could not be decoded.
    pub undecodable: u64,
    /// Longest time from an execution to its alert being handed to the outputs, in nanoseconds.
    pub slowest_ns: u64,
}

/// The user side.
#[derive(Debug)]
pub struct Pipeline {
    origin: Origin,
    correlator: Correlator<Arc<Value>>,
    parents: Parents,
    users: Users,
    proc: Proc,
    alerts: Stream,
    events: Option<Stream>,
    span: Duration,
    last_event: BootTime,
    clock_differs: Option<BootTime>,
    sequence: u64,
    stats: Stats,
}

impl Pipeline {
    /// A pipeline that has seen nothing yet.
    #[must_use]
    pub fn new(
        rule: &'static Rule,
        parameters: Parameters,
        origin: Origin,
        users: Users,
        alerts: Stream,
        events: Option<Stream>,
    ) -> Self {
        Self {
            origin,
            span: parameters.span,
            correlator: Correlator::new(rule, parameters, MAX_PROCESSES),
            parents: Parents::default(),
            users,
            proc: Proc::live(),
            alerts,
            events,
            last_event: BootTime(0),
            clock_differs: None,
            // Microseconds since boot: higher than any number of an earlier run, whose events may stand in the same file.
            sequence: clock::now().0.0 / 1_000,
            stats: Stats::default(),
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

    /// The rule's parameters after a reload.
    pub fn set_parameters(&mut self, parameters: Parameters) {
        self.span = parameters.span;
        self.correlator.set_parameters(parameters);
    }

    /// Has the outputs opened anew.
    pub fn reopen(&self) {
        self.alerts.reopen();
        if let Some(events) = &self.events {
            events.reopen();
        }
    }

    /// Follows a change of the wall clock, but not while a connection may still be waiting for its execution, so that both
    /// documents of a match are dated by the same offset; yet after [`CLOCK_PATIENCE`] also then: what belongs together is
    /// measured by the boot clock in any case.
    pub fn follow_clock(&mut self, boot: BootTime, wall: WallTime) {
        let offset = WallOffset::between(boot, wall);
        if offset.is_near(self.origin.offset) {
            self.clock_differs = None;
            return;
        }
        let since = |then: BootTime| Duration::from_nanos(boot.0.saturating_sub(then.0));
        let differs = *self.clock_differs.get_or_insert(boot);
        if since(self.last_event) > self.span + Duration::from_secs(1) || since(differs) > CLOCK_PATIENCE {
            self.origin.offset = offset;
            self.clock_differs = None;
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
            Ok(event) => self.exec(&event),
            Err(error) => self.undecodable("execution", error),
        }
    }

    fn undecodable(&mut self, kind: &str, error: DecodeError) {
        self.stats.undecodable += 1;
        tracing::error!("the record of a {kind} cannot be decoded: {error}");
    }

    fn connection(&mut self, event: &Connection) {
        self.last_event = self.last_event.max(event.at);
        let key = Key::new(&self.origin.host_id, &self.origin.entity_id(event.process));
        let at = Moment::on_boot_clock(&self.origin.boot_id, event.at, self.origin.offset.wall(event.at));
        if self.correlator.holds(&key, &at, event.arm) {
            self.stats.duplicates += 1;
            return;
        }
        self.stats.connections += 1;
        let extras = self.extras(event.uid, event.process, &event.lineage);
        let sequence = self.next_sequence();
        let document = self.origin.connection(event, sequence, &extras);
        self.push(&Arc::new(document), None);
    }

    fn exec(&mut self, event: &Exec) {
        if let Some(connection) = &event.connection {
            self.connection(connection);
        }
        self.last_event = self.last_event.max(event.at);
        self.stats.executions += 1;
        if event.comm == SOCAT.as_bytes() || event.executable.name == SOCAT.as_bytes() {
            self.parents.executed(event);
        }
        let extras = self.extras(event.uid, event.process, &event.lineage);
        let sequence = self.next_sequence();
        let document = self.origin.exec(event, sequence, &extras);
        self.push(&Arc::new(document), Some(event));
    }

    fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    fn push(&mut self, document: &Arc<Value>, exec: Option<&Exec>) {
        if let Some(events) = &mut self.events {
            events.send(document);
        }
        let outcome = match Facts::from_value(document) {
            Ok(facts) => self.correlator.push(&facts, Arc::clone(document)),
            Err(error) => {
                tracing::error!("the sensor does not understand its own document: {error}");
                return;
            }
        };
        match (outcome, exec) {
            (Outcome::Match(found), Some(exec)) => self.alert(&found, exec),
            (outcome, _) => tracing::trace!(?outcome, "no match"),
        }
    }

    fn alert(&mut self, found: &Match<Arc<Value>>, exec: &Exec) {
        let mut connection = Value::clone(&found.connection);
        if let Some(carried) = &exec.connection {
            ecs::complete_port(&mut connection, carried.local.port());
        }
        let finding = Finding {
            rule: self.correlator.rule(),
            others: &[],
            connection: &connection,
            exec: &found.exec,
            elapsed_ms: found.elapsed_ms,
            assumed: &found.assumed,
        };
        let (boot, wall) = clock::now();
        self.alerts.send(&alert::document(&finding, wall));
        self.stats.alerts += 1;
        self.stats.slowest_ns = self.stats.slowest_ns.max(boot.0.saturating_sub(exec.at.0));
    }

    /// What the record does not hold. From /proc, late: the process may be gone by now.
    fn extras(&mut self, uid: u32, process: ProcessKey, lineage: &Lineage) -> Extras {
        let facts = process::facts(&self.proc, process).ok();
        let cgroup = facts.and_then(|facts| facts.cgroup.ok());
        Extras {
            user: self.users.name(uid).map(str::to_owned),
            container: cgroup.and_then(|cgroup| container::id(&cgroup).map(str::to_owned)),
            parent: lineage.ancestors.first().and_then(|parent| self.parent(process, parent, lineage)),
        }
    }

    fn parent(&mut self, process: ProcessKey, parent: &Ancestor, lineage: &Lineage) -> Option<ParentProgram> {
        let is_socat = parent.comm == SOCAT.as_bytes() || parent.exe == SOCAT.as_bytes();
        if is_socat && let Some(program) = self.parents.program(process, lineage) {
            let Program { executable, args, recorded, .. } = program.clone();
            let source = if recorded { ParentSource::Exec } else { ParentSource::Proc };
            return Some(ParentProgram { executable, args, source });
        }
        let facts = process::facts(&self.proc, parent.key).ok();
        let executable = facts.as_ref().and_then(|facts| Some(facts.exe.as_ref().ok()?.path.clone()));
        let args = facts.and_then(|facts| facts.args.ok()).map(|args| from_proc(args, is_socat));
        // The arguments of a parent that decides, and that nobody knows, count as if they matched.
        let unknown = is_socat.then(|| Args { truncated: true, unsearched: true, ..Args::default() });
        args.or(unknown).map(|args| ParentProgram { executable, args, source: ParentSource::Proc })
    }

    /// Flushes the outputs; what has become of the alerts and of the events.
    #[must_use]
    pub fn close(self) -> (crate::output::stream::Stats, Option<crate::output::stream::Stats>) {
        (self.alerts.close(), self.events.map(Stream::close))
    }
}

/// Arguments as /proc shows them; a part that was not read counts as unsearched where arguments decide.
#[must_use]
pub fn from_proc(args: process::Args, decides: bool) -> Args {
    let process::Args { args, truncated } = args;
    let count = u32::try_from(args.len()).unwrap_or(u32::MAX);
    Args { copied: args, count, truncated, found_beyond: Vec::new(), unsearched: truncated && decides }
}
