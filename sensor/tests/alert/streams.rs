//! Alerts about shells whose standard input and output are connections, with and without a connection in the sequence.

use super::{CREATED, connection, exec, exec_on, extras, faults, finding};
use sensor::alert::{Finding, document};
use sensor::detect::rule::SHELL_ON_SOCKET;
use sensor::event::Direction;
use sensor::event::ecs::Extras;
use sensor::event::stream::{Stream, Tcp};
use sensor::render::block::block;
use sensor::render::look::Look;
use serde_json::{Value, json};

/// Standard input and output are a connection to this address, standard error is /dev/null.
fn streams(remote: &str) -> [Stream; 3] {
    let (local, remote) = ("10.0.0.9:40000".parse().unwrap(), Some(remote.parse().unwrap()));
    let tcp = Stream::Tcp(Tcp { local, remote, state: 1, multipath: true });
    [tcp, tcp, Stream::Device { major: 1, minor: 3 }]
}

/// A shell on the connection that [`connection`] makes.
pub(crate) fn on_socket(extras: &Extras) -> Value {
    exec_on(streams("198.51.100.1:4444"), &["bash"], extras)
}

fn alone(exec: &Value) -> Finding<'_> {
    Finding { rule: &SHELL_ON_SOCKET, connection: None, ..finding(exec, exec) }
}

#[test]
fn without_a_connection_the_streams_tell_of_the_network() {
    let exec = on_socket(&extras());
    let alert = document(&alone(&exec), CREATED);
    assert_eq!(faults(&alert), [""; 0]);
    assert_eq!(alert["rule"]["id"], "shell-on-socket");
    assert_eq!(alert["event"]["severity"], 73);
    assert_eq!(alert["sensor"]["severity"], "high");
    assert_eq!(alert["source"], json!({"ip": "10.0.0.9", "port": 40_000}));
    assert_eq!(alert["destination"], json!({"ip": "198.51.100.1", "port": 4444}));
    assert_eq!(alert["network"], json!({"transport": "tcp", "type": "ipv4", "direction": "unknown"}));
    assert_eq!(alert["related"]["ip"], json!(["10.0.0.9", "198.51.100.1"]));
    assert_eq!(alert["sensor"]["sequence"], json!([exec]));
    assert_eq!(alert["sensor"]["stdio"], exec["sensor"]["stdio"]);
    assert_eq!((alert["sensor"].get("assumed"), alert["sensor"].get("elapsed_ms")), (None, None));
    assert_eq!(
        alert["message"],
        "bash (pid 4242, user www-data) executed \"bash\" with a connection to 198.51.100.1:4444 as its standard input and output"
    );
}

#[test]
fn of_several_rules_the_first_names_the_alert_and_the_worst_grades_it() {
    for (direction, remote, same) in [
        (Direction::Attempted, "198.51.100.1:4444", true),
        (Direction::Accepted, "198.51.100.1:4444", true),
        (Direction::Attempted, "198.51.100.1:4445", false),
        (Direction::Attempted, "198.51.100.7:4444", false),
    ] {
        let connection = connection(direction, &extras());
        let exec = exec_on(streams(remote), &["bash", "-i"], &extras());
        let alert = document(&Finding { others: &[&SHELL_ON_SOCKET], ..finding(&connection, &exec) }, CREATED);
        assert_eq!(faults(&alert), [""; 0]);
        assert_eq!(alert["rule"]["id"], "reverse-shell-via-child");
        assert_eq!(alert["sensor"]["matched_rules"], json!(["reverse-shell-via-child", "shell-on-socket"]));
        assert_eq!((&alert["event"]["severity"], &alert["event"]["risk_score"]), (&json!(73), &json!(73)));
        assert_eq!(alert["sensor"]["severity"], "high");
        assert_eq!(alert["destination"], connection["destination"]);
        assert_eq!(alert["sensor"]["stdio"][0]["in_sequence"], same);
        assert_eq!(
            alert["message"].as_str().unwrap().ends_with("; that connection is its standard input or output"),
            same
        );
        assert_eq!(alert["threat"]["technique"]["id"], json!(["T1059", "T1071"]));
    }
}

#[test]
fn the_block_says_on_which_descriptors_the_connection_is() {
    let exec = on_socket(&extras());
    let look = Look::plain();
    let text = block(&document(&alone(&exec), CREATED), look);
    for line in [
        "ALERT high 73: Shell on a Network Connection (shell-on-socket)\n",
        "10.0.0.9:40000 \u{2500}\u{2500}\u{2500} 198.51.100.1:4444\n",
        "  stdio       0,1 \u{2192} the connection; 2 \u{2192} /dev/null\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
}

#[test]
fn an_execution_of_which_nothing_is_known_says_nothing() {
    let connection = connection(Direction::Attempted, &extras());
    let alert = document(&finding(&connection, &exec(&["bash", "-i"], &extras())), CREATED);
    assert_eq!(alert["sensor"].get("stdio"), None);
}
