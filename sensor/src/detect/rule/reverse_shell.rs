//! `reverse-shell`: a shell or socat connects or accepts, and a process that descends from it becomes an interactive shell.
//!
//! The logic is that of Elastic's rule "Potential Reverse Shell", whose connecting process is the parent of the shell. This sensor knows more:
//! a process that was forked since the connection has inherited it (`sensor.inherited`), be it over several forks and be its parent gone.
//! Documents without that are judged by the parent alone. Forks that are not followed by an execution are not looked at.

use super::common::{BECOMES_SHELL, CONNECTION, EXECUTION, REMOTE_SHELL};
use super::{Rule, Severity, Stage};
use crate::event::facts::Field;

/// The rule.
pub static RULE: Rule = Rule {
    id: "reverse-shell",
    name: "Potential Reverse Shell",
    version: 1,
    description: "A shell or socat makes or accepts a TCP connection, and shortly afterwards a process that it has started runs a shell \
        that is interactive, is a login shell, or was started by a socat that executes programs. That is how control of the host is handed \
        to whoever is at the other end of the connection.",
    reference: "https://github.com/elastic/detection-rules/blob/main/rules/linux/execution_shell_via_tcp_cli_utility_linux.toml",
    severity: Severity::Medium,
    risk_score: 47,
    threats: REMOTE_SHELL,
    connection: Some(CONNECTION),
    exec: Stage { event: EXECUTION, condition: BECOMES_SHELL, by: &[Field::InheritedFrom, Field::ParentEntityId] },
};
