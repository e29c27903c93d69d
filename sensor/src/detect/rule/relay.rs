//! Programs that may stand between a connection and a shell, and what such a program leaves on a shell's descriptors.

use crate::detect::eql::like;
use crate::event::facts::{Descriptor, Facts};
use crate::event::stream::device_name;
use sensor_common::name::Pattern;
use sensor_common::settings::MAX_RELAYS;

/// Interpreters and network tools that people make reverse shells with.
pub const DEFAULT: [&str; 16] = [
    "python*", "perl*", "ruby*", "php*", "lua*", "node", "java", "nc", "nc.*", "ncat", "netcat", "socat", "telnet",
    "openssl", "gawk", "busybox",
];

/// Patterns of names: a name in small letters, or with a `*` at its end the front of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relays(Vec<String>);

impl Default for Relays {
    /// [`DEFAULT`].
    fn default() -> Self {
        Self(DEFAULT.map(str::to_owned).into())
    }
}

impl Relays {
    /// These patterns.
    ///
    /// # Errors
    /// There are more than [`MAX_RELAYS`], or one is none, with what is wrong.
    pub fn new(patterns: Vec<String>) -> Result<Self, String> {
        if patterns.len() > MAX_RELAYS {
            return Err(format!("{} names; allowed are {MAX_RELAYS}", patterns.len()));
        }
        match patterns.iter().find(|text| !is_pattern(text)) {
            Some(text) => Err(format!(
                "{text:?} is no name of at most 15 small letters, digits and signs, with or without a * at its end"
            )),
            None => Ok(Self(patterns)),
        }
    }

    /// As they were written.
    #[must_use]
    pub fn texts(&self) -> &[String] {
        &self.0
    }

    /// Whether a program is called like one of them.
    #[must_use]
    pub fn match_name(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| like(name, pattern))
    }

    /// What the kernel side compares.
    #[must_use]
    pub fn patterns(&self) -> [Pattern; MAX_RELAYS] {
        let mut patterns = [Pattern::NEVER; MAX_RELAYS];
        for (place, text) in patterns.iter_mut().zip(&self.0) {
            *place = Pattern::new(text);
        }
        patterns
    }
}

/// What both sides read alike: the user side knows further wildcards, the kernel side one at the end.
fn is_pattern(text: &str) -> bool {
    let name = text.strip_suffix('*').unwrap_or(text);
    Pattern::new(text) != Pattern::NEVER
        && name.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase() && !b"*?".contains(&byte))
}

/// Whether on a descriptor stands something at whose other end a program of this host is.
pub(super) fn is_relayed(facts: &Facts<'_>, number: u64) -> bool {
    facts.descriptors(number).any(|one| match one.kind() {
        Some("pipe") => true,
        Some("pty") => is_foreign(facts, one),
        _ => one.is_unix(),
    })
}

/// Whether a terminal is another than the one of the session which the process was started in. A process that leads its session was given its
/// terminal by whoever started it.
fn is_foreign(facts: &Facts<'_>, terminal: &Descriptor<'_>) -> bool {
    let own = facts.terminal.map(|(major, minor)| device_name(major, minor));
    facts.leads_session.is_some_and(|leads| leads || own.as_deref() != terminal.device())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_name_and_the_front_of_one_are_patterns() {
        let relays = Relays::default();
        for (name, matches) in [
            ("python3.11", true),
            ("Python", true),
            ("nc.openbsd", true),
            ("ncx", false),
            ("jython", false),
            ("", false),
        ] {
            assert_eq!(relays.match_name(name), matches, "{name}");
        }
        for text in ["", "*", "a*b", "a?", "Nc", "a b", "caf\u{e9}", "sixteen-letters-", "sixteen-letters-*"] {
            assert!(Relays::new(vec![text.to_owned()]).unwrap_err().contains("is no name"), "{text:?}");
        }
        assert!(Relays::new(vec!["x".to_owned(); MAX_RELAYS + 1]).unwrap_err().starts_with("17 names"));
        assert!(Relays::new(Vec::new()).unwrap().patterns().iter().all(|pattern| *pattern == Pattern::NEVER));
    }

    #[test]
    fn both_sides_read_a_pattern_alike() {
        use sensor_common::name::Name;
        let relays = Relays::default();
        for name in [
            "python",
            "python3.11",
            "nc",
            "nc.",
            "nc.traditional",
            "ncat",
            "nca",
            "lua5.4",
            "node",
            "nodejs",
            "busybox",
        ] {
            let kernel = relays.patterns().iter().any(|pattern| pattern.matches(Name::new(name).to_lower()));
            assert_eq!(kernel, relays.match_name(name), "{name}");
        }
    }

    fn relayed(stream: &Value, session: &Value) -> bool {
        let document = json!({"@timestamp": 0, "process": session, "sensor": {"stdio": [stream]}});
        is_relayed(&Facts::from_value(&document).unwrap(), 0)
    }

    #[test]
    fn pipes_and_unix_sockets_have_a_program_at_their_other_end() {
        let nothing = json!({});
        assert!(relayed(&json!({"fd": 0, "kind": "pipe"}), &nothing));
        assert!(relayed(&json!({"fd": 0, "kind": "socket", "family": "unix"}), &nothing));
        for other in [
            json!({"fd": 0, "kind": "tcp"}),
            json!({"fd": 0, "kind": "socket", "family": "netlink"}),
            json!({"fd": 0, "kind": "file"}),
            json!({"fd": 0, "kind": "device", "device": "/dev/null"}),
            json!({"fd": 1, "kind": "pipe"}),
        ] {
            assert!(!relayed(&other, &nothing), "{other}");
        }
    }

    #[test]
    fn a_terminal_counts_unless_it_is_the_one_of_the_session_before() {
        let pty = json!({"fd": 0, "kind": "pty", "device": "/dev/pts/3"});
        let session = |leads: bool, minor: u32| json!({"session_leader": {"same_as_process": leads}, "tty": {"char_device": {"major": 136, "minor": minor}}});
        assert!(relayed(&pty, &session(true, 3)), "a session of its own");
        assert!(!relayed(&pty, &session(false, 3)), "a shell within a session");
        assert!(relayed(&pty, &session(false, 4)), "another terminal");
        assert!(relayed(&pty, &json!({"session_leader": {"same_as_process": false}})), "a session without one");
        assert!(!relayed(&pty, &json!({})), "nothing is known of the session");
    }
}
