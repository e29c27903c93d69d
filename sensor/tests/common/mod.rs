//! Documents for the tests, and a second implementation of the rule.
//!
//! It is written from the definition of the rule alone: plain lists, no limits, nothing shared with the sensor. What it
//! is asked must be well-formed, and the documents of one process must either all be from one boot of this sensor or
//! none of them.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test fails")]

pub(crate) mod program;

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

/// A match: the ids of the connection and of the execution.
pub(crate) type Pair = (String, String);

const SHELLS: [&str; 8] = ["bash", "dash", "sh", "tcsh", "csh", "zsh", "ksh", "fish"];

/// The files `NN.ndjson` of the vectors, in order.
pub(crate) fn vectors() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/rule-vectors");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| {
        file.extension().is_some_and(|end| end == "ndjson") && !file.to_string_lossy().contains("expected")
    });
    files.sort();
    files
}

/// The matches that a vector must give, sorted.
pub(crate) fn expected(vector: &std::path::Path) -> Vec<Pair> {
    let text = fs::read_to_string(vector.with_extension("expected.ndjson")).unwrap();
    let id = |document: &Value, name: &str| document[name].as_str().unwrap().to_owned();
    let mut pairs: Vec<Pair> = documents(&text).iter().map(|line| (id(line, "connection"), id(line, "exec"))).collect();
    pairs.sort();
    pairs
}

/// The documents of a text with one a line.
pub(crate) fn documents(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The documents as a text with one a line.
pub(crate) fn lines(documents: &[Value]) -> String {
    documents.iter().map(|document| format!("{document}\n")).collect()
}

/// The lines in another order, in which those of the same process, millisecond and sort keep theirs: it must not matter.
pub(crate) fn shuffled(text: &str, seed: u64) -> String {
    let lines: Vec<&str> = text.lines().collect();
    // Splitmix64: the same order each time.
    let place = |number: u64| {
        let mut bits = seed.wrapping_add(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31), number)
    };
    let mut groups: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (number, document) in documents(text).iter().enumerate() {
        let keys = [first(document, "host.id"), first(document, "process.entity_id")];
        let network = values(document, "event.category").iter().any(|category| category == "network");
        let group = (keys, millis(&first(document, "@timestamp").unwrap()), network);
        groups.entry(group).or_default().push(number);
    }
    let mut placed = Vec::new();
    for numbers in groups.into_values() {
        let mut places: Vec<_> = numbers.iter().map(|number| place(*number as u64)).collect();
        places.sort_unstable();
        placed.extend(places.into_iter().zip(numbers));
    }
    placed.sort_unstable();
    placed.into_iter().map(|(_, number)| format!("{}\n", lines[number])).collect()
}

/// Everything that a document says under a path, whether nested or dotted, as texts.
pub(crate) fn values(document: &Value, path: &str) -> Vec<String> {
    match document {
        Value::Null => Vec::new(),
        Value::Array(elements) => elements.iter().flat_map(|element| values(element, path)).collect(),
        Value::Object(members) => members
            .iter()
            .flat_map(|(key, value)| match path.strip_prefix(key.as_str()) {
                Some("") => values(value, ""),
                Some(rest) if rest.starts_with('.') => values(value, &rest[1..]),
                _ => Vec::new(),
            })
            .collect(),
        Value::String(text) if path.is_empty() => vec![text.clone()],
        other if path.is_empty() => vec![other.to_string()],
        _ => Vec::new(),
    }
}

/// The first value under a path.
pub(crate) fn first(document: &Value, path: &str) -> Option<String> {
    values(document, path).into_iter().next()
}

#[derive(Clone, PartialEq)]
struct Event {
    id: String,
    millis: i64,
    boot_ns: Option<u64>,
    sequence: u64,
    arm: Option<String>,
    connection: bool,
    exec: bool,
}

/// The matches of a stream, sorted.
pub(crate) fn matches(documents: &[Value]) -> Vec<Pair> {
    let mut processes: BTreeMap<(String, String), Vec<Event>> = BTreeMap::new();
    for document in documents {
        let Some(host) = first(document, "host.id") else { continue };
        let Some(entity) = first(document, "process.entity_id") else { continue };
        let event = event(document);
        if event.connection || event.exec {
            processes.entry((host, entity)).or_default().push(event);
        }
    }
    let mut pairs: Vec<Pair> = processes.into_values().flat_map(of_one_process).collect();
    pairs.sort();
    pairs
}

