//! What stands on the descriptors of a program, as one text: `0,1,2 → the connection`.

use super::fields::{Fields, scalar};
use super::picture::{Arrow, end};
use serde_json::Value;

/// The text of `sensor.stdio`, in whichever way the document tells it. What has the ends of `connection` is called that.
pub(super) fn text(stdio: &Value, connection: Option<&Arrow>) -> Option<String> {
    let entries: Vec<(String, String)> = match stdio {
        Value::Object(members) => {
            members.iter().filter_map(|(name, value)| Some((name.clone(), words(value)?))).collect()
        }
        Value::Array(elements) => elements
            .iter()
            .enumerate()
            .filter_map(|(place, value)| {
                let own = ["fd", "descriptor"].into_iter().find_map(|name| value.get(name)).and_then(scalar);
                Some((own.unwrap_or_else(|| place.to_string()), what(value, connection)?))
            })
            .collect(),
        one => return scalar(one),
    };
    // Neighbours with the same on them are told together.
    let together = entries.chunk_by(|(_, one), (_, next)| one == next);
    let texts: Vec<String> = together
        .filter_map(|same| {
            let names: Vec<&str> = same.iter().map(|(name, _)| name.as_str()).collect();
            same.first().map(|(_, what)| format!("{} {what}", names.join(",")))
        })
        .collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

/// What stands on one descriptor.
fn what(entry: &Value, connection: Option<&Arrow>) -> Option<String> {
    let fields = Fields::from_object(entry);
    let part = |name| fields.at(name).map(Fields::from_object);
    let ends = part("local").zip(part("remote")).and_then(|(local, remote)| Some((end(&local)?, end(&remote)?)));
    match (fields.text("kind").as_deref(), ends) {
        (Some("tcp"), Some((local, remote))) => match connection {
            _ if entry.get("in_sequence") == Some(&Value::Bool(true)) => Some("\u{2192} the connection".to_owned()),
            Some(arrow) if arrow.local == local && arrow.remote == remote => Some("\u{2192} the connection".to_owned()),
            _ => Some(format!("\u{2192} tcp {local} to {remote}")),
        },
        (Some("pty" | "device"), _) => fields.text("device").map(|device| format!("\u{2192} {device}")),
        (Some("socket"), _) => fields.text("family").map(|family| format!("\u{2192} {family} socket")),
        (Some(kind), _) => Some(format!("\u{2192} {kind}")),
        (None, _) => words(entry),
    }
}

/// The scalars of a value, one behind the other.
fn words(value: &Value) -> Option<String> {
    let texts: Vec<String> = match value {
        Value::Object(members) => members
            .iter()
            .filter(|(name, _)| *name != "fd" && *name != "descriptor")
            .filter_map(|(_, one)| scalar(one))
            .collect(),
        Value::Array(elements) => elements.iter().filter_map(scalar).collect(),
        one => scalar(one).into_iter().collect(),
    };
    (!texts.is_empty()).then(|| texts.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tcp(fd: u8, port: u16) -> Value {
        json!({"fd": fd, "kind": "tcp", "state": "established", "local": {"ip": "10.0.0.9", "port": 40_000},
            "remote": {"ip": "2001:db8::1", "port": port}})
    }

    #[test]
    fn neighbours_are_told_together() {
        let arrow =
            Arrow { local: "10.0.0.9:40000".to_owned(), remote: "[2001:db8::1]:4444".to_owned(), ..Arrow::default() };
        let three = json!([tcp(0, 4444), tcp(1, 4444), tcp(2, 4444)]);
        assert_eq!(text(&three, Some(&arrow)).unwrap(), "0,1,2 \u{2192} the connection");
        assert_eq!(text(&three, None).unwrap(), "0,1,2 \u{2192} tcp 10.0.0.9:40000 to [2001:db8::1]:4444");
        let mixed = json!([tcp(0, 4444), tcp(1, 5), {"fd": 2, "kind": "device", "device": "/dev/null"}]);
        assert_eq!(
            text(&mixed, Some(&arrow)).unwrap(),
            "0 \u{2192} the connection; 1 \u{2192} tcp 10.0.0.9:40000 to [2001:db8::1]:5; 2 \u{2192} /dev/null"
        );
        let other = json!([{"fd": 0, "kind": "socket", "family": "unix"}, {"fd": 1, "kind": "pipe"}, {"fd": 2, "kind": "closed"}]);
        assert_eq!(text(&other, None).unwrap(), "0 \u{2192} unix socket; 1 \u{2192} pipe; 2 \u{2192} closed");
    }

    #[test]
    fn what_others_write_is_shown_as_it_is() {
        assert_eq!(
            text(&json!([{"fd": 0, "type": "socket", "inode": 5}, "pipe"]), None).unwrap(),
            "0 socket 5; 1 pipe"
        );
        assert_eq!(text(&json!({"stdin": {"a": 1}, "stdout": ["x", "y"]}), None).unwrap(), "stdin 1; stdout x y");
        assert_eq!(text(&json!("x"), None).unwrap(), "x");
        assert_eq!(text(&json!([]), None), None);
        assert_eq!(text(&json!([{}, [], null]), None), None);
    }
}
