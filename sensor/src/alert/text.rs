//! The alert in one sentence, and the words it is made of.
//!
//! Everything said here comes from documents that an attacker may have shaped. Control characters are shown, not sent,
//! and long texts are cut.

use super::section::{Section, section};
use super::{Finding, streams};
use serde_json::Value;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

/// Longest command line in a sentence, in characters.
const LONGEST: usize = 200;

/// [`maker`] of a connection that the process itself made.
pub const SAME: &str = "the same process";

/// What happened, in one sentence.
pub(super) fn message(finding: &Finding<'_>) -> String {
    let Finding { connection, exec, elapsed_ms, assumed, .. } = *finding;
    let streams = connection.is_some_and(|connection| streams::hold(exec, connection, accepted(connection)));
    let mut sentence = actor(exec);
    let _ = match command_line(exec) {
        Some(command) => write!(sentence, " executed \"{command}\""),
        None => write!(sentence, " executed a shell"),
    };
    let _ = match connection {
        Some(connection) => {
            write!(sentence, " {elapsed_ms} ms after {} {}", maker(exec, connection), deed(connection))
        }
        None if !finding.is_connection_assumed() => match far_end(exec) {
            Some(far) => write!(sentence, " with a connection to {far} as its standard input and output"),
            None => write!(sentence, " with a connection as its standard input and output"),
        },
        None => write!(sentence, " while more connections were made than can be remembered; one of its own is assumed"),
    };
    if streams {
        sentence.push_str("; that connection is its standard input or output");
    }
    if !assumed.is_empty() {
        sentence.push_str("; some of the arguments could not be searched and are taken as matching");
    }
    sentence
}

/// Who executed something: `bash (pid 4242, user root)`.
#[must_use]
pub fn actor(exec: &Value) -> String {
    let name = member(exec, &["process", "name"]).unwrap_or_else(|| "a process".to_owned());
    let pid = member(exec, &["process", "pid"]).map(|pid| format!("pid {pid}"));
    let user = member(exec, &["user", "name"]).or_else(|| member(exec, &["user", "id"]));
    let details: Vec<String> = pid.into_iter().chain(user.map(|user| format!("user {user}"))).collect();
    if details.is_empty() { name } else { format!("{name} ({})", details.join(", ")) }
}

/// Who made the connection, seen from the process that executed something: `the same process`, `its parent python3 (pid 7)`.
#[must_use]
pub fn maker(exec: &Value, connection: &Value) -> String {
    let id = |document, path| member(document, path);
    let by = id(connection, &["process", "entity_id"]);
    if by.is_none() || by == id(exec, &["process", "entity_id"]) {
        return SAME.to_owned();
    }
    let kin = if by == id(exec, &["process", "parent", "entity_id"]) { "parent" } else { "ancestor" };
    let name = member(connection, &["process", "name"]).unwrap_or_else(|| "a process".to_owned());
    match member(connection, &["process", "pid"]) {
        Some(pid) => format!("its {kin} {name} (pid {pid})"),
        None => format!("its {kin} {name}"),
    }
}

/// What a connection's process did: `connected to 198.51.100.1:4444`.
#[must_use]
pub fn deed(connection: &Value) -> String {
    let source = end(connection, "source").unwrap_or_else(|| "an unknown address".to_owned());
    let destination = end(connection, "destination").unwrap_or_else(|| "an unknown address".to_owned());
    if accepted(connection) {
        format!("accepted a connection from {source} on {destination}")
    } else {
        format!("connected to {destination}")
    }
}

/// Whether a connection's document tells of an accepted one.
pub(super) fn accepted(connection: &Value) -> bool {
    let action = section(connection, "event").and_then(|mut event| event.remove("action"));
    match action {
        Some(Value::Array(actions)) => actions.iter().any(|action| action == "connection_accepted"),
        action => action.is_some_and(|action| action == "connection_accepted"),
    }
}

/// The far end of an execution's standard input.
fn far_end(exec: &Value) -> Option<String> {
    let network: Section = streams::network(exec)
        .into_iter()
        .filter_map(|(name, part)| Some((name.to_owned(), Value::Object(part?))))
        .collect();
    end(&Value::Object(network), "destination")
}

fn end(connection: &Value, name: &str) -> Option<String> {
    let ip = member(connection, &[name, "ip"])?;
    let port = member(connection, &[name, "port"]).and_then(|port| port.parse().ok());
    Some(match (ip.parse::<IpAddr>(), port) {
        (Ok(address), Some(port)) => SocketAddr::new(address, port).to_string(),
        _ => ip,
    })
}

/// What was executed, as one text of a bounded length.
#[must_use]
pub fn command_line(document: &Value) -> Option<String> {
    let process = section(document, "process")?;
    process.get("args").and_then(joined).or_else(|| process.get("command_line").and_then(shown))
}

fn joined(args: &Value) -> Option<String> {
    let joined = match args {
        Value::Array(args) => args.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        one => one.as_str()?.to_owned(),
    };
    (!joined.is_empty()).then(|| visible(&joined))
}

fn at<'v>(document: &'v Value, path: &[&str]) -> Option<&'v Value> {
    path.iter().try_fold(document, |value, name| value.get(name))
}

fn member(document: &Value, path: &[&str]) -> Option<String> {
    let (first, rest) = path.split_first()?;
    if rest.is_empty() {
        return document.get(*first).and_then(shown);
    }
    let section = Value::Object(section(document, first)?);
    at(&section, rest).and_then(shown)
}

/// A scalar, or the first scalar of an array.
fn shown(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(visible(text)),
        Value::Number(number) => Some(number.to_string()),
        Value::Array(values) => values.iter().find_map(|value| if value.is_array() { None } else { shown(value) }),
        _ => None,
    }
}

/// A text with what is not printable spelled out, cut to [`LONGEST`] characters.
#[must_use]
pub fn visible(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => printable(text.get(..end).unwrap_or(text)) + "\u{2026}",
        None => printable(text),
    }
}

/// A text with what is not printable spelled out.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars() {
        if character.is_control() || is_invisible(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Characters that change how the text around them is displayed, or that cannot be seen: marks of direction, separators of lines, fillers,
/// selectors of variants, tags.
#[must_use]
pub fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
    )
}
