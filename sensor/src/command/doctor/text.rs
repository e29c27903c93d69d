//! The report for people.

use super::diagnosis::{Finding, Level};
use super::survey::{AUTO, Candidate, Field, Hook, Memory, Privileges, State, Survey};
use crate::alert::text::printable;
use crate::command::exit::Exit;
use std::fmt::Write as _;

/// The whole report; with every field's offset if `verbose`.
#[must_use]
pub(super) fn report(survey: &Survey, findings: &[Finding], exit: Exit, verbose: bool) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    for (name, value) in lines(survey) {
        let _ = writeln!(text, "{name:<12} {}", printable(&value));
    }
    if verbose {
        for (structure, members) in by_structure(&survey.fields) {
            let _ = writeln!(text, "  {structure:<16} {}", members.join(", "));
        }
    }
    match untried(&survey.hooks) {
        Some(reason) => {
            let _ = writeln!(text, "\nhooks: not tried: {}", printable(reason));
        }
        None => {
            text.push_str("\nhooks, in the order in which they are tried\n");
            survey.hooks.iter().for_each(|hook| hook_lines(hook, &mut text));
        }
    }
    for (level, title) in [(Level::Fault, "faults"), (Level::Degraded, "degraded"), (Level::Note, "notes")] {
        let mut of_level = findings.iter().filter(|finding| finding.level == level).peekable();
        if of_level.peek().is_some() {
            let _ = writeln!(text, "\n{title}");
        }
        for Finding { what, advice, .. } in of_level {
            let _ = writeln!(text, "  {}\n    to do: {}", printable(what), printable(advice));
        }
    }
    let _ = writeln!(text, "\n{}", verdict(survey, findings, exit));
    text
}

fn lines(survey: &Survey) -> Vec<(&'static str, String)> {
    let Survey { kernel, btf, fields, privileges, tracefs, kprobes, memory, .. } = survey;
    let preemptible = if kernel.preemptible { ", preemptible" } else { "" };
    let resolved = fields.iter().filter(|field| field.offset.is_some()).count();
    vec![
        ("sensor", env!("CARGO_PKG_VERSION").to_owned()),
        ("kernel", format!("{} {}{preemptible}", kernel.release, kernel.architecture)),
        ("lockdown", kernel.lockdown.clone().unwrap_or_else(|| "the kernel does not tell".to_owned())),
        (
            "BTF",
            match (&btf.error, btf.bytes) {
                (Some(error), _) => format!("{}: {error}", btf.path.display()),
                (None, bytes) => format!("{}, {}", btf.path.display(), size(bytes.unwrap_or(0))),
            },
        ),
        ("fields", format!("{resolved} of {} found", fields.len())),
        ("privileges", self::privileges(privileges)),
        (
            "tracefs",
            match tracefs {
                Some(tracefs) if tracefs.read_only => format!("{}, read-only", tracefs.path),
                Some(tracefs) => tracefs.path.clone(),
                None => "mounted nowhere; the sensor mounts it for itself while it attaches to tracepoints".to_owned(),
            },
        ),
        (
            "kprobes",
            match (kprobes.present, kprobes.switched_off_by) {
                (_, Some(file)) => format!("switched off by {file}"),
                (true, None) => "there".to_owned(),
                (false, None) => "not in this kernel".to_owned(),
            },
        ),
        ("memory", self::memory(memory)),
    ]
}

fn privileges(privileges: &Privileges) -> String {
    let Privileges { uid, capabilities, own_user_namespace, own_process_namespace, seccomp, .. } = privileges;
    let mut words = vec![format!("uid {uid}")];
    match capabilities.join(" ") {
        none if none.is_empty() => words.push("no capability of use".to_owned()),
        names => words.push(names),
    }
    let parts = [
        (own_user_namespace, "user namespace"),
        (own_process_namespace, "process namespace"),
        (seccomp, "seccomp filter"),
    ];
    words.extend(parts.into_iter().filter(|(there, _)| **there).map(|(_, word)| format!("a {word}")));
    words.join(", ")
}

fn memory(memory: &Memory) -> String {
    let limit = match &memory.cgroup {
        Some(limit) => format!("{} by {}", size(limit.bytes), limit.file.display()),
        None => "none".to_owned(),
    };
    let locked = match memory.memlock.filter(|_| memory.memlock_counts) {
        Some(bytes) => format!("; locked memory: {} of {} needed", size(bytes), size(memory.maps)),
        None => String::new(),
    };
    format!("takes up to about {} while it starts; limit: {limit}{locked}", size(memory.needed))
}

/// Bytes in words, rounded up.
pub(super) fn size(bytes: u64) -> String {
    if bytes < 1 << 20 {
        format!("{} KiB", bytes.div_ceil(1 << 10))
    } else {
        format!("{} MiB", bytes.div_ceil(1 << 20))
    }
}

/// The members of each structure with their places, in the order of the table.
fn by_structure(fields: &[Field]) -> Vec<(&str, Vec<String>)> {
    let mut structures: Vec<(&str, Vec<String>)> = Vec::new();
    for field in fields {
        let (structure, member) = field.path.split_once('.').unwrap_or((field.path, ""));
        let place = field.offset.map_or("missing".to_owned(), |offset| offset.to_string());
        let entry = format!("{member} {place}");
        match structures.last_mut().filter(|(last, _)| *last == structure) {
            Some((_, members)) => members.push(entry),
            None => structures.push((structure, vec![entry])),
        }
    }
    structures
}

/// Why no candidate was tried, if none was.
fn untried(hooks: &[Hook]) -> Option<&str> {
    let mut all = hooks.iter().flat_map(|hook| &hook.candidates);
    let first = all.next().filter(|first| first.state == State::NotTried)?;
    all.all(|candidate| candidate.state == State::NotTried).then_some(&*first.reason)
}

fn hook_lines(hook: &Hook, text: &mut String) {
    let Hook { fact, configured, candidates, .. } = hook;
    for Candidate { mechanism, places, state, chosen, reason, .. } in candidates {
        let details = if reason.is_empty() { places.join(" and ") } else { reason.clone() };
        let mark = if *chosen { "  <- chosen" } else { "" };
        let _ = writeln!(text, "  {fact:<8} {mechanism:<15} {:<10} {}{mark}", word(*state), printable(&details));
    }
    if *configured != AUTO {
        let _ = writeln!(text, "  {fact:<8} configured: {configured}");
    }
}

fn word(state: State) -> &'static str {
    match state {
        State::Works => "works",
        State::Blind => "blind",
        State::Wrong => "wrong",
        State::Untested => "untested",
        State::Refused => "refused",
        State::NotTried => "not tried",
    }
}

/// The last line.
fn verdict(survey: &Survey, findings: &[Finding], exit: Exit) -> String {
    if exit != Exit::Ok {
        return "the sensor does not work here".to_owned();
    }
    let word = |hook: &Hook| format!("{}={}", hook.fact, hook.chosen.as_deref().unwrap_or("off"));
    let hooks: Vec<String> = survey.hooks.iter().map(word).collect();
    let degraded = if findings.iter().any(|finding| finding.level == Level::Degraded) { ", degraded" } else { "" };
    format!("the sensor works here{degraded}: {}", hooks.join(" "))
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
