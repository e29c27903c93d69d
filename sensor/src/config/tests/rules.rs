//! What follows from the rules that are on, and the programs that one of them is about.

use super::*;

#[test]
fn the_kernel_side_looks_for_what_rules_ask_for() {
    let all = WANT_STREAMS | WANT_DESCENDANTS | WANT_RELAYS;
    for (disabled, wanted) in [
        ("", all),
        ("'reverse-shell-via-child'", all),
        ("'shell-on-socket'", WANT_DESCENDANTS | WANT_RELAYS),
        ("'reverse-shell'", all),
        ("'relayed-shell'", WANT_STREAMS | WANT_DESCENDANTS),
        ("'relayed-shell', 'reverse-shell'", WANT_STREAMS),
        ("'relayed-shell', 'reverse-shell', 'shell-on-socket'", 0),
    ] {
        let config = read(&format!("rule.disabled = [{disabled}]"));
        assert_eq!(config.kernel_slot().wanted, wanted, "{disabled}");
        assert_eq!(config.watches_forks(), wanted & WANT_DESCENDANTS != 0, "{disabled}");
    }
    assert!(!read("hooks.fork = 'off'").watches_forks());
}

#[test]
fn a_rule_that_asks_for_forks_is_turned_on_by_a_restart() {
    let (all, without) = (Config::default(), read("rule.disabled = ['reverse-shell', 'relayed-shell']"));
    assert_eq!(without.restart_needed(&all), ["rule.disabled"]);
    assert!(all.restart_needed(&without).is_empty());
    assert!(read("hooks.fork = 'off'").restart_needed(&without).contains(&"hooks.fork"));
}

#[test]
fn relays_are_names_or_fronts_of_names() {
    assert_eq!(read("rule.relays = ['python*', 'nc']").rule.relays.texts(), ["python*", "nc"]);
    let error = parse::config("rule.relays = ['a*b']").unwrap_err().to_string();
    assert!(error.contains("rule.relays: \"a*b\" is no name"), "{error}");
}
