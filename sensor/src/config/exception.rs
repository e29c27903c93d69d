//! `[[exception]]`: reverse shells that are known and wanted.

use super::parse::{self, Text};
use crate::detect::exception::{Conditions, Exception};
use ipnet::IpNet;
use jiff::civil::Date;
use serde::de::{Deserialize, Deserializer, Error as _};
use std::collections::BTreeSet;

/// Most exceptions: each is compared with every alert.
const MOST: usize = 256;
/// Longest pattern, in bytes.
const PATTERN: usize = 1024;

/// One as it stands in the file.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(deserialize_with = "label")]
    name: String,
    #[serde(deserialize_with = "label")]
    reason: String,
    #[serde(default, deserialize_with = "date")]
    until: Option<Date>,
    #[serde(default, deserialize_with = "rule_id")]
    rule: Option<String>,
    #[serde(default, deserialize_with = "pattern")]
    executable: Option<String>,
    #[serde(default, deserialize_with = "pattern")]
    arguments: Option<String>,
    #[serde(default, deserialize_with = "pattern")]
    parent: Option<String>,
    #[serde(default, deserialize_with = "pattern")]
    parent_arguments: Option<String>,
    #[serde(default, deserialize_with = "pattern")]
    ancestor: Option<String>,
    #[serde(default, deserialize_with = "parse::label")]
    user: Option<String>,
    #[serde(default, deserialize_with = "pattern")]
    container: Option<String>,
    #[serde(default, deserialize_with = "pattern")]
    image: Option<String>,
    #[serde(default, deserialize_with = "network")]
    source: Option<IpNet>,
    #[serde(default, deserialize_with = "network")]
    destination: Option<IpNet>,
    #[serde(default)]
    port: Option<u16>,
}

impl From<Entry> for Exception {
    fn from(entry: Entry) -> Self {
        let Entry { name, reason, until, rule, executable, arguments, parent, parent_arguments, .. } = entry;
        let Entry { ancestor, user, container, image, source, destination, port, .. } = entry;
        let conditions = Conditions {
            rule,
            executable,
            arguments,
            parent,
            parent_arguments,
            ancestor,
            user,
            container,
            image,
            source,
            destination,
            port,
        };
        Self { name, reason, until, conditions }
    }
}

/// All of them, each with a name of its own and a condition beside the rule.
pub(super) fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Exception>, D::Error> {
    let entries = Vec::<Entry>::deserialize(deserializer)?;
    if entries.len() > MOST {
        return Err(D::Error::custom(format_args!("{} exceptions; allowed are {MOST}", entries.len())));
    }
    let list: Vec<Exception> = entries.into_iter().map(Exception::from).collect();
    let mut names = BTreeSet::new();
    for Exception { name, conditions, .. } in &list {
        if !names.insert(name) {
            return Err(D::Error::custom(format_args!("two exceptions are named {name:?}")));
        }
        if conditions.are_empty() {
            return Err(D::Error::custom(format_args!("{name:?} has no condition: it would hide every alert")));
        }
    }
    Ok(list)
}

fn label<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(parse::label(deserializer)?.unwrap_or_default())
}

fn pattern<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let allowed = "a pattern of 1 to 1024 bytes without control characters, in which * stands for any text and ? for one character";
    let read = |text: &str| match text.len() {
        1..=PATTERN if !text.contains(char::is_control) => Ok(Some(text.to_owned())),
        _ => Err(format!("{text:?} is none")),
    };
    deserializer.deserialize_str(Text { allowed, read })
}

fn rule_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    parse::rule_id(deserializer).map(|id| Some(id.to_owned()))
}

fn date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Date>, D::Error> {
    let read = |text: &str| text.parse().map(Some).map_err(|_| format!("{text:?} is no date"));
    deserializer.deserialize_str(Text { allowed: "the last day in UTC, such as \"2027-01-31\"", read })
}

fn network<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpNet>, D::Error> {
    let allowed = "a network such as \"192.0.2.0/24\" or \"2001:db8::/32\", or an address";
    deserializer.deserialize_str(Text { allowed, read: |text| parse::network(text).map(Some) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    const WHOLE: &str = r#"
        [[exception]]
        name = "health"
        reason = "checks the database"
        until = "2027-01-31"
        rule = "reverse-shell-via-child"
        executable = "/usr/bin/bash"
        arguments = "bash -i"
        parent = "/usr/bin/timeout"
        parent_arguments = "timeout 5 *"
        ancestor = "agent?"
        user = "monitor"
        container = "3f2a*"
        image = "*/agent:*"
        source = "10.1.0.0/16"
        destination = "2001:db8::1"
        port = 5432
        [[exception]]
        name = "other"
        reason = "b"
        port = 1
    "#;

    #[test]
    fn every_key_is_taken_and_printed() {
        let config = parse::config(WHOLE).unwrap();
        let [first, second] = config.exception.as_slice() else { panic!("{config:?}") };
        assert_eq!((&*first.name, &*first.reason), ("health", "checks the database"));
        assert_eq!(first.until, Some(Date::constant(2027, 1, 31)));
        let some = |text: &str| Some(text.to_owned());
        let expected = Conditions {
            rule: some("reverse-shell-via-child"),
            executable: some("/usr/bin/bash"),
            arguments: some("bash -i"),
            parent: some("/usr/bin/timeout"),
            parent_arguments: some("timeout 5 *"),
            ancestor: some("agent?"),
            user: some("monitor"),
            container: some("3f2a*"),
            image: some("*/agent:*"),
            source: Some("10.1.0.0/16".parse().unwrap()),
            destination: Some("2001:db8::1/128".parse().unwrap()),
            port: Some(5432),
        };
        assert_eq!(first.conditions, expected);
        assert_eq!(second.conditions, Conditions { port: Some(1), ..Conditions::default() });
        assert_eq!(parse::config(&config.to_toml()), Ok(config));
    }

    #[test]
    fn errors_name_the_place() {
        let head = "[[exception]]\nname = \"a\"\nreason = \"b\"\n";
        for (text, expected) in [
            ("[[exception]]\nreason = \"b\"\nport = 1\n", "missing field `name`"),
            ("[[exception]]\nname = \"a\"\nport = 1\n", "missing field `reason`"),
            (head, "exception: \"a\" has no condition: it would hide every alert"),
            (&format!("{head}rule = \"reverse-shell-via-child\"\n"), "has no condition"),
            (&format!("{head}port = 1\n{head}port = 2\n"), "two exceptions are named \"a\""),
            (&format!("{head}rule = \"x\"\n"), "4:8: exception.rule: there is no rule \"x\"; allowed is the id"),
            (&format!("{head}executable = \"\"\n"), "4:14: exception.executable: \"\" is none; allowed is a pattern"),
            (&format!("{head}until = \"2027-02-30\"\n"), "4:9: exception.until: \"2027-02-30\" is no date"),
            (&format!("{head}destination = \"10.0.0.1/8\"\n"), "4:15: exception.destination: "),
            (&format!("{head}port = 65536\n"), "4:8: exception.port: "),
            (&format!("{head}executible = \"/x\"\n"), "4:1: exception.executible: unknown key"),
        ] {
            let error = parse::config(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}\n{error}");
        }
        let many: String =
            (0..=MOST).map(|n| format!("[[exception]]\nname = \"{n}\"\nreason = \"b\"\nport = 1\n")).collect();
        assert!(parse::config(&many).unwrap_err().to_string().contains("257 exceptions; allowed are 256"));
    }
}
