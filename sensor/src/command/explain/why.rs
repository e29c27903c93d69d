//! Why a condition does not hold, in words.

use crate::alert::text::visible;
use crate::detect::eql::{Networks, searchable};
use crate::detect::rule::{Condition, Unsearched};
use crate::event::facts::{Facts, Field};
use std::net::IpAddr;

/// Values of a field that are shown at most.
const SHOWN: usize = 8;

/// The conditions of a stage that an event does not satisfy, each as a part of a sentence; empty if it satisfies all.
/// `program` is what the event's process is called there.
#[must_use]
pub fn unmet(program: &str, condition: &Condition, facts: &Facts<'_>, excluded: &Networks) -> Vec<String> {
    match condition {
        Condition::All(conditions) => conditions.iter().flat_map(|one| unmet(program, one, facts, excluded)).collect(),
        one if one.holds(facts, excluded, Unsearched::Holds) => Vec::new(),
        Condition::Any(alternatives) => {
            // Of what an alternative asks for, the first part that fails says enough.
            let first = |one| unmet(program, one, facts, excluded).into_iter().next();
            vec![alternatives.iter().filter_map(first).collect::<Vec<_>>().join(", and ")]
        }
        Condition::Is(field, wanted) | Condition::Like(field, wanted) => vec![is_not(program, facts, *field, wanted)],
        Condition::Outside(field) => vec![is_inside(facts, *field, excluded)],
    }
}

/// `the destination 127.0.0.1 is in the excluded network 127.0.0.0/8`
fn is_inside(facts: &Facts<'_>, field: Field, excluded: &Networks) -> String {
    let all = values(facts, field);
    if all.is_empty() {
        return "the destination is unknown".to_owned();
    }
    let network = facts.values(field).find_map(|text| excluded.containing(text.parse::<IpAddr>().ok()?));
    match network {
        Some(network) => format!("the destination {} is in the excluded network {network}", one_or_list(&all)),
        None => format!("the destination {} is no address", one_or_list(&all)),
    }
}

/// `the executed program nc is none of bash, sh`
fn is_not(program: &str, facts: &Facts<'_>, field: Field, wanted: &[&str]) -> String {
    let all = values(facts, field);
    let is = if wanted.iter().any(|pattern| pattern.contains(['*', '?'])) { "is like" } else { "is" };
    let asked = format!("{is} {}", wanted.join(" or "));
    let name = match field {
        Field::Args => return no_argument("its", facts, field, &asked),
        Field::ParentArgs => return no_argument("the parent's", facts, field, &asked),
        Field::ProcessName => program,
        Field::ParentName => "the parent",
        other => other.name(),
    };
    match wanted {
        _ if all.is_empty() => format!("{name} has no name"),
        [one] => format!("{name} {} {is} not {one}", one_or_list(&all)),
        several => format!("{name} {} {is} none of {}", one_or_list(&all), several.join(", ")),
    }
}

/// `none of its arguments [bash, -c, id] is -i or -l`
fn no_argument(whose: &str, facts: &Facts<'_>, field: Field, asked: &str) -> String {
    let all = values(facts, field);
    if all.is_empty() {
        return format!("{whose} arguments are unknown");
    }
    let long = if facts.values(field).all(searchable) { "" } else { " (those of more than 1024 characters never are)" };
    format!("none of {whose} arguments [{}] {asked}{long}", all.join(", "))
}

/// The values of a field, as they are shown.
fn values(facts: &Facts<'_>, field: Field) -> Vec<String> {
    let mut values = facts.values(field);
    let mut shown: Vec<String> = values.by_ref().take(SHOWN).map(quoted).collect();
    if values.next().is_some() {
        shown.push("\u{2026}".to_owned());
    }
    shown
}

fn one_or_list(all: &[String]) -> String {
    match all {
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    }
}

fn quoted(value: &str) -> String {
    let shown = visible(value);
    if shown.is_empty() || shown.contains([' ', ',', '[', ']', '"']) { format!("\"{shown}\"") } else { shown }
}
