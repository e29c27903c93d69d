//! Which connection an execution takes; the order in which a live run delivers; bounds.

use super::*;
use crate::detect::rule::REVERSE_SHELL_VIA_CHILD;
use crate::event::facts::Millis;
use crate::event::{BootTime, WallTime};
use serde_json::{Value, json};
use std::time::Duration;

struct Run {
    correlator: Correlator<String>,
}

fn started() -> Run {
    limited(MAX_PROCESSES)
}

fn limited(max: usize) -> Run {
    Run { correlator: Correlator::new(&REVERSE_SHELL_VIA_CHILD, Parameters::default(), max) }
}

fn connection(id: &str, process: &str, at: impl Into<Value>) -> Value {
    json!({
        "@timestamp": at.into(),
        "event": {"id": id, "category": "network", "type": "start", "action": "connection_attempted"},
        "host": {"id": "h"},
        "process": {"entity_id": process, "name": "bash"},
        "destination": {"ip": "198.51.100.1"},
    })
}

fn exec(id: &str, process: &str, at: impl Into<Value>) -> Value {
    json!({
        "@timestamp": at.into(),
        "event": {"id": id, "category": "process", "type": "start", "action": "exec"},
        "host": {"id": "h"},
        "process": {"entity_id": process, "name": "bash", "args": ["bash", "-i"]},
    })
}

/// As this sensor writes it: the boot clock in milliseconds and nanoseconds beyond, and the wall clock far off.
fn booted(mut document: Value, ms: u64, ns: u64, sequence: u64, arm: Option<u64>) -> Value {
    document["sensor"] = json!({"boot_id": "b", "boot_ns": ms * 1_000_000 + ns});
    document["event"]["sequence"] = json!(sequence);
    if let Some(arm) = arm {
        document["sensor"]["arm"] = json!(arm);
    }
    document
}

fn live_connection(id: &str, ms: u64, ns: u64, arm: u64) -> Value {
    booted(connection(id, "p", 0), ms, ns, arm, Some(arm))
}

fn live_exec(id: &str, ms: u64, ns: u64) -> Value {
    booted(exec(id, "p", 0), ms, ns, 1000, None)
}

impl Run {
    fn push(&mut self, document: &Value) -> String {
        let facts = Facts::from_value(document).unwrap();
        let id = facts.event_id.as_ref().unwrap().to_string();
        match self.correlator.push(&facts, id) {
            Outcome::Match(Match { connection: Some((connection, elapsed_ms)), exec, .. }) => {
                format!("{connection}+{exec} {elapsed_ms}ms")
            }
            Outcome::Match(Match { exec, .. }) => format!("{exec} alone"),
            Outcome::TooOld { connection, elapsed_ms } => format!("{connection} too old {elapsed_ms}ms"),
            other => format!("{other:?}"),
        }
    }
}

#[test]
fn connect_then_exec_matches() {
    let mut run = started();
    assert_eq!(run.push(&connection("c", "p", 1000)), "Pending");
    assert_eq!(run.push(&exec("e", "p", 1500)), "c+e 500ms");
}

#[test]
fn the_newest_connection_is_taken() {
    let mut run = started();
    run.push(&connection("c1", "p", 1000));
    run.push(&connection("c2", "p", 1200));
    assert_eq!(run.push(&exec("e", "p", 1500)), "c2+e 300ms");
}

#[test]
fn a_connection_serves_at_most_one_exec_and_takes_the_older_ones_along() {
    let mut run = started();
    run.push(&connection("c1", "p", 1000));
    run.push(&connection("c2", "p", 1200));
    run.push(&exec("e1", "p", 1500));
    assert_eq!(run.push(&exec("e2", "p", 1600)), "NoConnection");
}

#[test]
fn a_new_connection_gives_a_new_alert() {
    let mut run = started();
    run.push(&connection("c1", "p", 1000));
    run.push(&exec("e1", "p", 1500));
    run.push(&connection("c2", "p", 1600));
    assert_eq!(run.push(&exec("e2", "p", 1700)), "c2+e2 100ms");
}

#[test]
fn only_a_connection_before_the_exec_is_taken() {
    let mut run = started();
    run.push(&connection("c1", "p", 1000));
    run.push(&connection("c2", "p", 1501));
    assert_eq!(run.push(&exec("e1", "p", 1500)), "c1+e1 500ms");
    assert_eq!(run.push(&exec("e2", "p", 1502)), "c2+e2 1ms");
}

