//! The sensor and the second implementation of the rule agree on any stream, live and replayed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a panic is how a test fails")]

mod common;

use clap::Parser;
use common::{Pair, documents, lines, matches};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use sensor::command::exit::Exit;
use sensor::command::replay::{Options, replay};
use sensor::detect::correlator::{Correlator, MAX_PROCESSES, Outcome};
use sensor::detect::rule::{Parameters, REVERSE_SHELL_VIA_CHILD};
use sensor::event::facts::{Facts, Field};
use serde_json::{Value, json};
use std::io::Write as _;

const NAMES: [&str; 8] = ["bash", "sh", "BASH", "socat", "nc", "\u{212a}sh", "bash ", "zsh"];
const ADDRESSES: [&str; 9] = [
    "198.51.100.1",
    "127.0.0.1",
    "::ffff:127.0.0.1",
    "::1",
    "2001:db8::1",
    "::127.0.0.1",
    "169.254.255.255",
    "224.0.0.0",
    "nowhere",
];
const ARGS: [&str; 9] = ["bash", "-i", "-l", "-I", "-li", "-i ", "--login", "\u{2026}", ""];
const PARENT_ARGS: [&str; 5] = ["socat", "EXEC:sh", "tcp:exec.example:1", "SYSTEM:sh", "E\u{d7}EC"];

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    options: Options,
}

/// A value as it is, as an array of itself, or as an array with something else.
fn spelled(text: &'static str) -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => Just(json!(text)),
        1 => Just(json!([text])),
        1 => Just(json!([null, "other", text])),
    ]
}

