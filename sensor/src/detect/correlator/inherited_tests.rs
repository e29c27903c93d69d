//! Which connection an execution takes whose process has inherited one, or whose parent has made one.

use super::*;
use crate::detect::rule::{RELAYED_SHELL, REVERSE_SHELL};
use serde_json::{Value, json};

fn connection(maker: &str, name: &str, arm: u64) -> Value {
    json!({
        "@timestamp": 0,
        "event": {"id": format!("c{arm}"), "category": "network", "type": "start", "action": "connection_attempted", "sequence": arm},
        "host": {"id": "h"},
        "process": {"entity_id": maker, "name": name},
        "destination": {"ip": "198.51.100.1"},
        "sensor": {"boot_id": "b", "boot_ns": arm * 1_000_000, "arm": arm},
    })
}

/// An execution in a child of `parent`, on pipes, so many milliseconds after the boot.
fn exec(parent: &str, ms: u64) -> Value {
    let pipe = |fd: u8| json!({"fd": fd, "kind": "pipe"});
    json!({
        "@timestamp": 0,
        "event": {"id": "e", "category": "process", "type": "start", "action": "exec", "sequence": ms},
        "host": {"id": "h"},
        "process": {"entity_id": "child", "name": "bash", "args": ["bash", "-i"], "parent": {"entity_id": parent}},
        "sensor": {"boot_id": "b", "boot_ns": ms * 1_000_000, "stdio": [pipe(0), pipe(1)]},
    })
}

fn inheriting(mut exec: Value, maker: &str, arm: u64) -> Value {
    exec["sensor"]["inherited"] = json!({"arm": arm, "entity_id": maker, "generations": 1});
    exec
}

struct Run(Correlator<String>);

impl Run {
    fn of(rule: &'static Rule) -> Self {
        Self(Correlator::new(rule, Parameters::default(), MAX_PROCESSES))
    }

    fn push(&mut self, document: &Value) -> String {
        let facts = Facts::from_value(document).unwrap();
        let id = facts.event_id.as_ref().unwrap().to_string();
        match self.0.push(&facts, id) {
            Outcome::Match(Match { connection: Some((connection, elapsed_ms)), .. }) => {
                format!("{connection} {elapsed_ms}ms")
            }
            Outcome::TooOld { connection, elapsed_ms } => format!("{connection} too old {elapsed_ms}ms"),
            other => format!("{other:?}"),
        }
    }
}

#[test]
fn an_execution_takes_the_connection_that_it_names_and_no_other() {
    let mut run = Run::of(&REVERSE_SHELL);
    (1..=3).for_each(|arm| assert_eq!(run.push(&connection("server", "bash", arm)), "Pending"));
    assert_eq!(run.push(&inheriting(exec("server", 10), "server", 2)), "c2 8ms");
    assert_eq!(run.push(&inheriting(exec("server", 11), "server", 2)), "NoConnection", "it is taken");
    assert_eq!(run.push(&inheriting(exec("server", 12), "server", 1)), "c1 11ms", "older ones are not taken along");
    assert_eq!(run.push(&connection("server", "bash", 2)), "Duplicate", "nor does it come back");
    assert_eq!(run.push(&exec("server", 13)), "c3 10ms", "by the parent alone: the newest");
}

#[test]
fn the_maker_need_not_be_the_parent() {
    let mut run = Run::of(&REVERSE_SHELL);
    run.push(&connection("maker", "bash", 1));
    assert_eq!(run.push(&exec("init", 5)), "NoConnection");
    assert_eq!(run.push(&inheriting(exec("init", 6), "maker", 1)), "c1 5ms");
}

#[test]
fn one_that_is_inherited_is_too_old_at_some_time() {
    let mut run = Run::of(&REVERSE_SHELL);
    run.push(&connection("maker", "bash", 1));
    assert_eq!(run.push(&inheriting(exec("maker", 5002), "maker", 1)), "c1 too old 5001ms");
}

#[test]
fn a_connection_of_a_child_is_kept_however_many_there_are() {
    let mut run = Run::of(&REVERSE_SHELL);
    (1..=1000).for_each(|arm| drop(run.push(&connection("server", "bash", arm))));
    // Its record carries it, so that it is told of once more right before.
    run.push(&connection("server", "bash", 1));
    assert_eq!(run.push(&inheriting(exec("server", 1001), "server", 1)), "c1 1000ms");
}

#[test]
fn a_relay_may_be_the_process_itself_or_an_ancestor() {
    for (maker, exec) in [("child", exec("init", 5)), ("maker", inheriting(exec("init", 5), "maker", 1))] {
        let mut run = Run::of(&RELAYED_SHELL);
        run.push(&connection(maker, "python3.11", 1));
        assert_eq!(run.push(&exec), "c1 4ms", "{maker}");
    }
    let mut run = Run::of(&RELAYED_SHELL);
    run.push(&connection("maker", "python3.11", 1));
    assert_eq!(run.push(&exec("maker", 5)), "NoConnection", "the parent alone is the other rule's");
    assert_eq!(run.push(&connection("maker", "bash", 2)), "Irrelevant");
}