#[test]
fn within_a_millisecond_network_comes_before_process() {
    let mut run = started();
    run.push(&connection("c1", "p", "2026-05-28T20:26:41.700Z"));
    run.push(&connection("c2", "p", "2026-05-28T20:26:41.800900Z"));
    assert_eq!(run.push(&exec("e1", "p", "2026-05-28T20:26:41.800Z")), "c2+e1 0ms");
    assert_eq!(run.push(&exec("e2", "p", "2026-05-28T20:26:41.801Z")), "NoConnection");
}

#[test]
fn of_connections_in_one_millisecond_the_last_is_taken() {
    let mut run = started();
    for place in 0..100 {
        run.push(&connection(&format!("c{place}"), "p", 1000));
    }
    assert_eq!(run.push(&exec("e1", "p", 1001)), "c99+e1 1ms");
    assert_eq!(run.push(&exec("e2", "p", 1002)), "NoConnection");
}

#[test]
fn exactly_the_span_matches_and_one_millisecond_more_does_not() {
    let mut run = started();
    run.push(&connection("c1", "p", "2026-05-28T20:26:41.000999Z"));
    assert_eq!(run.push(&exec("e1", "p", "2026-05-28T20:26:46.000001Z")), "c1+e1 5000ms");
    run.push(&connection("c2", "p", "2026-05-28T20:27:41.000999Z"));
    assert_eq!(run.push(&exec("e2", "p", "2026-05-28T20:27:46.001000Z")), "c2 too old 5001ms");
}

#[test]
fn a_connection_is_gone_even_when_the_span_rejects_it() {
    let mut run = started();
    run.push(&connection("c", "p", 0));
    assert_eq!(run.push(&exec("e1", "p", 6000)), "c too old 6000ms");
    assert_eq!(run.push(&exec("e2", "p", 6001)), "NoConnection");
}

#[test]
fn events_that_are_no_stage_leave_the_connection_waiting() {
    let mut run = started();
    run.push(&connection("c", "p", 1000));
    let mut setsid = exec("x", "p", 1100);
    setsid["process"]["name"] = json!("setsid");
    let mut plain = exec("x", "p", 1100);
    plain["process"]["args"] = json!(["bash"]);
    let mut excluded = connection("x", "p", 1200);
    excluded["destination"]["ip"] = json!("127.0.0.1");
    let mut exit = exec("x", "p", 1300);
    exit["event"]["type"] = json!("end");
    let mut fork = exec("x", "p", 1300);
    fork["event"]["action"] = json!("fork");
    for document in [setsid, plain, excluded, exit, fork] {
        assert_eq!(run.push(&document), "Irrelevant");
    }
    assert_eq!(run.push(&exec("e", "p", 1500)), "c+e 500ms");
}

#[test]
fn processes_are_told_apart_exactly_and_by_host() {
    let mut run = started();
    run.push(&connection("c", "Zm9", 1000));
    for id in ["zm9", "Zm9x", "Zm", ""] {
        assert_eq!(run.push(&exec("e", id, 1100)), "NoConnection", "{id}");
    }
    let mut elsewhere = exec("e", "Zm9", 1100);
    elsewhere["host"]["id"] = json!("H");
    assert_eq!(run.push(&elsewhere), "NoConnection");
    assert_eq!(run.push(&exec("e", "Zm9", 1100)), "c+e 100ms");
}

#[test]
fn absent_keys_never_match() {
    let mut run = started();
    for name in ["host", "process"] {
        let (mut first, mut second) = (connection("c", "p", 1000), exec("e", "p", 1001));
        for document in [&mut first, &mut second] {
            let member = if name == "host" { "id" } else { "entity_id" };
            document[name][member] = Value::Null;
            assert_eq!(run.push(document), "NoKey");
        }
    }
    assert_eq!(run.correlator.stats().processes, 0);
}

#[test]
fn one_document_can_be_both_stages_but_not_of_the_same_match() {
    let mut run = started();
    let both = |id: &str, at: u64| {
        let mut document = connection(id, "p", at);
        document["event"]["category"] = json!(["network", "process"]);
        document["event"]["action"] = json!(["connection_accepted", "exec"]);
        document["process"]["args"] = json!(["-i"]);
        document
    };
    assert_eq!(run.push(&both("a", 1000)), "NoConnection");
    assert_eq!(run.push(&both("b", 1001)), "a+b 1ms");
    assert_eq!(run.push(&both("c", 1002)), "b+c 1ms");
}

#[test]
fn one_boot_is_ordered_to_the_nanosecond() {
    let mut run = started();
    run.push(&live_connection("c", 10, 5, 1));
    assert_eq!(run.push(&live_exec("e", 10, 6)), "c+e 0ms");
    run.push(&live_connection("c2", 20, 6, 2));
    assert_eq!(run.push(&live_exec("e2", 20, 5)), "NoConnection");
}

