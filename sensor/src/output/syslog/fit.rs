//! Makes a document fit into a message.
//!
//! Receivers cut a message that is too long wherever its length is reached, and what is left is no JSON: a shell with long arguments
//! would hide whom it talks to. So the longest texts and lists are cut here instead, and named.

use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Bytes of JSON that a text or a list of texts keeps; each but the first is tried if the one before it was not enough.
const LIMITS: [usize; 6] = [2048, 1024, 512, 256, 128, 64];
/// What is whole or worth nothing: identities, addresses, and what the rule itself says.
const WHOLE: [&str; 8] = ["id", "entity_id", "ip", "related", "rule", "threat", "matched_rules", SHORTENED];
/// Names the fields of which something was left out.
const SHORTENED: &str = "shortened";

/// Cuts texts and lists of texts of a document until it takes no more bytes than that, and then leaves out ancestors, the oldest first.
/// `sensor.shortened` names the fields.
pub(super) fn fit(document: &mut Map<String, Value>, most: usize) {
    let mut fields = BTreeSet::new();
    for limit in LIMITS {
        if size(document) <= most {
            return;
        }
        each(document, limit, "", &mut fields);
        name(document, &fields);
    }
    while size(document) > most && leave_out_an_ancestor(document) {
        fields.insert("sensor.ancestors".to_owned());
        name(document, &fields);
    }
}

fn name(document: &mut Map<String, Value>, fields: &BTreeSet<String>) {
    if let Some(Value::Object(own)) = document.get_mut("sensor") {
        own.insert(SHORTENED.to_owned(), fields.iter().cloned().collect());
    }
}

/// Whether there was one.
fn leave_out_an_ancestor(document: &mut Map<String, Value>) -> bool {
    let ancestors = document.get_mut("sensor").and_then(|own| own.get_mut("ancestors"));
    ancestors.and_then(Value::as_array_mut).and_then(Vec::pop).is_some()
}

/// Cuts what is below an object; notes the fields that were cut, without places in lists.
fn each(object: &mut Map<String, Value>, limit: usize, place: &str, fields: &mut BTreeSet<String>) {
    for (name, value) in object.iter_mut().filter(|(name, _)| !WHOLE.contains(&name.as_str())) {
        let dot = if place.is_empty() { "" } else { "." };
        shorten(value, limit, &format!("{place}{dot}{name}"), fields);
    }
}

fn shorten(value: &mut Value, limit: usize, place: &str, fields: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => each(object, limit, place, fields),
        Value::Array(list) if !list.iter().all(Value::is_string) => {
            list.iter_mut().for_each(|value| shorten(value, limit, place, fields));
        }
        Value::Array(list) if size(list) > limit => {
            // The brackets.
            let mut left = limit.saturating_sub(2);
            list.retain_mut(|text| {
                let whole = size(text);
                cut(text, left);
                let shown = size(text);
                // One of which nothing is left would look like an empty one; nothing follows what was cut.
                let kept = shown <= left && (shown > EMPTY || whole == EMPTY);
                left = if kept && shown == whole { left.saturating_sub(shown + COMMA) } else { 0 };
                kept
            });
            fields.insert(place.to_owned());
        }
        Value::String(_) if size(value) > limit => {
            cut(value, limit);
            fields.insert(place.to_owned());
        }
        _ => {}
    }
}

/// Bytes of an empty text, and of what stands between two elements.
const EMPTY: usize = 2;
const COMMA: usize = 1;

/// Cuts a text behind the last character that fits.
fn cut(text: &mut Value, limit: usize) {
    let Value::String(text) = text else { return };
    // The quotation marks.
    let mut left = limit.saturating_sub(2);
    let fitting = text.chars().take_while(|character| {
        let size = size(character).saturating_sub(2);
        let fits = size <= left;
        left = left.saturating_sub(size);
        fits
    });
    let kept = fitting.map(char::len_utf8).sum();
    text.truncate(kept);
}

