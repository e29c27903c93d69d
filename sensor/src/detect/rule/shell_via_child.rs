//! `reverse-shell-via-child`: a shell or socat connects or accepts, and the same process becomes an interactive shell.
//!
//! The logic is that of version 2 of Elastic's rule "Potential Reverse Shell via Child".

use super::common::{BECOMES_SHELL, CONNECTION, EXECUTION, REMOTE_SHELL};
use super::{Rule, Severity, Stage};
use crate::event::facts::Field;

/// The rule.
pub static RULE: Rule = Rule {
    id: "reverse-shell-via-child",
    name: "Potential Reverse Shell via Child",
    version: 2,
    description: "A shell or socat makes or accepts a TCP connection, and shortly afterwards the same process runs a shell \
        that is interactive, is a login shell, or was started by a socat that executes programs. That is how a process \
        hands control of the host to whoever is at the other end of the connection.",
    reference: "https://github.com/elastic/detection-rules/blob/main/rules/linux/execution_shell_via_child_tcp_utility_linux.toml",
    severity: Severity::Medium,
    risk_score: 47,
    threats: REMOTE_SHELL,
    connection: Some(CONNECTION),
    exec: Stage { event: EXECUTION, condition: BECOMES_SHELL, by: &[Field::EntityId] },
};