#[test]
fn one_boot_is_measured_by_its_own_clock_cut_to_milliseconds() {
    let mut run = started();
    run.push(&live_connection("c1", 10, 999_999, 1));
    assert_eq!(run.push(&live_exec("e1", 5010, 999_999)), "c1+e1 5000ms");
    run.push(&live_connection("c2", 10_000, 999_999, 2));
    assert_eq!(run.push(&live_exec("e2", 15_001, 0)), "c2 too old 5001ms");
}

#[test]
fn the_same_connection_twice_is_one() {
    let mut run = started();
    assert_eq!(run.push(&live_connection("c", 10, 0, 1)), "Pending");
    assert_eq!(run.push(&live_connection("c-again", 10, 0, 1)), "Duplicate");
    assert_eq!(run.push(&live_exec("e", 11, 0)), "c+e 1ms");
    assert_eq!(run.push(&live_connection("c-again", 10, 0, 1)), "Duplicate");
    assert_eq!(run.push(&live_exec("e2", 12, 0)), "NoConnection");
}

#[test]
fn either_ring_may_come_first() {
    let record = live_connection("record", 10, 0, 1);
    let carried = live_connection("carried", 10, 0, 1);
    let shell = live_exec("e", 11, 0);
    let mut run = started();
    let outcomes = [&record, &carried, &shell].map(|document| run.push(document));
    assert_eq!(outcomes, ["Pending", "Duplicate", "record+e 1ms"]);
    let mut run = started();
    let outcomes = [&carried, &shell, &record].map(|document| run.push(document));
    assert_eq!(outcomes, ["Pending", "carried+e 1ms", "Duplicate"]);
}

#[test]
fn an_older_connection_that_arrives_late_never_comes_back() {
    let mut run = started();
    run.push(&live_connection("c2", 20, 0, 2));
    run.push(&live_exec("e1", 30, 0));
    assert_eq!(run.push(&live_connection("c1", 10, 0, 1)), "Duplicate");
    assert_eq!(run.push(&live_exec("e2", 40, 0)), "NoConnection");
}

#[test]
fn a_newer_connection_that_arrives_early_waits_for_its_own_exec() {
    let mut run = started();
    run.push(&live_connection("c2", 30, 0, 2));
    run.push(&live_connection("c1", 10, 0, 1));
    assert_eq!(run.push(&live_exec("e1", 20, 0)), "c1+e1 10ms");
    assert_eq!(run.push(&live_exec("e2", 40, 0)), "c2+e2 10ms");
}

#[test]
fn a_number_of_a_connection_is_its_identity_only_together_with_its_time() {
    let mut run = started();
    run.push(&live_connection("before-restart", 10, 0, 1));
    assert_eq!(run.push(&live_connection("after-restart", 20, 0, 1)), "Pending");
    assert_eq!(run.push(&live_exec("e", 30, 0)), "after-restart+e 10ms");
    assert_eq!(run.push(&live_connection("third-start", 40, 0, 1)), "Pending");
}

#[test]
fn known_connections_can_be_asked_for() {
    let mut run = started();
    let key = Key::new("h", "p");
    let holds = |run: &Run, ms: u64, arm| {
        run.correlator.holds(&key, &Moment::on_boot_clock("b", BootTime(ms * 1_000_000), WallTime(0)), arm)
    };
    assert!(!holds(&run, 20, 2));
    run.push(&live_connection("c", 20, 0, 2));
    assert!(holds(&run, 20, 2) && !holds(&run, 20, 3) && !holds(&run, 10, 1));
    run.push(&live_exec("e", 30, 0));
    assert!(holds(&run, 20, 2), "taken");
    assert!(holds(&run, 10, 1), "passed over");
    assert!(!holds(&run, 40, 3));
}

#[test]
fn a_match_names_the_arguments_that_had_to_be_assumed() {
    let mut run = started();
    let mut unsearched = exec("e", "p", 1001);
    unsearched["process"]["args"] = json!(["bash"]);
    unsearched["sensor"] = json!({"args": {"unsearched": true}});
    for (document, assumed) in [(unsearched.clone(), vec![Field::Args]), (exec("e", "p", 1001), vec![])] {
        run.push(&connection("c", "p", 1000));
        let facts = Facts::from_value(&document).unwrap();
        let Outcome::Match(found) = run.correlator.push(&facts, "e".to_owned()) else { panic!("no match") };
        assert_eq!(found.assumed, assumed);
        run = started();
    }
    unsearched["process"]["args"] = json!(["bash", "-i"]);
    run.push(&connection("c", "p", 1000));
    let facts = Facts::from_value(&unsearched).unwrap();
    let Outcome::Match(found) = run.correlator.push(&facts, "e".to_owned()) else { panic!("no match") };
    assert_eq!(found.assumed, [], "the flag is there to be seen");
}

