//! One document in many spellings, and texts that are no documents.

use super::*;
use serde_json::json;

fn both(document: &Value) -> Facts<'static> {
    let text = document.to_string();
    let from_value = Facts::from_value(document).unwrap();
    let from_text = Facts::from_slice(text.as_bytes()).unwrap();
    assert_eq!(from_value, from_text, "{text}");
    owned(&from_value)
}

fn owned(facts: &Facts<'_>) -> Facts<'static> {
    let own = |text: &Cow<'_, str>| Cow::Owned(text.to_string());
    let Facts { time, boot, event_id, arm, inherited, leads_session, terminal, .. } = facts;
    let Facts { args_unsearched, parent_args_unsearched, stdio, values, .. } = facts;
    Facts {
        time: *time,
        boot: boot.as_ref().map(|Boot { id, at, sequence }| Boot { id: own(id), at: *at, sequence: *sequence }),
        event_id: event_id.as_ref().map(own),
        arm: *arm,
        inherited: *inherited,
        leads_session: *leads_session,
        terminal: *terminal,
        args_unsearched: *args_unsearched,
        parent_args_unsearched: *parent_args_unsearched,
        stdio: stdio
            .iter()
            .map(|Descriptor { number, kind, remote, family, device }| Descriptor {
                number: *number,
                kind: kind.as_ref().map(own),
                remote: remote.as_ref().map(own),
                family: family.as_ref().map(own),
                device: device.as_ref().map(own),
            })
            .collect(),
        values: values.clone().map(|values| match values {
            Values::None => Values::None,
            Values::One(one) => Values::One(own(&one)),
            Values::Many(many) => Values::Many(many.iter().map(own).collect()),
        }),
    }
}

fn list<'f>(facts: &'f Facts<'_>, field: Field) -> Vec<&'f str> {
    facts.values(field).collect()
}

fn refused(text: &str) -> String {
    Facts::from_slice(text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn nested_and_dotted_keys_are_the_same_field() {
    for document in [
        json!({"@timestamp": 5, "process": {"parent": {"args": ["a", "b"], "name": "p"}}, "host": {"id": "h"}}),
        json!({"@timestamp": 5, "process.parent": {"args": ["a", "b"], "name": "p"}, "host.id": "h"}),
        json!({"@timestamp": 5, "process": {"parent.args": ["a", "b"], "parent.name": "p"}, "host.id": ["h"]}),
        json!({"@timestamp": 5, "process.parent.args": ["a", "b"], "process": {"parent": {"name": "p"}}, "host": [{"id": "h"}]}),
        json!({"@timestamp": 5, "process.parent.args": ["a"], "process": [{"parent": {"args": [["b"]]}}, {"parent.name": "p"}], "host.id": "h"}),
    ] {
        let facts = both(&document);
        assert_eq!(list(&facts, Field::ParentArgs), ["a", "b"], "{document}");
        assert_eq!(list(&facts, Field::ParentName), ["p"], "{document}");
        assert_eq!(facts.first(Field::HostId), Some("h"), "{document}");
    }
}

#[test]
fn null_and_empty_are_absent() {
    let facts =
        both(&json!({"@timestamp": 5, "process": {"args": null, "name": [], "entity_id": [null]}, "host": null}));
    for field in [Field::Args, Field::ProcessName, Field::EntityId, Field::HostId] {
        assert_eq!(facts.first(field), None, "{field:?}");
    }
    let facts = both(&json!({"@timestamp": 5, "process": {"args": ["", null, "x"]}}));
    assert_eq!(list(&facts, Field::Args), ["", "x"]);
}

#[test]
fn comm_and_executable_are_both_names() {
    let facts = both(&json!({"@timestamp": 5, "process": {
        "name": "socat1", "thread": {"name": "socat", "id": 7},
        "parent": {"name": "x", "thread.name": "y"},
    }}));
    assert_eq!(list(&facts, Field::ProcessName), ["socat1", "socat"]);
    assert_eq!(list(&facts, Field::ParentName), ["x", "y"]);
}

#[test]
fn numbers_and_booleans_are_their_text() {
    let facts = both(&json!({"@timestamp": "5", "process": {"args": [1, -2, 1.5, true, "x"]}}));
    assert_eq!(list(&facts, Field::Args), ["1", "-2", "1.5", "true", "x"]);
}

#[test]
fn the_sensors_own_fields() {
    for (ns, sequence, arm, flag) in [
        (json!(7), json!(3), json!(u64::MAX), json!(true)),
        (json!("7"), json!("3"), json!("18446744073709551615"), json!("true")),
    ] {
        let facts = both(&json!({"@timestamp": 5, "event": {"id": "e", "sequence": sequence}, "sensor": {
            "boot_id": "b", "boot_ns": ns, "arm": arm, "args": {"unsearched": flag}, "parent.args_unsearched": flag,
        }}));
        let boot = Boot { id: "b".into(), at: BootTime(7), sequence: Some(3) };
        assert_eq!((facts.boot.as_ref(), facts.arm), (Some(&boot), Some(u64::MAX)));
        assert_eq!(facts.event_id.as_deref(), Some("e"));
        assert!(facts.unsearched(Field::Args) && facts.unsearched(Field::ParentArgs));
        assert!(!facts.unsearched(Field::ProcessName));
    }
    let facts =
        both(&json!({"@timestamp": 5, "sensor": {"boot_id": "b", "boot_ns": -1, "args": {"unsearched": false}}}));
    assert_eq!((facts.boot.as_ref(), facts.args_unsearched), (None, false));
}

#[test]
fn each_entry_of_the_streams_is_of_its_own() {
    for stdio in [
        json!({"sensor": {"stdio": [
            {"fd": 0, "kind": "tcp", "remote": {"ip": "198.51.100.1", "port": 1}, "local": {"ip": "10.0.0.1"}},
            {"fd": 1, "kind": "pipe"},
        ]}}),
        json!({"sensor.stdio": [{"remote.ip": "198.51.100.1", "kind": "tcp", "fd": "0"}, {"kind": ["pipe"], "fd": 1}]}),
    ] {
        let mut document = json!({"@timestamp": 5});
        document.as_object_mut().unwrap().extend(stdio.as_object().unwrap().clone());
        let facts = both(&document);
        let [first] = facts.descriptors(0).collect::<Vec<_>>()[..] else { panic!("{facts:?}") };
        assert!(first.is_tcp() && first.remote() == Some("198.51.100.1".parse().unwrap()));
        let [second] = facts.descriptors(1).collect::<Vec<_>>()[..] else { panic!("{facts:?}") };
        assert!(!second.is_tcp() && second.kind() == Some("pipe") && second.remote().is_none());
        assert_eq!(facts.descriptors(2).count(), 0);
    }
    // Without entries nothing says what belongs together.
    let facts = both(&json!({"@timestamp": 5, "sensor.stdio.fd": [0, 1], "sensor.stdio.kind": ["tcp", "tcp"]}));
    assert_eq!(facts.descriptors(0).count(), 0);
    let many: Vec<Value> = (0..17).map(|fd| json!({"fd": fd})).collect();
    assert!(
        refused(&json!({"@timestamp": 5, "sensor": {"stdio": many}}).to_string()).starts_with("more than 16 entries")
    );
}

#[test]
fn of_several_times_the_earliest_counts() {
    assert_eq!(both(&json!({"@timestamp": [9, "7", 8]})).time, Millis(7));
}

#[test]
fn unknown_fields_are_passed_over_but_must_be_json() {
    let facts = both(
        &json!({"@timestamp": 5, "a": [{"process": {"name": "no"}}], "process": {"env": {"args": ["no"]}, "name": "yes"}}),
    );
    assert_eq!(list(&facts, Field::ProcessName), ["yes"]);
    assert_eq!(list(&facts, Field::Args), [""; 0]);
    assert!(refused(r#"{"@timestamp": 5, "a": 1e999}"#).contains("out of range"));
    assert!(refused(r#"{"@timestamp": 5, "a": "\ud800"}"#).contains("hex escape"));
}

#[test]
fn what_is_no_event_says_why_and_where() {
    assert_eq!(refused("{}"), "no @timestamp");
    assert_eq!(refused(r#"{"@timestamp": null}"#), "no @timestamp");
    assert!(refused(r#"{"@timestamp": "yesterday"}"#).starts_with(r#"@timestamp "yesterday" is not a time"#));
    assert!(refused(r#"{"@timestamp": true}"#).starts_with("@timestamp true is not a time"));
    for text in ["[]", "5", "null", "true", r#""text""#, r#"[{"@timestamp": 5}]"#] {
        assert!(refused(text).starts_with("not a JSON object"), "{text}: {}", refused(text));
    }
    assert_eq!(refused(r#"{"@timestamp": 5"#), "EOF while parsing an object (column 16)");
    assert!(refused(r#"{"@timestamp": 5} {}"#).starts_with("trailing characters"));
    assert!(refused("").starts_with("EOF"));
    assert!(refused("\0").starts_with("expected value"));
    let long = format!(r#"{{"@timestamp": "{}"}}"#, "x".repeat(1_000_000));
    assert!(refused(&long).len() < 120, "an error quotes no more than the start");
}

#[test]
fn deep_nesting_is_an_error() {
    for depth in [200, 1_000_000] {
        let text = format!(r#"{{"@timestamp": 5, "a": {}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        assert!(refused(&text).starts_with("recursion limit exceeded"));
    }
    let text = format!(r#"{{"@timestamp": 5, "a": {}{}}}"#, "[".repeat(120), "]".repeat(120));
    assert!(Facts::from_slice(text.as_bytes()).is_ok());
}

#[test]
fn invalid_utf8_is_an_error_everywhere() {
    assert!(Facts::from_slice(b"{\"@timestamp\": 5, \"a\": \"\xff\"}").is_err());
    assert!(Facts::from_slice(b"{\"@timestamp\": 5, \"\xff\": 1}").is_err());
}

#[test]
fn the_number_of_values_is_bounded() {
    // The document, the time and the array are values too.
    let text = |count: u32| format!(r#"{{"@timestamp": 5, "a": [0{}]}}"#, ",0".repeat(count as usize - 4));
    assert!(Facts::from_slice(text(read::MOST_VALUES).as_bytes()).is_ok());
    let refused = refused(&text(read::MOST_VALUES + 1));
    assert!(refused.starts_with("more than 250000 values (column "), "{refused}");
}
