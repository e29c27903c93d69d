//! Each operator and each condition of the rule, one test a line of its definition.

use super::*;
use serde_json::{Value, json};

fn connection() -> Value {
    json!({
        "@timestamp": "2026-05-28T20:26:41.700Z",
        "event": {"category": ["network"], "type": ["start"], "action": "connection_attempted"},
        "host": {"id": "h"},
        "process": {"entity_id": "p", "name": "bash"},
        "destination": {"ip": "198.51.100.1"},
    })
}

fn exec() -> Value {
    json!({
        "@timestamp": "2026-05-28T20:26:41.800Z",
        "event": {"category": ["process"], "type": ["start"], "action": "exec"},
        "host": {"id": "h"},
        "process": {"entity_id": "p", "name": "bash", "args": ["bash", "-i"], "parent": {"name": "bash", "args": ["bash"]}},
    })
}

fn with(mut document: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = document.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    if value.is_null() {
        parent.remove(name);
    } else {
        parent.insert(name.to_owned(), value);
    }
    document
}

fn judge(stage: &Stage, document: &Value, unsearched: Unsearched) -> bool {
    stage.holds(&Facts::from_value(document).unwrap(), &Parameters::default(), unsearched)
}

fn connects(pointer: &str, value: Value) -> bool {
    let rule = &REVERSE_SHELL_VIA_CHILD;
    judge(rule.connection.as_ref().unwrap(), &with(connection(), pointer, value), Unsearched::Absent)
}

fn execs(pointer: &str, value: Value) -> bool {
    judge(&REVERSE_SHELL_VIA_CHILD.exec, &with(exec(), pointer, value), Unsearched::Absent)
}

#[test]
fn the_plain_events_are_stages() {
    assert!(connects("/none", Value::Null));
    assert!(execs("/none", Value::Null));
    assert!(!judge(&REVERSE_SHELL_VIA_CHILD.exec, &connection(), Unsearched::Holds));
    assert!(!judge(REVERSE_SHELL_VIA_CHILD.connection.as_ref().unwrap(), &exec(), Unsearched::Holds));
}

#[test]
fn equality_is_case_sensitive_and_knows_no_wildcards() {
    assert!(!connects("/event/category", json!("Network")));
    assert!(!connects("/event/type", json!("START")));
    assert!(!connects("/event/action", json!("Connection_Attempted")));
    assert!(!connects("/event/action", json!("connection_*")));
    assert!(!execs("/event/action", json!("Exec")));
    assert!(!execs("/event/action", json!("executed")));
    assert!(!execs("/process/name", json!("BASH")));
    assert!(!execs("/process/name", json!("*")));
}

#[test]
fn a_condition_holds_if_any_element_satisfies_it() {
    assert!(connects("/event/category", json!(["process", "network"])));
    assert!(connects("/event/type", json!(["connection", "start"])));
    assert!(execs("/event/action", json!(["fork", "exec"])));
    assert!(execs("/event/type", json!(["start", "end"])));
    assert!(execs("/process/args", json!("-i")));
    assert!(!connects("/event/type", json!(["end"])));
    assert!(!connects("/event/type", json!([])));
}

#[test]
fn connections_attempted_and_accepted_count() {
    assert!(connects("/event/action", json!("connection_accepted")));
    for action in ["disconnect_received", "lookup_result", "end", "exec"] {
        assert!(!connects("/event/action", json!(action)), "{action}");
    }
}

#[test]
fn shells_and_socat_connect_in_any_case() {
    for name in ["bash", "dash", "sh", "tcsh", "csh", "zsh", "ksh", "fish", "socat", "BASH", "sOcAt", "Sh"] {
        assert!(connects("/process/name", json!(name)), "{name}");
    }
    for name in
        ["nc", "busybox", "rbash", "bas", "bash ", "sh ", "\u{212a}sh", "fi\u{17f}h", "ba\u{17f}h", "socat1", ""]
    {
        assert!(!connects("/process/name", json!(name)), "{name:?}");
    }
    assert!(!connects("/process/name", Value::Null));
}

#[test]
fn only_shells_are_executed_and_in_small_letters() {
    for name in SHELLS {
        assert!(execs("/process/name", json!(name)), "{name}");
    }
    for name in ["socat", "Sh", "bash ", "rbash", "\u{212a}sh", "ba\u{17f}h", ""] {
        assert!(!execs("/process/name", json!(name)), "{name:?}");
    }
}

