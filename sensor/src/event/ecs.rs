//! From an event to its ECS document.
//!
//! Fields that ECS knows have its names and types; everything else stands under `sensor`. What is unknown is absent. Bytes that
//! are no UTF-8 are kept readable as `\xNN`, and the fields that hold such bytes are listed in `sensor.escaped`.

mod containers;
mod process;
mod surroundings;

use super::document::{Document, Extent};
use super::entity::entity_id;
use super::stream;
use super::{Args, BootTime, Connection, Direction, Exec, Executable, Lineage, PathState, ProcessKey, WallOffset};
use process::{arguments, executables, path};
use sensor_common::record::{WITNESS_ACCEPT, WITNESS_CONNECT, WITNESS_GRAFT, WITNESS_PROC};
use serde_json::{Map, Value, json};
use std::net::SocketAddr;

/// The version of the Elastic Common Schema that the documents follow.
pub const ECS_VERSION: &str = "8.17.0";

/// What is the same in all documents of a run.
#[derive(Clone, Debug)]
pub struct Origin {
    /// `host.id`.
    pub host_id: String,
    /// The kernel's id of this boot.
    pub boot_id: String,
    /// The object `host`.
    pub host: Value,
    /// From the boot clock to the wall clock.
    pub offset: WallOffset,
    /// How the facts are seen on this kernel, such as `exec=tracepoint connect=fentry accept=fentry`.
    pub hooks: String,
    /// What these hooks do not see, one sentence each.
    pub degraded: Vec<&'static str>,
}

/// What is known of the program that a parent, or another ancestor, runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentProgram {
    /// Its arguments.
    pub args: Args,
    /// Where they come from.
    pub source: ParentSource,
}

/// Where the arguments of an ancestor come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParentSource {
    /// Recorded when the program was executed; nobody can have changed them since.
    Exec,
    /// Read from /proc afterwards: the program may have rewritten them.
    Proc,
}

/// What is known of an event beside what its record holds.
#[derive(Clone, Debug, Default)]
pub struct Extras {
    /// Name of the user.
    pub user: Option<String>,
    /// Id of the container.
    pub container: Option<String>,
    /// What its runtime calls it.
    pub names: ContainerNames,
    /// The program that the parent runs.
    pub parent: Option<ParentProgram>,
}

/// What a runtime calls a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerNames {
    /// Image, as it was asked for.
    pub image: Option<String>,
    /// Name of the container.
    pub name: Option<String>,
    /// Name of the pod that it is in.
    pub pod: Option<String>,
    /// Namespace of the pod.
    pub namespace: Option<String>,
}

/// What is known of an ancestor beside what the record holds.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Name of its user.
    pub user: Option<String>,
    /// The program that it runs.
    pub program: Option<ParentProgram>,
}

impl Origin {
    /// `process.entity_id` of a process of this host and boot.
    #[must_use]
    pub fn entity_id(&self, process: ProcessKey) -> String {
        entity_id(&self.host_id, &self.boot_id, process)
    }

    /// The document of a connection; `sequence` is its place among all events of this run.
    #[must_use]
    pub fn connection(&self, event: &Connection, sequence: u64, extras: &Extras) -> Value {
        self.connection_to(Extent::Whole, event, sequence, extras)
    }

    /// The same, of which nothing but the facts is wanted.
    #[must_use]
    pub fn connection_facts(&self, event: &Connection, sequence: u64) -> Value {
        self.connection_to(Extent::Facts, event, sequence, &Extras::default())
    }

