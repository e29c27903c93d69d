//! `relayed-shell`: a program that can pass on what a shell reads and writes connects or accepts, and it or a descendant becomes a shell
//! that reads its commands from a pipe, a UNIX socket or a terminal of its own.
//!
//! That is how shells look to which `python -c 'pty.spawn(…)'`, `socat EXEC:`, `ncat -e` and the like lead. Judged by `sensor.stdio`, which
//! only this sensor writes: documents without it never match.

use super::common::{CONNECTED, EXECUTION, OUTSIDE, REMOTE_SHELL};
use super::{Condition, Rule, SHELLS, Severity, Stage};
use crate::event::facts::Field;

/// The rule.
pub static RULE: Rule = Rule {
    id: "relayed-shell",
    name: "Shell Relayed to a Network Connection",
    version: 1,
    description: "An interpreter or a network tool makes or accepts a TCP connection, and shortly afterwards it or a process that it has \
        started runs a shell that reads its commands from a pipe, a UNIX socket or a terminal made for it. The program can pass on \
        to the shell whatever comes from the other end of the connection.",
    reference: "https://attack.mitre.org/techniques/T1059/004/",
    severity: Severity::Low,
    risk_score: 21,
    threats: REMOTE_SHELL,
    connection: Some(Stage {
        event: CONNECTED,
        condition: Condition::All(&[Condition::Relay(Field::ProcessName), OUTSIDE]),
        by: &[Field::EntityId],
    }),
    exec: Stage {
        event: Condition::All(&[EXECUTION, Condition::Relayed(&[0, 1])]),
        condition: Condition::All(&[Condition::Is(Field::ProcessName, &SHELLS), Condition::ReadsCommands]),
        by: &[Field::InheritedFrom, Field::EntityId],
    },
};
