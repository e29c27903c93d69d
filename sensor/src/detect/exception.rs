//! Exceptions: reverse shells that are known and wanted, described so narrowly that others still give alerts.
//!
//! The kernel side and the rules know nothing of them: each is applied to a finished alert, is counted, and can be audited. What the
//! alert does not say fulfils no condition, so that an alert is told when in doubt.

use super::eql::glob;
use crate::event::WallTime;
use ipnet::IpNet;
use jiff::civil::Date;
use jiff::tz::Offset;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;

mod width;

/// Names a reverse shell that is no reason for an alert. All conditions that are given must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// What it is called in the log and in numbers.
    pub name: String,
    /// Why it is there, for whoever reads the configuration next.
    pub reason: String,
    /// The last day, in UTC, on which it holds.
    pub until: Option<Date>,
    /// What it is about.
    pub conditions: Conditions,
}

/// What an alert must say. In patterns `*` stands for any text and `?` for any one character; small and large letters differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// `rule.id`.
    pub rule: Option<String>,
    /// Pattern for `process.executable`, the whole path.
    pub executable: Option<String>,
    /// Pattern for `process.command_line`, if all of it is known.
    pub arguments: Option<String>,
    /// Pattern for `process.parent.executable`, the whole path.
    pub parent: Option<String>,
    /// Pattern for `process.parent.command_line`, if all of it is known.
    pub parent_arguments: Option<String>,
    /// Pattern for the name of any ancestor's executable.
    pub ancestor: Option<String>,
    /// `user.id` or `user.name`.
    pub user: Option<String>,
    /// Pattern for `container.id`.
    pub container: Option<String>,
    /// Pattern for `container.image.name`.
    pub image: Option<String>,
    /// Network of `source.ip`.
    pub source: Option<IpNet>,
    /// Network of `destination.ip`.
    pub destination: Option<IpNet>,
    /// `destination.port`.
    pub port: Option<u16>,
}

impl Exception {
    /// Whether it holds for an alert, whose execution was at this time.
    #[must_use]
    pub fn covers(&self, alert: &Value, at: WallTime) -> bool {
        !self.is_over(at) && self.conditions.hold(alert)
    }

    /// Whether its last day is over.
    #[must_use]
    pub fn is_over(&self, at: WallTime) -> bool {
        let end = self.until.and_then(|date| Offset::UTC.to_timestamp(date.tomorrow().ok()?.at(0, 0, 0, 0)).ok());
        end.is_some_and(|end| i128::from(at.0) >= end.as_nanosecond())
    }

    /// What is to be said of it to whoever has written it.
    fn warnings(&self, now: WallTime) -> Vec<String> {
        let name = &self.name;
        let mut warnings = Vec::new();
        if self.is_over(now) {
            warnings.push(format!("the last day of exception {name:?} is over: it does nothing"));
        }
        let hidden = self.conditions.hidden();
        if !hidden.is_empty() {
            let list = hidden.join(", ");
            warnings.push(format!("exception {name:?} is so wide that no reverse shell of {list} gives an alert"));
        }
        warnings
    }
}

impl Conditions {
    /// Whether none is given, or only the rule.
    #[must_use]
    pub fn are_empty(&self) -> bool {
        Self { rule: None, ..self.clone() } == Self::default()
    }

    fn hold(&self, alert: &Value) -> bool {
        // Taken apart completely, so that a new condition cannot be forgotten.
        let Self { rule, executable, arguments, parent, parent_arguments, .. } = self;
        let Self { ancestor, user, container, image, source, destination, port, .. } = self;
        let text = |path: &str| alert.pointer(path).and_then(Value::as_str);
        let file = |path: &str| text(path).filter(|file| file.starts_with('/'));
        let whole = |path: &str, cut: &str| text(path).filter(|_| own(alert, cut) != Some(&Value::Bool(true)));
        let address = |path: &str| text(path).and_then(|address| address.parse::<IpAddr>().ok());
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_ref().is_none_or(|wanted| found == Some(wanted.as_str()))
        };
        let fits = |pattern: &Option<String>, found: Option<&str>| {
            pattern.as_ref().is_none_or(|pattern| found.is_some_and(|found| glob(found, pattern)))
        };
        let within = |network: &Option<IpNet>, found: Option<IpAddr>| {
            network.is_none_or(|network| found.is_some_and(|found| network.contains(&found.to_canonical())))
        };
        let ancestors = own(alert, "/ancestors").and_then(Value::as_array);
        let mut names = ancestors.into_iter().flatten().filter_map(|one| one.get("name")?.as_str());

        is(rule, text("/rule/id"))
            && fits(executable, file("/process/executable"))
            && fits(arguments, whole("/process/command_line", "/args/truncated"))
            && fits(parent, file("/process/parent/executable"))
            && fits(parent_arguments, whole("/process/parent/command_line", "/parent/args_truncated"))
            && ancestor.as_ref().is_none_or(|pattern| names.any(|name| glob(name, pattern)))
            && (is(user, text("/user/id")) || is(user, text("/user/name")))
            && fits(container, text("/container/id"))
            && fits(image, text("/container/image/name"))
            && within(source, address("/source/ip"))
            && within(destination, address("/destination/ip"))
            && port
                .is_none_or(|port| alert.pointer("/destination/port").and_then(Value::as_u64) == Some(u64::from(port)))
    }
}

/// What the alert's execution says below `sensor`.
fn own<'a>(alert: &'a Value, path: &str) -> Option<&'a Value> {
    let exec = alert.pointer("/sensor/sequence")?.as_array()?.last()?;
    exec.get("sensor")?.pointer(path)
}

/// What is to be said of any of them.
#[must_use]
pub fn warnings(list: &[Exception], now: WallTime) -> Vec<String> {
    list.iter().flat_map(|exception| exception.warnings(now)).collect()
}

/// The exceptions in force, and how often each was used.
#[derive(Clone, Debug, Default)]
pub struct Exceptions {
    list: Vec<Exception>,
    uses: BTreeMap<String, u64>,
}

impl Exceptions {
    /// Others from now on; the uses of those of the same name are kept.
    pub fn set(&mut self, list: Vec<Exception>) {
        self.uses = list.iter().map(|one| (one.name.clone(), self.uses.get(&one.name).copied().unwrap_or(0))).collect();
        self.list = list;
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The first that covers an alert, whose execution was at this time; counts its use.
    pub fn cover(&mut self, alert: &Value, at: WallTime) -> Option<&Exception> {
        let one = self.list.iter().find(|one| one.covers(alert, at))?;
        *self.uses.entry(one.name.clone()).or_default() += 1;
        Some(one)
    }

    /// How often each was used, by name.
    #[must_use]
    pub fn uses(&self) -> &BTreeMap<String, u64> {
        &self.uses
    }
}

#[cfg(test)]
mod tests;
