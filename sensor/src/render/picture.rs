//! What an alert shows at a glance, taken from its document: fresh from the sensor, or read back from a file.
//!
//! Whatever the document does not hold is left out. Texts are as they stand there: whoever shows them makes them harmless.

use super::fields::{Fields, scalar};
use super::program::{Program, family};
use super::stdio;
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};

/// An alert as a picture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// `@timestamp`.
    pub time: Option<String>,
    /// `low` to `critical`.
    pub severity: Option<String>,
    /// `event.risk_score`.
    pub score: Option<String>,
    /// `rule.name`.
    pub rule: Option<String>,
    /// `rule.id`.
    pub rule_id: Option<String>,
    /// The processes, the oldest known ancestor first, the shell last; never empty.
    pub programs: Vec<Program>,
    /// Whether the oldest of them has ancestors that the document does not hold.
    pub older: bool,
    /// The connection.
    pub connection: Option<Arrow>,
    /// Milliseconds from the connection to the execution.
    pub elapsed_ms: Option<u64>,
    /// Why it matched, in one sentence.
    pub why: Option<String>,
    /// What else there is to know: a name of at most ten letters, and a text.
    pub details: Vec<(&'static str, String)>,
}

/// A connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrow {
    /// Which of the processes has made it; the last one if none of them has.
    pub by: usize,
    /// What that process was called then, if it was another name: `as sh`; or who has made it if none of them has: `by sh (pid 7), gone`.
    pub under: Option<String>,
    /// The end on this host.
    pub local: String,
    /// The other end.
    pub remote: String,
    /// Whether it came from there; none if nobody knows.
    pub inbound: Option<bool>,
}

impl Picture {
    /// The picture of an alert.
    #[must_use]
    pub fn of(alert: &Value) -> Self {
        let part = |name| Fields::of(alert, name);
        let (event, rule, own) = (part("event"), part("rule"), part("sensor"));
        let sequence = own.objects("sequence");
        // What the sensor adds to an event stands in the event's document; an assumed connection has none.
        let exec = sequence.last().map(|exec| Part::new(exec).sensor).unwrap_or_default();
        let first = sequence.first().filter(|_| sequence.len() > 1).map(Part::new);
        let [ancestors, stdio] = ["ancestors", "stdio"].map(|name| if own.at(name).is_some() { &own } else { &exec });
        let (programs, older) = family(&part("process"), &part("user"), ancestors);
        let connection = match &first {
            Some(first) => Arrow::of(first, &programs),
            None => Arrow::of(&Part::of(alert), &programs),
        };
        let details = details(alert, &own, stdio, connection.as_ref());
        Self {
            time: alert.get("@timestamp").and_then(scalar),
            severity: own
                .text("severity")
                .or_else(|| event.text("severity").map(|number| format!("severity {number}"))),
            score: event.text("risk_score"),
            rule: rule.text("name"),
            rule_id: rule.text("id"),
            programs,
            older,
            connection,
            elapsed_ms: own.number("elapsed_ms"),
            why: alert.get("message").and_then(scalar).or_else(|| rule.text("description")),
            details,
        }
    }

    /// `medium 47`
    #[must_use]
    pub fn grade(&self) -> String {
        let words: Vec<&str> = [&self.severity, &self.score].into_iter().flatten().map(String::as_str).collect();
        words.join(" ")
    }

    /// `Potential Reverse Shell via Child (reverse-shell-via-child)`
    #[must_use]
    pub fn heading(&self) -> String {
        match (&self.rule, &self.rule_id) {
            (Some(name), Some(id)) => format!("{name} ({id})"),
            (Some(one), None) | (None, Some(one)) => one.clone(),
            (None, None) => "an alert of an unknown rule".to_owned(),
        }
    }

    /// The process that the alert is about.
    #[must_use]
    pub fn shell(&self) -> Option<&Program> {
        self.programs.last()
    }
}

/// The parts of a document that tell of a connection.
#[derive(Debug)]
pub(super) struct Part {
    process: Fields,
    event: Fields,
    network: Fields,
    source: Fields,
    destination: Fields,
    sensor: Fields,
}

impl Part {
    fn new(document: &Fields) -> Self {
        Self::of(document.whole())
    }

    pub(super) fn of(document: &Value) -> Self {
        let part = |name| Fields::of(document, name);
        Self {
            process: part("process"),
            event: part("event"),
            network: part("network"),
            source: part("source"),
            destination: part("destination"),
            sensor: part("sensor"),
        }
    }
}

impl Arrow {
    /// A document's connection, if it has one; the process is looked for among these.
    pub(super) fn of(part: &Part, programs: &[Program]) -> Option<Self> {
        let Part { process, event, network, source, destination, sensor: _ } = part;
        let (source, destination) = (end(source), end(destination));
        if source.is_none() && destination.is_none() {
            return None;
        }
        let is_inbound = event.texts("action").iter().any(|action| action == "connection_accepted")
            || network.texts("direction").iter().any(|way| way == "ingress" || way == "inbound");
        let [source, destination] = [source, destination].map(|end| end.unwrap_or_else(|| "?".to_owned()));
        let unknown = !is_inbound && network.texts("direction").iter().any(|way| way == "unknown");
        let inbound = (!unknown).then_some(is_inbound);
        let (local, remote) = if is_inbound { (destination, source) } else { (source, destination) };
        let maker = Program::of(process, &Fields::default());
        let place = programs.iter().rposition(|program| program.is(&maker));
        let by = place.unwrap_or(programs.len().saturating_sub(1));
        let now = programs.get(by).map(Program::title).unwrap_or_default();
        let under = match (place, &maker.pid) {
            // It has ended, and left the process to another parent.
            (None, Some(pid)) if !programs.is_empty() => Some(format!("by {} (pid {pid}), gone", maker.title())),
            _ => maker.name.filter(|name| name != now).map(|name| format!("as {name}")),
        };
        Some(Self { by, under, local, remote, inbound })
    }

