//! What the documents of events hold.

use super::*;
use crate::event::facts::{Facts, Field};
use crate::event::surroundings::{Device, Surroundings};
use crate::event::{Ancestor, Reason, WallTime};

fn origin() -> Origin {
    Origin {
        host_id: "host-1".to_owned(),
        boot_id: "boot-1".to_owned(),
        host: json!({"id": "host-1", "name": "h"}),
        offset: WallOffset::between(BootTime(1_000_000_000), WallTime(1_700_000_001_000_000_000)),
        hooks: "connect=fentry".to_owned(),
        degraded: vec!["something is not seen"],
    }
}

fn key(tgid: u32) -> ProcessKey {
    ProcessKey { tgid, start: BootTime(u64::from(tgid) * 1_000_000) }
}

fn bash() -> Executable {
    Executable { name: b"bash".to_vec(), path: b"/usr/bin/bash".to_vec(), state: PathState::Whole }
}

fn socat() -> Executable {
    Executable { name: b"socat1".to_vec(), path: b"/usr/bin/socat1".to_vec(), state: PathState::Whole }
}

fn lineage() -> Lineage {
    let socat = Ancestor { key: key(7), uid: 0, comm: b"socat".to_vec(), exe: b"socat1".to_vec() };
    Lineage { ancestors: vec![socat], more: true }
}

fn connection() -> Connection {
    Connection {
        arm: 42,
        at: BootTime(2_000_000_001),
        direction: Direction::Attempted,
        process: key(10),
        tid: 11,
        uid: 1000,
        gid: 100,
        comm: b"iou-wrk-10".to_vec(),
        leader_comm: b"bash".to_vec(),
        executable: bash(),
        lineage: lineage(),
        local: "198.51.100.1:0".parse().unwrap(),
        remote: "203.0.113.9:4444".parse().unwrap(),
        found_at_start: false,
        witness: 1,
    }
}

fn exec() -> Exec {
    Exec {
        at: BootTime(3_000_000_000),
        process: key(10),
        old_tid: 10,
        uid: 1000,
        gid: 100,
        euid: 0,
        loginuid: None,
        comm: b"sh".to_vec(),
        executable: bash(),
        args: Args { copied: vec![b"sh".to_vec(), b"\xff-i".to_vec()], count: 2, ..Args::default() },
        lineage: lineage(),
        parent_executable: socat(),
        streams: Default::default(),
        surroundings: Surroundings::default(),
        reason: Reason::Armed,
        generations: 0,
        connection: None,
    }
}

#[test]
fn a_connection_says_who_from_where_to_where() {
    let document = origin().connection(&connection(), 5, &Extras::default());
    assert_eq!(document["@timestamp"], "2023-11-14T22:13:22.000000001Z");
    assert_eq!(document["event"]["action"], "connection_attempted");
    assert_eq!(document["process"]["thread"]["name"], json!(["iou-wrk-10", "bash"]));
    assert_eq!(document["source"], json!({"ip": "198.51.100.1"}));
    assert_eq!(document["destination"], json!({"ip": "203.0.113.9", "port": 4444}));
    assert_eq!(document["network"]["direction"], "egress");
    assert_eq!(document["sensor"]["arm"], 42);
    assert_eq!(document["sensor"]["witness"], json!(["connect"]));
    assert_eq!(document["sensor"]["degraded"], json!(["something is not seen"]));
    let facts = Facts::from_value(&document).unwrap();
    assert_eq!(facts.values(Field::ProcessName).collect::<Vec<_>>(), ["bash", "iou-wrk-10", "bash"]);
    assert_eq!(facts.arm, Some(42));
}

#[test]
fn an_accepted_connection_comes_from_its_peer() {
    let event = Connection { direction: Direction::Accepted, ..connection() };
    let document = origin().connection(&event, 5, &Extras::default());
    assert_eq!(document["source"]["ip"], "203.0.113.9");
    assert_eq!(document["destination"]["ip"], "198.51.100.1");
    assert_eq!(document["network"]["direction"], "ingress");
}

#[test]
fn a_port_is_completed_once() {
    let mut document = origin().connection(&connection(), 5, &Extras::default());
    complete_port(&mut document, 0);
    assert!(document["sensor"]["absent"]["source.port"].is_string());
    assert!(document["source"].get("port").is_none());
    complete_port(&mut document, 40_000);
    complete_port(&mut document, 50_000);
    assert_eq!(document["source"]["port"], 40_000);
    assert!(document["sensor"].get("absent").is_none());
}

#[test]
fn one_process_has_one_entity_id_in_all_its_documents() {
    let origin = origin();
    let connected = origin.connection(&connection(), 1, &Extras::default());
    let executed = origin.exec(&exec(), 2, &Extras::default());
    assert_eq!(connected["process"]["entity_id"], executed["process"]["entity_id"]);
    assert_ne!(executed["process"]["entity_id"], executed["process"]["parent"]["entity_id"]);
    assert_ne!(connected["event"]["id"], executed["event"]["id"]);
}

