//! The reference of the configuration (`docs/configuration.md`) and the file that packages install (`deploy/sensor.toml`) against the
//! code: every key is in them, no other is, and defaults and what a reload applies are as they say.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use sensor::config::Config;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use toml::{Table, Value};

/// What stands for a key in the reference.
#[derive(Debug)]
struct Entry {
    default: String,
    applies: String,
}

/// A value of each key that is not its default, in the notation of TOML.
const OTHERS: [(&str, &str); 46] = [
    ("rule.span", "'6s'"),
    ("rule.excluded", "[]"),
    ("rule.relays", "['x']"),
    ("rule.disabled", "['shell-on-socket']"),
    ("exception.name", "'y'"),
    ("exception.reason", "'y'"),
    ("exception.until", "'2027-01-31'"),
    ("exception.rule", "'reverse-shell-via-child'"),
    ("exception.executable", "'/x'"),
    ("exception.arguments", "'x *'"),
    ("exception.parent", "'/x'"),
    ("exception.parent_arguments", "'x *'"),
    ("exception.ancestor", "'x'"),
    ("exception.container", "'x*'"),
    ("exception.image", "'x*'"),
    ("exception.user", "'x'"),
    ("exception.source", "'10.0.0.0/8'"),
    ("exception.destination", "'10.0.0.0/8'"),
    ("exception.port", "2"),
    ("evidence.environment", "['A']"),
    ("evidence.redact", "[]"),
    ("evidence.runtimes", "[]"),
    ("hooks.connect", "'kprobe'"),
    ("hooks.accept", "'off'"),
    ("hooks.fork", "'off'"),
    ("host.id", "'x'"),
    ("host.name", "'x'"),
    ("kernel.btf", "'/x'"),
    ("rings.connections", "65536"),
    ("rings.executions", "65536"),
    ("output.stdout", "false"),
    ("output.file", "'/x'"),
    ("output.journal", "true"),
    ("output.elasticsearch.url", "'https://x'"),
    ("output.elasticsearch.data_stream", "'x'"),
    ("output.elasticsearch.api_key_file", "'/x'"),
    ("output.elasticsearch.password_file", "'/x'"),
    ("output.elasticsearch.ca_file", "'/x'"),
    ("output.syslog.to", "'unix:/x'"),
    ("output.syslog.ca_file", "'/x'"),
    ("output.spool.directory", "'/x'"),
    ("output.spool.bytes", "1048576"),
    ("noise.collapse", "'off'"),
    ("noise.per_minute", "0"),
    ("life.outputs", "[]"),
    ("life.heartbeat", "'off'"),
];
/// The same, apart: it is the only key that may not have a value at all.
const LISTEN: (&str, &str) = ("metrics.listen", "'/x'");

fn text(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)).unwrap()
}

/// What an exception needs, whatever else it has.
const EXCEPTION: [(&str, &str); 3] = [("name", "'x'"), ("reason", "'x'"), ("port", "1")];

/// A key with a value. An exception is one of many, and is given what it needs beside.
fn setting(key: &str, value: &str) -> String {
    match key.strip_prefix("exception.") {
        Some(name) => format!("[[exception]]\n{name} = {value}\n{}", exception_without(name)),
        None => format!("{key} = {value}\n"),
    }
}

fn exception_without(name: &str) -> String {
    let others = EXCEPTION.iter().filter(|(other, _)| *other != name);
    others.map(|(other, value)| format!("{other} = {value}\n")).collect()
}

/// Reads a configuration as `sensor check` does.
fn load(text: &str) -> Result<Config, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sensor.toml");
    std::fs::write(&path, text).unwrap();
    Config::load(Some(&path)).map_err(|error| error.to_string())
}

/// The keys of the code, by what it says of a key that no table has.
fn keys(table: &str, found: &mut BTreeSet<String>) {
    const NONE: &str = "no-such-key";
    let text = match table {
        "" => format!("{NONE} = 1"),
        "exception" => format!("[[exception]]\n{NONE} = 1"),
        _ => format!("{table}.{NONE} = 1"),
    };
    let error = load(&text).unwrap_err();
    let Some((_, expected)) = error.split_once(&format!("unknown key `{NONE}`, expected ")) else {
        let is_key = ["invalid type: map", "unknown variant"].iter().any(|words| error.contains(words));
        assert!(is_key, "{table} is neither a table nor a key: {error}");
        found.insert(table.to_owned());
        return;
    };
    for name in expected.split('`').skip(1).step_by(2) {
        keys(&if table.is_empty() { name.to_owned() } else { format!("{table}.{name}") }, found);
    }
}

fn all_keys() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    keys("", &mut found);
    found
}

