//! Whether the hook for connections still fires.
//!
//! The kernel counts by itself the connections that the host attempts (`ActiveOpens` of RFC 4022, in `/proc/net/snmp` of each
//! network namespace). Where those go on and the hook sees none, somebody has switched it off behind the sensor's back, as by
//! `/sys/kernel/debug/kprobes/enabled`. Nothing like it is counted for accepts and executions.

use std::fs;

/// The counters of the first process's network namespace, which is the host's.
const SNMP: &str = "/proc/1/net/snmp";
/// Connections from which on silence is none by chance.
const ENOUGH: u64 = 3;

/// Connections that the host's own network namespace has attempted; `None` where the kernel does not tell.
#[must_use]
pub fn active_opens() -> Option<u64> {
    field(&fs::read_to_string(SNMP).ok()?, "Tcp:", "ActiveOpens")
}

/// A number of a table of two lines, the first of which has the names.
fn field(table: &str, prefix: &str, name: &str) -> Option<u64> {
    let mut lines = table.lines().filter_map(|line| line.strip_prefix(prefix));
    let (names, values) = (lines.next()?, lines.next()?);
    let place = names.split_whitespace().position(|one| one == name)?;
    values.split_whitespace().nth(place)?.parse().ok()
}

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The hook has fallen silent.
    Silent,
    /// It fires again.
    Back,
}

/// Compares what the hook sees with what the kernel counts.
#[derive(Debug, Default)]
pub struct Witness {
    /// What the kernel had counted and the hook had seen when the hook had last seen anything.
    last: Option<(u64, u64)>,
    silent: bool,
}

impl Witness {
    /// Takes in what the kernel has counted and what the hook has seen, each since whenever.
    pub fn look(&mut self, counted: u64, seen: u64) -> Option<Change> {
        let (then, seen_then) = *self.last.get_or_insert((counted, seen));
        if seen != seen_then {
            self.last = Some((counted, seen));
            return std::mem::take(&mut self.silent).then_some(Change::Back);
        }
        let silent = counted.saturating_sub(then) >= ENOUGH;
        (silent && !std::mem::replace(&mut self.silent, true)).then_some(Change::Silent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_found_by_its_name() {
        let table = "Ip: Forwarding DefaultTTL\nIp: 1 64\nTcp: RtoAlgorithm MaxConn ActiveOpens PassiveOpens\nTcp: 1 -1 1748 392\n";
        assert_eq!(field(table, "Tcp:", "ActiveOpens"), Some(1748));
        for other in ["", "Tcp: ActiveOpens\n", "Tcp: ActiveOpens\nTcp: many\n", "Tcp: MaxConn\nTcp: 5\n"] {
            assert_eq!(field(other, "Tcp:", "ActiveOpens"), None, "{other}");
        }
    }

    #[test]
    fn this_host_tells() {
        assert!(active_opens().is_some());
    }

    #[test]
    fn silence_counts_only_while_connections_are_made() {
        let mut witness = Witness::default();
        assert_eq!(witness.look(100, 5), None);
        assert_eq!(witness.look(100, 5), None, "a quiet host");
        assert_eq!(witness.look(110, 15), None, "as many as there are");
        assert_eq!(witness.look(112, 15), None, "a few are not enough");
        assert_eq!(witness.look(113, 15), Some(Change::Silent));
        assert_eq!(witness.look(150, 15), None, "told once");
        assert_eq!(witness.look(151, 16), Some(Change::Back));
        assert_eq!(witness.look(151, 90), None, "other namespaces count elsewhere");
        assert_eq!(witness.look(154, 90), Some(Change::Silent));
    }
}
