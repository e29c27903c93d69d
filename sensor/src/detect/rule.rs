//! The rules, as data: what is asked of each event, and what an alert says.

use super::eql::{Networks, like, searchable};
use super::moment::Key;
use crate::event::facts::{Descriptor, Facts, Field};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use sensor_common::name::Name;
use sensor_common::settings::{MAX_NAMES, Names};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

mod commands;
mod common;
mod relay;
mod relayed_shell;
mod reverse_shell;
mod shell_on_socket;
mod shell_via_child;

pub use relay::{DEFAULT as DEFAULT_RELAYS, Relays};
pub use relayed_shell::RULE as RELAYED_SHELL;
pub use reverse_shell::RULE as REVERSE_SHELL;
pub use shell_on_socket::RULE as SHELL_ON_SOCKET;
pub use shell_via_child::RULE as REVERSE_SHELL_VIA_CHILD;

/// How many rules there are.
pub const RULE_COUNT: usize = 4;

/// All rules. A shell that several match gives one alert, named after the first of them here.
pub static RULES: [&Rule; RULE_COUNT] = [&REVERSE_SHELL_VIA_CHILD, &REVERSE_SHELL, &SHELL_ON_SOCKET, &RELAYED_SHELL];

/// The programs that are shells to the rules.
pub const SHELLS: [&str; 8] = ["bash", "dash", "sh", "tcsh", "csh", "zsh", "ksh", "fish"];
/// The programs whose connections count: the shells and socat.
pub const CONNECTING: [&str; 9] = ["bash", "dash", "sh", "tcsh", "csh", "zsh", "ksh", "fish", SOCAT];
/// The program whose arguments decide about its children.
pub const SOCAT: &str = "socat";

/// The rule with an id.
#[must_use]
pub fn find(id: &str) -> Option<&'static Rule> {
    RULES.into_iter().find(|rule| rule.id == id)
}

/// A rule: an execution and, if one is asked for, a connection within the span before it, of the same process or of one that the rule
/// names.
#[derive(Debug)]
pub struct Rule {
    /// Identifies the rule in alerts and on the command line.
    pub id: &'static str,
    /// The name that people know it by.
    pub name: &'static str,
    /// The version of the published rule whose logic it has.
    pub version: u32,
    /// What it finds.
    pub description: &'static str,
    /// Where it is published.
    pub reference: &'static str,
    /// How bad a match is, in a word.
    pub severity: Severity,
    /// How bad a match is, from 0 to 100.
    pub risk_score: u8,
    /// What an attacker would be doing.
    pub threats: &'static [Threat],
    /// The first event; without one the execution matches by itself.
    pub connection: Option<Stage>,
    /// The second event, or the only one.
    pub exec: Stage,
}

impl Rule {
    /// Whether the execution matches only after a connection.
    #[must_use]
    pub const fn requires_connection(&self) -> bool {
        self.connection.is_some()
    }

    /// For an execution that matches: the arguments of which an unsearched part had to be taken as what the rule asks
    /// for. None if it matches without.
    #[must_use]
    pub fn assumed(&self, parameters: &Parameters, facts: &Facts<'_>) -> Vec<Field> {
        if self.exec.holds(facts, parameters, Unsearched::Absent) {
            return Vec::new();
        }
        [Field::Args, Field::ParentArgs].into_iter().filter(|field| facts.unsearched(*field)).collect()
    }
}

/// One of the events of a rule's sequence.
#[derive(Debug)]
pub struct Stage {
    /// Which sort of event it is.
    pub event: Condition,
    /// What is asked of an event of that sort.
    pub condition: Condition,
    /// The field that, together with `host.id`, must have the same value in both events: the first of these that the event has.
    pub by: &'static [Field],
}

impl Stage {
    /// Whether the event is one of the sort, and what is asked for.
    #[must_use]
    pub fn holds(&self, facts: &Facts<'_>, parameters: &Parameters, unsearched: Unsearched) -> bool {
        self.event.holds(facts, parameters, unsearched) && self.condition.holds(facts, parameters, unsearched)
    }

    /// The process that an event belongs to; nothing if the event does not say.
    #[must_use]
    pub fn key(&self, facts: &Facts<'_>) -> Option<Key> {
        Some(Key::new(facts.first(Field::HostId)?, self.by.iter().find_map(|field| facts.first(*field))?))
    }
}

/// How bad a match is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth a look.
    Low,
    /// Should be looked at.
    Medium,
    /// Should be looked at now.
    High,
    /// Somebody is in.
    Critical,
}

impl Severity {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// A tactic of MITRE ATT&CK with the techniques that a rule points at.
#[derive(Debug)]
pub struct Threat {
    /// The tactic.
    pub tactic: Attack,
    /// The techniques, each with its sub-techniques.
    pub techniques: &'static [(Attack, &'static [Attack])],
}

/// An entry of MITRE ATT&CK.
#[derive(Debug)]
pub struct Attack {
    /// As `TA0002`, `T1059` or `T1059.004`.
    pub id: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its page.
    pub reference: &'static str,
}