#[test]
fn parameters_change_for_the_events_to_come() {
    let mut run = started();
    run.push(&connection("c", "p", 1000));
    let excluded = ["198.51.100.0/24".parse::<ipnet::IpNet>().unwrap()];
    run.correlator.set_parameters(Parameters {
        span: Duration::from_secs(1),
        excluded: excluded.iter().collect(),
        ..Parameters::default()
    });
    assert_eq!(run.push(&connection("x", "p", 1500)), "Irrelevant");
    assert_eq!(run.push(&exec("e", "p", 2001)), "c too old 1001ms");
    let mut loopback = connection("l", "p", 3000);
    loopback["destination"]["ip"] = json!("127.0.0.1");
    assert_eq!(run.push(&loopback), "Pending");
}

#[test]
fn a_million_processes_do_not_take_the_memory_of_a_million() {
    let mut run = limited(1000);
    for place in 0..1_000_000u32 {
        let key = Key::new("h", &place.to_string());
        let at = Moment { wall: Millis(0), boot: None };
        let candidate =
            Candidate { at, arm: None, inherited: None, connection: Some(key), exec: None, assumed: Vec::new() };
        run.correlator.push_candidate(candidate, String::new());
        assert!(run.correlator.stats().processes <= 1000);
    }
    assert_eq!(run.correlator.stats(), Stats { processes: 1000, expired: 0, evicted: 999_000 });
    assert_eq!(run.push(&exec("e", "999999", 1)), "+e 1ms", "the newest are kept");
}

#[test]
fn what_can_no_longer_matter_is_forgotten() {
    let mut run = started();
    for place in 0..1000 {
        let document = connection("c", &place.to_string(), place * 100);
        run.push(&document);
        run.correlator.forget_expired(&Moment::of(&Facts::from_value(&document).unwrap()));
    }
    let stats = run.correlator.stats();
    assert_eq!((stats.evicted, stats.processes + usize::try_from(stats.expired).unwrap()), (0, 1000));
    assert!(stats.processes <= 151, "15 s at 10 a second: {stats:?}");
}

#[test]
fn events_far_behind_those_of_other_processes_still_match() {
    let mut run = started();
    run.push(&connection("c", "p", 1000));
    for place in 0..100 {
        run.push(&connection("other", &place.to_string(), 1000 + place * 1000));
    }
    assert_eq!(run.push(&exec("e", "p", 1500)), "c+e 500ms");
}

#[test]
fn one_process_cannot_make_the_state_grow() {
    let mut run = started();
    for ms in 0..10_000 {
        run.push(&live_connection("c", 1000 + ms, 0, ms));
    }
    let waiting = run.correlator.processes.peek(&Key::new("h", "p")).unwrap().process.waiting();
    assert!(waiting <= 256);
    assert_eq!(run.push(&live_exec("e", 11_000, 0)), "c+e 1ms");
}

#[test]
fn many_processes_with_many_connections_cannot_make_the_state_grow() {
    let mut run = limited(1000);
    let sum = |run: &Run| run.correlator.processes.iter().map(|(_, one)| one.process.waiting()).sum::<usize>();
    let mut number = 0;
    for round in 0..16 {
        for process in 0..1000_u32 {
            number += 1;
            let at = Moment { wall: Millis(number), boot: None };
            let connection = Some(Key::new("h", &process.to_string()));
            let candidate = Candidate { at, arm: None, inherited: None, connection, exec: None, assumed: Vec::new() };
            run.correlator.push_candidate(candidate, format!("c{round}"));
            assert!(run.correlator.waiting <= 1250);
        }
        assert_eq!(run.correlator.waiting, sum(&run));
    }
    assert_eq!(run.correlator.stats(), Stats { processes: 1000, expired: 0, evicted: 0 }, "each keeps its last");
    for process in 0..1000_u32 {
        assert!(run.push(&exec("e", &process.to_string(), number)).starts_with("c15+e"), "process {process}");
    }
    assert_eq!((run.correlator.waiting, sum(&run)), (0, 0));
    run.push(&connection("c", "p", number));
    run.correlator.forget_expired(&Moment { wall: Millis(number + 100_000), boot: None });
    assert_eq!((run.correlator.waiting, run.correlator.stats().processes), (0, 0));
}
