//! The operators of EQL that the rules use, as Elasticsearch evaluates them.
//!
//! Each takes one value. A condition on a field with several values holds if any value satisfies the operator; that is
//! the caller's loop.

use ipnet::IpNet;
use sensor_common::address::{Address, Prefix, mapped, words};
use std::net::IpAddr;

/// Longest argument that is searched, in UTF-16 units: Elasticsearch does not index a longer one, so that no condition
/// ever finds it.
const LONGEST_ARGUMENT: usize = 1024;

/// `:` with one pattern: letters A to Z equal their small forms, `*` stands for any text and `?` for any one character,
/// line breaks included.
#[must_use]
pub fn like(value: &str, pattern: &str) -> bool {
    if !pattern.contains(['*', '?']) {
        return value.eq_ignore_ascii_case(pattern);
    }
    fits(value, pattern, |one, other| one.eq_ignore_ascii_case(&other))
}

/// The same where small and large letters differ, as `like` of EQL. No longer than the product of both lengths, whatever they are.
#[must_use]
pub fn glob(value: &str, pattern: &str) -> bool {
    fits(value, pattern, |one, other| one == other)
}

fn fits(value: &str, pattern: &str, same: fn(char, char) -> bool) -> bool {
    // Where to go on when the text after a `*` does not fit: one character farther than the last time.
    let mut retry: Option<(&str, &str)> = None;
    let (mut value, mut pattern) = (value, pattern);
    loop {
        let mut expected = pattern.chars();
        let mut found = value.chars();
        match (expected.next(), found.next()) {
            (Some('*'), _) => {
                pattern = expected.as_str();
                retry = Some((value, pattern));
                continue;
            }
            (None, None) => return true,
            (Some(one), Some(other)) if one == '?' || same(one, other) => {
                (value, pattern) = (found.as_str(), expected.as_str());
                continue;
            }
            _ => {}
        }
        let Some((start, after)) = retry else { return false };
        let mut rest = start.chars();
        if rest.next().is_none() {
            return false;
        }
        retry = Some((rest.as_str(), after));
        (value, pattern) = (rest.as_str(), after);
    }
}

/// Whether an argument is short enough to be searched at all.
#[must_use]
pub fn searchable(argument: &str) -> bool {
    // A string has at least as many bytes as UTF-16 units.
    argument.len() <= LONGEST_ARGUMENT || argument.encode_utf16().count() <= LONGEST_ARGUMENT
}

/// The networks of `cidrmatch`. An IPv4 address or network is the same as its IPv4-mapped one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Networks(Vec<(Prefix, IpNet)>);

impl Networks {
    /// `cidrmatch`: whether one of the networks contains the address.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        self.containing(address).is_some()
    }

    /// The first of the networks that contains the address.
    #[must_use]
    pub fn containing(&self, address: IpAddr) -> Option<IpNet> {
        let words = words(&in_16_bytes(address));
        self.0.iter().find(|(prefix, _)| prefix.contains(words)).map(|(_, network)| *network)
    }
}

impl<'n> FromIterator<&'n IpNet> for Networks {
    fn from_iter<I: IntoIterator<Item = &'n IpNet>>(networks: I) -> Self {
        Self(
            networks
                .into_iter()
                .map(|network| {
                    let shift = if network.addr().is_ipv4() { 96 } else { 0 };
                    (Prefix::new(&in_16_bytes(network.addr()), network.prefix_len() + shift), *network)
                })
                .collect(),
        )
    }
}

fn in_16_bytes(address: IpAddr) -> Address {
    match address {
        IpAddr::V4(v4) => mapped(v4.octets()),
        IpAddr::V6(v6) => v6.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(list: &[&str]) -> Networks {
        list.iter().map(|text| text.parse::<IpNet>().unwrap()).collect::<Vec<_>>().iter().collect()
    }

    #[test]
    fn like_folds_ascii_letters_only() {
        assert!(like("BASH", "bash") && like("bash", "BASH"));
        for (value, pattern) in [("\u{212a}sh", "ksh"), ("ba\u{17f}h", "bash"), ("É", "é"), ("[", "{"), ("@", "`")] {
            assert!(!like(value, pattern) && !like(value, &format!("{pattern}*")), "{value} : {pattern}");
        }
    }

    #[test]
    fn like_is_about_the_whole_value() {
        assert!(!like("bash ", "bash") && !like(" bash", "bash") && !like("bas", "bash") && !like("", "bash"));
        assert!(like("", "") && like("", "*") && !like("", "?") && like("", "**"));
    }

    #[test]
    fn wildcards() {
        for (value, pattern, expected) in [
            ("EXEC:bash", "*exec*", true),
            ("tcp:exec.example:1", "*exec*", true),
            ("exe", "*exec*", false),
            ("exexec", "*exec", true),
            ("execx", "*exec", false),
            ("a\nexec\nb", "*exec*", true),
            ("aXbXc", "a*b*c", true),
            ("aXbX", "a*b*c", false),
            ("\u{d7}", "?", true),
            ("\u{1f600}", "?", true),
            ("\n", "?", true),
            ("ab", "?", false),
            ("abab", "*ab", true),
            ("E\u{d7}EC:bash", "*exec*", false),
            ("*", "\\*", false),
        ] {
            assert_eq!(like(value, pattern), expected, "{value:?} : {pattern:?}");
        }
    }

    #[test]
    fn hostile_patterns_take_no_exponential_time() {
        assert!(!like(&"a".repeat(1000), &"a*".repeat(50).replace("a*a*", "a*a*a*").replacen('a', "b", 1)));
        assert!(!like(&"a".repeat(2000), &format!("{}b", "*a".repeat(100))));
    }

    #[test]
    fn long_arguments_are_counted_in_utf16_units() {
        for (text, expected) in [
            ("a".repeat(1024), true),
            ("a".repeat(1025), false),
            ("\u{e9}".repeat(1024), true),
            ("\u{1f600}".repeat(512), true),
            (format!("{}a", "\u{1f600}".repeat(512)), false),
        ] {
            assert_eq!(searchable(&text), expected, "{} bytes", text.len());
        }
    }

    #[test]
    fn mapped_addresses_are_ipv4_addresses() {
        let excluded = networks(&["127.0.0.0/8", "::1/128"]);
        for (text, expected) in [
            ("127.0.0.1", true),
            ("::ffff:127.0.0.1", true),
            ("::127.0.0.1", false),
            ("::ffff:198.51.100.1", false),
            ("::1", true),
            ("0:0:0:0:0:0:0:1", true),
            ("::2", false),
            ("::ffff:0.0.0.1", false),
            ("64:ff9b::7f00:1", false),
        ] {
            assert_eq!(excluded.contain(text.parse().unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn networks_may_be_written_mapped_and_end_where_they_end() {
        let excluded = networks(&["::ffff:10.0.0.0/104", "172.16.5.9/12"]);
        for (text, expected) in [
            ("10.9.9.9", true),
            ("11.0.0.0", false),
            ("172.31.255.255", true),
            ("172.32.0.0", false),
            ("172.15.255.255", false),
        ] {
            assert_eq!(excluded.contain(text.parse().unwrap()), expected, "{text}");
        }
        assert!(networks(&["::/0"]).contain("198.51.100.1".parse().unwrap()));
        assert!(!networks(&["0.0.0.0/0"]).contain("2001:db8::1".parse().unwrap()));
        assert!(!networks(&[]).contain("127.0.0.1".parse().unwrap()));
    }
}
