//! How urgent a document is, as syslog(3) and the journal have it.

use serde_json::Value;

/// From 2, critical, to 6, informational: of an alert by its severity, of what is told of the sensor itself by its level.
pub(super) fn of(document: &Value) -> u8 {
    let word = |place: &str| document.pointer(place).and_then(Value::as_str);
    match (word("/sensor/severity"), word("/log/level")) {
        (Some("critical"), _) => 2,
        (Some("high"), _) | (None, Some("error")) => 3,
        (Some("low"), _) => 5,
        (None, Some("info")) => 6,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_severity_of_alerts_and_the_level_of_the_rest() {
        for (word, priority) in [("critical", 2), ("high", 3), ("medium", 4), ("low", 5), ("odd", 4)] {
            assert_eq!(of(&json!({"sensor": {"severity": word}, "log": {"level": "info"}})), priority, "{word}");
        }
        for (word, priority) in [("error", 3), ("warning", 4), ("info", 6)] {
            assert_eq!(of(&json!({"log": {"level": word}})), priority, "{word}");
        }
        assert_eq!(of(&json!({})), 4);
    }
}
