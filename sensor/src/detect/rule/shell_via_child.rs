//! `reverse-shell-via-child`: a shell or socat connects or accepts, and the same process becomes an interactive shell.
//!
//! The logic is that of version 2 of Elastic's rule "Potential Reverse Shell via Child".

use super::{Attack, CONNECTING, Condition, Rule, SHELLS, SOCAT, Severity, Stage, Threat};
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
    threats: &[
        Threat {
            tactic: Attack { id: "TA0002", name: "Execution", reference: "https://attack.mitre.org/tactics/TA0002/" },
            techniques: &[(
                Attack {
                    id: "T1059",
                    name: "Command and Scripting Interpreter",
                    reference: "https://attack.mitre.org/techniques/T1059/",
                },
                &[Attack {
                    id: "T1059.004",
                    name: "Unix Shell",
                    reference: "https://attack.mitre.org/techniques/T1059/004/",
                }],
            )],
        },
        Threat {
            tactic: Attack {
                id: "TA0011",
                name: "Command and Control",
                reference: "https://attack.mitre.org/tactics/TA0011/",
            },
            techniques: &[(
                Attack {
                    id: "T1071",
                    name: "Application Layer Protocol",
                    reference: "https://attack.mitre.org/techniques/T1071/",
                },
                &[],
            )],
        },
    ],
    connection: Stage {
        event: Condition::All(&[
            Condition::Is(Field::EventCategory, &["network"]),
            Condition::Is(Field::EventType, &["start"]),
            Condition::Is(Field::EventAction, &["connection_attempted", "connection_accepted"]),
        ]),
        condition: Condition::All(&[
            Condition::Like(Field::ProcessName, &CONNECTING),
            Condition::Outside(Field::DestinationIp),
        ]),
        by: Field::EntityId,
    },
    exec: Stage {
        event: Condition::All(&[
            Condition::Is(Field::EventCategory, &["process"]),
            Condition::Is(Field::EventType, &["start"]),
            Condition::Is(Field::EventAction, &["exec"]),
        ]),
        condition: Condition::All(&[
            Condition::Is(Field::ProcessName, &SHELLS),
            Condition::Any(&[
                Condition::Like(Field::Args, &["-i", "-l"]),
                Condition::All(&[
                    Condition::Is(Field::ParentName, &[SOCAT]),
                    Condition::Like(Field::ParentArgs, &["*exec*"]),
                ]),
            ]),
        ]),
        by: Field::EntityId,
    },
};