fn of_one_process(mut events: Vec<Event>) -> Vec<Pair> {
    if events.iter().all(|event| event.boot_ns.is_some()) {
        events.sort_by_key(|event| event.sequence);
    } else {
        // Stable: the position in the input comes last.
        events.sort_by_key(|event| (event.millis, !event.connection));
    }
    let mut waiting: Vec<Event> = Vec::new();
    let mut gone: Vec<Event> = Vec::new();
    let mut last_taker: Option<Event> = None;
    let mut pairs = Vec::new();
    for event in events {
        if event.exec {
            let before: Vec<Event> = waiting.iter().filter(|one| !before(&event, one)).cloned().collect();
            // The latest; of several of the same time the last in the stream.
            let latest = before.iter().fold(None, |latest: Option<&Event>, one| match latest {
                Some(latest) if self::before(one, latest) => Some(latest),
                _ => Some(one),
            });
            if let Some(latest) = latest {
                waiting.retain(|one| !before.contains(one));
                if elapsed(latest, &event) <= 5000 {
                    pairs.push((latest.id.clone(), event.id.clone()));
                    if last_taker.as_ref().is_none_or(|taker| self::before(taker, &event)) {
                        last_taker = Some(event.clone());
                    }
                    gone.extend(before);
                }
            }
        }
        if event.connection {
            let same = |one: &Event| one.arm.is_some() && one.arm == event.arm && one.boot_ns == event.boot_ns;
            let stale = last_taker.as_ref().is_some_and(|taker| before(&event, taker));
            if !stale && !waiting.iter().any(same) && !gone.iter().any(same) {
                waiting.push(event);
            }
        }
    }
    pairs
}

fn before(one: &Event, other: &Event) -> bool {
    match (one.boot_ns, other.boot_ns) {
        (Some(a), Some(b)) => (a, one.sequence) < (b, other.sequence),
        _ => one.millis < other.millis,
    }
}

fn elapsed(one: &Event, other: &Event) -> i64 {
    match (one.boot_ns, other.boot_ns) {
        (Some(a), Some(b)) => i64::try_from(b / 1_000_000).unwrap() - i64::try_from(a / 1_000_000).unwrap(),
        _ => other.millis - one.millis,
    }
}

fn event(document: &Value) -> Event {
    let any =
        |path: &str, satisfies: &dyn Fn(&str) -> bool| values(document, path).iter().any(|value| satisfies(value));
    let name = |path: &str, satisfies: &dyn Fn(&str) -> bool| {
        any(&format!("{path}.name"), satisfies) || any(&format!("{path}.thread.name"), satisfies)
    };
    let argument = |path: &str, satisfies: &dyn Fn(&str) -> bool| {
        any(path, &|value| value.encode_utf16().count() <= 1024 && satisfies(value))
    };
    let flag = |path: &str| first(document, path).is_some_and(|value| value == "true");
    let is = |path: &str, text: &str| any(path, &|value| value == text);

    let connecting = |value: &str| SHELLS.iter().chain(&["socat"]).any(|name| value.eq_ignore_ascii_case(name));
    let addresses: Vec<IpAddr> =
        values(document, "destination.ip").iter().filter_map(|value| value.parse().ok()).collect();
    let connection = is("event.category", "network")
        && is("event.type", "start")
        && (is("event.action", "connection_attempted") || is("event.action", "connection_accepted"))
        && name("process", &connecting)
        && !addresses.is_empty()
        && !addresses.into_iter().any(excluded);

    let asks = flag("sensor.args.unsearched")
        || argument("process.args", &|value| value.eq_ignore_ascii_case("-i") || value.eq_ignore_ascii_case("-l"));
    let socat = name("process.parent", &|value| value == "socat")
        && (flag("sensor.parent.args_unsearched")
            || argument("process.parent.args", &|value| value.to_ascii_lowercase().contains("exec")));
    let exec = is("event.category", "process")
        && is("event.type", "start")
        && is("event.action", "exec")
        && name("process", &|value| SHELLS.contains(&value))
        && (asks || socat);

    let boot_ns = first(document, "sensor.boot_id").and_then(|_| first(document, "sensor.boot_ns")?.parse().ok());
    Event {
        id: first(document, "event.id").unwrap_or_default(),
        millis: millis(&first(document, "@timestamp").unwrap()),
        boot_ns,
        sequence: first(document, "event.sequence").map_or(0, |value| value.parse().unwrap()),
        arm: first(document, "sensor.arm"),
        connection,
        exec,
    }
}

fn excluded(address: IpAddr) -> bool {
    let v4 = match address {
        IpAddr::V4(v4) => v4,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => v4,
            None => return v6.is_loopback(),
        },
    };
    let [a, b, ..] = v4.octets();
    a == 127 || (a == 169 && b == 254) || (224..=239).contains(&a)
}

/// Milliseconds of a number, or of a date in UTC with or without a fraction.
fn millis(text: &str) -> i64 {
    if let Ok(millis) = text.parse() {
        return millis;
    }
    let number = |range: std::ops::Range<usize>| text[range].parse::<i64>().unwrap();
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    let leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let lengths = [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let days = (1970..year).map(|year| if leap(year) { 366 } else { 365 }).sum::<i64>()
        + lengths[..usize::try_from(month - 1).unwrap()].iter().sum::<i64>()
        + day
        - 1;
    let seconds = days * 86_400 + number(11..13) * 3600 + number(14..16) * 60 + number(17..19);
    let fraction = text[19..].trim_end_matches('Z').trim_start_matches('.');
    seconds * 1000 + format!("{fraction:0<3}")[..3].parse::<i64>().unwrap()
}