    fn connection_to(&self, extent: Extent, event: &Connection, sequence: u64, extras: &Extras) -> Value {
        let Connection { arm, at, direction, process, tid, uid, gid, .. } = *event;
        let Connection { comm, leader_comm, executable, lineage, local, remote, found_at_start, witness, .. } = event;
        let mut document = Document::new(extent);
        let action = match direction {
            Direction::Attempted => "connection_attempted",
            Direction::Accepted => "connection_accepted",
        };
        self.head(&mut document, at, sequence, action, &["network"], &["connection", "start"]);
        let mut body = self.process(&mut document, process, executable);
        // io_uring's workers have names of their own, so both the thread's and the leader's are given where they differ.
        let comm = document.text("process.thread.name", comm);
        let leader_comm = document.text("process.thread.name", leader_comm);
        let names = if comm == leader_comm { json!(comm) } else { json!([comm, leader_comm]) };
        body.insert("thread".to_owned(), json!({"id": tid, "name": names}));
        if let Some(parent) = lineage.ancestors.first() {
            body.insert("parent".to_owned(), self.parent(&mut document, parent, None, extras.parent.as_ref()));
        }
        document.put("process", body);
        if document.is_whole() {
            document.put("user", user(uid, uid, extras));
            document.put("group", json!({"id": gid.to_string()}));
        }
        let (source, destination, way) = match direction {
            Direction::Attempted => (local, remote, "egress"),
            Direction::Accepted => (remote, local, "ingress"),
        };
        document.put("source", end(*source));
        document.put("destination", end(*destination));
        document.own("arm", arm);
        if document.is_whole() {
            let version = if remote.is_ipv4() { "ipv4" } else { "ipv6" };
            document.put("network", json!({"transport": "tcp", "type": version, "direction": way}));
            if local.port() == 0 && direction == Direction::Attempted {
                document.absent("source.port", "the kernel had not chosen it when the connection was seen");
            }
            document.own("witness", witnesses(*witness));
            if *found_at_start {
                document.own("found_at_start", true);
            }
        }
        self.tail(document, executable, (lineage, &[]), extras)
    }

    /// The document of an execution; `sequence` is its place among all events of this run.
    #[must_use]
    pub fn exec(&self, event: &Exec, sequence: u64, extras: &Extras) -> Value {
        self.exec_to(Extent::Whole, event, sequence, extras)
    }

    /// The same, of which nothing but the facts is wanted.
    #[must_use]
    pub fn exec_facts(&self, event: &Exec, sequence: u64, extras: &Extras) -> Value {
        self.exec_to(Extent::Facts, event, sequence, extras)
    }

    fn exec_to(&self, extent: Extent, event: &Exec, sequence: u64, extras: &Extras) -> Value {
        let Exec { at, process, old_tid, uid, gid, euid, loginuid, generations, .. } = *event;
        let Exec { comm, executable, args, lineage, parent_executable, streams, connection, .. } = event;
        let mut document = Document::new(extent);
        self.head(&mut document, at, sequence, "exec", &["process"], &["start"]);
        let mut body = self.process(&mut document, process, executable);
        body.insert(
            "thread".to_owned(),
            json!({"id": process.tgid, "name": document.text("process.thread.name", comm)}),
        );
        arguments(&mut document, &mut body, args, "process.args");
        if let Some(parent) = lineage.ancestors.first() {
            let program = extras.parent.as_ref();
            body.insert("parent".to_owned(), self.parent(&mut document, parent, Some(parent_executable), program));
        }
        self.surroundings(&mut document, &mut body, event);
        document.put("process", body);
        if document.is_whole() {
            document.put("user", user(uid, euid, extras));
            document.put("group", json!({"id": gid.to_string()}));
        }
        document.own("args", json!({"truncated": args.truncated, "unsearched": args.unsearched}));
        if old_tid != process.tgid {
            document.own("exec_thread", old_tid);
        }
        if let (Some(connection), 1..) = (connection, generations) {
            let maker = connection.process;
            let entity_id = self.entity_id(maker);
            document.own(
                "inherited",
                json!({"arm": connection.arm, "entity_id": entity_id, "pid": maker.tgid, "generations": generations}),
            );
        }
        if let Some(streams) = stream::documents(streams) {
            document.own("stdio", streams);
        }
        if let Some(loginuid) = loginuid {
            document.own("loginuid", loginuid);
        }
        self.tail(document, executable, (lineage, &executables(event)), extras)
    }

