//! Whether an exception hides a whole kind of reverse shell: it is tried with two made-up alerts that have nothing in common but the
//! shell.

use super::Conditions;
use crate::detect::rule::{RULES, SHELLS};
use serde_json::{Value, json};

impl Conditions {
    /// The shells whose reverse shells give no alert any more, whoever runs them from wherever to wherever.
    pub(super) fn hidden(&self) -> Vec<&'static str> {
        let rules = || RULES.iter().map(|rule| rule.id);
        let hides = |shell: &str| rules().any(|rule| examples(rule, shell).iter().all(|alert| self.hold(alert)));
        SHELLS.into_iter().filter(|shell| hides(shell)).collect()
    }
}

/// What two different attackers would do with a shell.
fn examples(rule: &str, shell: &str) -> [Value; 2] {
    let served = json!({
        "rule": {"id": rule},
        "process": {
            "executable": format!("/usr/bin/{shell}"),
            "command_line": format!("{shell} -i"),
            "parent": {"executable": "/usr/sbin/nginx", "command_line": "nginx: worker process"},
        },
        "user": {"id": "33", "name": "www-data"},
        "source": {"ip": "10.0.0.5", "port": 51234},
        "destination": {"ip": "203.0.113.7", "port": 4444},
        "container": {"id": "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"},
        "sensor": {"sequence": [{"sensor": {"ancestors": [{"name": "nginx"}, {"name": "containerd-shim"}]}}]},
    });
    let logged_in = json!({
        "rule": {"id": rule},
        "process": {
            "executable": format!("/usr/bin/{shell}"),
            "command_line": format!("/usr/bin/{shell} --norc -l"),
            "parent": {"executable": "/opt/agent/run", "command_line": "/opt/agent/run --once"},
        },
        "user": {"id": "0", "name": "root"},
        "source": {"ip": "2001:db8::5", "port": 40000},
        "destination": {"ip": "2001:db8:ffff::7", "port": 443},
        "container": {"id": "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"},
        "sensor": {"sequence": [{"sensor": {"ancestors": [{"name": "run"}, {"name": "sshd"}]}}]},
    });
    [served, logged_in]
}