fn mostly(usual: &'static str, others: &'static [&'static str]) -> impl Strategy<Value = Value> {
    prop_oneof![20 => Just(usual), 1 => select(others)].prop_flat_map(spelled)
}

/// An event of one of a few processes; its time is filled in later.
fn event() -> impl Strategy<Value = Value> {
    let keys = (
        prop_oneof![20 => Just(json!("host-a")), 2 => Just(json!("host-b")), 1 => Just(Value::Null)],
        prop_oneof![16 => Just(json!("P")), 4 => Just(json!("p")), 1 => Just(json!("P ")), 1 => Just(Value::Null)],
    );
    let what = any::<bool>().prop_flat_map(|network| {
        let (category, action, other): (_, _, &[&str]) = if network {
            ("network", "connection_attempted", &["connection_accepted", "exec", "Connection_Attempted", "end"])
        } else {
            ("process", "exec", &["fork", "Exec", "connection_accepted"])
        };
        (mostly(category, &["file", "process", "network"]), mostly("start", &["end", "info"]), mostly(action, other))
    });
    let name = prop_oneof![12 => Just("bash"), 4 => select(&NAMES[..])];
    let thread = prop_oneof![3 => Just(Value::Null), 1 => select(&NAMES[..]).prop_map(|name| json!(name))];
    let ip = prop_oneof![
        14 => Just(json!("198.51.100.1")),
        4 => select(&ADDRESSES[..]).prop_map(|ip| json!(ip)),
        1 => vec(select(&ADDRESSES[..]), 0..3).prop_map(|ips| json!(ips)),
        1 => Just(Value::Null),
    ];
    let args = prop_oneof![
        9 => Just(json!(["bash", "-i"])),
        4 => vec(select(&ARGS[..]), 0..4).prop_map(|args| json!(args)),
        1 => (1020..1030_usize).prop_map(|length| json!(["sh", "x".repeat(length), format!("-i{}", "\u{e9}".repeat(length))])),
    ];
    let parent = (
        select(&["socat", "Socat", "bash"][..]),
        prop_oneof![
            4 => vec(select(&PARENT_ARGS[..]), 0..3).prop_map(|args| json!(args)),
            1 => (1015..1030_usize).prop_map(|length| json!([format!("exec{}", "x".repeat(length))])),
        ],
    );
    let flags = (proptest::bool::weighted(0.05), proptest::bool::weighted(0.05));
    (keys, what, name, thread, ip, args, parent, flags).prop_map(
        |((host, process), (category, kind, action), name, thread, ip, args, parent, flags)| {
            json!({
                "event": {"category": category, "type": kind, "action": action},
                "host": {"id": host},
                "process": {
                    "entity_id": process,
                    "name": name,
                    "thread": {"name": thread},
                    "args": args,
                    "parent": {"name": parent.0, "args": parent.1},
                },
                "destination": {"ip": ip},
                "sensor": {"args": {"unsearched": flags.0}, "parent": {"args_unsearched": flags.1}},
            })
        },
    )
}

/// Steps of time that fall on, just before and just behind the edges of the rule.
fn step() -> impl Strategy<Value = i64> {
    prop_oneof![select(&[0_i64, 0, 0, 1, 2, 100, 2500, 4999, 5000, 5001][..]), 0..6000_i64]
}

/// Events of which the sensor has not written one, in any order.
fn foreign() -> impl Strategy<Value = Vec<Value>> {
    vec((event(), step(), 0..1_000_000_u32, any::<Index>()), 1..60).prop_map(|events| {
        let mut now = 1_780_000_000_000_i64;
        let mut stream: Vec<(Index, Value)> = Vec::new();
        for (number, (mut event, step, nanos, place)) in events.into_iter().enumerate() {
            now += step;
            let seconds = jiff::Timestamp::from_second(now / 1000).unwrap().to_string();
            event["@timestamp"] = match nanos % 4 {
                0 => json!(now),
                1 => json!(now.to_string()),
                _ => json!(format!("{}.{:03}{nanos:06}Z", seconds.trim_end_matches('Z'), now % 1000)),
            };
            event["event"]["id"] = json!(format!("e{number}"));
            stream.push((place, event));
        }
        // Half of the streams in order, half shuffled.
        if stream.len().is_multiple_of(2) {
            stream.sort_by_key(|(place, _)| place.index(1_000_000));
        }
        stream.into_iter().map(|(_, event)| event).collect()
    })
}

/// Events of one boot of a host with this sensor, in the order in which the sensor saw them. Some are seen up to 9 s late,
/// some connections twice, and the wall clock is of no use.
fn live() -> impl Strategy<Value = Vec<Value>> {
    let late = || prop_oneof![6 => Just(0_u64), 1 => 0..9_000_u64];
    let twice = proptest::option::weighted(0.2, late());
    vec((event(), step(), 0..1_000_000_u64, late(), twice, 0..10_000_i64), 1..60).prop_map(|events| {
        let mut now = 1_000_000_u64;
        let mut stream = Vec::new();
        for (number, (mut event, step, nanos, late, twice, wall)) in events.into_iter().enumerate() {
            now += u64::try_from(step).unwrap();
            event["@timestamp"] = json!(wall);
            event["sensor"]["boot_id"] = json!("boot");
            event["sensor"]["boot_ns"] = json!(now * 1_000_000 + nanos);
            if event["event"]["category"].to_string().contains("network") {
                event["sensor"]["arm"] = json!(number);
                stream.extend(twice.map(|late| (now + late, event.clone())));
            }
            stream.push((now + late, event));
        }
        stream.sort_by_key(|(seen, _)| *seen);
        let numbered = stream.into_iter().enumerate().map(|(number, (_, mut event))| {
            event["event"]["id"] = json!(format!("e{number}"));
            event["event"]["sequence"] = json!(number);
            event
        });
        numbered.collect()
    })
}

/// What a correlator finds that takes the events as they come, sorted.
fn correlated(stream: &[Value]) -> Vec<Pair> {
    let mut correlator = Correlator::new(&REVERSE_SHELL_VIA_CHILD, Parameters::default(), MAX_PROCESSES);
    let mut pairs = Vec::new();
    for document in stream {
        let facts = Facts::from_value(document).unwrap();
        if let Outcome::Match(found) = correlator.push(&facts, facts.event_id.clone().unwrap().to_string()) {
            pairs.push((found.connection.unwrap().0, found.exec));
        }
    }
    pairs.sort();
    pairs
}

/// What a replay of the events as one file finds, sorted.
fn replayed(stream: &[Value], hold: u32) -> Vec<Pair> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(lines(stream).as_bytes()).unwrap();
    let path = file.path().display().to_string();
    let options = Cli::parse_from(["replay", "--format", "json", "--hold", &hold.to_string(), &path]).options;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = replay(&options, (&Parameters::default(), &[]), &mut out, &mut err, false);
    assert_eq!((exit, String::from_utf8(err).unwrap().as_str()), (Exit::Ok, ""));
    let mut pairs: Vec<Pair> = documents(&String::from_utf8(out).unwrap())
        .iter()
        .map(|alert| {
            let id = |place: usize| alert["sensor"]["sequence"][place]["event"]["id"].as_str().unwrap().to_owned();
            (id(0), id(1))
        })
        .collect();
    pairs.sort();
    pairs
}

/// The stream in the order that the rule defines.
fn in_order(stream: &[Value]) -> Vec<Value> {
    let mut stream = stream.to_vec();
    stream.sort_by_key(|document| {
        let facts = Facts::from_value(document).unwrap();
        let network = facts.values(Field::EventCategory).any(|category| category == "network");
        (facts.time, !network)
    });
    stream
}

/// A document with some of its objects folded into dotted keys.
fn folded(document: &Value, choices: &mut impl Iterator<Item = bool>) -> Value {
    let Value::Object(members) = document else { return document.clone() };
    let mut folded = serde_json::Map::new();
    for (key, value) in members {
        match self::folded(value, choices) {
            Value::Object(inner) if choices.next().unwrap_or(false) => {
                folded.extend(inner.into_iter().map(|(name, value)| (format!("{key}.{name}"), value)));
            }
            value => {
                folded.insert(key.clone(), value);
            }
        }
    }
    Value::Object(folded)
}

