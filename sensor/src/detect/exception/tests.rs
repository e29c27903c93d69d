use super::*;
use proptest::prelude::*;
use serde_json::json;

fn alert() -> Value {
    json!({
        "rule": {"id": "reverse-shell-via-child"},
        "process": {
            "executable": "/usr/bin/bash",
            "command_line": "bash -i",
            "parent": {"executable": "/usr/bin/timeout", "command_line": "timeout 5 bash -c check"},
        },
        "user": {"id": "998", "name": "monitor"},
        "container": {"id": "3f2a77", "image": {"name": "registry.example.org/agent:1"}},
        "source": {"ip": "10.1.2.3", "port": 40000},
        "destination": {"ip": "10.9.0.1", "port": 8080},
        "sensor": {"sequence": [{}, {"sensor": {
            "args": {"truncated": false},
            "parent": {"args_truncated": false},
            "ancestors": [{"name": "timeout"}, {"name": "agentd"}],
        }}]},
    })
}

fn all() -> Conditions {
    let some = |text: &str| Some(text.to_owned());
    Conditions {
        rule: some("reverse-shell-via-child"),
        executable: some("/usr/*/bash"),
        arguments: some("bash -?"),
        parent: some("/usr/bin/timeout"),
        parent_arguments: some("timeout 5 *"),
        ancestor: some("agent?"),
        user: some("monitor"),
        container: some("3f2a*"),
        image: some("*/agent:?"),
        source: Some("10.1.0.0/16".parse().unwrap()),
        destination: Some("10.9.0.1/32".parse().unwrap()),
        port: Some(8080),
    }
}

fn exception(conditions: Conditions) -> Exception {
    Exception { name: "health".to_owned(), reason: "checks".to_owned(), until: None, conditions }
}

const NOW: WallTime = WallTime(1_800_000_000_000_000_000);

#[test]
fn all_conditions_must_hold() {
    assert!(exception(all()).covers(&alert(), NOW));
    let user_by_number = Conditions { user: Some("998".to_owned()), ..all() };
    assert!(exception(user_by_number).covers(&alert(), NOW));
    let fields = [
        ("/rule/id", json!("shell-on-socket")),
        ("/process/executable", json!("/usr/bin/dash")),
        ("/process/executable", json!("/usr/bin/BASH")),
        ("/process/executable", json!("bash")),
        ("/process/command_line", json!("bash -il")),
        ("/process/parent/executable", json!("memfd:/usr/bin/timeout")),
        ("/process/parent/command_line", json!("timeout 50 x")),
        ("/sensor/sequence/1/sensor/ancestors", json!([{"name": "agent"}, {"comm": "agentd"}])),
        ("/user", json!({"id": "0", "name": "root"})),
        ("/container/id", json!("4f2a77")),
        ("/container/image/name", json!("registry.example.org/other:1")),
        ("/source/ip", json!("10.2.2.3")),
        ("/destination/ip", json!("::1")),
        ("/destination/port", json!(8081)),
        ("/destination/port", json!("8080")),
        ("/sensor/sequence/1/sensor/args/truncated", json!(true)),
        ("/sensor/sequence/1/sensor/parent/args_truncated", json!(true)),
    ];
    for (path, other) in fields {
        let mut alert = alert();
        *alert.pointer_mut(path).unwrap() = other;
        assert!(!exception(all()).covers(&alert, NOW), "{path}");
        *alert.pointer_mut(path).unwrap() = Value::Null;
        let is_flag = path.ends_with("truncated");
        assert_eq!(exception(all()).covers(&alert, NOW), is_flag, "{path}");
    }
}

#[test]
fn a_mapped_address_is_the_one_it_maps() {
    let mut alert = alert();
    alert["destination"]["ip"] = json!("::ffff:10.9.0.1");
    assert!(exception(all()).covers(&alert, NOW));
}

#[test]
fn it_holds_to_the_end_of_its_last_day() {
    let one = Exception { until: Some("2027-01-14".parse().unwrap()), ..exception(all()) };
    // 2027-01-15T00:00:00Z.
    let end = 1_799_971_200_000_000_000;
    assert!(one.covers(&alert(), WallTime(end - 1)) && !one.covers(&alert(), WallTime(end)));
    assert_eq!(one.warnings(WallTime(end)), ["the last day of exception \"health\" is over: it does nothing"]);
}

#[test]
fn one_that_hides_a_shell_is_told() {
    let hidden = |conditions: Conditions| conditions.hidden();
    let only = |text: &str| Conditions { executable: Some(text.to_owned()), ..Conditions::default() };
    assert!(hidden(all()).is_empty());
    assert_eq!(hidden(only("/usr/bin/bash")), ["bash"]);
    assert_eq!(hidden(only("*")).len(), SHELL_COUNT);
    assert_eq!(hidden(Conditions { port: Some(443), ..Conditions::default() }), [""; 0]);
    assert!(hidden(Conditions { user: Some("root".to_owned()), ..only("*") }).is_empty());
    assert_eq!(
        hidden(Conditions { rule: Some("reverse-shell-via-child".to_owned()), ..only("*sh") }).len(),
        SHELL_COUNT
    );
    assert!(hidden(Conditions { rule: Some("another".to_owned()), ..only("*sh") }).is_empty());
    let wide = exception(only("*"));
    assert!(wide.warnings(NOW)[0].contains("so wide that no reverse shell of bash, dash"), "{:?}", wide.warnings(NOW));
}

const SHELL_COUNT: usize = crate::detect::rule::SHELLS.len();

#[test]
fn uses_are_counted_by_name_and_outlive_a_reload() {
    let mut exceptions = Exceptions::default();
    exceptions.set(vec![exception(all())]);
    assert!(exceptions.cover(&alert(), NOW).is_some() && exceptions.cover(&alert(), NOW).is_some());
    assert!(exceptions.cover(&json!({}), NOW).is_none());
    exceptions.set(vec![Exception { name: "other".to_owned(), ..exception(all()) }, exception(all())]);
    assert!(exceptions.cover(&alert(), NOW).is_some());
    assert_eq!(
        exceptions.uses().iter().map(|(name, uses)| (&**name, *uses)).collect::<Vec<_>>(),
        [("health", 2), ("other", 1)]
    );
}

proptest! {
    /// Whatever an alert says, and wherever something else stands than expected, one that lacks what is asked for is told.
    #[test]
    fn a_document_without_the_fields_is_never_covered(text in ".{0,40}", number: u64) {
        for alert in [json!(text), json!(number), json!({"process": text, "rule": number, "sensor": {"sequence": text}}),
            json!({"sensor": {"sequence": [{"sensor": {"ancestors": text}}]}})] {
            prop_assert!(!exception(all()).covers(&alert, NOW));
        }
    }
}
