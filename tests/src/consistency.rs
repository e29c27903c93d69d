//! What must hold of every alert, whatever it is about.

use crate::expect::{DESCENDANT_RULE, RELAY_RULE, RULE, SOCKET_RULE, field};
use serde_json::{Value, json};

/// The statements that do not hold.
pub(crate) fn contradictions(alert: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut check = |holds: bool, what: &str| {
        if !holds {
            wrong.push(what.to_owned());
        }
    };
    for path in [
        "@timestamp",
        "ecs.version",
        "event.id",
        "message",
        "rule.name",
        "process.entity_id",
        "process.start",
        "host.id",
    ] {
        check(text(alert, path).is_some_and(|text| !text.is_empty()), &format!("{path} is not there"));
    }
    check(text(alert, "event.kind") == Some("alert"), "event.kind is not alert");
    check(text(alert, "network.transport") == Some("tcp"), "network.transport is not tcp");
    let rules = field(alert, "sensor.matched_rules").cloned().unwrap_or_default();
    // The first that matches names the alert, the worst grades it.
    check(field(&rules, "0") == field(alert, "rule.id"), "rule.id is not the first of sensor.matched_rules");
    let (score, word) = if contains(&rules, SOCKET_RULE) {
        (73, "high")
    } else if rules == json!([RELAY_RULE]) {
        (21, "low")
    } else {
        (47, "medium")
    };
    check(field(alert, "event.severity") == Some(&json!(score)), "event.severity is not that of the rules");
    check(field(alert, "event.risk_score") == Some(&json!(score)), "event.risk_score is not that of the rules");
    check(text(alert, "sensor.severity") == Some(word), "sensor.severity is not that of the rules");
    check(field(alert, "sensor.stdio").is_some(), "sensor.stdio is not there");
    let threats = field(alert, "threat").map(Value::to_string).unwrap_or_default();
    for id in ["TA0002", "T1059", "T1059.004", "TA0011", "T1071"] {
        check(threats.contains(&format!("\"{id}\"")), &format!("{id} is not among the threats"));
    }
    let sequence = field(alert, "sensor.sequence").and_then(Value::as_array);
    let (connection, exec) = match sequence.map(Vec::as_slice) {
        Some([connection, exec]) => (connection, exec),
        // Nobody saw the connection being made; the executions' own statements are the same.
        Some([exec]) if rules == json!([SOCKET_RULE]) => {
            check(names(exec, "event.action", "exec"), "the event is no exec");
            for path in ["@timestamp", "process.pid", "process.entity_id", "process.args", "process.executable"] {
                check(field(exec, path) == field(alert, path), &format!("{path} is not that of the exec"));
            }
            return wrong;
        }
        _ => {
            wrong.push("sensor.sequence does not hold two events".to_owned());
            return wrong;
        }
    };
    check(names(connection, "event.category", "network"), "the first event is no connection");
    check(names(connection, "event.type", "start"), "the first event does not start anything");
    check(names(exec, "event.category", "process"), "the second event is no process event");
    check(names(exec, "event.type", "start"), "the second event does not start anything");
    check(names(exec, "event.action", "exec"), "the second event is no exec");
    for event in [connection, exec] {
        check(text(event, "event.id").is_some(), "an event of the sequence has no id");
        check(field(event, "host.id") == field(alert, "host.id"), "host.id differs within the sequence");
    }
    let inherited = field(exec, "sensor.inherited");
    let may_be = [DESCENDANT_RULE, RELAY_RULE].iter().any(|rule| contains(&rules, rule));
    check(inherited.is_none() || may_be, "a rule about one process has matched two");
    check(inherited.is_none() || !contains(&rules, RULE), "a rule about one process has matched two");
    for path in ["process.entity_id", "process.pid"] {
        check(field(exec, path) == field(alert, path), &format!("{path} is not that of the exec"));
        let maker = match inherited {
            Some(inherited) => field(inherited, path.trim_start_matches("process.")),
            None if contains(&rules, DESCENDANT_RULE) && !contains(&rules, RULE) => {
                field(exec, &path.replace("process.", "process.parent."))
            }
            None => field(exec, path),
        };
        check(maker == field(connection, path), &format!("{path} of the connection is not that of who made it"));
    }
    if let Some(inherited) = inherited {
        let arm = field(connection, "sensor.arm");
        check(field(inherited, "arm") == arm, "the connection is not the one that was inherited");
    }
    check(text(connection, "event.id") != text(exec, "event.id"), "both events have one id");
    check(field(connection, "sensor.boot_id") == field(exec, "sensor.boot_id"), "sensor.boot_id differs");
    let same_as_exec = [
        "@timestamp",
        "process.args",
        "process.args_count",
        "process.executable",
        "process.name",
        "process.parent.pid",
    ];
    for path in same_as_exec {
        check(field(exec, path) == field(alert, path), &format!("{path} is not that of the exec"));
    }
    for path in ["source.ip", "source.port", "destination.ip", "destination.port", "network.direction", "network.type"]
    {
        check(field(connection, path) == field(alert, path), &format!("{path} is not that of the connection"));
    }
    let order = |path: &str| Some((number(connection, path)?, number(exec, path)?));
    check(order("event.sequence").is_some_and(|(first, then)| first < then), "event.sequence does not rise");
    let span = order("sensor.boot_ns").and_then(|(first, then)| (then / 1_000_000).checked_sub(first / 1_000_000));
    check(span.is_some_and(|ms| ms <= 5000), "the events are not within the span");
    wrong
}

fn text<'a>(document: &'a Value, path: &str) -> Option<&'a str> {
    field(document, path)?.as_str()
}

fn number(document: &Value, path: &str) -> Option<u64> {
    field(document, path)?.as_u64()
}

/// Whether a field is, or holds, a word.
fn names(document: &Value, path: &str, word: &str) -> bool {
    field(document, path).is_some_and(|value| value == word || contains(value, word))
}

fn contains(array: &Value, word: &str) -> bool {
    array.as_array().is_some_and(|all| all.iter().any(|element| element == word))
}