#[test]
fn the_streams_do_hold_matches() {
    let mut runner = TestRunner::deterministic();
    let mut count = |streams: &dyn Fn(&mut TestRunner) -> Vec<Value>| {
        (0..200).filter(|_| !matches(&streams(&mut runner)).is_empty()).count()
    };
    assert!(count(&|runner| foreign().new_tree(runner).unwrap().current()) > 50);
    assert!(count(&|runner| live().new_tree(runner).unwrap().current()) > 50);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_replay_agrees_with_the_second_implementation(stream in foreign(), hold in 1..100_u32) {
        prop_assert_eq!(replayed(&stream, hold), matches(&stream));
    }

    #[test]
    fn a_correlator_agrees_on_a_stream_in_order(stream in foreign()) {
        prop_assert_eq!(correlated(&in_order(&stream)), matches(&stream));
    }

    #[test]
    fn a_live_correlator_agrees_whatever_the_rings_do_to_the_order(stream in live()) {
        prop_assert_eq!(correlated(&stream), matches(&stream));
    }

    #[test]
    fn the_replay_of_a_live_run_gives_the_live_answer_in_any_order_of_lines(
        stream in live(),
        places in vec(any::<u32>(), 120),
        hold in 1..100_u32,
    ) {
        let live = correlated(&stream);
        let mut shuffled: Vec<_> = places.into_iter().zip(stream).collect();
        shuffled.sort_by_key(|(place, _)| *place);
        let shuffled: Vec<Value> = shuffled.into_iter().map(|(_, document)| document).collect();
        prop_assert_eq!(replayed(&shuffled, hold), live);
    }

    #[test]
    fn the_order_of_lines_matters_only_within_a_millisecond_of_a_process(
        stream in foreign(),
        places in vec(any::<u32>(), 60),
    ) {
        let group = |document: &Value| {
            let facts = Facts::from_value(document).unwrap();
            let list = |field| facts.values(field).map(str::to_owned).collect::<Vec<_>>();
            format!("{:?}", (facts.time, list(Field::HostId), list(Field::EntityId), list(Field::EventCategory).contains(&"network".to_owned())))
        };
        // Each document gets a place; those of one group get the places of the group in rising order.
        let mut places: Vec<u32> = places[..stream.len()].to_vec();
        let groups: Vec<String> = stream.iter().map(group).collect();
        for first in 0..stream.len() {
            for second in first + 1..stream.len() {
                if groups[first] == groups[second] && places[first] > places[second] {
                    places.swap(first, second);
                }
            }
        }
        let mut shuffled: Vec<_> = places.into_iter().zip(stream.clone()).collect();
        shuffled.sort_by_key(|(place, _)| *place);
        let shuffled: Vec<Value> = shuffled.into_iter().map(|(_, document)| document).collect();
        prop_assert_eq!(replayed(&shuffled, 1000), replayed(&stream, 1000));
    }

    #[test]
    fn a_document_is_the_same_however_its_keys_are_written(document in event(), choices in vec(any::<bool>(), 20)) {
        let mut document = document;
        document["@timestamp"] = json!(1);
        let folded = folded(&document, &mut choices.into_iter());
        let text = folded.to_string();
        let facts = Facts::from_value(&document).unwrap();
        let same = Facts::from_slice(text.as_bytes()).unwrap();
        prop_assert_eq!(&facts, &same, "{}", text);
    }

    #[test]
    fn a_text_is_an_event_exactly_if_it_is_a_document_with_a_time(
        document in event(),
        changes in vec((any::<Index>(), any::<u8>()), 0..4),
    ) {
        let mut document = document;
        document["@timestamp"] = json!(1);
        let mut text = document.to_string().into_bytes();
        for (place, byte) in changes {
            let place = place.index(text.len());
            text[place] = byte;
        }
        match (Facts::from_slice(&text), serde_json::from_slice::<Value>(&text)) {
            (Ok(facts), Ok(value)) if !text.windows(2).any(|pair| pair == b"..") => {
                // Of a name that is written twice a document keeps one value, the facts both.
                let from_value = Facts::from_value(&value);
                prop_assert!(from_value.is_ok());
                prop_assert_eq!(facts.time, from_value.unwrap().time);
            }
            (Ok(_), Ok(_)) => {}
            (Err(_), Ok(value)) => prop_assert!(Facts::from_value(&value).is_err()),
            (facts, value) => prop_assert_eq!(facts.is_err(), value.is_err()),
        }
    }

    #[test]
    fn feeding_everything_twice_changes_nothing(stream in live()) {
        let connections = |document: &Value| document["sensor"]["arm"].is_number();
        let twice: Vec<Value> = stream
            .iter()
            .flat_map(|document| std::iter::repeat_n(document.clone(), if connections(document) { 2 } else { 1 }))
            .collect();
        prop_assert_eq!(correlated(&twice), correlated(&stream));
    }
}