#[test]
fn the_destination_must_be_there_and_not_excluded() {
    assert!(!connects("/destination/ip", Value::Null));
    assert!(!connects("/destination/ip", json!("somewhere")));
    assert!(!connects("/destination/ip", json!("")));
    for (ip, counts) in [
        ("126.255.255.255", true),
        ("127.0.0.0", false),
        ("127.255.255.255", false),
        ("128.0.0.0", true),
        ("169.253.255.255", true),
        ("169.254.0.0", false),
        ("169.254.255.255", false),
        ("169.255.0.0", true),
        ("223.255.255.255", true),
        ("224.0.0.0", false),
        ("239.255.255.255", false),
        ("240.0.0.0", true),
        ("255.255.255.255", true),
        ("0.0.0.0", true),
        ("10.0.0.5", true),
        ("::", true),
        ("::1", false),
        ("0:0:0:0:0:0:0:1", false),
        ("::2", true),
        ("::7f00:1", true),
        ("::127.0.0.1", true),
        ("::ffff:127.0.0.1", false),
        ("::ffff:224.0.0.1", false),
        ("::ffff:198.51.100.1", true),
        ("64:ff9b::7f00:1", true),
        ("fe80::1", true),
        ("ff02::1", true),
        ("2001:db8::1", true),
    ] {
        assert_eq!(connects("/destination/ip", json!(ip)), counts, "{ip}");
    }
}

#[test]
fn of_several_destinations_none_may_be_excluded() {
    assert!(connects("/destination/ip", json!(["198.51.100.1", "10.0.0.5"])));
    assert!(!connects("/destination/ip", json!(["198.51.100.1", "127.0.0.1"])));
    assert!(connects("/destination/ip", json!(["what", "198.51.100.1"])), "what is no address is not there");
    assert!(!connects("/destination/ip", json!([])));
}

#[test]
fn an_argument_is_a_flag_in_any_case_but_not_a_part_of_one() {
    for (args, counts) in [
        (json!(["bash", "-i"]), true),
        (json!(["bash", "-l"]), true),
        (json!(["bash", "-I"]), true),
        (json!(["bash", "-L"]), true),
        (json!(["bash", "script.sh", "-l"]), true),
        (json!(["bash", "--login", "-i"]), true),
        (json!(["bash", "", "-i"]), true),
        (json!(["-i"]), true),
        (json!(["bash", "-li"]), false),
        (json!(["bash", "-il"]), false),
        (json!(["bash", "--login"]), false),
        (json!(["bash", "-i "]), false),
        (json!(["bash", "-c", "bash -i"]), false),
        (json!(["bash", "\u{2026}"]), false),
        (json!(["bash", "\u{2026}", "-i"]), true),
        (json!([]), false),
        (Value::Null, false),
    ] {
        assert_eq!(execs("/process/args", args.clone()), counts, "{args}");
    }
}

#[test]
fn a_child_of_a_socat_that_executes_needs_no_flag() {
    let socat = |name: &str, args: Value| {
        let document = with(exec(), "/process/args", json!(["bash"]));
        let document = with(document, "/process/parent/name", json!(name));
        let document = with(document, "/process/parent/args", args);
        judge(&REVERSE_SHELL_VIA_CHILD.exec, &document, Unsearched::Absent)
    };
    assert!(socat("socat", json!(["socat", "TCP:1.2.3.4:5", "EXEC:bash"])));
    assert!(socat("socat", json!(["socat", "tcp:exec.example:1", "-"])));
    assert!(socat("socat", json!("a\nexec\nb")));
    assert!(!socat("socat", json!(["socat", "TCP:1:2", "SYSTEM:bash"])));
    assert!(!socat("socat", json!(["socat", "E\u{d7}EC:bash"])));
    assert!(!socat("socat", json!(["socat", format!("EXEC:{}", "A".repeat(1024))])));
    assert!(!socat("Socat", json!(["socat", "EXEC:bash"])), "the parent's name is compared exactly");
    assert!(!socat("socat1", json!(["socat", "EXEC:bash"])));
    assert!(!socat("bash", json!(["bash", "-c", "exec x"])));
}

#[test]
fn a_long_argument_is_never_found() {
    let long = format!("exec{}", "A".repeat(1020));
    let document = with(exec(), "/process/args", json!(["bash"]));
    let document = with(document, "/process/parent", json!({"name": "socat", "args": [long]}));
    assert!(judge(&REVERSE_SHELL_VIA_CHILD.exec, &document, Unsearched::Absent));
    let document = with(document, "/process/parent/args", json!([format!("{long}A")]));
    assert!(!judge(&REVERSE_SHELL_VIA_CHILD.exec, &document, Unsearched::Absent));
    let document = with(document, "/process/parent/args", json!([format!("{long}A"), "exec"]));
    assert!(judge(&REVERSE_SHELL_VIA_CHILD.exec, &document, Unsearched::Absent));
}

#[test]
fn either_name_of_a_process_is_its_name() {
    assert!(connects("/process", json!({"name": "socat1", "thread": {"name": "socat"}})));
    assert!(connects("/process", json!({"name": "bash", "thread": {"name": "kworker"}})));
    assert!(execs("/process", json!({"name": "busybox", "thread.name": "sh", "args": "-i"})));
    let parent = json!({"name": "socat1", "thread": {"name": "socat"}, "args": ["socat1", "EXEC:sh"]});
    assert!(execs("/process", json!({"name": "sh", "args": ["sh"], "parent": parent})));
}

