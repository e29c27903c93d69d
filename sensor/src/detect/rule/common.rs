//! What the rules have in common: the connection, what counts as an execution, and what an attacker would be doing.

use super::{Attack, CONNECTING, Condition, SHELLS, SOCAT, Stage, Threat};
use crate::event::facts::Field;

/// A shell or socat makes or accepts a connection.
pub(super) const CONNECTION: Stage = Stage {
    event: CONNECTED,
    condition: Condition::All(&[Condition::Like(Field::ProcessName, &CONNECTING), OUTSIDE]),
    by: &[Field::EntityId],
};

/// A connection is made or accepted.
pub(super) const CONNECTED: Condition = Condition::All(&[
    Condition::Is(Field::EventCategory, &["network"]),
    Condition::Is(Field::EventType, &["start"]),
    Condition::Is(Field::EventAction, &["connection_attempted", "connection_accepted"]),
]);

/// Its destination counts.
pub(super) const OUTSIDE: Condition = Condition::Outside(Field::DestinationIp);

/// What is executed is a shell that somebody is to use: interactive, for a login, or of a socat that executes programs.
pub(super) const BECOMES_SHELL: Condition = Condition::All(&[
    Condition::Is(Field::ProcessName, &SHELLS),
    Condition::Any(&[
        Condition::Like(Field::Args, &["-i", "-l"]),
        Condition::All(&[Condition::Is(Field::ParentName, &[SOCAT]), Condition::Like(Field::ParentArgs, &["*exec*"])]),
    ]),
]);

/// A program is executed.
pub(super) const EXECUTION: Condition = Condition::All(&[
    Condition::Is(Field::EventCategory, &["process"]),
    Condition::Is(Field::EventType, &["start"]),
    Condition::Is(Field::EventAction, &["exec"]),
]);

/// A shell that somebody far away commands.
pub(super) const REMOTE_SHELL: &[Threat] = &[
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
];