/// What can be asked of an event. A condition on a field holds if any value of the field satisfies it.
#[derive(Debug)]
pub enum Condition {
    /// `==`, `in`: exactly one of the texts.
    Is(Field, &'static [&'static str]),
    /// `:`: like one of the patterns, see [`like`].
    Like(Field, &'static [&'static str]),
    /// The address is there and lies in none of the excluded networks: `ip != null and not cidrmatch(ip, …)`. Of several
    /// addresses, none may lie there. What is no address is not there.
    Outside(Field),
    /// Like one of the configured programs that may stand between a connection and a shell.
    Relay(Field),
    /// On each of these descriptors stands something at whose other end a program of this host is: a pipe, a UNIX socket, or a terminal
    /// that is not the one of the session which the process was started in.
    Relayed(&'static [u64]),
    /// The arguments name no command and no script, so that the shell reads its standard input.
    ReadsCommands,
    /// On at least one of these descriptors stands a TCP socket.
    Tcp(&'static [u64]),
    /// On each of these descriptors stands a TCP socket with a remote end, whose address lies in none of the excluded networks.
    Connected(&'static [u64]),
    /// At least one of them.
    Any(&'static [Condition]),
    /// All of them.
    All(&'static [Condition]),
}

/// What becomes of a condition on arguments of which a part could not be searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsearched {
    /// It holds, as if the part held whatever is looked for: nothing is missed because the sensor could not see it.
    Holds,
    /// The part is as good as absent.
    Absent,
}

impl Condition {
    /// Whether the event satisfies the condition.
    #[must_use]
    pub fn holds(&self, facts: &Facts<'_>, parameters: &Parameters, unsearched: Unsearched) -> bool {
        let excluded = &parameters.excluded;
        match *self {
            Self::Is(field, texts) => any(facts, field, unsearched, |value| texts.contains(&value)),
            Self::Like(field, patterns) => {
                any(facts, field, unsearched, |value| patterns.iter().any(|pattern| like(value, pattern)))
            }
            Self::Outside(field) => {
                let mut addresses = facts.values(field).filter_map(|value| value.parse::<IpAddr>().ok()).peekable();
                addresses.peek().is_some() && !addresses.any(|address| excluded.contain(address))
            }
            Self::Tcp(descriptors) => {
                descriptors.iter().any(|number| facts.descriptors(*number).any(Descriptor::is_tcp))
            }
            Self::Connected(descriptors) => descriptors.iter().all(|number| is_connected(facts, *number, excluded)),
            Self::Relay(field) => facts.values(field).any(|value| parameters.relays.match_name(value)),
            Self::Relayed(descriptors) => descriptors.iter().all(|number| relay::is_relayed(facts, *number)),
            Self::ReadsCommands => commands::are_read(facts, unsearched),
            Self::Any(conditions) => conditions.iter().any(|one| one.holds(facts, parameters, unsearched)),
            Self::All(conditions) => conditions.iter().all(|one| one.holds(facts, parameters, unsearched)),
        }
    }
}

/// Whether on a descriptor stands a TCP socket with a remote end, whose address lies in none of the excluded networks.
#[must_use]
pub fn is_connected(facts: &Facts<'_>, descriptor: u64, excluded: &Networks) -> bool {
    let counts = |one: &Descriptor<'_>| one.remote().is_some_and(|address| !excluded.contain(address));
    facts.descriptors(descriptor).any(|one| one.is_tcp() && counts(one))
}

fn any(facts: &Facts<'_>, field: Field, unsearched: Unsearched, satisfies: impl Fn(&str) -> bool) -> bool {
    if unsearched == Unsearched::Holds && facts.unsearched(field) {
        return true;
    }
    let argument = matches!(field, Field::Args | Field::ParentArgs);
    facts.values(field).any(|value| satisfies(value) && (!argument || searchable(value)))
}

/// What the configuration may change about the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// The longest time between connection and execution that still matches, in whole milliseconds.
    pub span: Duration,
    /// Addresses of far ends that never count.
    pub excluded: Networks,
    /// Programs that may stand between a connection and a shell.
    pub relays: Relays,
    /// Rules that are off.
    pub disabled: Vec<&'static str>,
}

impl Parameters {
    /// The rules that are on.
    pub fn rules(&self) -> impl Iterator<Item = &'static Rule> {
        RULES.into_iter().filter(|rule| self.is_on(rule))
    }

    /// Whether a rule is on.
    #[must_use]
    pub fn is_on(&self, rule: &Rule) -> bool {
        !self.disabled.contains(&rule.id)
    }

    /// The span in milliseconds.
    #[must_use]
    pub fn span_ms(&self) -> u64 {
        u64::try_from(self.span.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Default for Parameters {
    /// What the published rule says.
    fn default() -> Self {
        let excluded = default_excluded().iter().collect();
        Self { span: DEFAULT_SPAN, excluded, relays: Relays::default(), disabled: Vec::new() }
    }
}

/// The span of the published rule.
pub const DEFAULT_SPAN: Duration = Duration::from_secs(5);

/// The networks that the published rule excludes: loopback, link-local and multicast of IPv4, and loopback of IPv6.
#[must_use]
pub fn default_excluded() -> [IpNet; 4] {
    [
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16)),
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4)),
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
    ]
}

/// The names that the kernel side must let through so that no rule misses anything.
#[must_use]
pub fn kernel_names(relays: &Relays) -> Names {
    FIXED.with_relays(relays.patterns())
}

/// Those that no configuration changes.
const FIXED: Names = Names::new(table(&CONNECTING), table(&SHELLS), Name::new(SOCAT));

const fn table(names: &[&str]) -> [Name; MAX_NAMES] {
    let mut table = [Name::NEVER; MAX_NAMES];
    let (mut free, mut names): (&mut [Name], _) = (&mut table, names);
    while let ([name, others @ ..], [place, rest @ ..]) = (names, free) {
        *place = Name::new(name);
        (names, free) = (others, rest);
    }
    assert!(names.is_empty(), "more names than the kernel side has places for");
    table
}

#[cfg(test)]
mod tests;
