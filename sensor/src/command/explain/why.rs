//! Why a condition does not hold, in words.

use crate::alert::text::visible;
use crate::detect::eql::Networks;
use crate::detect::rule::{Condition, Unsearched};
use crate::event::facts::{Facts, Field};

/// The conditions of a stage that an event does not satisfy, each as a part of a sentence; empty if it satisfies all.
#[must_use]
pub fn unmet(condition: &Condition, facts: &Facts<'_>, excluded: &Networks) -> Vec<String> {
    match condition {
        Condition::All(conditions) => conditions.iter().flat_map(|one| unmet(one, facts, excluded)).collect(),
        one if one.holds(facts, excluded, Unsearched::Holds) => Vec::new(),
        Condition::Any(alternatives) => {
            let each = alternatives.iter().map(|one| unmet(one, facts, excluded).join(" and "));
            vec![each.collect::<Vec<_>>().join(", and ")]
        }
        Condition::Is(field, texts) => vec![is_not(facts, *field, "is", texts)],
        Condition::Like(field, patterns) => vec![is_not(facts, *field, "is like", patterns)],
        Condition::Outside(field) => vec![match values(facts, *field) {
            Some(addresses) if facts.values(*field).any(is_address) => {
                format!("{} {addresses} is in an excluded network", field.name())
            }
            Some(text) => format!("{} {text} is no address", field.name()),
            None => format!("{} is absent", field.name()),
        }],
    }
}

fn is_address(text: &str) -> bool {
    text.parse::<std::net::IpAddr>().is_ok()
}

/// `process.name nc is none of bash, sh`
fn is_not(facts: &Facts<'_>, field: Field, is: &str, wanted: &[&str]) -> String {
    let name = field.name();
    let wanted = match wanted {
        [one] => format!("not {one}"),
        several => format!("none of {}", several.join(", ")),
    };
    match values(facts, field) {
        Some(values) => format!("{name} {values} {is} {wanted}"),
        None => format!("{name} is absent"),
    }
}

/// The values of a field for a sentence, several in brackets; nothing if there are none.
fn values(facts: &Facts<'_>, field: Field) -> Option<String> {
    let mut values = facts.values(field);
    let first = quoted(values.next()?);
    let rest: Vec<String> = values.by_ref().take(7).map(quoted).collect();
    if rest.is_empty() {
        return Some(first);
    }
    let more = if values.next().is_some() { ", \u{2026}" } else { "" };
    Some(format!("[{first}, {}{more}]", rest.join(", ")))
}

fn quoted(value: &str) -> String {
    let shown = visible(value);
    if shown.is_empty() || shown.contains([' ', ',', '[', ']', '"']) { format!("\"{shown}\"") } else { shown }
}
