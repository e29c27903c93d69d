//! What a survey means: what keeps the sensor from working, what it works less well with, and what to do about it.

use super::survey::{AUTO, Candidate, Hook, Memory, State, Survey};
use super::text::size;
use crate::command::exit::Exit;
use crate::kernel::hook::{ACCEPT_OFF, PREEMPTED};
use serde::Serialize;

/// How much something matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Level {
    /// The sensor does not work because of it.
    Fault,
    /// The sensor sees less, or costs more.
    Degraded,
    /// Good to know.
    Note,
}

/// Something that is not as it could be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// How much it matters.
    pub(super) level: Level,
    /// What it is, in one sentence.
    pub(super) what: String,
    /// What to do about it.
    pub(super) advice: String,
    /// How `run` ends because of a fault.
    #[serde(skip)]
    pub(super) exit: Exit,
}

/// All findings, the worst first.
#[must_use]
pub(super) fn diagnose(survey: &Survey) -> Vec<Finding> {
    let mut findings = Findings::default();
    type_information(survey, &mut findings);
    privileges(survey, &mut findings);
    memory(&survey.memory, &mut findings);
    host(survey, &mut findings);
    for hook in &survey.hooks {
        facts(hook, survey, &mut findings);
    }
    preemption(survey, &mut findings);
    mechanisms(survey, &mut findings);
    if let Some(failure) = &survey.load_error
        && !findings.0.iter().any(|finding| finding.level == Level::Fault)
    {
        findings.fault(
            failure.exit_code,
            failure.reason.clone(),
            "see the other findings, and report it if none of them explains it",
        );
    }
    findings.0.sort_by_key(|finding| finding.level);
    findings.0
}

/// The exit status: what the kernel lacks cannot be mended by privileges, so that it is told first.
#[must_use]
pub(super) fn exit(findings: &[Finding]) -> Exit {
    let faults = || findings.iter().filter(|finding| finding.level == Level::Fault).map(|finding| finding.exit);
    let first = [Exit::Unsupported, Exit::NotPermitted].into_iter().find(|exit| faults().any(|fault| fault == *exit));
    first.or_else(|| faults().next()).unwrap_or(Exit::Ok)
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn fault(&mut self, exit: Exit, what: String, advice: impl Into<String>) {
        self.0.push(Finding { level: Level::Fault, what, advice: advice.into(), exit });
    }

    fn degraded(&mut self, what: impl Into<String>, advice: impl Into<String>) {
        self.0.push(Finding { level: Level::Degraded, what: what.into(), advice: advice.into(), exit: Exit::Ok });
    }

    fn note(&mut self, what: impl Into<String>, advice: impl Into<String>) {
        self.0.push(Finding { level: Level::Note, what: what.into(), advice: advice.into(), exit: Exit::Ok });
    }
}

fn type_information(survey: &Survey, findings: &mut Findings) {
    let Survey { kernel, btf, fields, .. } = survey;
    if kernel.lockdown.as_deref() == Some("confidentiality") {
        findings.fault(
            Exit::Unsupported,
            "kernel lockdown is in confidentiality mode, in which no eBPF program can read the kernel's memory"
                .to_owned(),
            "boot with lockdown=integrity, or without lockdown",
        );
    }
    if let Some(error) = &btf.error {
        findings.fault(
            Exit::Unsupported,
            format!("the kernel's type information {} cannot be used: {error}", btf.path.display()),
            "use a kernel built with CONFIG_DEBUG_INFO_BTF, or name a file with its type information: [kernel] btf",
        );
    }
    for field in fields {
        let Some(error) = &field.error else { continue };
        let what = format!("this kernel does not have the field {}: {error}", field.path);
        if field.required {
            let advice =
                "use kernel 5.10 or newer; if type information was configured, check that it is the running kernel's";
            findings.fault(Exit::Unsupported, what, advice);
        } else {
            findings.degraded(what, "nothing; what needs it is left out of documents, or taken from elsewhere");
        }
    }
}