    fn head(
        &self,
        document: &mut Document,
        at: BootTime,
        sequence: u64,
        action: &str,
        category: &[&str],
        kind: &[&str],
    ) {
        let time = self.offset.wall(at).to_string();
        document.put("@timestamp", time);
        document.put("ecs", json!({"version": ECS_VERSION}));
        document.put(
            "event",
            json!({
                "kind": "event",
                "category": category,
                "type": kind,
                "action": action,
                "id": format!("{}-{sequence}-{}", self.boot_id, at.0),
                "sequence": sequence,
                "module": "sensor",
                "dataset": format!("sensor.{}", if action == "exec" { "process" } else { "network" }),
            }),
        );
        document.own("boot_id", self.boot_id.as_str());
        document.own("boot_ns", at.0);
    }

    fn process(&self, document: &mut Document, process: ProcessKey, executable: &Executable) -> Map<String, Value> {
        let mut body = Map::new();
        body.insert("pid".to_owned(), process.tgid.into());
        body.insert("entity_id".to_owned(), self.entity_id(process).into());
        if !executable.name.is_empty() {
            body.insert("name".to_owned(), document.text("process.name", &executable.name).into());
        }
        if document.is_whole() {
            if let Some(path) = path(executable) {
                body.insert("executable".to_owned(), document.text("process.executable", &path).into());
            }
            body.insert("start".to_owned(), self.offset.wall(process.start).to_string().into());
        }
        body
    }

    fn tail(
        &self,
        mut document: Document,
        executable: &Executable,
        (lineage, executables): (&Lineage, &[&Executable]),
        extras: &Extras,
    ) -> Value {
        if !document.is_whole() {
            document.put("host", json!({"id": self.host_id}));
            return document.finish();
        }
        self.ancestors(&mut document, lineage, executables, &[]);
        let path = match executable.state {
            PathState::Whole => None,
            PathState::Cut => Some("cut"),
            PathState::Detached => Some("detached"),
            PathState::Unknown => Some("unknown"),
        };
        if let Some(path) = path {
            document.own("executable", path);
        }
        document.own("hooks", self.hooks.as_str());
        if !self.degraded.is_empty() {
            document.own("degraded", self.degraded.clone());
        }
        if let Some(container) = &extras.container {
            containers::put(&mut document, container, &extras.names);
        }
        document.put("host", self.host.clone());
        document.finish()
    }
}

/// Completes the local port of a connection that was seen before the kernel had chosen it.
pub fn complete_port(document: &mut Value, port: u16) {
    if port != 0
        && let Some(source) = document.get_mut("source").and_then(Value::as_object_mut)
        && !source.contains_key("port")
    {
        source.insert("port".to_owned(), port.into());
        if let Some(own) = document.get_mut("sensor").and_then(Value::as_object_mut) {
            own.shift_remove("absent");
        }
    }
}

/// The hooks that saw a connection, by name.
fn witnesses(bits: u8) -> Vec<&'static str> {
    [(WITNESS_CONNECT, "connect"), (WITNESS_ACCEPT, "accept"), (WITNESS_GRAFT, "graft"), (WITNESS_PROC, "proc")]
        .into_iter()
        .filter(|(bit, _)| bits & bit != 0)
        .map(|(_, name)| name)
        .collect()
}

fn user(real: u32, effective: u32, extras: &Extras) -> Value {
    let mut user = json!({"id": real.to_string()});
    if let Some(fields) = user.as_object_mut() {
        if let Some(name) = &extras.user {
            fields.insert("name".to_owned(), name.as_str().into());
        }
        if effective != real {
            fields.insert("effective".to_owned(), json!({"id": effective.to_string()}));
        }
    }
    user
}

fn end(address: SocketAddr) -> Value {
    match address.port() {
        0 => json!({"ip": address.ip()}),
        port => json!({"ip": address.ip(), "port": port}),
    }
}

#[cfg(test)]
#[path = "ecs_tests.rs"]
mod tests;