    /// `──▶`, from this host, `◀──`, to it, or `───`.
    #[must_use]
    pub fn sign(&self) -> &'static str {
        match self.inbound {
            Some(true) => "\u{25c0}\u{2500}\u{2500}",
            Some(false) => "\u{2500}\u{2500}\u{25b6}",
            None => "\u{2500}\u{2500}\u{2500}",
        }
    }

    /// The direction in a word; empty if nobody knows.
    #[must_use]
    pub fn way(&self) -> &'static str {
        match self.inbound {
            Some(true) => "inbound",
            Some(false) => "outbound",
            None => "",
        }
    }
}

/// An end of a connection: `198.51.100.1:4444`.
pub(super) fn end(fields: &Fields) -> Option<String> {
    let ip = fields.text("ip").or_else(|| fields.text("address"))?;
    let port = fields.text("port");
    Some(match (ip.parse::<IpAddr>(), port.as_ref().and_then(|port| port.parse().ok())) {
        (Ok(address), Some(port)) => SocketAddr::new(address, port).to_string(),
        _ => port.map_or(ip.clone(), |port| format!("{ip}:{port}")),
    })
}

fn details(alert: &Value, own: &Fields, stdio: &Fields, connection: Option<&Arrow>) -> Vec<(&'static str, String)> {
    let part = |name| Fields::of(alert, name);
    let (host, container, event) = (part("host"), part("container"), part("event"));
    let name_or_id = |fields: &Fields| fields.text("name").or_else(|| fields.text("id"));
    let several = |texts: Vec<String>, between: &str| Some(texts.join(between)).filter(|text| !text.is_empty());
    let others: Vec<String> =
        own.texts("matched_rules").into_iter().filter(|id| part("rule").text("id").as_ref() != Some(id)).collect();
    let container_text = match (container.text("name"), container.text("id")) {
        (Some(name), Some(id)) => Some(format!("{name} ({id})")),
        (name, id) => name.or(id),
    };
    let lost = own.objects("lost.causes").iter().map(lost).collect();
    let repeats = own.text("repeats.count").map(|count| {
        let since = own.text("repeats.start").map(|start| format!(" since {start}")).unwrap_or_default();
        format!("the last of {count}{since}")
    });
    let all = [
        ("stdio", stdio.at("stdio").and_then(|stdio| stdio::text(stdio, connection))),
        ("directory", part("process").text("working_directory")),
        ("file", several(file(own), ", ")),
        ("session", session(&part("process"))),
        ("also", several(others, ", ")),
        ("container", container_text),
        ("image", container.text("image.name")),
        (
            "pod",
            part("orchestrator").text("resource.name").map(|pod| match part("orchestrator").text("namespace") {
                Some(namespace) => format!("{namespace}/{pod}"),
                None => pod,
            }),
        ),
        ("host", name_or_id(&host)),
        ("repeats", repeats.filter(|_| own.number("repeats.count") != Some(1))),
        ("assumed", several(own.texts("assumed"), ", ")),
        ("degraded", several(own.texts("degraded"), "; ")),
        ("lost before", several(lost, ", ")),
        ("tags", several(Fields::from_object(alert).texts("tags"), ", ")),
        ("alert id", event.text("id")),
    ];
    all.into_iter().filter_map(|(name, text)| Some((name, text?))).collect()
}

/// `inode 77 on 8:1, owner 0, group 5, mode 4755, removed`
fn file(own: &Fields) -> Vec<String> {
    let named = |name: &str, path: &str| own.text(path).map(|text| format!("{name} {text}"));
    let device = own.text("file.device").map(|device| format!(" on {device}")).unwrap_or_default();
    let is = |path: &str, word: &str| (own.at(path) == Some(&Value::Bool(true))).then(|| word.to_owned());
    let all = [
        named("inode", "file.inode").map(|inode| inode + &device),
        named("owner", "file.uid"),
        named("group", "file.gid"),
        named("mode", "file.mode"),
        is("file.memfd", "in memory alone"),
        is("file.removed", "removed"),
    ];
    all.into_iter().flatten().collect()
}

/// `led by pid 7, terminal 136:3`
fn session(process: &Fields) -> Option<String> {
    let leader = process.text("session_leader.pid").map(|pid| format!("led by pid {pid}"));
    let number = |name| process.text(&format!("tty.char_device.{name}"));
    let terminal = number("major").zip(number("minor")).map(|(major, minor)| format!("terminal {major}:{minor}"));
    let texts: Vec<String> = [leader, terminal].into_iter().flatten().collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}

/// `exec: ring_full: 3`
fn lost(cause: &Fields) -> String {
    let part = |name| cause.text(name).unwrap_or_default();
    format!("{}: {}: {}", part("place"), part("cause"), part("count"))
}