fn privileges(survey: &Survey, findings: &mut Findings) {
    let privileges = &survey.privileges;
    let missing = |names: &[&'static str]| {
        let missing: Vec<&str> = names.iter().copied().filter(|name| !privileges.capabilities.contains(name)).collect();
        missing.join(" and ")
    };
    let root = privileges.capabilities.contains(&"CAP_SYS_ADMIN");
    if privileges.own_user_namespace {
        findings.fault(
            Exit::NotPermitted,
            "this process is in a user namespace of its own, whose privileges do not count for the kernel".to_owned(),
            "run it as root of the host; in a container, without user namespace",
        );
    } else if !may_load(survey) {
        findings.fault(
            Exit::NotPermitted,
            format!("not permitted to load eBPF programs: {} missing", missing(&["CAP_BPF", "CAP_PERFMON"])),
            "run it as root, or with these capabilities; in a container, privileged or with --cap-add",
        );
    }
    if privileges.own_process_namespace {
        findings.degraded(
            "/proc shows another namespace's processes: containers, arguments of parents and earlier connections are unknown",
            "share the host's process namespace (podman and docker: --pid=host, Kubernetes: hostPID: true)",
        );
    }
    let look = missing(&["CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"]);
    if may_load(survey) && !look.is_empty() {
        findings.degraded(
            format!("without {look}, connections older than the sensor and some parents' programs are not known"),
            "add these capabilities",
        );
    }
    if let Some(paranoid) = privileges.perf_event_paranoid.filter(|paranoid| *paranoid > 2 && !root) {
        findings.note(
            format!("kernel.perf_event_paranoid is {paranoid}: kprobes and classic tracepoints need CAP_SYS_ADMIN"),
            "add that capability, or set it to 2 or less",
        );
    }
    match &survey.tracefs {
        None if !root => findings.note(
            "tracefs is mounted nowhere, and only CAP_SYS_ADMIN could mount it: there are no classic tracepoints",
            "mount -t tracefs tracefs /sys/kernel/tracing",
        ),
        Some(tracefs) if tracefs.read_only => findings.note(
            format!("tracefs ({}) is mounted read-only", tracefs.path),
            "nothing; the sensor only reads the numbers of tracepoints there",
        ),
        _ => {}
    }
}

/// Whether the privileges suffice for loading programs.
fn may_load(survey: &Survey) -> bool {
    let has = |name| survey.privileges.capabilities.contains(&name);
    !survey.privileges.own_user_namespace && (has("CAP_SYS_ADMIN") || has("CAP_BPF") && has("CAP_PERFMON"))
}

fn memory(memory: &Memory, findings: &mut Findings) {
    if let Some(limit) = memory.too_little() {
        findings.fault(
            Exit::Unsupported,
            format!(
                "the memory limit of {} ({}) is lower than what the sensor takes while it starts, about {}",
                size(limit.bytes),
                limit.file.display(),
                size(memory.needed)
            ),
            "raise it (in a unit: MemoryMax, in Kubernetes: resources.limits.memory), or make [rings] smaller",
        );
    }
    // Whoever may raise it has raised it by now.
    if let Some(memlock) = memory.memlock.filter(|limit| memory.memlock_counts && *limit < memory.maps) {
        findings.fault(
            Exit::NotPermitted,
            format!(
                "the limit of locked memory is {}, and this kernel counts eBPF maps against it, which take about {}",
                size(memlock),
                size(memory.maps)
            ),
            "raise it (in a unit: LimitMEMLOCK=infinity, in a shell: ulimit -l unlimited), or add CAP_SYS_RESOURCE",
        );
    }
}

fn host(survey: &Survey, findings: &mut Findings) {
    if let Some(error) = &survey.host_error {
        findings.fault(Exit::Failed, error.clone(), "mount /proc where the sensor runs");
    }
}

