//! Makes a document fit into a message.
//!
//! Receivers cut a message that is too long wherever its length is reached, and what is left is no JSON: a shell with long arguments
//! would hide whom it talks to. So the longest texts and lists are cut here instead, and named.

use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Bytes of JSON that a text or a list of texts keeps; each but the first is tried if the one before it was not enough.
const LIMITS: [usize; 6] = [2048, 1024, 512, 256, 128, 64];

/// Cuts texts and lists of texts of a document until it takes no more bytes than that. `sensor.shortened` names the fields.
pub(super) fn fit(document: &mut Map<String, Value>, most: usize) {
    for limit in LIMITS {
        if size(document) <= most {
            return;
        }
        if let Some(Value::Object(own)) = document.get_mut("sensor") {
            own.shift_remove("shortened");
        }
        let mut fields = BTreeSet::new();
        each(document, limit, "", &mut fields);
        if let Some(Value::Object(own)) = document.get_mut("sensor") {
            own.insert("shortened".to_owned(), fields.into_iter().collect());
        }
    }
}

/// Cuts what is below an object; notes the fields that were cut, without places in lists.
fn each(object: &mut Map<String, Value>, limit: usize, place: &str, fields: &mut BTreeSet<String>) {
    for (name, value) in object {
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
            let mut left = limit;
            list.retain_mut(|text| {
                let kept = left > 0;
                cut(text, left);
                left = left.saturating_sub(size(text));
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
        assert_eq!(shown["sensor"]["ancestors"][0]["args"], json!(["z".repeat(2046)]));
        let less = fitted(&document, 3000);
        assert_eq!(
            less["sensor"]["shortened"],
            json!(["process.args", "process.command_line", "sensor.ancestors.args"])
        );
        assert_eq!(less["process"]["pid"], 7);
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
            prop_assert!(is_beginning(&shown, &document));
            prop_assert_eq!(shown["sensor"].get("shortened").is_some(), size(&document) > 8000);
        }
    }
}
