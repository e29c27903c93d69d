//! The alert: one ECS document from a match.
//!
//! What the alert says of process, user, host and container comes from the execution's document, what it says of the
//! network from the connection's; both stand in `sensor.sequence` as they were. What neither of them says is absent.
//! Names outside ECS are all below `sensor.`.

pub(crate) mod section;
mod streams;
pub mod text;

use crate::detect::moment::Digest;
use crate::detect::rule::{Attack, Rule, Severity, Threat};
use crate::event::WallTime;
use crate::event::ecs::ECS_VERSION;
use crate::event::facts::{Facts, Field};
use section::{Section, section};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// What an alert is made from.
#[derive(Clone, Copy, Debug)]
pub struct Finding<'a> {
    /// The rule that names the alert.
    pub rule: &'static Rule,
    /// The other rules that match.
    pub others: &'a [&'static Rule],
    /// The connection's document. None if the rule asks for none, or if it is assumed: the kernel side could not say
    /// whether there was one, since its table of connections was overrun.
    pub connection: Option<&'a Value>,
    /// The execution's document.
    pub exec: &'a Value,
    /// Milliseconds between the two.
    pub elapsed_ms: u64,
    /// The arguments of which an unsearched part had to be taken as what the rule asks for.
    pub assumed: &'a [Field],
}

impl Finding<'_> {
    /// Whether the rule asks for a connection and none is known.
    fn is_connection_assumed(&self) -> bool {
        self.rule.requires_connection() && self.connection.is_none()
    }

    fn rules(&self) -> impl Iterator<Item = &'static Rule> {
        std::iter::once(self.rule).chain(self.others.iter().copied())
    }

    fn severity(&self) -> Severity {
        self.others.iter().map(|rule| rule.severity).fold(self.rule.severity, Severity::max)
    }

    fn risk_score(&self) -> u8 {
        self.others.iter().map(|rule| rule.risk_score).fold(self.rule.risk_score, u8::max)
    }
}

/// The alert for a finding. `created` is when the sensor made it.
#[must_use]
pub fn document(finding: &Finding<'_>, created: WallTime) -> Value {
    let Finding { rule, connection: known, exec, elapsed_ms, assumed, .. } = *finding;
    let connection = known.unwrap_or(&Value::Null);
    let created = created.to_string();
    let network = match known {
        Some(connection) => ["source", "destination", "network"].map(|name| (name, section(connection, name))),
        None if finding.rules().all(Rule::requires_connection) => Default::default(),
        None => streams::network(exec),
    };
    let process = ["process", "user", "host", "container", "orchestrator"]
        .map(|name| (name, section(exec, name).or_else(|| section(connection, name).filter(|_| name != "process"))));
    let related = related(&network, connection, exec);

    let mut alert = Map::new();
    let mut put = |name: &str, value: Value| {
        alert.insert(name.to_owned(), value);
    };
    put("@timestamp", time(exec).unwrap_or_else(|| json!(created)));
    put("ecs", json!({"version": ECS_VERSION}));
    put("message", json!(text::message(finding)));
    put("event", event(finding, &created));
    put("rule", describe(rule));
    put("threat", threat(finding));
    for (name, value) in process.into_iter().chain(network) {
        if let Some(value) = value {
            put(name, Value::Object(value));
        }
    }
    if !related.is_empty() {
        put("related", Value::Object(related));
    }
    put("observer", json!({"type": "sensor", "version": env!("CARGO_PKG_VERSION")}));
    let mut own = json!({
        "matched_rules": finding.rules().map(|rule| rule.id).collect::<Vec<_>>(),
        "severity": finding.severity().word(),
        "sequence": known.into_iter().chain([exec]).collect::<Vec<_>>(),
    });
    if let Some(own) = own.as_object_mut() {
        if known.is_some() {
            own.insert("elapsed_ms".to_owned(), elapsed_ms.into());
        }
        let connection_assumed = finding.is_connection_assumed().then_some("connection");
        let assumed = assumed.iter().map(|field| field.name()).chain(connection_assumed);
        let assumed: Value = assumed.collect();
        if assumed != json!([]) {
            own.insert("assumed".to_owned(), assumed);
        }
        if let Some(stdio) = streams::told(exec, known.map(|connection| (connection, text::accepted(connection)))) {
            own.insert("stdio".to_owned(), stdio);
        }
        // Whose descendant it is, how it was seen, and what may be missing because of that.
        let lifted = [
            "ancestors",
            "more_ancestors",
            "file",
            "inherited",
            "environment_truncated",
            "escaped",
            "redacted",
            "hooks",
            "degraded",
        ]
        .map(|name| (exec, name));
        for (document, name) in lifted.into_iter().chain([(connection, "found_at_start")]) {
            if let Some(value) = document.get("sensor").and_then(|sensor| sensor.get(name)) {
                own.insert(name.to_owned(), value.clone());
            }
        }
    }
    put("sensor", own);
    Value::Object(alert)
}

/// Puts a field of the sensor's own into an alert.
pub fn mark(alert: &mut Value, name: &str, value: Value) {
    if let Some(own) = alert.get_mut("sensor").and_then(Value::as_object_mut) {
        own.insert(name.to_owned(), value);
    }
}