/// Bytes in JSON.
fn size(value: &impl serde::Serialize) -> usize {
    serde_json::to_string(value).map_or(usize::MAX, |json| json.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn fitted(document: &Value, most: usize) -> Value {
        let mut object = document.as_object().unwrap().clone();
        fit(&mut object, most);
        object.into()
    }

    #[test]
    fn what_fits_is_left_as_it_is() {
        let document = json!({"process": {"args": ["x".repeat(3000)]}, "sensor": {"severity": "low"}});
        assert_eq!(fitted(&document, size(&document)), document);
    }

    #[test]
    fn the_longest_is_cut_and_named() {
        let document = json!({
            "process": {"args": ["bash", "-c", "x".repeat(5000), "-i"], "pid": 7, "command_line": "y".repeat(2040)},
            "sensor": {"ancestors": [{"args": ["z".repeat(9000)]}, {"args": []}], "inherited": {"pid": 1}},
        });
        let shown = fitted(&document, 8000);
        assert_eq!(shown["sensor"]["shortened"], json!(["process.args", "sensor.ancestors.args"]));
        assert_eq!(shown["process"]["args"][1], "-c");
        assert_eq!(shown["process"]["args"].as_array().unwrap().len(), 3);
        assert_eq!(shown["process"]["command_line"], document["process"]["command_line"]);
        assert_eq!(shown["sensor"]["ancestors"][0]["args"], json!(["z".repeat(2044)]));
        let less = fitted(&document, 3000);
        assert_eq!(
            less["sensor"]["shortened"],
            json!(["process.args", "process.command_line", "sensor.ancestors.args"])
        );
        assert_eq!(less["process"]["pid"], 7);
    }

    #[test]
    fn a_list_keeps_its_first_texts_and_gets_no_new_ones() {
        let fitted = |args: &Value| {
            let (mut value, mut fields) = (args.clone(), BTreeSet::new());
            shorten(&mut value, 64, "args", &mut fields);
            assert!(size(&value) <= 64);
            (value, !fields.is_empty())
        };
        let whole = json!(["x".repeat(28), "y".repeat(29)]);
        assert_eq!((size(&whole), fitted(&whole)), (64, (whole.clone(), false)));
        assert_eq!(fitted(&json!(["x".repeat(28), "y".repeat(30)])), (json!(["x".repeat(28), "y".repeat(29)]), true));
        assert_eq!(fitted(&json!(["x".repeat(57), "y", ""])), (json!(["x".repeat(57)]), true));
        assert_eq!(fitted(&json!(["x".repeat(99), "y"])), (json!(["x".repeat(60)]), true));
        assert_eq!(fitted(&json!(["", "", "x".repeat(99)])), (json!(["", "", "x".repeat(54)]), true));
        assert_eq!(fitted(&json!(vec!["x"; 99])), (json!(vec!["x"; 15]), true));
    }

    /// As bad as an attacker can make it: each name and argument full of what JSON makes longer.
    fn hostile() -> Value {
        let process = |pid: u32| {
            let path = format!("/{}", "\\xff".repeat(700));
            json!({
                "args": vec!["\u{1}".repeat(100); 64], "args_count": 64, "args_source": "proc", "command_line": "\u{1}".repeat(6400),
                "comm": "\\xff".repeat(15), "entity_id": "f".repeat(22), "executable": path, "name": "\\xff".repeat(255),
                "pid": pid, "start": "2026-05-28T20:26:42.013999999Z", "user": {"id": "4294967295", "name": "u".repeat(32)},
            })
        };
        let mut document = json!({
            "@timestamp": "2026-05-28T20:26:42.013999999Z", "message": "m".repeat(9000),
            "container": {"id": "a".repeat(64), "image": {"name": "i".repeat(900)}, "name": "n".repeat(255)},
            "process": process(7), "related": {"ip": ["2001:db8:1111:2222:3333:4444:5555:6666", "2001:db8:1111:2222:3333:4444:5555:7777"]},
            "sensor": {
                "ancestors": (0..8).map(process).collect::<Vec<_>>(),
                "matched_rules": ["reverse-shell-via-child", "reverse-shell", "shell-on-socket", "relayed-shell"],
            },
            "threat": {"technique": {"name": ["Command and Scripting Interpreter", "Application Layer Protocol"]}},
        });
        document["process"]["parent"] = process(6);
        document["process"]["working_directory"] = "d".repeat(4096).into();
        document["process"]["env_vars"] = vec!["V=".to_owned() + &"v".repeat(500); 64].into();
        document
    }

    #[test]
    fn whatever_names_there_are_it_fits_and_no_identity_is_cut() {
        let document = hostile();
        for (most, whole) in [(8000, true), (4000, false)] {
            let shown = fitted(&document, most);
            assert!(size(&shown) <= most, "{}", size(&shown));
            for place in ["/container/id", "/related", "/sensor/matched_rules", "/threat", "/process/entity_id"] {
                assert_eq!(shown.pointer(place), document.pointer(place), "{place}");
            }
            let ancestors = shown["sensor"]["ancestors"].as_array().unwrap();
            assert_eq!(ancestors.len() == 8, whole);
            assert_eq!(ancestors[0]["pid"], 0, "the parent is the last to go");
            let shortened = shown["sensor"]["shortened"].as_array().unwrap();
            assert_eq!(shortened.contains(&"sensor.ancestors".into()), !whole);
            assert!(!shortened.contains(&"threat.technique.name".into()));
        }
    }

    /// Whether one is the other, or its beginning.
    fn is_beginning(shown: &Value, whole: &Value) -> bool {
        match (shown, whole) {
            (Value::String(shown), Value::String(whole)) => whole.starts_with(shown.as_str()),
            (Value::Array(shown), Value::Array(whole)) => {
                shown.len() <= whole.len() && shown.iter().zip(whole).all(|(shown, whole)| is_beginning(shown, whole))
            }
            (Value::Object(shown), Value::Object(whole)) => {
                let shown = shown.iter().filter(|(name, _)| *name != "shortened");
                shown.clone().count() == whole.len()
                    && shown.into_iter().all(|(name, value)| is_beginning(value, &whole[name]))
            }
            _ => shown == whole,
        }
    }

    fn args() -> impl Strategy<Value = Vec<String>> {
        prop_oneof![
            proptest::collection::vec("[a-z]{0,9}", 0..2000),
            proptest::collection::vec("\\PC{0,900}", 0..9),
            proptest::collection::vec("[\u{0}-\u{1f}\"\\\\]{0,3000}", 0..3),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_the_arguments_it_fits(own in args(), of_ancestors in proptest::collection::vec(args(), 0..8)) {
            let process = |args: &Vec<String>| json!({"args": args, "command_line": args.join(" "), "pid": 7});
            let ancestors: Vec<Value> = of_ancestors.iter().map(process).collect();
            let document = json!({"process": process(&own), "sensor": {"ancestors": ancestors, "hooks": "x"}});
            let shown = fitted(&document, 8000);
            prop_assert!(size(&shown) <= 8000);
            prop_assert_eq!(shown["sensor"]["ancestors"].as_array().unwrap().len(), ancestors.len());
            prop_assert!(is_beginning(&shown, &document));
            prop_assert_eq!(shown["sensor"].get("shortened").is_some(), size(&document) > 8000);
        }
    }
}
