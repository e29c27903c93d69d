//! An alert, or what is told of the sensor itself, as a message of RFC 5424.
//!
//! The message is the document on one line, without the two events it was made from, which say the same once more, and as short as
//! receivers take it by default.

use super::fit::fit;
use crate::output::document::is_life;
use crate::output::priority;
use jiff::Timestamp;
use serde_json::Value;

/// Security and authorization messages that are private: `authpriv` (RFC 5424, 6.2.1).
const FACILITY: u8 = 10;
/// Bytes of the longest message that receivers take unless told otherwise.
const MOST: usize = 8192;

/// The message, without framing.
pub(super) fn message(json: &str) -> String {
    let mut alert: Value = serde_json::from_str(json).unwrap_or_default();
    if let Some(own) = alert.get_mut("sensor").and_then(Value::as_object_mut) {
        own.shift_remove("sequence");
    }
    let text = |place: &str| alert.pointer(place).and_then(Value::as_str);
    // Whole microseconds at most.
    let time = text("/@timestamp").and_then(|time| time.parse::<Timestamp>().ok());
    let time = time.map_or_else(|| "-".to_owned(), |time| time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string());
    let host = text("/host/hostname").or_else(|| text("/host/name"));
    let host = host.map_or_else(|| "-".to_owned(), |host| name(host, 255));
    let (pri, pid) = (FACILITY * 8 + priority::of(&alert), std::process::id());
    let (version, id) = (env!("CARGO_PKG_VERSION"), if is_life(&alert) { "life" } else { "alert" });
    let header =
        format!("<{pri}>1 {time} {host} sensor {pid} {id} [origin software=\"sensor\" swVersion=\"{version}\"] ");
    if let Value::Object(alert) = &mut alert {
        fit(alert, MOST.saturating_sub(header.len()));
    }
    format!("{header}{alert}")
}

/// A name as the header takes it: visible ASCII characters, not too many.
fn name(text: &str, most: usize) -> String {
    let visible: String = text.chars().filter(char::is_ascii_graphic).take(most).collect();
    if visible.is_empty() { "-".to_owned() } else { visible }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_alert_has_a_header_and_its_document() {
        let alert = json!({
            "@timestamp": "2026-05-28T20:26:42.013999999Z",
            "host": {"hostname": "web 1\u{fc}"},
            "message": "a\nb",
            "sensor": {"severity": "high", "sequence": [1, 2], "hooks": "x"},
        });
        let expected = format!(
            "<83>1 2026-05-28T20:26:42.013999Z web1 sensor {} alert [origin software=\"sensor\" swVersion=\"{}\"] {}",
            std::process::id(),
            env!("CARGO_PKG_VERSION"),
            r#"{"@timestamp":"2026-05-28T20:26:42.013999999Z","host":{"hostname":"web 1ü"},"message":"a\nb","sensor":{"severity":"high","hooks":"x"}}"#
        );
        assert_eq!(message(&alert.to_string()), expected);
        let life = json!({"log": {"level": "info"}, "event": {"dataset": "sensor.life"}}).to_string();
        let life = message(&life);
        assert!(life.starts_with("<86>1 - - sensor ") && life.contains(" life [origin "), "{life}");
        assert!(message("{}").starts_with("<84>1 - - sensor "));
        assert!(message("no JSON").ends_with("] null"));
    }

    #[test]
    fn it_is_no_longer_than_receivers_take() {
        let args = vec!["\u{1}".repeat(500); 20];
        let alert = json!({"process": {"args": args}, "sensor": {"ancestors": [{"args": args}]}});
        let message = message(&alert.to_string());
        assert!(message.len() <= MOST && message.contains(r#""shortened":["process.args","sensor.ancestors.args"]"#));
    }
}
