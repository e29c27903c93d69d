//! The index template that is shipped knows every field of an alert and of what is told of the sensor itself, with a type that fits.

use super::{CREATED, ancestry, connection, exec, extras, finding, inherited, known, life, origin, streams, types};
use sensor::alert::{Finding, add, document, mark, repeated};
use sensor::detect::rule::SHELL_ON_SOCKET;
use sensor::event::Direction;
use sensor::event::facts::Field;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The type of each field that the index template maps.
fn mapped(properties: &Value, path: &str, into: &mut BTreeMap<String, String>) {
    for (name, mapping) in properties.as_object().unwrap() {
        let path = format!("{path}{name}");
        match mapping.get("properties") {
            Some(inner) => mapped(inner, &format!("{path}."), into),
            None => assert!(into.insert(path, mapping["type"].as_str().unwrap().to_owned()).is_none()),
        }
    }
}

/// The fields of a document that are no lists or objects themselves; the events of an alert as one.
fn leaves(value: &Value, path: &str, into: &mut Vec<(String, Value)>) {
    match value {
        _ if path == "sensor.sequence" => into.push((path.to_owned(), value.clone())),
        Value::Object(members) => members.iter().for_each(|(name, value)| {
            leaves(value, &if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, into);
        }),
        Value::Array(elements) => elements.iter().for_each(|element| leaves(element, path, into)),
        leaf => into.push((path.to_owned(), leaf.clone())),
    }
}

#[test]
fn the_index_template_maps_every_field() {
    let template: Value =
        serde_json::from_str(include_str!("../../../deploy/elasticsearch/index-template.json")).unwrap();
    assert_eq!(template["index_patterns"], json!(["logs-sensor.alerts-*"]));
    let mappings = &template["template"]["mappings"];
    // What a later sensor adds is kept, and never a reason to refuse an alert.
    assert_eq!((&mappings["dynamic"], &template["data_stream"]), (&json!(false), &json!({})));
    let mut types_of = BTreeMap::new();
    mapped(&mappings["properties"], "", &mut types_of);
    for (field, kind) in types() {
        assert_eq!(types_of.get(field).map(String::as_str), Some(kind), "{field}");
    }
    let (connection, exec) = (connection(Direction::Attempted, &extras()), exec(&["bash", "-i"], &extras()));
    let found_at_start = json!({"sensor": {"found_at_start": true}});
    let mut fields = Vec::new();
    for connection in [&connection, &found_at_start] {
        let finding = Finding { assumed: &[Field::Args], ..finding(connection, &exec) };
        let mut alert = document(&finding, CREATED);
        mark(&mut alert, "lost", life::losses().to_json());
        add(&mut alert, ancestry(&[known(&["a"])]));
        repeated(&mut alert, 2, CREATED, CREATED);
        leaves(&alert, "", &mut fields);
    }
    let (connected, executed) = inherited::exec_below(77, 2);
    leaves(&document(&finding(&connected, &executed), CREATED), "", &mut fields);
    let on_socket = streams::on_socket(&extras());
    let finding = Finding { others: &[&SHELL_ON_SOCKET], ..finding(&connection, &on_socket) };
    leaves(&document(&finding, CREATED), "", &mut fields);
    life::documents(&life::events(), &origin()).iter().for_each(|document| leaves(document, "", &mut fields));
    for seldom in [
        "sensor.found_at_start",
        "sensor.lost.causes.count",
        "sensor.restart_needed",
        "event.reason",
        "sensor.held",
        "sensor.inherited.generations",
        "sensor.stdio.device",
        "sensor.stdio.in_sequence",
        "sensor.stdio.remote.port",
    ] {
        assert!(fields.iter().any(|(field, _)| field == seldom), "{seldom}");
    }
    for (field, value) in fields {
        let fits = match types_of.get(&field).map(String::as_str) {
            Some("keyword" | "wildcard" | "match_only_text" | "date" | "ip") => value.is_string(),
            Some("long") => value.is_i64() || value.is_u64(),
            Some("float") => value.is_number(),
            Some("boolean") => value.is_boolean(),
            Some("object") => value.is_array(),
            _ => false,
        };
        assert!(fits, "deploy/elasticsearch/index-template.json has no mapping that fits {field}: {value}");
    }
}