#[test]
fn an_inherited_connection_is_named_with_the_process_that_made_it() {
    let maker = Connection { process: key(3), ..connection() };
    let inherited = Exec { connection: Some(maker), generations: 2, ..exec() };
    let document = origin().exec(&inherited, 2, &Extras::default());
    let expected = json!({"arm": 42, "entity_id": origin().entity_id(key(3)), "pid": 3, "generations": 2});
    assert_eq!(document["sensor"]["inherited"], expected);
    let facts = Facts::from_value(&document).unwrap();
    assert_eq!((facts.inherited, facts.arm), (Some(42), None));
    assert_eq!(facts.first(Field::InheritedFrom), expected["entity_id"].as_str());
    assert_eq!(facts.first(Field::ParentEntityId), document["process"]["parent"]["entity_id"].as_str());
    let own = Exec { connection: Some(connection()), ..exec() };
    assert!(origin().exec(&own, 2, &Extras::default())["sensor"].get("inherited").is_none());
}

#[test]
fn bytes_that_are_no_text_stay_readable_and_are_marked() {
    let document = origin().exec(&exec(), 2, &Extras::default());
    assert_eq!(document["process"]["args"], json!(["sh", "\\xff-i"]));
    assert_eq!(document["sensor"]["escaped"], json!(["process.args"]));
    assert_eq!(document["user"], json!({"id": "1000", "effective": {"id": "0"}}));
}

#[test]
fn flags_found_beyond_the_copied_arguments_stand_behind_a_marker() {
    let args = Args {
        copied: vec![b"sh".to_vec()],
        count: 900,
        truncated: true,
        found_beyond: vec!["-i"],
        unsearched: true,
        redacted: false,
    };
    let document = origin().exec(&Exec { args, ..exec() }, 2, &Extras::default());
    assert_eq!(document["process"]["args"], json!(["sh", "…", "-i"]));
    assert_eq!(document["process"]["args_count"], 900);
    assert_eq!(document["process"]["command_line"], "sh");
    assert_eq!(document["sensor"]["args"], json!({"truncated": true, "unsearched": true}));
}

#[test]
fn a_parent_carries_its_arguments_and_where_they_come_from() {
    let args = Args { copied: vec![b"socat".to_vec(), b"EXEC:sh".to_vec()], count: 2, ..Args::default() };
    let parent = ParentProgram { args, source: ParentSource::Exec };
    let extras = Extras {
        user: Some("u".to_owned()),
        container: Some("c".to_owned()),
        parent: Some(parent),
        ..Extras::default()
    };
    let document = origin().exec(&exec(), 2, &extras);
    let parent = &document["process"]["parent"];
    assert_eq!((&parent["name"], &parent["thread"]["name"]), (&json!("socat1"), &json!("socat")));
    assert_eq!((&parent["executable"], &parent["args"]), (&json!("/usr/bin/socat1"), &json!(["socat", "EXEC:sh"])));
    assert_eq!(document["sensor"]["parent"]["args_source"], "exec");
    assert_eq!((&document["user"]["name"], &document["container"]["id"]), (&json!("u"), &json!("c")));
}

#[test]
fn what_is_not_known_of_a_path_is_said() {
    let unknown = Executable { path: Vec::new(), state: PathState::Unknown, ..bash() };
    let document = origin().exec(&Exec { executable: unknown, ..exec() }, 2, &Extras::default());
    assert!(document["process"].get("executable").is_none());
    assert_eq!(document["sensor"]["executable"], "unknown");
    let cut = Executable { path: b"deep/bash".to_vec(), state: PathState::Cut, ..bash() };
    let document = origin().exec(&Exec { executable: cut, ..exec() }, 2, &Extras::default());
    assert_eq!(document["process"]["executable"], "…/deep/bash");
    let cut = Executable { path: b"deep/socat1".to_vec(), state: PathState::Cut, ..socat() };
    let document = origin().exec(&Exec { parent_executable: cut, ..exec() }, 2, &Extras::default());
    assert_eq!(document["process"]["parent"]["executable"], "…/deep/socat1");
}

#[test]
fn rules_are_asked_the_same_of_a_document_of_facts_alone() {
    let inherited = Exec {
        connection: Some(connection()),
        generations: 1,
        args: Args { unsearched: true, found_beyond: vec!["-i"], ..exec().args },
        ..exec()
    };
    let terminal = Some(Some(Device { major: 136, minor: 3 }));
    let leader = Surroundings { session: Some(10), terminal, ..Surroundings::default() };
    let led = Surroundings { session: Some(7), terminal: Some(None), ..Surroundings::default() };
    let alone = Lineage::default();
    let program = ParentProgram { args: exec().args, source: ParentSource::Proc };
    let extras = Extras { parent: Some(program), ..Extras::default() };
    for event in [
        Exec { surroundings: leader, ..exec() },
        Exec { surroundings: led, lineage: alone.clone(), ..exec() },
        inherited,
        exec(),
    ] {
        let (facts, whole) = (origin().exec_facts(&event, 7, &extras), origin().exec(&event, 7, &extras));
        assert_eq!(Facts::from_value(&facts).unwrap(), Facts::from_value(&whole).unwrap());
        assert!(facts.to_string().len() < whole.to_string().len());
    }
    for event in [connection(), Connection { direction: Direction::Accepted, lineage: alone, ..connection() }] {
        let (facts, whole) = (origin().connection_facts(&event, 7), origin().connection(&event, 7, &Extras::default()));
        assert_eq!(Facts::from_value(&facts).unwrap(), Facts::from_value(&whole).unwrap());
        assert!(facts.to_string().len() < whole.to_string().len());
    }
}
