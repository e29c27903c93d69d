//! The table of tests. A row is a name, its tags and a function that is given a lab.

mod accept;
mod args;
mod asleep;
mod benign;
mod border;
mod clock;
mod connect;
mod container;
mod doctor;
mod evidence;
mod exceptions;
mod flood;
mod handover;
mod identity;
mod inherited;
mod life;
mod load;
mod lost;
mod metrics;
mod missed;
mod name;
mod on_socket;
mod output;
mod parent;
mod privileges;
mod relayed;
mod reload;
mod remote;
mod scene;
mod selftest;
mod service;
mod shells;
mod span;
mod stream;

use crate::lab::Lab;
use crate::techniques::{TECHNIQUES, Technique};
use anyhow::Result;

/// What a test needs, and when to leave it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    /// Uses installed programs.
    Userland,
    /// Starts its own sensor.
    Own,
    /// Measures something that other tests would disturb, or disturbs them; runs after the shared sensor has ended.
    Alone,
    /// Executes very many programs.
    Storm,
    /// Has the same outcome whatever the hooks are.
    Once,
    /// Several tasks connect or accept at the same moment and each is looked for, which a hook that can be interrupted cannot
    /// promise.
    Crowd,
    /// One of the ways in which reverse shells are made, which `docs/detection.md` lists.
    Technique,
}

impl Tag {
    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Userland => "userland",
            Self::Own => "own",
            Self::Alone => "alone",
            Self::Storm => "storm",
            Self::Once => "once",
            Self::Crowd => "crowd",
            Self::Technique => "technique",
        }
    }
}

/// A row of the table.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) tags: &'static [Tag],
    run: Run,
}

/// What a row does.
#[derive(Clone, Copy)]
enum Run {
    Function(fn(&Lab) -> Result<()>),
    Technique(&'static Technique),
}

impl Case {
    /// Runs it in a lab.
    pub(crate) fn run(&self, lab: &Lab) -> Result<()> {
        match self.run {
            Run::Function(function) => function(lab),
            Run::Technique(technique) => technique.check(lab),
        }
    }

    /// Whether it has a tag.
    pub(crate) fn has(&self, tag: Tag) -> bool {
        self.tags.contains(&tag)
    }
}

/// A test that needs nothing but the lab and the shared sensor.
const fn case(name: &'static str, run: fn(&Lab) -> Result<()>) -> Case {
    tagged(name, &[], run)
}

/// The same for one of what the hooks for connections have no part in.
const fn once(name: &'static str, run: fn(&Lab) -> Result<()>) -> Case {
    tagged(name, &[Tag::Once], run)
}

/// A test with tags.
const fn tagged(name: &'static str, tags: &'static [Tag], run: fn(&Lab) -> Result<()>) -> Case {
    Case { name, tags, run: Run::Function(run) }
}

/// Each technique by which reverse shells are made.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, where a place beyond the end is an error")]
const TECHNIQUE_CASES: [Case; TECHNIQUES.len()] = {
    let mut cases = [case("", |_| Ok(())); TECHNIQUES.len()];
    let mut number = 0;
    while number < cases.len() {
        let technique = &TECHNIQUES[number];
        cases[number] =
            Case { name: technique.name, tags: &[Tag::Userland, Tag::Technique], run: Run::Technique(technique) };
        number += 1;
    }
    cases
};

/// All tests.
pub(crate) const TABLE: &[&[Case]] = &[
    connect::CASES,
    accept::CASES,
    asleep::CASES,
    span::CASES,
    border::CASES,
    identity::CASES,
    name::CASES,
    args::CASES,
    parent::CASES,
    evidence::CASES,
    shells::CASES,
    inherited::CASES,
    on_socket::CASES,
    relayed::CASES,
    &TECHNIQUE_CASES,
    benign::CASES,
    load::CASES,
    flood::CASES,
    lost::CASES,
    clock::CASES,
    missed::CASES,
    life::CASES,
    output::CASES,
    reload::CASES,
    exceptions::CASES,
    stream::CASES,
    remote::CASES,
    metrics::CASES,
    doctor::CASES,
    selftest::CASES,
    service::CASES,
    handover::CASES,
    privileges::CASES,
];

/// The tests of a sensor that runs in a container.
pub(crate) const CONTAINERS: &[Case] = container::CASES;

#[cfg(test)]
mod tests {
    use super::*;

    /// Guests skip storms, and every skip there is one that the table expects.
    #[test]
    fn each_storm_is_among_the_tests_that_guests_skip() {
        let table = include_str!("../../kernels/expected.toml");
        let processors = table.matches(".hooks.connect]").count();
        assert!(processors >= 2);
        let storms = TABLE.iter().flat_map(|cases| cases.iter()).filter(|case| case.has(Tag::Storm));
        let missing: Vec<&str> = storms
            .map(|case| case.name)
            .filter(|name| table.matches(&format!("\"{name}\"")).count() < processors)
            .collect();
        assert_eq!(missing, [""; 0]);
    }
}
