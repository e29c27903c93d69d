//! What an alert says of standard input, output and error: `sensor.stdio` of the execution, seen beside the connection of the sequence.
//!
//! Two sockets are the same connection if their addresses and ports are the same. That also holds under Multipath TCP, where the descriptor
//! holds another kernel object than the hook has seen.

use super::section::section;
use serde_json::{Map, Value, json};
use std::net::IpAddr;

/// The two ends of a connection, as far as the document tells; of the local port nothing may have been known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ends {
    local: (IpAddr, Option<u64>),
    remote: (IpAddr, Option<u64>),
}

impl Ends {
    /// Those of a connection's document.
    fn of_connection(connection: &Value, accepted: bool) -> Option<Self> {
        let [source, destination] =
            ["source", "destination"].map(|name| end(&Value::Object(section(connection, name)?)));
        let (local, remote) = if accepted { (destination?, source?) } else { (source?, destination?) };
        Some(Self { local, remote })
    }

    /// Those of an entry of `sensor.stdio`.
    fn of_entry(entry: &Value) -> Option<Self> {
        if entry.get("kind")? != "tcp" {
            return None;
        }
        Some(Self { local: end(entry.get("local")?)?, remote: end(entry.get("remote")?)? })
    }

    fn are(&self, other: &Self) -> bool {
        let same = |one: (IpAddr, Option<u64>), other: (IpAddr, Option<u64>)| {
            one.0 == other.0 && one.1.zip(other.1).is_none_or(|(one, other)| one == other)
        };
        same(self.local, other.local) && same(self.remote, other.remote)
    }
}

fn end(end: &Value) -> Option<(IpAddr, Option<u64>)> {
    let ip: IpAddr = end.get("ip")?.as_str()?.parse().ok()?;
    Some((ip.to_canonical(), end.get("port").and_then(Value::as_u64)))
}

/// The entries of `sensor.stdio` of an execution's document.
fn entries(exec: &Value) -> Option<Vec<Value>> {
    match section(exec, "sensor")?.remove("stdio")? {
        Value::Array(entries) => Some(entries),
        _ => None,
    }
}

fn entry(entries: &[Value], descriptor: u64) -> Option<&Value> {
    entries.iter().find(|entry| entry.get("fd").and_then(Value::as_u64) == Some(descriptor))
}

/// Whether standard input or output of an execution is the connection.
pub(super) fn hold(exec: &Value, connection: &Value, accepted: bool) -> bool {
    let Some((entries, ends)) = entries(exec).zip(Ends::of_connection(connection, accepted)) else { return false };
    [0, 1].into_iter().filter_map(|descriptor| Ends::of_entry(entry(&entries, descriptor)?)).any(|one| one.are(&ends))
}

/// `sensor.stdio` of the alert: that of the execution, where each TCP socket also says whether it is the connection of the sequence, if there is one.
pub(super) fn told(exec: &Value, connection: Option<(&Value, bool)>) -> Option<Value> {
    let mut entries = entries(exec)?;
    let ends = connection.and_then(|(connection, accepted)| Ends::of_connection(connection, accepted));
    if let Some(ends) = ends {
        for entry in &mut entries {
            let same = Ends::of_entry(entry).map(|one| one.are(&ends));
            if let (Some(same), Some(entry)) = (same, entry.as_object_mut()) {
                entry.insert("in_sequence".to_owned(), same.into());
            }
        }
    }
    Some(Value::Array(entries))
}

/// `source`, `destination` and `network` where no connection is in the sequence: those of the standard input. Which end began is not known, so
/// this host is the source.
pub(super) fn network(exec: &Value) -> [(&'static str, Option<Map<String, Value>>); 3] {
    let entries = entries(exec).unwrap_or_default();
    let input = entry(&entries, 0);
    let ends = input.and_then(Ends::of_entry);
    let end = |name: &str| ends.and(input?.get(name)?.as_object().cloned());
    let network = ends.and_then(|Ends { remote: (ip, _), .. }| {
        let version = if ip.is_ipv4() { "ipv4" } else { "ipv6" };
        json!({"transport": "tcp", "type": version, "direction": "unknown"}).as_object().cloned()
    });
    [("source", end("local")), ("destination", end("remote")), ("network", network)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exec(remote: &str, port: u16) -> Value {
        let tcp = |fd: u8| json!({"fd": fd, "kind": "tcp", "local": {"ip": "10.0.0.9", "port": 40_000}, "remote": {"ip": remote, "port": port}});
        json!({"sensor": {"stdio": [tcp(0), {"fd": 1, "kind": "pipe"}, tcp(2)]}})
    }

    fn connection(source: (&str, Option<u16>), destination: (&str, u16)) -> Value {
        let source = match source {
            (ip, Some(port)) => json!({"ip": ip, "port": port}),
            (ip, None) => json!({"ip": ip}),
        };
        json!({"source": source, "destination": {"ip": destination.0, "port": destination.1}})
    }

    #[test]
    fn the_connection_is_the_one_with_the_same_addresses_and_ports() {
        let near = ("10.0.0.9", Some(40_000));
        for (connection, accepted, same) in [
            (connection(near, ("198.51.100.1", 4444)), false, true),
            (connection(("10.0.0.9", None), ("198.51.100.1", 4444)), false, true),
            (connection(near, ("::ffff:198.51.100.1", 4444)), false, true),
            (connection(near, ("198.51.100.1", 4445)), false, false),
            (connection(near, ("198.51.100.2", 4444)), false, false),
            (connection(("10.0.0.9", Some(40_001)), ("198.51.100.1", 4444)), false, false),
            (connection(near, ("198.51.100.1", 4444)), true, false),
            (connection(("198.51.100.1", Some(4444)), ("10.0.0.9", 40_000)), true, true),
            (json!({}), false, false),
        ] {
            let exec = exec("198.51.100.1", 4444);
            assert_eq!(hold(&exec, &connection, accepted), same, "{connection}");
            let told = told(&exec, Some((&connection, accepted))).unwrap();
            let expected = if connection == json!({}) { Value::Null } else { same.into() };
            assert_eq!(told[0]["in_sequence"], expected);
            assert_eq!(told[1].get("in_sequence"), None);
            assert_eq!(told[2]["in_sequence"], expected);
        }
    }

    #[test]
    fn without_a_connection_the_standard_input_is_the_network() {
        let [source, destination, network] = network(&exec("2001:db8::1", 4444)).map(|(_, part)| json!(part));
        assert_eq!(source, json!({"ip": "10.0.0.9", "port": 40_000}));
        assert_eq!(destination, json!({"ip": "2001:db8::1", "port": 4444}));
        assert_eq!(network, json!({"transport": "tcp", "type": "ipv6", "direction": "unknown"}));
        for nothing in
            [json!({}), json!({"sensor": {"stdio": "x"}}), json!({"sensor": {"stdio": [{"fd": 1, "kind": "tcp"}, 5]}})]
        {
            assert!(super::network(&nothing).iter().all(|(_, part)| part.is_none()), "{nothing}");
            assert!(!hold(&nothing, &connection(("10.0.0.9", None), ("198.51.100.1", 1)), false));
        }
    }
}