fn facts(hook: &Hook, survey: &Survey, findings: &mut Findings) {
    let fact = &hook.fact;
    if hook.is_off() {
        return findings.degraded(ACCEPT_OFF, format!("[hooks] {fact} = \"auto\""));
    }
    let Some(choice) = hook.choice() else {
        return no_choice(hook, survey, findings);
    };
    let Candidate { mechanism, state, reason, degraded, .. } = choice;
    match state {
        State::Blind | State::Wrong => {
            let works = |other: &&Candidate| other.state == State::Works && other.mechanism != *mechanism;
            let advice = match hook.candidates.iter().find(works).filter(|_| fact != "exec") {
                Some(other) => format!("[hooks] {fact} = \"{}\", which has seen the canary", other.mechanism),
                None => "another kernel; please report it".to_owned(),
            };
            findings.fault(
                Exit::Unsupported,
                format!("{fact} by {mechanism}, which would be chosen: {reason}"),
                advice,
            );
        }
        State::Untested => findings.degraded(
            format!("{fact} by {mechanism} is attached, but it is not known whether it sees anything: {reason}"),
            "let this program connect to 127.0.0.1 and execute itself, or try `sensor selftest`",
        ),
        State::Works | State::Refused | State::NotTried => {}
    }
    if !degraded.is_empty() {
        findings.degraded(
            format!("{fact} by {mechanism}: {degraded}"),
            "use a kernel with kprobes (CONFIG_KPROBE_EVENTS), or one that lets fentry programs be attached",
        );
    }
}

/// Nothing attaches. What was not tried, or not permitted, is explained elsewhere.
fn no_choice(hook: &Hook, survey: &Survey, findings: &mut Findings) {
    let Hook { fact, configured, candidates, .. } = hook;
    let mut refused = hook.allowed().filter(|candidate| candidate.state == State::Refused).peekable();
    if refused.peek().is_none() || (!may_load(survey) && hook.allowed().all(|candidate| candidate.not_permitted)) {
        return;
    }
    let reasons: Vec<String> =
        refused.map(|candidate| format!("{}: {}", candidate.mechanism, candidate.reason)).collect();
    let works = candidates.iter().any(|candidate| candidate.state == State::Works);
    let more_privileges = hook.allowed().any(|candidate| candidate.not_permitted)
        && !survey.privileges.capabilities.contains(&"CAP_SYS_ADMIN");
    let (what, advice) = if works {
        (format!("{fact} by {configured}, as configured, is refused"), format!("[hooks] {fact} = \"{AUTO}\""))
    } else if more_privileges {
        (format!("no usable hook for {fact} with these privileges"), "add CAP_SYS_ADMIN".to_owned())
    } else {
        let advice = "use another kernel; docs/kernels.md lists tested ones".to_owned();
        (format!("this kernel has no usable hook for {fact}"), advice)
    };
    findings.fault(Exit::Unsupported, format!("{what}: {}", reasons.join("; ")), advice);
}

fn preemption(survey: &Survey, findings: &mut Findings) {
    let chosen = survey.hooks.iter().filter(|hook| hook.choice().is_some_and(|choice| choice.preempted));
    let facts: Vec<&str> = chosen.map(|hook| &*hook.fact).collect();
    if !facts.is_empty() {
        findings.degraded(
            format!("{}: {PREEMPTED}", facts.join(", ")),
            "use a kernel with kprobes and classic tracepoints, or boot with preempt=none or preempt=voluntary",
        );
    }
}

/// Kinds of hooks that this kernel does without.
fn mechanisms(survey: &Survey, findings: &mut Findings) {
    let of = |kind: &str| {
        let all = survey.hooks.iter().flat_map(|hook| &hook.candidates);
        all.filter(|candidate| candidate.mechanism == kind)
            .find(|one| matches!(one.state, State::Refused | State::Blind))
            .cloned()
    };
    if let Some(file) = survey.kprobes.switched_off_by {
        findings.note(format!("kprobes are switched off: {file} is 0"), format!("echo 1 > {file}"));
    } else if !survey.kprobes.present {
        findings.note("this kernel has no kprobes", "where they are wanted: CONFIG_KPROBES and CONFIG_KPROBE_EVENTS");
    } else if let Some(kprobe) = of("kprobe").filter(|_| may_load(survey)) {
        findings.note(format!("kprobes do not work here: {}", kprobe.reason), "nothing, if another hook works");
    }
    if let Some(fentry) = of("fentry").filter(|_| may_load(survey)) {
        let why = if fentry.not_permitted {
            "refused although the privileges suffice: by a policy of the kernel, of an LSM or of a seccomp filter"
        } else {
            "not available on this kernel"
        };
        findings.note(format!("fentry: {why} ({})", fentry.reason), "nothing, if another hook works");
    }
}

#[cfg(test)]
#[path = "diagnosis_tests.rs"]
pub(super) mod tests;
