//! The situations in which programs are measured: who does what, and what the kernel side must make of it.

use super::actor::Actor;
use super::address;
use anyhow::{Result, ensure};
use sensor::kernel::counters::Snapshot;
use sensor::kernel::hook::Fact;
use sensor_common::counter::{Counter, Fate};

/// What the kernel side knows before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// What the situations before have left.
    Anything,
    /// A process has just made a connection that counts.
    Armed,
    /// None has for longer than the span.
    Quiet,
}

/// Who does it.
#[derive(Clone, Copy, Debug)]
enum By {
    Shell,
    Other,
}

/// What is done.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// Executes these arguments in a new process.
    Execute(&'static [&'static str]),
    /// The same, where the new process makes a connection before.
    ConnectAndExecute(&'static [&'static str]),
    /// Connects to an address that counts, or to one that is excluded.
    Connect { counts: bool },
    /// Accepts a connection there.
    Accept { counts: bool },
}

/// A situation.
pub(crate) struct Situation {
    /// For people, and for the files in which figures are kept.
    pub(crate) name: &'static str,
    /// What the programs to be measured see.
    pub(crate) fact: Fact,
    /// What must have happened.
    pub(crate) before: Before,
    by: By,
    act: Act,
    /// Causes under which each operation is counted; none if it is not counted at all.
    causes: &'static [&'static str],
}

/// All of them, in the order in which they are measured: nothing is armed up to the first one that says so.
pub(crate) const SITUATIONS: [Situation; 16] = [
    exec("exec of no shell, nothing was ever armed", Before::Anything, Act::Execute(&["true"]), &[]),
    fork("fork, nothing was ever armed", Before::Anything, By::Other, &[]),
    connect("connect by no shell", By::Other, true, &["name"]),
    connect("connect by a shell to an excluded network", By::Shell, false, &["network"]),
    accept("accept by no shell", By::Other, true, &["name"]),
    accept("accept by a shell in an excluded network", By::Shell, false, &["network"]),
    exec("exec of socat, recorded", Before::Anything, Act::Execute(&["socat", "-", "-"]), &["parent"]),
    exec("exec of no shell while something is armed", Before::Armed, Act::Execute(&["true"]), &["name"]),
    Situation {
        by: By::Other,
        ..exec(
            "exec of a shell not armed while something is",
            Before::Armed,
            Act::Execute(&["dash", "-c", ":"]),
            &["never"],
        )
    },
    fork("fork by no shell while something is armed", Before::Armed, By::Other, &["never"]),
    fork("fork by an armed shell", Before::Armed, By::Shell, &["inherited"]),
    exec(
        "exec of a shell by a child of an armed one, recorded",
        Before::Armed,
        Act::Execute(&["sh", "-i"]),
        &["inherited"],
    ),
    exec(
        "exec of a shell by an armed one, recorded",
        Before::Anything,
        Act::ConnectAndExecute(&["sh", "-i"]),
        &["armed"],
    ),
    connect("connect by a shell, recorded", By::Shell, true, &["sent"]),
    accept("accept by a shell, recorded", By::Shell, true, &["sent", "duplicate"]),
    exec("exec of no shell, nothing armed within the span", Before::Quiet, Act::Execute(&["true"]), &[]),
];

const fn exec(name: &'static str, before: Before, act: Act, causes: &'static [&'static str]) -> Situation {
    Situation { name, fact: Fact::Exec, before, by: By::Shell, act, causes }
}

const fn fork(name: &'static str, before: Before, by: By, causes: &'static [&'static str]) -> Situation {
    Situation { name, fact: Fact::Fork, before, by, act: Act::Execute(&["true"]), causes }
}

const fn connect(name: &'static str, by: By, counts: bool, causes: &'static [&'static str]) -> Situation {
    Situation { name, fact: Fact::Connect, before: Before::Anything, by, act: Act::Connect { counts }, causes }
}

const fn accept(name: &'static str, by: By, counts: bool, causes: &'static [&'static str]) -> Situation {
    Situation { name, fact: Fact::Accept, before: Before::Anything, by, act: Act::Accept { counts }, causes }
}

impl Situation {
    /// Whether it can happen again and again within one operation.
    pub(crate) fn is_storm(&self) -> bool {
        matches!(self.act, Act::Execute(_) | Act::ConnectAndExecute(_))
    }

    /// Lets it happen so often.
    pub(crate) fn perform(&self, shell: &mut Actor, other: &mut Actor, times: u32) -> Result<()> {
        let actor = match self.by {
            By::Shell => shell,
            By::Other => other,
        };
        match self.act {
            Act::Execute(args) => actor.execute(args, times),
            Act::ConnectAndExecute(args) => actor.connect_and_execute(address(true), args, times),
            Act::Connect { counts } => (0..times).try_for_each(|_| actor.connect(address(counts))),
            Act::Accept { counts } => (0..times).try_for_each(|_| actor.accept(address(counts))),
        }
    }

    /// Whether the kernel side has made of so many what it should.
    pub(crate) fn check(&self, before: &Snapshot, after: &Snapshot, times: u32) -> Result<()> {
        let hooks: &[&str] = match self.fact {
            Fact::Exec => &["exec"],
            Fact::Connect => &["connect"],
            Fact::Accept => &["accept", "graft"],
            Fact::Fork => &["fork"],
        };
        // How many forks there are within a span depends on how fast the host is.
        let concerned = |counter: &Counter| hooks.contains(&counter.hook()) && *counter != Counter::ForkPressure;
        let counted = Counter::ALL.into_iter().filter(concerned);
        let counted = counted.map(|counter| (counter, after.get(counter).wrapping_sub(before.get(counter))));
        let counted: Vec<_> = counted.filter(|(_, times)| *times != 0).collect();
        let expected = |(counter, counted): &(Counter, u64)| {
            *counted == u64::from(times) && (counter.fate() == Fate::Seen || self.causes.contains(&counter.cause()))
        };
        ensure!(
            counted.iter().all(expected) && counted.is_empty() == self.causes.is_empty(),
            "{:?} was expected, the kernel side has counted {counted:?}",
            self.causes
        );
        Ok(())
    }
}
