//! From TOML to the configuration: each key's form, and errors that say where and what is allowed.

use super::{Config, Hook, Listen};
use crate::detect::rule::{self, Relays};
use ipnet::{IpNet, Ipv6Net};
use sensor_common::settings::MAX_EXCLUDED;
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::de::{DeTable, DeValue};

/// Most characters of a host's id or name.
const MAX_LABEL: usize = 255;
/// Times between a connection and an execution.
const SPAN: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3600);
/// Sizes of a ring, in bytes.
const RING: RangeInclusive<u32> = 64 << 10..=256 << 20;

/// What names a rule.
pub(super) const RULE_IDS: &str =
    "the id of a rule: \"reverse-shell-via-child\", \"reverse-shell\", \"shell-on-socket\" or \"relayed-shell\"";

/// A place in the text, and what is wrong there.
#[derive(Debug, PartialEq, Eq)]
pub struct Invalid {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// Such as `rule.span`; empty if the text is no TOML.
    pub key: String,
    /// What is wrong, and what is allowed.
    pub message: String,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, key, message } = self;
        let colon = if key.is_empty() { "" } else { ": " };
        write!(f, "{line}:{column}: {}{colon}{}", one_line(key), one_line(message))
    }
}

/// Text with line ends and other control characters made visible.
fn one_line(text: &str) -> String {
    let visible = |character: char| match character {
        '\n' => " ".to_owned(),
        _ if character.is_control() => character.escape_default().to_string(),
        _ => character.to_string(),
    };
    text.chars().map(visible).collect()
}

/// Reads a whole configuration.
pub(super) fn config(text: &str) -> Result<Config, Invalid> {
    toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let before = text.get(..at).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        // The whole text may be broken; its keys are still told apart as far as possible.
        let (table, _) = DeTable::parse_recoverable(text);
        Invalid {
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).map_or(0, |line| line.chars().count()) + 1,
            key: key_at(table.get_ref(), at).unwrap_or_default(),
            // serde speaks of fields, the user knows keys.
            message: error.message().replacen("unknown field", "unknown key", 1),
        }
    })
}

/// The path of the innermost key at which, or in whose value, a byte of the text stands.
fn key_at(table: &DeTable<'_>, at: usize) -> Option<String> {
    table.iter().find_map(|(key, value)| {
        let name = key.get_ref();
        let inner = match value.get_ref() {
            DeValue::Table(table) => key_at(table, at),
            DeValue::Array(elements) => {
                elements.iter().filter_map(|one| one.get_ref().as_table()).find_map(|table| key_at(table, at))
            }
            _ => None,
        };
        let here = key.span().contains(&at) || value.span().contains(&at);
        inner.map(|inner| format!("{name}.{inner}")).or_else(|| here.then(|| name.to_string()))
    })
}

/// Takes a string and reads it; the error then stands at the string, also within an array.
pub(super) struct Text<T> {
    pub(super) allowed: &'static str,
    pub(super) read: fn(&str) -> Result<T, String>,
}

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.allowed)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        (self.read)(text).map_err(|reason| E::custom(format_args!("{reason}; allowed is {}", self.allowed)))
    }
}

/// A duration such as `5s`.
pub(super) fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let allowed = "a whole number with ms, s, m or h from \"1ms\" to \"1h\", such as \"5s\"";
    deserializer.deserialize_str(Text { allowed, read: |text| duration(text, &SPAN) })
}

/// A whole number with a unit, within these bounds.
pub(super) fn duration(text: &str, bounds: &RangeInclusive<Duration>) -> Result<Duration, String> {
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let millis = match unit {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let millis = millis.and_then(|unit: u64| number.parse::<u64>().ok()?.checked_mul(unit));
    match millis.map(Duration::from_millis) {
        Some(duration) if bounds.contains(&duration) => Ok(duration),
        Some(_) => Err(format!("{text:?} is out of range")),
        None => Err(format!("{text:?} is no duration")),
    }
}

/// A list of networks.
pub(super) fn excluded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    struct Network(IpNet);
    impl<'de> Deserialize<'de> for Network {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let allowed = "a network such as \"192.0.2.0/24\" or \"2001:db8::/32\", or an address";
            deserializer.deserialize_str(Text { allowed, read: network }).map(Self)
        }
    }
    let networks = Vec::<Network>::deserialize(deserializer)?;
    if networks.len() > MAX_EXCLUDED {
        return Err(D::Error::custom(format_args!("{} networks; allowed are {MAX_EXCLUDED}", networks.len())));
    }
    Ok(networks.into_iter().map(|Network(network)| network).collect())
}

/// A rule; its id.
pub(super) fn rule_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<&'static str, D::Error> {
    let read = |text: &str| match rule::find(text) {
        Some(rule) => Ok(rule.id),
        None => Err(format!("there is no rule {text:?}")),
    };
    deserializer.deserialize_str(Text { allowed: RULE_IDS, read })
}