/// Adds what was looked up for an alert: what `sensor` of this document says. It has its way over what is there already.
pub fn add(alert: &mut Value, mut evidence: Value) {
    let own = alert.get_mut("sensor").and_then(Value::as_object_mut);
    let evidence = evidence.get_mut("sensor").and_then(Value::as_object_mut);
    let (Some(own), Some(evidence)) = (own, evidence) else { return };
    for fields in ["escaped", "redacted"] {
        if let (Some(known), Some(more)) = (own.get(fields), evidence.get_mut(fields).and_then(Value::as_array_mut)) {
            more.extend(known.as_array().cloned().unwrap_or_default());
        }
    }
    own.append(evidence);
}

/// Lets an alert stand for so many of the same process, of which it is the last; they came between these times.
pub fn repeated(alert: &mut Value, count: u64, first: WallTime, last: WallTime) {
    let (first, last) = (first.to_string(), last.to_string());
    if count > 1
        && let Some(Value::String(message)) = alert.get_mut("message")
    {
        let _ = write!(message, "; the last of {count} times since {first}");
    }
    mark(alert, "repeats", json!({"count": count, "start": first, "end": last}));
}

fn event(finding: &Finding<'_>, created: &str) -> Value {
    let score = finding.risk_score();
    json!({
        "kind": "alert",
        "category": ["intrusion_detection", "network", "process"],
        "type": ["info"],
        "action": "reverse-shell",
        "id": id(finding),
        "severity": score,
        "risk_score": score,
        "module": "sensor",
        "dataset": "sensor.alert",
        "created": created,
    })
}

/// The same for the same two events and rule, whenever and wherever the alert is made.
fn id(finding: &Finding<'_>) -> String {
    let identity = |document: &Value| {
        let facts = Facts::from_value(document).ok();
        facts.and_then(|facts| facts.event_id.map(String::from)).unwrap_or_else(|| document.to_string())
    };
    let Digest(bytes) =
        Digest::of(&[finding.rule.id, &finding.connection.map(identity).unwrap_or_default(), &identity(finding.exec)]);
    bytes.iter().take(16).fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn describe(rule: &Rule) -> Value {
    let Rule { id, name, version, description, reference, .. } = rule;
    json!({
        "id": id,
        "name": name,
        "version": version.to_string(),
        "description": description,
        "reference": reference,
    })
}

/// ECS holds the entries of ATT&CK as lists side by side.
fn threat(finding: &Finding<'_>) -> Value {
    let mut tactics = Lists::default();
    let mut techniques = Lists::default();
    let mut subtechniques = Lists::default();
    for Threat { tactic, techniques: of_tactic } in finding.rules().flat_map(|rule| rule.threats) {
        tactics.add(tactic);
        for (technique, of_technique) in *of_tactic {
            techniques.add(technique);
            of_technique.iter().for_each(|sub| subtechniques.add(sub));
        }
    }
    let mut technique = techniques.object();
    technique.insert("subtechnique".to_owned(), Value::Object(subtechniques.object()));
    json!({"framework": "MITRE ATT&CK", "tactic": tactics.object(), "technique": technique})
}

#[derive(Default)]
struct Lists {
    id: Vec<&'static str>,
    name: Vec<&'static str>,
    reference: Vec<&'static str>,
}

impl Lists {
    fn add(&mut self, entry: &Attack) {
        if !self.id.contains(&entry.id) {
            self.id.push(entry.id);
            self.name.push(entry.name);
            self.reference.push(entry.reference);
        }
    }

    fn object(&self) -> Map<String, Value> {
        let Self { id, name, reference } = self;
        [("id", json!(id)), ("name", json!(name)), ("reference", json!(reference))]
            .into_iter()
            .map(|(name, list)| (name.to_owned(), list))
            .collect()
    }
}

/// Every address and every user name of the alert's documents, once each.
fn related(network: &[(&str, Option<Section>)], connection: &Value, exec: &Value) -> Section {
    let mut ip = Vec::new();
    let mut user = Vec::new();
    for (_, end) in network.iter().filter(|(name, _)| *name != "network") {
        collect(end.clone(), "ip", &mut ip);
    }
    for document in [exec, connection] {
        collect(section(document, "user"), "name", &mut user);
    }
    [("ip", ip), ("user", user)]
        .into_iter()
        .filter(|(_, values)| !values.is_empty())
        .map(|(name, values)| (name.to_owned(), Value::Array(values)))
        .collect()
}

fn collect(section: Option<Section>, member: &str, into: &mut Vec<Value>) {
    let values = match section.and_then(|mut section| section.remove(member)) {
        Some(Value::Array(values)) => values,
        Some(value) => vec![value],
        None => Vec::new(),
    };
    for value in values {
        if value.is_string() && !into.contains(&value) {
            into.push(value);
        }
    }
}

/// The document's own time as it is written there, if that is a date; otherwise the date that its number stands for.
fn time(document: &Value) -> Option<Value> {
    let own = document.get("@timestamp").filter(|own| own.as_str().is_some_and(|text| text.contains('T')));
    own.cloned().or_else(|| {
        let millis = Facts::from_value(document).ok()?.time.0;
        Some(json!(WallTime(millis.checked_mul(1_000_000)?).to_string()))
    })
}
