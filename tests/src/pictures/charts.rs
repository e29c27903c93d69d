//! What things cost, and what is found: from the committed figures and the table of the tests.

use super::drawing::Drawing;
use crate::techniques::{TECHNIQUES, Technique};
use anyhow::{Context, Result};
use serde_json::{Map, Value};

/// What `cargo xtask vm --suite cost --record` has measured.
const COST: &str = include_str!("../../kernels/cost/x86_64/6.12.json");
/// Programs of which each situation has one, as `docs/cost.md` calls them: at the BTF tracepoint, and where functions return.
const PROGRAMS: [&str; 4] = ["exec_btf", "fork_btf", "connect_fexit", "accept_fexit"];
const ROW: usize = 24;
/// For what most rules find first.
const CLASSES: [&str; 4] = ["three", "two", "four", "one"];

/// Instructions of one of the programs in each situation.
pub(super) fn cost() -> Result<String> {
    let document: Value = serde_json::from_str(COST)?;
    let situations = document.get("instructions").and_then(Value::as_object).context("no figures")?;
    let mut rows: Vec<(&str, u64)> =
        situations.iter().filter_map(|(name, by)| Some((&**name, figure(by.as_object()?)?))).collect();
    rows.sort_by_key(|(_, figure)| *figure);
    let most = rows.iter().map(|(_, figure)| *figure).max().context("no program")?;
    let version = document.get("version").and_then(Value::as_str).context("no version")?;
    let mut drawing = Drawing::new((860, 60 + rows.len() * ROW), "Instructions of the kernel side for one event");
    drawing.text((16, 26), "ink strong", &format!("Instructions of the kernel side for one event, Linux {version}"));
    for (place, (name, figure)) in rows.iter().enumerate() {
        let top = 44 + place * ROW;
        let width = usize::try_from(figure * 420 / most)?.max(1);
        let class = if name.contains("recorded") { "two" } else { "one" };
        drawing.text((330, top + 14), "ink right", name);
        drawing.rectangle((340, top + 2), (width, ROW - 8), class, name);
        drawing.text((348 + width, top + 14), "quiet code", &figure.to_string());
    }
    Ok(drawing.finish())
}

fn figure(by_program: &Map<String, Value>) -> Option<u64> {
    let is_one = |program: &str| PROGRAMS.iter().any(|one| program.starts_with(one));
    by_program.iter().find(|(program, _)| is_one(program)).and_then(|(_, figure)| figure.as_u64())
}

/// Each technique as a square, by the tool that makes the shell.
pub(super) fn coverage() -> String {
    let mut tools: Vec<(&str, Vec<_>)> = Vec::new();
    for technique in TECHNIQUES {
        let tool = technique.name.split_once(": ").map_or("other", |(tool, _)| tool);
        match tools.iter_mut().find(|(own, _)| *own == tool) {
            Some((_, all)) => all.push(technique),
            None => tools.push((tool, vec![technique])),
        }
    }
    let mut sets: Vec<&[&str]> = TECHNIQUES.iter().map(Technique::rules).collect();
    // The larger set first; of one size, the same ones beside each other.
    sets.sort_by_key(|rules| (std::cmp::Reverse(rules.len()), *rules));
    sets.dedup();
    let class = |rules: &[&str]| match sets.iter().position(|set| *set == rules) {
        Some(place) if !rules.is_empty() => CLASSES.get(place).copied().unwrap_or("rest"),
        _ => "none",
    };
    let top = 60 + sets.len() * ROW;
    let mut drawing =
        Drawing::new((560, top + tools.len() * ROW + 10), "Ways to make a reverse shell, and which rules find them");
    let title = format!("{} ways to make a reverse shell, and which rules find them", TECHNIQUES.len());
    drawing.text((16, 26), "ink strong", &title);
    for (place, rules) in sets.iter().enumerate() {
        let count = TECHNIQUES.iter().filter(|technique| technique.rules() == *rules).count();
        let names = if rules.is_empty() { "no rule".to_owned() } else { rules.join(" and ") };
        drawing.rectangle((74, 42 + place * ROW), (16, 16), class(rules), "");
        drawing.text((100, 55 + place * ROW), "quiet", &format!("{names}: {count}"));
    }
    for (row, (tool, techniques)) in tools.iter().enumerate() {
        let top = top + row * ROW;
        drawing.text((90, top + 13), "ink right", tool);
        for (place, technique) in techniques.iter().enumerate() {
            drawing.rectangle((100 + place * 24, top), (16, 16), class(technique.rules()), technique.name);
        }
    }
    drawing.finish()
}
