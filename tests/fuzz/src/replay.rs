//! Recorded events: what `replay` and `explain` are given.

use crate::file::MemoryFile;
use sensor::command::exit::Exit;
use sensor::command::explain::{self, explain};
use sensor::command::replay::input::Source;
use sensor::command::replay::{Format, Options};
use sensor::detect::rule::{Parameters, RULES};
use sensor::event::facts::Facts;
use serde_json::Value;

/// Events, one a line. Taken all the way: they give an alert.
pub fn replay(data: &[u8]) -> bool {
    let lines = data.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let malformed = lines.filter(|line| !is_event(line)).count();
    let file = MemoryFile::new(data);
    let alerts = alerts(&file, malformed);
    let (text, _) = run(&file, Format::Text);
    printable(&text);
    assert_eq!(text.lines().filter(|line| line.starts_with("ALERT ")).count(), alerts, "{text:?}");
    explained(&file, malformed);
    alerts > 0
}

/// Whether a line is an event. Both readers of events must agree with the JSON parser and with each other.
fn is_event(line: &[u8]) -> bool {
    let facts = Facts::from_slice(line);
    if let Err(error) = &facts {
        printable(&error.to_string());
    }
    let Ok(value) = serde_json::from_slice::<Value>(line) else {
        assert!(facts.is_err(), "facts of what is no JSON");
        return false;
    };
    let of_value = Facts::from_value(&value);
    // Of members of one name, a parsed document has the last; the reader of lines sees all of them.
    if members(line) == count(&value) {
        match (&facts, &of_value) {
            (Ok(facts), Ok(of_value)) => assert_eq!(facts, of_value),
            (Err(_), Err(_)) => {}
            (facts, of_value) => panic!("{facts:?} but {of_value:?}"),
        }
    }
    facts.is_ok()
}

/// Members of all objects in a text that is JSON.
fn members(text: &[u8]) -> usize {
    let (mut members, mut quoted, mut escaped) = (0, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b':' if !quoted => members += 1,
            _ => {}
        }
    }
    members
}

/// Members of all objects in a document.
fn count(value: &Value) -> usize {
    match value {
        Value::Array(elements) => elements.iter().map(count).sum(),
        Value::Object(members) => members.values().map(|value| 1 + count(value)).sum(),
        _ => 0,
    }
}

/// How many alerts the events give. Each must be a document that can be read like any other.
fn alerts(file: &MemoryFile, malformed: usize) -> usize {
    let (out, err) = run(file, Format::Json);
    told(&err, malformed);
    let alerts = out.lines().map(|line| {
        let alert: Value = serde_json::from_str(line).expect("an alert is JSON");
        assert_eq!(alert.pointer("/event/kind"), Some(&Value::from("alert")));
        let events = alert.pointer("/sensor/sequence").and_then(Value::as_array).expect("an alert has its events");
        assert!((1..=2).contains(&events.len()) && events.iter().all(|event| Facts::from_value(event).is_ok()));
    });
    alerts.count()
}

fn run(file: &MemoryFile, format: Format) -> (String, String) {
    let options = Options { source: source(file), format: Some(format) };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = sensor::command::replay::replay(&options, (&Parameters::default(), &[]), &mut out, &mut err, false);
    assert_eq!(exit == Exit::Ok, err.is_empty());
    (text(out), text(err))
}

fn explained(file: &MemoryFile, malformed: usize) {
    const MISSES: u32 = 2;
    let options = explain::Options { source: source(file), most: MISSES };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = explain(&options, &Parameters::default(), &mut out, &mut err, false);
    assert_eq!(exit == Exit::Ok, err.is_empty());
    told(&text(err), malformed);
    let out = text(out);
    printable(&out);
    // Behind them each rule has a line, what is not shown one, and what has no process one.
    let (lines, rules) = (out.lines().count(), RULES.len());
    assert!((rules..=rules + MISSES as usize + 2).contains(&lines), "{out:?}");
}

fn source(file: &MemoryFile) -> Source {
    Source { files: vec![file.path().to_owned()], merge: false, rules: Vec::new(), hold: 1000 }
}

/// Each malformed line is named, and nothing else is said.
fn told(err: &str, malformed: usize) {
    printable(err);
    assert_eq!(err.lines().count(), malformed, "{err:?}");
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("what is written is text")
}

/// What goes to a terminal moves nothing on it but by line ends, and turns no text around.
fn printable(text: &str) {
    let turns = |character| matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let moves = |character: char| character.is_control() && character != '\n';
    assert!(!text.contains(|character| moves(character) || turns(character)), "{text:?}");
}
