//! Why a condition does not hold, in words.

use crate::alert::text::visible;
use crate::detect::eql::{Networks, searchable};
use crate::detect::rule::{Condition, Parameters, Unsearched, is_connected};
use crate::event::facts::{Descriptor, Facts, Field};
use std::net::IpAddr;

/// Values of a field that are shown at most.
const SHOWN: usize = 8;

/// The conditions of a stage that an event does not satisfy, each as a part of a sentence; empty if it satisfies all.
/// `program` is what the event's process is called there.
#[must_use]
pub fn unmet(program: &str, condition: &Condition, facts: &Facts<'_>, parameters: &Parameters) -> Vec<String> {
    let excluded = &parameters.excluded;
    match condition {
        Condition::All(conditions) => {
            conditions.iter().flat_map(|one| unmet(program, one, facts, parameters)).collect()
        }
        one if one.holds(facts, parameters, Unsearched::Holds) => Vec::new(),
        Condition::Any(alternatives) => {
            // Of what an alternative asks for, the first part that fails says enough.
            let first = |one| unmet(program, one, facts, parameters).into_iter().next();
            vec![alternatives.iter().filter_map(first).collect::<Vec<_>>().join(", and ")]
        }
        Condition::Is(field, wanted) | Condition::Like(field, wanted) => vec![is_not(program, facts, *field, wanted)],
        Condition::Relay(field) => {
            let wanted: Vec<&str> = parameters.relays.texts().iter().map(String::as_str).collect();
            vec![is_not(program, facts, *field, &wanted)]
        }
        Condition::Relayed(numbers) => vec![is_not_relayed(facts, numbers)],
        Condition::ReadsCommands => {
            vec![format!("its arguments {} name a command or a script", shown(facts, Field::Args))]
        }
        Condition::Outside(field) => vec![is_inside(facts, *field, excluded)],
        Condition::Tcp(numbers) => vec![format!("{} no TCP socket", streams(numbers))],
        Condition::Connected(numbers) => {
            let failing = numbers.iter().filter(|number| !is_connected(facts, **number, excluded));
            vec![failing.map(|number| is_not_connected(facts, *number, excluded)).collect::<Vec<_>>().join(" and ")]
        }
    }
}

/// `its standard input is a file and its standard output is a pipe, not both …`
fn is_not_relayed(facts: &Facts<'_>, numbers: &[u64]) -> String {
    let kind = |number| facts.descriptors(number).next().and_then(Descriptor::kind).unwrap_or("unknown");
    let all: Vec<String> =
        numbers.iter().map(|number| format!("its {} is {}", stream(*number), kind(*number))).collect();
    format!("{}, not each a pipe, a UNIX socket or a terminal of its own", all.join(" and "))
}

/// `its standard input or output is`
fn streams(numbers: &[u64]) -> String {
    format!("its {} is", numbers.iter().map(|number| stream(*number)).collect::<Vec<_>>().join(" or "))
}

fn stream(number: u64) -> String {
    match number {
        0 => "standard input".to_owned(),
        1 => "standard output".to_owned(),
        2 => "standard error".to_owned(),
        other => format!("descriptor {other}"),
    }
}

/// `its standard input is a connection to 127.0.0.1 in the excluded network 127.0.0.0/8`
fn is_not_connected(facts: &Facts<'_>, number: u64, excluded: &Networks) -> String {
    let name = stream(number);
    let Some(one) = facts.descriptors(number).next() else { return format!("its {name} is unknown") };
    match (one.is_tcp(), one.remote()) {
        (true, None) => format!("its {name} is a TCP socket that is not connected"),
        (true, Some(address)) => match excluded.containing(address) {
            Some(network) => format!("its {name} is a connection to {address} in the excluded network {network}"),
            None => format!("its {name} is a connection to {address}"),
        },
        (false, _) => {
            format!("its {name} is no TCP socket, but of the kind {}", quoted(one.kind().unwrap_or("unknown")))
        }
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

fn shown(facts: &Facts<'_>, field: Field) -> String {
    format!("[{}]", values(facts, field).join(", "))
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