#[test]
fn an_unsearched_rest_counts_as_matching_and_only_where_it_is_asked_for() {
    let rule = &REVERSE_SHELL_VIA_CHILD.exec;
    let mut document = with(exec(), "/process/args", json!(["bash"]));
    document["sensor"] = json!({"args": {"unsearched": true}});
    assert!(judge(rule, &document, Unsearched::Holds));
    assert!(!judge(rule, &document, Unsearched::Absent));
    assert!(!judge(rule, &with(document, "/process/name", json!("nc")), Unsearched::Holds));

    let mut document = with(exec(), "/process/args", json!(["bash"]));
    document["sensor"] = json!({"parent": {"args_unsearched": true}});
    assert!(!judge(rule, &document, Unsearched::Holds), "the parent is no socat");
    let document = with(document, "/process/parent/name", json!("socat"));
    assert!(judge(rule, &document, Unsearched::Holds));
    assert!(!judge(rule, &document, Unsearched::Absent));
}

#[test]
fn rules_are_found_by_their_id_and_no_two_share_one() {
    for rule in RULES {
        assert!(std::ptr::eq(find(rule.id).unwrap(), rule));
        assert!(rule.risk_score <= 100 && rule.version > 0 && rule.reference.starts_with("https://"));
    }
    assert!(find("nonsense").is_none());
}

#[test]
fn the_kernel_side_lets_every_name_through() {
    let names = kernel_names(&Relays::default());
    for name in CONNECTING {
        assert!(names.connecting.contains(&Name::new(name)), "{name}");
        assert_eq!(Name::new(name).to_lower(), Name::new(name), "compared in small letters");
    }
    for name in SHELLS {
        assert!(names.executed.contains(&Name::new(name)), "{name}");
    }
    assert_eq!(names.parent, Name::new("socat"));
    assert_eq!(names.connecting.iter().filter(|name| **name != Name::NEVER).count(), CONNECTING.len());
    assert_eq!(names.executed.iter().filter(|name| **name != Name::NEVER).count(), SHELLS.len());
}

/// An execution in a process that has inherited the connection of `maker`.
fn inheriting(maker: &str) -> Value {
    let mut document = with(exec(), "/sensor", json!({"inherited": {"arm": 1, "entity_id": maker}}));
    document["process"]["parent"]["entity_id"] = json!("parent");
    document
}

fn key_of(stage: &Stage, document: &Value) -> Option<Key> {
    stage.key(&Facts::from_value(document).unwrap())
}

#[test]
fn each_rule_says_whose_connection_counts() {
    let key = |process| Some(Key::new("h", process));
    let below = with(exec(), "/process/parent/entity_id", json!("parent"));
    for (rule, of_inherited, of_others) in [
        (&REVERSE_SHELL_VIA_CHILD, "p", "p"),
        (&REVERSE_SHELL, "maker", "parent"),
        (&SHELL_ON_SOCKET, "p", "p"),
        (&RELAYED_SHELL, "maker", "p"),
    ] {
        assert_eq!(key_of(&rule.exec, &inheriting("maker")), key(of_inherited), "{}", rule.id);
        assert_eq!(key_of(&rule.exec, &below), key(of_others), "{}", rule.id);
        if let Some(connection_stage) = &rule.connection {
            assert_eq!(key_of(connection_stage, &connection()), key("p"), "{}", rule.id);
        }
    }
    assert_eq!(key_of(&REVERSE_SHELL.exec, &exec()), None, "the document names no parent");
}

#[test]
fn the_sibling_asks_for_the_same_events() {
    for document in [exec(), with(exec(), "/process/args", json!(["bash"])), connection()] {
        let holds = |rule: &Rule| judge(&rule.exec, &document, Unsearched::Absent);
        assert_eq!(holds(&REVERSE_SHELL), holds(&REVERSE_SHELL_VIA_CHILD), "{document}");
    }
}

#[test]
fn programs_that_relay_connect_and_their_shells_read_commands() {
    let connects = |name: &str| {
        let document = with(connection(), "/process/name", json!(name));
        judge(RELAYED_SHELL.connection.as_ref().unwrap(), &document, Unsearched::Absent)
    };
    for (name, counts) in
        [("python3.11", true), ("socat", true), ("nc.traditional", true), ("bash", false), ("nginx", false)]
    {
        assert_eq!(connects(name), counts, "{name}");
    }
    let pipe = |fd: u8| json!({"fd": fd, "kind": "pipe"});
    let shell = |args: Value, stdio: Value| {
        let document = with(exec(), "/process/args", args);
        judge(&RELAYED_SHELL.exec, &with(document, "/sensor", json!({"stdio": stdio})), Unsearched::Absent)
    };
    assert!(shell(json!(["bash"]), json!([pipe(0), pipe(1)])));
    assert!(shell(json!(["sh", "-i"]), json!([pipe(0), {"fd": 1, "kind": "socket", "family": "unix"}])));
    assert!(!shell(json!(["sh", "-c", "id"]), json!([pipe(0), pipe(1)])));
    assert!(!shell(json!(["sh"]), json!([pipe(0), {"fd": 1, "kind": "file"}])));
    assert!(!shell(json!(["sh"]), json!([pipe(0)])), "nothing is known of the output");
    assert!(!shell(json!(["sh"]), json!([])), "documents of others say nothing of it");
}