/// The text between two backticks, or all of it.
fn bare(cell: &str) -> &str {
    cell.strip_prefix('`').and_then(|cell| cell.strip_suffix('`')).unwrap_or(cell)
}

fn reference() -> BTreeMap<String, Entry> {
    let text = text("docs/configuration.md");
    let mut section = "";
    let mut entries = BTreeMap::new();
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## `[") {
            section = heading.strip_suffix("]`").unwrap().trim_matches(['[', ']']);
        }
        let Some(row) = line.strip_prefix("| `") else { continue };
        let cells: Vec<_> = row.splitn(4, " | ").collect();
        let [key, default, applies, meaning] = *cells else { panic!("{line}") };
        assert!(meaning.trim_end_matches(" |").len() > 10, "nothing is said of {key}");
        let entry = Entry { default: bare(default).to_owned(), applies: applies.to_owned() };
        let key = format!("{section}.{}", key.trim_end_matches('`'));
        assert!(entries.insert(key.clone(), entry).is_none(), "{key} is there twice");
    }
    entries
}

/// A value by the path to it.
fn value(table: &Table, path: &str) -> Option<Value> {
    let mut names = path.split('.');
    let first = table.get(names.next()?)?.clone();
    names.try_fold(first, |value, name| value.get(name).cloned())
}

#[test]
fn every_key_is_in_the_reference_and_no_other() {
    let documented: BTreeSet<String> = reference().into_keys().collect();
    assert_eq!(documented, all_keys());
    // Another way to know them all: nothing is forgotten below.
    let others: BTreeSet<String> = OTHERS.iter().chain([&LISTEN]).map(|(key, _)| (*key).to_owned()).collect();
    assert_eq!(others, all_keys());
}

#[test]
fn defaults_are_those_of_the_reference() {
    let required = "output.elasticsearch.url = 'https://x'\noutput.syslog.to = 'unix:/x'\n";
    let effective: Table = load(required).unwrap().to_toml().parse().unwrap();
    for (key, Entry { default, .. }) in reference() {
        match &*default {
            "required" if key.starts_with("exception.") => {
                let name = key.trim_start_matches("exception.");
                let error = load(&format!("[[exception]]\n{}", exception_without(name))).unwrap_err();
                assert!(error.contains(&format!("missing field `{name}`")), "{key}: {error}");
            }
            "required" => {
                let name = key.rsplit('.').next().unwrap();
                let without: String = required.lines().filter(|line| !line.starts_with(&key)).collect();
                let table = key.strip_suffix(name).unwrap().trim_end_matches('.');
                let error = load(&format!("{without}\n[{table}]\n")).unwrap_err();
                assert!(error.contains(&format!("missing field `{name}`")), "{key}: {error}");
            }
            "none" => assert_eq!(value(&effective, &key), None, "{key}"),
            default => {
                assert!(value(&effective, &key).is_some(), "{key} has no default");
                let said = load(&format!("{required}{key} = {default}\n"));
                assert_eq!(said, load(required), "{key}");
            }
        }
    }
}

#[test]
fn a_reload_applies_what_the_reference_says() {
    let reference = reference();
    let table = |key: &str| match key {
        // Both are taken together or not at all.
        _ if key.starts_with("output.elasticsearch.") => "output.elasticsearch.url = 'https://y'\n",
        _ if key.starts_with("output.syslog.") => "output.syslog.to = 'unix:/y'\n",
        _ => "",
    };
    for (key, other) in OTHERS.iter().chain([&LISTEN]) {
        let before = load(table(key)).unwrap();
        let rest: String = table(key).lines().filter(|line| !line.starts_with(key)).collect();
        let after = load(&format!("{rest}\n{}", setting(key, other))).unwrap();
        assert_ne!(before, after, "{other} is the default of {key}");
        let restart = before.restart_needed(&after);
        let applies = &*reference[*key].applies;
        match applies {
            "reload" => assert!(restart.is_empty(), "{key}: {restart:?}"),
            "restart" => assert_eq!(restart, [*key]),
            // By the name of the output, since it is taken over as a whole.
            "reload, or restart" => assert!(restart.iter().any(|name| key.starts_with(name)), "{key}: {restart:?}"),
            _ => panic!("{key}: {applies}"),
        }
    }
}

/// With its default, or as a comment if it has none.
#[test]
fn the_installed_file_names_every_key() {
    let text = text("deploy/sensor.toml");
    let mut section = "";
    let mut named = BTreeSet::new();
    for line in text.lines() {
        let line = line.trim_start_matches("# ");
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name.trim_matches(['[', ']']);
        } else if let Some((key, _)) = line.split_once(" = ") {
            named.insert(format!("{section}.{key}"));
        }
    }
    assert_eq!(named, all_keys());
}
