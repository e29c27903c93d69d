use super::super::diagnosis::tests::{candidate, healthy};
use super::super::diagnosis::{diagnose, exit};
use super::*;

fn text(survey: &Survey, verbose: bool) -> String {
    let findings = diagnose(survey);
    report(survey, &findings, exit(&findings), verbose)
}

#[test]
fn a_healthy_host_is_told_on_a_screen() {
    let text = text(&healthy(), false);
    for line in [
        "kernel       6.12.48 x86_64\n",
        "lockdown     none\n",
        "BTF          /btf, 5 MiB\n",
        "fields       3 of 3 found\n",
        "memory       takes up to about 50 MiB while it starts; limit: none\n",
        "  connect  fentry          works      fentry place  <- chosen\n",
        "  connect  kprobe          works      kprobe place\n",
        "\nthe sensor works here: exec=tracepoint connect=fentry accept=fentry\n",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    for absent in ["faults", "degraded", "notes", "task_struct"] {
        assert!(!text.contains(absent), "{absent} is in\n{text}");
    }
}

#[test]
fn every_field_has_its_place_when_asked_for() {
    let mut survey = healthy();
    survey.fields[1].offset = None;
    let text = text(&survey, true);
    assert!(text.contains("fields       2 of 3 found\n"), "{text}");
    assert!(text.contains("  task_struct      comm 1000, loginuid missing\n  cred             uid 8\n"), "{text}");
}

#[test]
fn findings_stand_below_their_title_with_what_to_do() {
    let mut survey = healthy();
    survey.btf.error = Some("No such file".to_owned());
    survey.privileges.own_process_namespace = true;
    let text = text(&survey, false);
    let faults =
        text.find("\nfaults\n  the kernel's type information /btf cannot be used: No such file\n    to do: ").unwrap();
    assert!(faults < text.find("\ndegraded\n").unwrap(), "{text}");
    assert!(text.ends_with("\nthe sensor does not work here\n"), "{text}");
}

#[test]
fn a_name_from_the_system_cannot_leave_its_line() {
    let mut survey = healthy();
    survey.memory.cgroup = Some(super::super::survey::CgroupLimit { file: "/a\n\u{1b}[31m/b".into(), bytes: 1 << 40 });
    assert!(text(&survey, false).contains("/a\\u{a}\\u{1b}[31m/b"));
}

#[test]
fn why_nothing_was_tried_stands_there_once() {
    let mut survey = healthy();
    for candidate in survey.hooks.iter_mut().flat_map(|hook| &mut hook.candidates) {
        (candidate.state, candidate.reason) = (State::NotTried, "too little memory".to_owned());
    }
    let untried = text(&survey, false);
    assert!(untried.contains("\nhooks: not tried: too little memory\n\n"), "{untried}");
    assert_eq!(untried.matches("too little memory").count(), 1, "{untried}");
    survey.hooks[1].candidates[0] = candidate("fentry", State::Works);
    assert_eq!(text(&survey, false).matches("too little memory").count(), 4);
}
