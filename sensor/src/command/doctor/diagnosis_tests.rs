use super::super::survey::{AUTO, Btf, CgroupLimit, Field, Kernel, Kprobes, LoadFailure, OFF, Privileges, Tracefs};
use super::*;
use crate::command::exit::Exit;

/// A candidate that went as `state`.
pub(in crate::command::doctor) fn candidate(mechanism: &str, state: State) -> Candidate {
    Candidate {
        mechanism: mechanism.to_owned(),
        places: vec![format!("{mechanism} place")],
        state,
        chosen: false,
        reason: if state == State::Works { String::new() } else { format!("reason of {mechanism}") },
        not_permitted: false,
        preempted: false,
        degraded: "",
    }
}

pub(in crate::command::doctor) fn hook(fact: &str, configured: &'static str, candidates: &[Candidate]) -> Hook {
    Hook::new(fact.to_owned(), configured, candidates.to_vec())
}

/// A host on which nothing is wrong.
pub(in crate::command::doctor) fn healthy() -> Survey {
    let both = [candidate("fentry", State::Works), candidate("kprobe", State::Works)];
    Survey {
        kernel: Kernel {
            release: "6.12.48".to_owned(),
            architecture: "x86_64".to_owned(),
            preemptible: false,
            lockdown: Some("none".to_owned()),
        },
        btf: Btf { path: "/btf".into(), bytes: Some(5 << 20), error: None },
        fields: vec![
            Field { path: "task_struct.comm", required: true, offset: Some(1000), error: None },
            Field { path: "task_struct.loginuid", required: false, offset: Some(1200), error: None },
            Field { path: "cred.uid", required: true, offset: Some(8), error: None },
        ],
        privileges: Privileges {
            uid: 0,
            capabilities: vec!["CAP_DAC_READ_SEARCH", "CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "CAP_PERFMON", "CAP_BPF"],
            own_user_namespace: false,
            own_process_namespace: false,
            seccomp: false,
            perf_event_paranoid: Some(3),
        },
        tracefs: Some(Tracefs { path: "/sys/kernel/tracing".to_owned(), read_only: false }),
        kprobes: Kprobes { present: true, switched_off_by: None },
        memory: Memory {
            needed: 50 << 20,
            cgroup: None,
            maps: 13 << 20,
            memlock: Some(8 << 20),
            memlock_counts: false,
        },
        host_error: None,
        load_error: None,
        hooks: vec![
            hook("exec", AUTO, &[candidate("tracepoint", State::Works)]),
            hook("connect", AUTO, &both),
            hook("accept", AUTO, &both),
        ],
    }
}

/// The findings after a change to the healthy host, and the exit status.
fn after(change: impl FnOnce(&mut Survey)) -> (Vec<Finding>, Exit) {
    let mut survey = healthy();
    change(&mut survey);
    let findings = diagnose(&survey);
    let status = exit(&findings);
    (findings, status)
}

/// The only finding.
fn only(change: impl FnOnce(&mut Survey)) -> (Finding, Exit) {
    let (findings, exit) = after(change);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    (findings[0].clone(), exit)
}

/// The only finding has this level and exit status, says `what`, and advises `advice`.
fn finds(level: Level, status: Exit, what: &str, advice: &str, change: impl FnOnce(&mut Survey)) {
    let (finding, exit) = only(change);
    assert_eq!((finding.level, exit), (level, status), "{finding:?}");
    assert!(finding.what.contains(what), "{finding:?}");
    assert!(finding.advice.contains(advice), "{finding:?}");
}

#[test]
fn nothing_is_found_on_a_healthy_host() {
    assert_eq!(after(|_| ()), (vec![], Exit::Ok));
}

#[test]
fn what_the_kernel_lacks_is_named() {
    finds(Level::Fault, Exit::Unsupported, "/btf cannot be used: gone", "CONFIG_DEBUG_INFO_BTF", |survey| {
        survey.btf.error = Some("gone".to_owned());
    });
    finds(Level::Fault, Exit::Unsupported, "confidentiality", "lockdown=integrity", |survey| {
        survey.kernel.lockdown = Some("confidentiality".to_owned());
    });
    finds(Level::Fault, Exit::Unsupported, "task_struct.comm: no", "5.10", |survey| {
        survey.fields[0].error = Some("no".to_owned());
    });
    finds(Level::Degraded, Exit::Ok, "task_struct.loginuid", "left out", |survey| {
        survey.fields[1].error = Some("no".to_owned());
    });
    assert_eq!(after(|survey| survey.kernel.lockdown = Some("integrity".to_owned())), (vec![], Exit::Ok));
}

#[test]
fn missing_privileges_are_named_and_explain_refused_hooks() {
    let refuse = |survey: &mut Survey| {
        for candidate in survey.hooks.iter_mut().flat_map(|hook| &mut hook.candidates) {
            (candidate.state, candidate.not_permitted) = (State::Refused, true);
        }
    };
    let advice = "with these capabilities";
    finds(Level::Fault, Exit::NotPermitted, "CAP_PERFMON missing", advice, |survey| {
        survey.privileges.capabilities = vec!["CAP_BPF", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"];
        survey.privileges.perf_event_paranoid = Some(2);
        refuse(survey);
    });
    finds(Level::Fault, Exit::NotPermitted, "CAP_BPF and CAP_PERFMON missing", advice, |survey| {
        survey.privileges.capabilities.clear();
        survey.privileges.perf_event_paranoid = None;
        survey.load_error = Some(LoadFailure { reason: "not permitted".to_owned(), exit_code: Exit::NotPermitted });
        survey.hooks.iter_mut().flat_map(|hook| &mut hook.candidates).for_each(|one| one.state = State::NotTried);
    });
    finds(Level::Fault, Exit::NotPermitted, "user namespace", "without user namespace", |survey| {
        survey.privileges.own_user_namespace = true;
        refuse(survey);
    });
}

#[test]
fn what_only_limits_the_view_is_a_degradation() {
    finds(Level::Degraded, Exit::Ok, "another namespace's processes", "hostPID", |survey| {
        survey.privileges.own_process_namespace = true;
    });
    finds(Level::Degraded, Exit::Ok, "without CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH", "add", |survey| {
        survey.privileges.capabilities = vec!["CAP_SYS_ADMIN"];
    });
}

#[test]
fn tracefs_and_perf_are_notes() {
    finds(Level::Note, Exit::Ok, "/t) is mounted read-only", "nothing", |survey| {
        survey.tracefs = Some(Tracefs { path: "/t".to_owned(), read_only: true });
    });
    let enough = || vec!["CAP_DAC_READ_SEARCH", "CAP_SYS_PTRACE", "CAP_PERFMON", "CAP_BPF"];
    finds(Level::Note, Exit::Ok, "perf_event_paranoid is 3", "that capability", |survey| {
        survey.privileges.capabilities = enough();
    });
    finds(Level::Note, Exit::Ok, "tracefs is mounted nowhere", "mount -t tracefs", |survey| {
        survey.privileges.capabilities = enough();
        survey.privileges.perf_event_paranoid = Some(2);
        survey.tracefs = None;
    });
}

#[test]
fn limits_of_memory_are_named_with_what_is_needed() {
    let limit = |bytes| Some(CgroupLimit { file: "/sys/fs/cgroup/a/memory.max".into(), bytes });
    finds(Level::Fault, Exit::Unsupported, "limit of 32 MiB (/sys/fs/cgroup/a/memory.max)", "MemoryMax", |survey| {
        survey.memory.cgroup = limit(32 << 20);
    });
    assert_eq!(after(|survey| survey.memory.cgroup = limit(50 << 20)), (vec![], Exit::Ok));
    finds(Level::Fault, Exit::NotPermitted, "locked memory is 8 MiB", "LimitMEMLOCK", |survey| {
        survey.memory.memlock_counts = true;
    });
    let raised = |survey: &mut Survey| {
        survey.memory.memlock_counts = true;
        survey.memory.memlock = None;
    };
    assert_eq!(after(raised), (vec![], Exit::Ok));
}

#[test]
fn a_hook_that_sees_nothing_is_a_fault_and_another_one_the_advice() {
    for state in [State::Blind, State::Wrong] {
        let candidates = [candidate("tracepoint", state), candidate("kprobe", State::Works)];
        finds(Level::Fault, Exit::Unsupported, "connect by tracepoint", "connect = \"kprobe\"", |survey| {
            survey.hooks[1] = hook("connect", AUTO, &candidates);
        });
        // Nothing can be chosen for exec.
        finds(Level::Fault, Exit::Unsupported, "exec by tracepoint", "another kernel", |survey| {
            survey.hooks[0] = hook("exec", AUTO, &candidates);
        });
    }
    // The same kind at another place cannot be asked for.
    let candidates = [candidate("tracepoint", State::Blind), candidate("tracepoint", State::Works)];
    finds(Level::Fault, Exit::Unsupported, "connect by tracepoint", "another kernel", |survey| {
        survey.hooks[1] = hook("connect", AUTO, &candidates);
    });
    // One that is not chosen does not matter.
    let candidates = [candidate("kprobe", State::Works), candidate("tracepoint", State::Blind)];
    assert_eq!(after(|survey| survey.hooks[1] = hook("connect", AUTO, &candidates)), (vec![], Exit::Ok));
}

#[test]
fn a_fact_without_a_hook_is_a_fault() {
    let refused = [candidate("raw_tracepoint", State::Refused), candidate("tracepoint", State::Refused)];
    let what = "for accept: raw_tracepoint: reason of raw_tracepoint; tracepoint: reason of tracepoint";
    finds(Level::Fault, Exit::Unsupported, what, "docs/kernels.md", |survey| {
        survey.hooks[2] = hook("accept", AUTO, &refused);
    });
    finds(Level::Fault, Exit::Unsupported, "for accept with these privileges", "CAP_SYS_ADMIN", |survey| {
        survey.privileges.capabilities = vec!["CAP_DAC_READ_SEARCH", "CAP_SYS_PTRACE", "CAP_PERFMON", "CAP_BPF"];
        survey.privileges.perf_event_paranoid = Some(2);
        let not_permitted = Candidate { not_permitted: true, ..candidate("tracepoint", State::Refused) };
        survey.hooks[2] = hook("accept", AUTO, &[candidate("raw_tracepoint", State::Refused), not_permitted]);
    });
    let forced = [candidate("tracepoint", State::Refused), candidate("kprobe", State::Works)];
    finds(Level::Fault, Exit::Unsupported, "accept by tracepoint, as configured", "accept = \"auto\"", |survey| {
        survey.hooks[2] = hook("accept", "tracepoint", &forced);
    });
}

#[test]
fn the_configuration_decides_which_candidate_counts() {
    let candidates = [candidate("fentry", State::Works), candidate("tracepoint", State::Works)];
    assert_eq!(hook("connect", AUTO, &candidates).chosen.as_deref(), Some("fentry"));
    assert_eq!(hook("connect", "tracepoint", &candidates).chosen.as_deref(), Some("tracepoint"));
    assert_eq!(hook("connect", "kprobe", &candidates).chosen, None);
    let twice =
        [candidate("kprobe", State::Refused), candidate("kprobe", State::Works), candidate("kprobe", State::Works)];
    let chosen = hook("connect", "kprobe", &twice).candidates.into_iter().map(|one| one.chosen);
    assert_eq!(chosen.collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(hook("accept", OFF, &candidates).chosen, None);
    finds(Level::Degraded, Exit::Ok, ACCEPT_OFF, "accept = \"auto\"", |survey| {
        survey.hooks[2] = hook("accept", OFF, &candidates);
    });
}

#[test]
fn what_a_chosen_hook_does_not_see_is_told() {
    let poor = Candidate { degraded: "it is slow", ..candidate("tracepoint", State::Works) };
    finds(Level::Degraded, Exit::Ok, "accept by tracepoint: it is slow", "kprobes", |survey| {
        survey.hooks[2] = hook("accept", AUTO, std::slice::from_ref(&poor));
    });
    let preempted = Candidate { preempted: true, ..candidate("tracepoint", State::Works) };
    finds(Level::Degraded, Exit::Ok, "exec, connect: the kernel can preempt", "preempt=none", |survey| {
        survey.hooks[0] = hook("exec", AUTO, std::slice::from_ref(&preempted));
        survey.hooks[1] = hook("connect", AUTO, std::slice::from_ref(&preempted));
    });
    finds(Level::Degraded, Exit::Ok, "not known whether it sees", "selftest", |survey| {
        survey.hooks[2] = hook("accept", AUTO, &[candidate("tracepoint", State::Untested)]);
    });
}

#[test]
fn missing_kinds_of_hooks_are_noted() {
    let replace = |survey: &mut Survey, kind: &str, state| {
        survey.hooks[1] = hook("connect", AUTO, &[candidate(kind, state), candidate("tracepoint", State::Works)]);
    };
    finds(Level::Note, Exit::Ok, "no kprobes", "CONFIG_KPROBE_EVENTS", |survey| survey.kprobes.present = false);
    finds(Level::Note, Exit::Ok, "/x is 0", "echo 1 > /x", |survey| survey.kprobes.switched_off_by = Some("/x"));
    finds(Level::Note, Exit::Ok, "reason of kprobe", "nothing", |survey| replace(survey, "kprobe", State::Refused));
    finds(Level::Note, Exit::Ok, "not available on this kernel (reason of fentry)", "nothing", |survey| {
        replace(survey, "fentry", State::Refused);
    });
    finds(Level::Note, Exit::Ok, "although the privileges suffice", "nothing", |survey| {
        replace(survey, "fentry", State::Refused);
        survey.hooks[1].candidates[0].not_permitted = true;
    });
}

#[test]
fn switched_off_kprobes_explain_a_blind_one() {
    let (findings, exit) = after(|survey| {
        survey.kprobes.switched_off_by = Some("/x");
        survey.hooks[1] =
            hook("connect", AUTO, &[candidate("kprobe", State::Blind), candidate("tracepoint", State::Works)]);
    });
    let told: Vec<_> = findings.iter().map(|finding| (finding.level, &*finding.advice)).collect();
    let expected =
        [(Level::Fault, "[hooks] connect = \"tracepoint\", which has seen the canary"), (Level::Note, "echo 1 > /x")];
    assert_eq!((told.as_slice(), exit), (expected.as_slice(), Exit::Unsupported));
}

#[test]
fn a_failure_that_nothing_else_explains_is_a_fault_of_its_own() {
    for status in [Exit::Unsupported, Exit::Failed] {
        finds(Level::Fault, status, "no maps", "report", |survey| {
            survey.load_error = Some(LoadFailure { reason: "no maps".to_owned(), exit_code: status });
        });
    }
    finds(Level::Fault, Exit::Failed, "boot_id", "/proc", |survey| {
        survey.host_error = Some("cannot read boot_id".to_owned());
    });
}

#[test]
fn the_kernel_counts_before_privileges_and_these_before_the_rest() {
    let fault = |exit| Finding { level: Level::Fault, what: String::new(), advice: String::new(), exit };
    let all = [fault(Exit::Failed), fault(Exit::NotPermitted), fault(Exit::Unsupported)];
    assert_eq!(exit(&all), Exit::Unsupported);
    assert_eq!(exit(&all[..2]), Exit::NotPermitted);
    assert_eq!(exit(&all[..1]), Exit::Failed);
    assert_eq!(exit(&[]), Exit::Ok);
}

#[test]
fn the_worst_stands_first() {
    let (findings, _) = after(|survey| {
        survey.kprobes.present = false;
        survey.privileges.own_process_namespace = true;
        survey.btf.error = Some("gone".to_owned());
    });
    let levels: Vec<_> = findings.iter().map(|finding| finding.level).collect();
    assert_eq!(levels, [Level::Fault, Level::Degraded, Level::Note]);
}