/// A list of rules, not all of them.
pub(super) fn disabled<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<&'static str>, D::Error> {
    struct Id(&'static str);
    impl<'de> Deserialize<'de> for Id {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            rule_id(deserializer).map(Self)
        }
    }
    let mut ids: Vec<&'static str> = Vec::<Id>::deserialize(deserializer)?.into_iter().map(|Id(id)| id).collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.len() == rule::RULES.len() {
        return Err(D::Error::custom("every rule is off: nothing would give an alert"));
    }
    Ok(ids)
}

pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    let network = text.parse::<IpNet>().or_else(|_| address()).map_err(|_| format!("{text:?} is no network"))?;
    if network.addr() != network.network() {
        return Err(format!("{text:?} has bits set behind its prefix, meant is perhaps \"{}\"", network.trunc()));
    }
    match network {
        IpNet::V6(v6) => fold(v6).ok_or_else(|| format!("{text:?} contains all of IPv4 in its IPv4-mapped form")),
        IpNet::V4(_) => Ok(network),
    }
}

/// Addresses are compared with IPv4-mapped ones taken as IPv4, so a network within `::ffff:0:0/96` is an IPv4 network. One
/// that contains it all is refused (`None`): it would exclude every IPv4 address, which hardly anybody means by `::/0`.
fn fold(network: Ipv6Net) -> Option<IpNet> {
    const MAPPED: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96);
    if MAPPED.contains(&network) {
        let [.., a, b, c, d] = network.network().octets();
        return IpNet::new(Ipv4Addr::new(a, b, c, d).into(), network.prefix_len() - 96).ok();
    }
    (!network.contains(&MAPPED)).then_some(IpNet::V6(network))
}

/// A hook, or `off`.
pub(super) fn accept<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Hook>, D::Error> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Accept {
        Auto,
        Fentry,
        Kprobe,
        Tracepoint,
        Off,
    }
    Accept::deserialize(deserializer).map(|accept| match accept {
        Accept::Auto => Some(Hook::Auto),
        Accept::Fentry => Some(Hook::Fentry),
        Accept::Kprobe => Some(Hook::Kprobe),
        Accept::Tracepoint => Some(Hook::Tracepoint),
        Accept::Off => None,
    })
}

/// Whether a hook is wanted.
pub(super) fn fork<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Fork {
        Auto,
        Off,
    }
    Fork::deserialize(deserializer).map(|fork| matches!(fork, Fork::Auto))
}

/// Names of programs.
pub(super) fn relays<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Relays, D::Error> {
    Relays::new(Vec::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// An identifier or name.
pub(super) fn label<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let allowed = "a string of 1 to 255 characters without control characters";
    let read = |text: &str| match text.chars().count() {
        1..=MAX_LABEL if !text.contains(char::is_control) => Ok(Some(text.to_owned())),
        0 => Err("it is empty".to_owned()),
        1..=MAX_LABEL => Err("it contains a control character".to_owned()),
        length => Err(format!("it has {length} characters")),
    };
    deserializer.deserialize_str(Text { allowed, read })
}

/// An absolute path: the working directory of a service is no place to look from.
pub(super) fn absolute_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    let allowed = "an absolute path without control characters";
    let read = |text: &str| match Path::new(text).is_absolute() && !text.contains(char::is_control) {
        true => Ok(Some(PathBuf::from(text))),
        false => Err(format!("{text:?} is none")),
    };
    deserializer.deserialize_str(Text { allowed, read })
}

/// A loopback address with a port, or a path.
pub(super) fn listen<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Listen>, D::Error> {
    let allowed = "a loopback address with a port such as \"127.0.0.1:9464\", or the absolute path of a socket";
    let read = |text: &str| {
        if Path::new(text).is_absolute() && !text.contains(char::is_control) {
            return Ok(Some(Listen::Unix(PathBuf::from(text))));
        }
        match text.parse::<SocketAddr>() {
            Ok(address) if address.ip().to_canonical().is_loopback() => Ok(Some(Listen::Tcp(address))),
            Ok(_) => Err(format!("others could reach {text:?}")),
            Err(_) => Err(format!("{text:?} is none")),
        }
    };
    deserializer.deserialize_str(Text { allowed, read })
}

/// A ring's size.
pub(super) fn ring<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    struct Ring;
    impl Visitor<'_> for Ring {
        type Value = u32;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a number of bytes, a power of two from {} to {}", RING.start(), RING.end())
        }

        fn visit_i64<E: serde::de::Error>(self, bytes: i64) -> Result<u32, E> {
            let ring = u32::try_from(bytes).ok().filter(|bytes| bytes.is_power_of_two() && RING.contains(bytes));
            ring.ok_or_else(|| E::invalid_value(serde::de::Unexpected::Signed(bytes), &self))
        }
    }
    deserializer.deserialize_i64(Ring)
}
