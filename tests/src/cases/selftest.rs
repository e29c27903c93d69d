//! `sensor selftest`: the alert is shown and marked, each failure has its exit status, and nothing is left, however it ends.

#![expect(clippy::indexing_slicing, reason = "a JSON value is null where there is none")]

use super::{Case, Tag, tagged};
use crate::expect::field;
use crate::finished::Finished;
use crate::lab::{Lab, parent_of};
use crate::mounts::{mount_at, with_mounts};
use crate::player::Guard;
use crate::programs::{held_by, still_loaded};
use crate::wait::until;
use anyhow::{Context, Result, ensure};
use rustix::mount::MountFlags;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

pub(super) const CASES: &[Case] = &[
    tagged("selftest: the alert about a shell of its own is shown", &[Tag::Own], passes),
    tagged("selftest: it passes without an installed shell", &[Tag::Own, Tag::Once], without_shell),
    tagged("selftest: another sensor sees the shell with its mark", &[Tag::Own, Tag::Once], seen_by_another),
    tagged("selftest: outputs that are configured get nothing of it", &[Tag::Own, Tag::Once], other_outputs),
    tagged("selftest: ended by a signal, it leaves nothing", &[Tag::Own, Tag::Once], ended_by_signals),
    tagged("selftest: without root it says so (5)", &[Tag::Own, Tag::Once], not_root),
    tagged("selftest: without BTF it says so (4)", &[Tag::Own, Tag::Once], |lab| {
        fails(&mut selftest(lab, "[kernel]\nbtf = \"/nonexistent\"\n")?, 4, "/nonexistent").map(drop)
    }),
    tagged("selftest: without an address to use it says so (1)", &[Tag::Own, Tag::Once], |lab| {
        fails(&mut selftest(lab, "[rule]\nexcluded = [\"0.0.0.0/0\"]\n")?, 1, "excludes every address").map(drop)
    }),
    tagged("selftest: a wrong configuration is named (3)", &[Tag::Own, Tag::Once], wrong_configuration),
];

fn selftest(lab: &Lab, config: &str) -> Result<Command> {
    let path = lab.directory().join("selftest.toml");
    std::fs::write(&path, config)?;
    let mut command = Command::new(lab.binary());
    command.arg("--config").arg(path).args(["selftest", "--json"]).stdin(Stdio::null());
    Ok(command)
}

/// What it reports, and that it passed.
fn report(command: &mut Command) -> Result<Value> {
    let ended = Finished::of(command)?;
    ended.expect(0)?;
    let report: Value = serde_json::from_str(&ended.output).with_context(|| ended.output.clone())?;
    ensure!(report["test"] == true && report["passed"] == true && report["error"].is_null(), "{report}");
    Ok(report)
}

/// It fails with this status, and says why.
fn fails(command: &mut Command, code: i32, why: &str) -> Result<Value> {
    let ended = Finished::of(command)?;
    ended.expect(code)?;
    let report: Value = serde_json::from_str(&ended.output).with_context(|| format!("{ended:?}"))?;
    ensure!(report["passed"] == false && report["exit_code"] == code, "{report}");
    ensure!(report["error"].as_str().is_some_and(|error| error.contains(why)), "it does not say {why}: {report}");
    Ok(report)
}

/// The mark of the test: the shell's last argument.
fn mark(report: &Value) -> Result<String> {
    let args = field(&report["alert"], "process.args").and_then(Value::as_array).context("no arguments")?;
    let last = args.last().and_then(Value::as_str).context("no last argument")?;
    ensure!(last.starts_with("sensor-selftest-"), "no mark: {last}");
    Ok(last.to_owned())
}

fn passes(lab: &Lab) -> Result<()> {
    let report = report(&mut selftest(lab, lab.hooks())?)?;
    let alert = &report["alert"];
    let mark = mark(&report)?;
    ensure!(field(alert, "rule.id") == Some(&json!("reverse-shell-via-child")), "{alert}");
    ensure!(alert["tags"] == json!(["sensor-selftest"]), "no tag: {alert}");
    ensure!(field(alert, "process.args") == Some(&json!(["sh", "-i", "-c", ":", mark])), "{alert}");
    ensure!(field(alert, "destination.ip") == Some(&json!("203.0.113.1")), "{alert}");
    ensure!(report["latency_ns"].as_u64().is_some_and(|latency| latency > 0), "no latency: {report}");
    let hooks = field(alert, "sensor.hooks").and_then(Value::as_str).context("no hooks")?;
    for hook in ["connect", "accept"] {
        let kind = report["hooks"][hook].as_str().context(hook)?;
        ensure!(hooks.contains(&format!("{hook}={kind}")), "{hook}={kind} is not in {hooks}");
    }
    // For people.
    let mut command = Command::new(lab.binary());
    let ended = Finished::of(command.arg("selftest").stdin(Stdio::null()))?;
    ended.expect(0)?;
    for part in ["sensor ready after ", "\nTEST ALERT high 73: ", "\npassed: the alert was here "] {
        ensure!(ended.output.contains(part), "no {part:?} in {}", ended.output);
    }
    Ok(())
}

