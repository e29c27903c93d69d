//! The bulk interface (`POST /TARGET/_bulk`): what is sent, and what the answer says of each document.

use crate::output::remote::{Failure, Verdict};
use serde::Deserialize;
use serde_json::{Value, json};

/// Characters of a reason that are shown: it repeats what the document holds.
const REASON: usize = 300;

/// Actions and documents, a line each. An alert's id is the id under which it is created, so that one that is sent twice is
/// there once.
pub(super) fn body(documents: &[&str]) -> Vec<u8> {
    let mut body = Vec::with_capacity(documents.iter().map(|document| document.len() + 100).sum());
    for document in documents {
        let id = serde_json::from_str::<Identified>(document).ok().and_then(|document| document.event?.id);
        let action = id.map_or_else(|| json!({"create": {}}), |id| json!({"create": {"_id": id}}));
        body.extend_from_slice(action.to_string().as_bytes());
        body.push(b'\n');
        body.extend_from_slice(document.as_bytes());
        body.push(b'\n');
    }
    body
}

#[derive(Deserialize)]
struct Identified {
    event: Option<Event>,
}

#[derive(Deserialize)]
struct Event {
    id: Option<String>,
}

/// What the answer to a request for `count` documents says of each.
pub(super) fn verdicts(answer: &[u8], count: usize) -> Result<Vec<Verdict>, Failure> {
    let later = |reason: String| Failure::Later { reason, after: None };
    let answer: Answer = serde_json::from_slice(answer)
        .map_err(|error| later(format!("the answer is not that of a bulk interface: {error}")))?;
    if answer.items.len() != count {
        return Err(later(format!("the answer is about {} documents instead of {count}", answer.items.len())));
    }
    Ok(answer.items.into_iter().map(|item| verdict(&item.create)).collect())
}

#[derive(Deserialize)]
struct Answer {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    create: Created,
}

#[derive(Deserialize)]
struct Created {
    status: u16,
    #[serde(default)]
    error: Value,
}

fn verdict(created: &Created) -> Verdict {
    let Created { status, error } = created;
    let reason = || format!("{status} {}", reason(error));
    match status {
        // A conflict: it is there already, from an earlier try.
        200..=299 | 409 => Verdict::Delivered,
        // These are about the server or the rights on it, or about an index that somebody has closed, not about the document.
        401 | 403 | 404 | 408 | 429 | 500.. => Verdict::Later(reason()),
        400 if error.get("type").and_then(Value::as_str) == Some("index_closed_exception") => Verdict::Later(reason()),
        _ => Verdict::Rejected(reason()),
    }
}

/// Type and reason of an error, shortened, without characters that move a terminal.
pub(super) fn reason(error: &Value) -> String {
    let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
    let cause = error.pointer("/caused_by/reason").and_then(Value::as_str).unwrap_or_default();
    let words = [text("type"), text("reason"), cause].into_iter().filter(|word| !word.is_empty());
    shown(&words.collect::<Vec<_>>().join(": "))
}

/// Text from outside on one line and not too long.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(REASON).map(|one| if one.is_control() { ' ' } else { one }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(items: &Value) -> Result<Vec<Verdict>, Failure> {
        let count = items.as_array().unwrap().len();
        verdicts(json!({"items": items}).to_string().as_bytes(), count)
    }

    #[test]
    fn each_line_ends_and_ids_are_the_alerts() {
        let body = body(&[r#"{"event":{"id":"a\"b"},"x":1}"#, r#"{"x":2}"#]);
        let expected =
            "{\"create\":{\"_id\":\"a\\\"b\"}}\n{\"event\":{\"id\":\"a\\\"b\"},\"x\":1}\n{\"create\":{}}\n{\"x\":2}\n";
        assert_eq!(String::from_utf8(body).unwrap(), expected);
    }

    #[test]
    fn a_status_decides_about_its_document() {
        for status in [200, 201, 409] {
            assert_eq!(of(&json!([{"create": {"status": status}}])).unwrap(), [Verdict::Delivered], "{status}");
        }
        for status in [401, 403, 404, 408, 429, 500, 503] {
            let verdicts = of(&json!([{"create": {"status": status}}])).unwrap();
            assert!(matches!(&verdicts[..], [Verdict::Later(_)]), "{status}");
        }
        let error = json!({"type": "document_parsing_exception", "reason": "a\u{1b}[1m", "caused_by": {"reason": "c"}});
        let rejected = Verdict::Rejected("400 document_parsing_exception: a [1m: c".to_owned());
        assert_eq!(of(&json!([{"create": {"status": 400, "error": error}}])).unwrap(), [rejected]);
        let closed = of(&json!([{"create": {"status": 400, "error": {"type": "index_closed_exception"}}}])).unwrap();
        assert!(matches!(&closed[..], [Verdict::Later(_)]));
    }

    #[test]
    fn what_is_no_answer_is_no_delivery() {
        for answer in ["", "<html>", "{}", "[]", r#"{"items":[]}"#, r#"{"items":[{"index":{"status":201}}]}"#] {
            assert!(matches!(verdicts(answer.as_bytes(), 1), Err(Failure::Later { .. })), "{answer}");
        }
    }
}
