//! Streams of events: of the vectors of the rule what matches in each, and what this sensor itself writes.

use super::record::{attempted, executed};
use crate::record::origin;
use sensor::event::decode;
use sensor::event::ecs::Extras;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Vectors whose matches differ most: accepted, socat, arrays, dotted keys, several in one stream.
const VECTORS: [&str; 6] = ["00", "04", "08", "16", "34", "42"];

pub(super) fn seeds() -> Vec<(String, Vec<u8>)> {
    let vectors = VECTORS.map(|name| (format!("vector-{name}.ndjson"), matching(name).into_bytes()));
    vectors.into_iter().chain([("live.ndjson".to_owned(), live().into_bytes())]).collect()
}

/// The lines of a vector that are part of a match.
fn matching(vector: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rule-vectors");
    let read = |name: String| fs::read_to_string(folder.join(name)).expect("a vector");
    let expected = read(format!("{vector}.expected.ndjson"));
    let pairs: Vec<Value> = expected.lines().map(|line| serde_json::from_str(line).expect("a match")).collect();
    let matches = |line: &str| {
        let document: Value = serde_json::from_str(line).expect("a document");
        let id = document.pointer("/event/id");
        pairs.iter().any(|pair| pair.get("connection") == id || pair.get("exec") == id)
    };
    let stream = read(format!("{vector}.ndjson"));
    stream.lines().filter(|line| matches(line)).map(|line| format!("{line}\n")).collect()
}

/// A connection and the execution that takes it, as a live run records them.
fn live() -> String {
    let connection = decode::connection(&attempted()).expect("a record");
    let exec = decode::exec(&executed()).expect("a record");
    let extras = Extras::default();
    format!("{}\n{}\n", origin().connection(&connection, 1, &extras), origin().exec(&exec, 2, &extras))
}