/// The directory of /bin/sh is hidden.
fn without_shell(lab: &Lab) -> Result<()> {
    let mut command = selftest(lab, lab.hooks())?;
    if let Ok(shell) = Path::new("/bin/sh").canonicalize() {
        let directory = Path::new("/bin").canonicalize()?;
        ensure!(shell.starts_with(&directory), "/bin/sh lies elsewhere: {}", shell.display());
        let directory = CString::new(directory.as_os_str().as_bytes())?;
        with_mounts(&mut command, move || mount_at(c"tmpfs", &directory, MountFlags::empty()));
    }
    let report = report(&mut command)?;
    ensure!(report["shell"].as_str().is_some_and(|shell| shell.contains("/proc/self/fd/")), "{report}");
    let name = lab.binary().file_name().context("no name")?.to_string_lossy();
    ensure!(field(&report["alert"], "process.name") == Some(&json!(name)), "{report}");
    ensure!(field(&report["alert"], "process.thread.name") == Some(&json!("sh")), "{report}");
    Ok(())
}

fn seen_by_another(lab: &Lab) -> Result<()> {
    let sensor = lab.start_sensor()?;
    let mark = mark(&report(&mut selftest(lab, lab.hooks())?)?)?;
    let is_marked = |alert: &Value| {
        let args = field(alert, "process.args").and_then(Value::as_array);
        args.is_some_and(|args| args.contains(&json!(mark)))
    };
    let seen = until("the other sensor's alert", || Ok(sensor.alerts(is_marked)?.pop()))?;
    ensure!(seen["tags"].is_null(), "a sensor that runs does not know about tests: {seen}");
    sensor.stop_cleanly().map(drop)
}

fn other_outputs(lab: &Lab) -> Result<()> {
    let file = lab.directory().join("selftest-alerts.ndjson");
    let config = format!("{}[output]\nstdout = false\nfile = \"{}\"\n", lab.hooks(), file.display());
    report(&mut selftest(lab, &config)?)?;
    ensure!(!file.exists(), "it has written {}", file.display());
    Ok(())
}

/// Processes that descend from this one, as far as they have not ended.
fn descendants(of: u32) -> Result<BTreeSet<u32>> {
    let mut parents = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        parents.extend(parent_of(pid).map(|parent| (pid, parent)));
    }
    let mut family = BTreeSet::from([of]);
    loop {
        let more: Vec<u32> =
            parents.iter().filter(|(_, parent)| family.contains(parent)).map(|(pid, _)| *pid).collect();
        let before = family.len();
        family.extend(more);
        if family.len() == before {
            family.remove(&of);
            return Ok(family);
        }
    }
}

/// The letter that stands for a process's state, proc_pid_stat(5); none if it is not there.
fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may contain anything.
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Whether a process is there and has not ended: a zombie waits for whoever adopts it.
fn lives(pid: u32) -> bool {
    state(pid).is_some_and(|state| !['Z', 'X'].contains(&state))
}

fn stands_still(pid: u32) -> bool {
    state(pid) == Some('T')
}

/// At each point of its life, whichever signal it is: its processes and programs go with it.
fn ended_by_signals(lab: &Lab) -> Result<()> {
    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        for attached in [false, true] {
            let (mut test, family, programs) = caught(lab, attached)?;
            test.signal(signal)?;
            test.signal(Signal::CONT)?;
            let status = test.wait()?;
            ensure!(status.code().is_none(), "{signal:?} did not end it: {status}");
            until("its processes to end", || Ok(family.iter().all(|pid| !lives(*pid)).then_some(())))?;
            let gone = until("its programs to be unloaded", || Ok(still_loaded(&programs)?.is_empty().then_some(())));
            gone.with_context(|| format!("{:?}", still_loaded(&programs)))?;
        }
    }
    Ok(())
}

/// A selftest whose sensor has begun, or has attached something, and that stands still; with its descendants and the programs that
/// they hold.
fn caught(lab: &Lab, attached: bool) -> Result<(Guard, BTreeSet<u32>, BTreeSet<u32>)> {
    until("a selftest to be caught before it has ended", || {
        let mut command = selftest(lab, lab.hooks())?;
        let mut test = Guard::spawn(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
        while test.ended()?.is_none() {
            let family = descendants(test.pid())?;
            // Descriptors come and go while they are looked at.
            let programs: BTreeSet<u32> = family.iter().flat_map(|pid| held_by(*pid).unwrap_or_default()).collect();
            let caught = if attached { &programs } else { &family };
            if caught.is_empty() {
                continue;
            }
            // So that it does not end by itself before the test's signal.
            test.signal(Signal::STOP)?;
            while test.ended()?.is_none() {
                if stands_still(test.pid()) {
                    return Ok(Some((test, family, programs)));
                }
            }
        }
        Ok(None)
    })
}

fn not_root(lab: &Lab) -> Result<()> {
    fails(selftest(lab, "")?.uid(65534).gid(65534).current_dir("/"), 5, "not permitted").map(drop)
}

fn wrong_configuration(lab: &Lab) -> Result<()> {
    let ended = Finished::of(&mut selftest(lab, "[rule]\nspam = 1\n")?)?;
    ended.expect(3)?;
    ensure!(ended.log.contains("spam") && ended.output.is_empty(), "{ended:?}");
    Ok(())
}
