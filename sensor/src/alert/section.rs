//! Parts of a document by name, whether their members are nested objects or dotted keys.

use serde_json::{Map, Value};

/// An object of a document, such as `process`, with all dotted keys unfolded.
pub(crate) type Section = Map<String, Value>;

/// Deepest dotted key that is unfolded. ECS has at most seven levels; a longer key is left as it is.
const DEEPEST: usize = 16;

/// What a document says under a top-level name; nothing if it says nothing.
pub(crate) fn section(document: &Value, name: &str) -> Option<Section> {
    let mut section = Section::new();
    for (key, value) in document.as_object()? {
        match key.strip_prefix(name) {
            Some("") => merge(&mut section, value),
            Some(rest) => {
                if let Some(path) = rest.strip_prefix('.') {
                    insert(&mut section, path, value);
                }
            }
            None => {}
        }
    }
    (!section.is_empty()).then_some(section)
}

fn merge(into: &mut Section, value: &Value) {
    match value {
        Value::Object(members) => members.iter().for_each(|(key, value)| insert(into, key, value)),
        // An array of objects is as good as its objects together.
        Value::Array(elements) => elements.iter().filter(|one| one.is_object()).for_each(|one| merge(into, one)),
        _ => {}
    }
}

fn insert(into: &mut Section, path: &str, value: &Value) {
    match path.split_once('.').filter(|_| path.split('.').take(DEEPEST + 1).count() <= DEEPEST) {
        Some((first, rest)) => {
            let inner = into.entry(first).or_insert_with(|| Value::Object(Section::new()));
            if let Value::Object(inner) = inner {
                insert(inner, rest, value);
            }
        }
        None if value.is_object() => {
            let inner = into.entry(path).or_insert_with(|| Value::Object(Section::new()));
            if let Value::Object(inner) = inner {
                merge(inner, value);
            }
        }
        None if value.is_null() => {}
        None => {
            into.insert(path.to_owned(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn dotted_and_nested_members_come_together() {
        let expected = json!({"name": "sh", "parent": {"name": "p", "args": ["a"], "thread": {"name": "t"}}});
        for document in [
            json!({"process": {"name": "sh", "parent": {"name": "p", "args": ["a"], "thread": {"name": "t"}}}}),
            json!({"process.name": "sh", "process.parent": {"name": "p", "args": ["a"], "thread.name": "t"}}),
            json!({"process": {"name": "sh", "parent.name": "p"}, "process.parent.args": ["a"], "process.parent.thread": {"name": "t"}}),
            json!({"process": [{"name": "sh"}, {"parent": {"name": "p", "args": ["a"]}}, 5], "process.parent.thread.name": "t"}),
        ] {
            assert_eq!(section(&document, "process").map(Value::Object).as_ref(), Some(&expected), "{document}");
        }
    }

    #[test]
    fn what_is_not_there_is_nothing() {
        for document in
            [json!({}), json!([]), json!({"process": {}}), json!({"process": null}), json!({"processor.name": "x"})]
        {
            assert_eq!(section(&document, "process"), None, "{document}");
        }
    }

    #[test]
    fn an_endless_key_does_not_become_an_endless_object() {
        let path = ".a".repeat(1_000_000);
        let document = json!({format!("process{path}"): 1});
        let section = section(&document, "process").unwrap();
        assert_eq!(section.values().next(), Some(&json!(1)));
    }
}
