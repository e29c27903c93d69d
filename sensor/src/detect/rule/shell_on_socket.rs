//! `shell-on-socket`: a shell is executed with standard input and output on TCP connections.
//!
//! Who made the connection, how long ago, and what the shell's arguments are, does not matter. Judged by `sensor.stdio`, which only this sensor
//! writes: documents without it never match.

use super::common::{EXECUTION, REMOTE_SHELL};
use super::{Condition, Rule, SHELLS, Severity, Stage};
use crate::event::facts::Field;

/// The rule.
pub static RULE: Rule = Rule {
    id: "shell-on-socket",
    name: "Shell on a Network Connection",
    version: 1,
    description: "A shell is executed whose standard input and output are TCP connections to another host. Whoever is at the other end types \
        the commands and reads what they print, whichever program made the connection and however the shell was called.",
    reference: "https://attack.mitre.org/techniques/T1059/004/",
    severity: Severity::High,
    risk_score: 73,
    threats: REMOTE_SHELL,
    connection: None,
    exec: Stage {
        event: Condition::All(&[EXECUTION, Condition::Tcp(&[0, 1])]),
        condition: Condition::All(&[Condition::Is(Field::ProcessName, &SHELLS), Condition::Connected(&[0, 1])]),
        by: &[Field::EntityId],
    },
};
