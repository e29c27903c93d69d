//! `sensor doctor`: what it says agrees with what a sensor does, each fault is named with its exit status, and nothing is left.

#![expect(clippy::indexing_slicing, reason = "a JSON value is null where there is none")]

use super::scene::{closed, shell_after};
use super::{Case, Tag, tagged};
use crate::actor::step::{How, Outcome, connect_by};
use crate::finished::Finished;
use crate::lab::Lab;
use crate::mounts::{mount_at, with_mounts};
use crate::player::Guard;
use crate::programs::{held_by, loaded, still_loaded};
use crate::skip::skip;
use crate::wait::until;
use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, mount_remount};
use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};
use serde_json::{Value, json};
use std::ffi::CStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(super) const CASES: &[Case] = &[
    tagged("doctor: what it says is what a sensor does", &[Tag::Own, Tag::Once], agrees),
    tagged(
        "doctor: it disturbs no sensor, and leaves nothing attached",
        &[Tag::Own, Tag::Alone, Tag::Once],
        disturbs_nobody,
    ),
    tagged("doctor: killed, it leaves nothing attached", &[Tag::Own, Tag::Once], killed),
    tagged("doctor: for people, a screen of text", &[Tag::Own, Tag::Once], text),
    tagged("doctor: without root it says so (5)", &[Tag::Own, Tag::Once], not_root),
    tagged("doctor: a capability that is missing is named (5)", &[Tag::Own, Tag::Once], without_perfmon),
    tagged("doctor: without BTF it says so (4)", &[Tag::Own, Tag::Once], without_btf),
    tagged("doctor: too little memory is named (4)", &[Tag::Own, Tag::Once], little_memory),
    tagged(
        "doctor: too little locked memory is named where it counts (5)",
        &[Tag::Own, Tag::Once],
        little_locked_memory,
    ),
    tagged("doctor: a wrong configuration is named (3)", &[Tag::Own, Tag::Once], wrong_configuration),
    tagged("doctor: a read-only tracefs is named", &[Tag::Own, Tag::Once], read_only_tracefs),
    tagged("doctor: fentry is named where it is refused, and there alone", &[Tag::Own, Tag::Once], fentry_refused),
    tagged("doctor: kprobes that are off are named", &[Tag::Own, Tag::Once, Tag::Alone], kprobes_off),
];

/// The command with this configuration.
fn doctor(lab: &Lab, config: &str, options: &[&str]) -> Result<Command> {
    let path = lab.directory().join("doctor.toml");
    std::fs::write(&path, config)?;
    let mut command = Command::new(lab.binary());
    command.arg("--config").arg(path).arg("doctor").args(options).stdin(Stdio::null());
    Ok(command)
}

/// What it reports as JSON.
fn report(command: &mut Command, code: i32) -> Result<Value> {
    let ended = Finished::of(command)?;
    ended.expect(code)?;
    let report: Value = serde_json::from_str(&ended.output).with_context(|| ended.output.clone())?;
    ensure!(report["exit_code"] == code && report["works"] == (code == 0), "exit status {code}: {report}");
    Ok(report)
}

fn list<'v>(value: &'v Value, name: &str) -> Result<&'v Vec<Value>> {
    value[name].as_array().with_context(|| format!("no list {name} in {value}"))
}

/// A finding of this level says `what`.
fn finds(report: &Value, level: &str, what: &str) -> Result<()> {
    let says = |finding: &&Value| {
        finding["level"] == level && finding["what"].as_str().is_some_and(|text| text.contains(what))
    };
    let finding = list(report, "findings")?.iter().find(says);
    let finding = finding.with_context(|| format!("no {level} says {what}: {}", report["findings"]))?;
    ensure!(finding["advice"].as_str().is_some_and(|advice| !advice.is_empty()), "no advice in {finding}");
    Ok(())
}

/// Every field has a place, every hook was tried, what is chosen has seen its canary, and a sensor chooses the same.
fn agrees(lab: &Lab) -> Result<()> {
    let report = report(&mut doctor(lab, lab.hooks(), &["--json"])?, 0)?;
    let kernel = rustix::system::uname();
    ensure!(report["kernel"]["release"] == *kernel.release().to_string_lossy(), "{}", report["kernel"]);
    for field in list(&report, "fields")? {
        ensure!(field["offset"].is_u64() || field["required"] == false, "no place: {field}");
    }
    let sensor = lab.start_sensor()?;
    let hooks = list(&report, "hooks")?;
    ensure!(hooks.len() == 4, "four facts: {hooks:?}");
    for hook in hooks {
        let candidates = list(hook, "candidates")?;
        for candidate in candidates {
            let (state, reason) = (&candidate["state"], &candidate["reason"]);
            ensure!(*state == "works" || *state == "refused", "it neither works nor is refused: {candidate}");
            ensure!((*state == "works") == (*reason == ""), "a reason or none: {candidate}");
            let mechanism = candidate["mechanism"].as_str().context("no mechanism")?;
            if *state == "refused" && matches!(mechanism, "fentry" | "kprobe") {
                finds(&report, "note", mechanism)?;
            }
        }
        let chosen: Vec<&Value> = candidates.iter().filter(|candidate| candidate["chosen"] == true).collect();
        let [chosen] = *chosen else { bail!("not one of them is chosen: {hook}") };
        ensure!(chosen["state"] == "works" && chosen["mechanism"] == hook["chosen"], "a strange choice: {hook}");
        match hook["fact"].as_str() {
            Some("connect") => ensure!(hook["chosen"] == *sensor.hooks().connect, "{:?}: {hook}", sensor.hooks()),
            Some("accept") => ensure!(hook["chosen"] == *sensor.hooks().accept, "{:?}: {hook}", sensor.hooks()),
            // No kernel lacks what any of them is made of.
            Some("exec" | "fork") => ensure!(candidates.iter().all(|one| one["state"] == "works"), "refused: {hook}"),
            _ => bail!("no such fact: {hook}"),
        }
    }
    sensor.stop_cleanly().map(drop)
}

/// A sensor that runs goes on, and does not hear of the canaries.
fn disturbs_nobody(lab: &Lab) -> Result<()> {
    let sensor = lab.start_sensor()?;
    let (held, before) = (held_by(sensor.pid())?, loaded()?);
    report(&mut doctor(lab, lab.hooks(), &["--json"])?, 0)?;
    let mut left = Vec::new();
    let gone = until("the programs of the doctor to be unloaded", || {
        left = loaded()?.difference(&before).copied().collect();
        Ok(left.is_empty().then_some(()))
    });
    gone.with_context(|| format!("still loaded: {left:?}"))?;
    ensure!(held_by(sensor.pid())? == held, "the sensor has lost programs");
    let shell = shell_after(lab, vec![connect_by(closed(lab), How::Plain, Outcome::Refused)])?;
    lab.expect_of(&sensor, &[shell.alert()])?;
    let events = sensor.events();
    sensor.stop_cleanly()?;
    let events = std::fs::read_to_string(events)?;
    ensure!(!events.contains("sensor-doctor"), "the sensor has recorded a canary");
    Ok(())
}

fn killed(lab: &Lab) -> Result<()> {
    let (mut doctor, programs) = until("a doctor to be caught while something is attached", || {
        let mut command = doctor(lab, lab.hooks(), &[])?;
        let mut doctor = Guard::spawn(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
        while doctor.ended()?.is_none() {
            // Descriptors come and go while they are looked at.
            let programs = held_by(doctor.pid()).unwrap_or_default();
            if !programs.is_empty() {
                return Ok(Some((doctor, programs)));
            }
        }
        Ok(None)
    })?;
    doctor.signal(Signal::KILL)?;
    doctor.wait()?;
    let gone = until("its programs to be unloaded", || Ok(still_loaded(&programs)?.is_empty().then_some(())));
    gone.with_context(|| format!("{:?}", still_loaded(&programs)))
}

fn text(lab: &Lab) -> Result<()> {
    let ended = Finished::of(&mut doctor(lab, "", &[])?)?;
    ended.expect(0)?;
    for part in ["\nkernel ", "\nBTF ", "\nfields ", "\nprivileges ", "\nmemory ", "<- chosen", "the sensor works here"]
    {
        ensure!(ended.output.contains(part), "no {part:?} in\n{}", ended.output);
    }
    ensure!(ended.output.lines().count() < 50, "no screen of text:\n{}", ended.output);
    ensure!(!ended.output.contains("start_boottime"), "fields that nobody asked for:\n{}", ended.output);
    let verbose = Finished::of(&mut doctor(lab, "", &["--verbose"])?)?;
    ensure!(verbose.output.contains("start_boottime "), "no field in\n{}", verbose.output);
    Ok(())
}

fn not_root(lab: &Lab) -> Result<()> {
    let report = report(doctor(lab, "", &["--json"])?.uid(65534).gid(65534).current_dir("/"), 5)?;
    finds(&report, "fault", "CAP_BPF and CAP_PERFMON missing")?;
    untried(&report)
}

/// Nothing was tried, and it says so.
fn untried(report: &Value) -> Result<()> {
    for hook in list(report, "hooks")? {
        for candidate in list(hook, "candidates")? {
            ensure!(candidate["state"] == "not_tried" && candidate["reason"] != "", "{candidate}");
        }
        ensure!(hook["chosen"].is_null(), "chosen all the same: {hook}");
    }
    Ok(())
}

/// Maps can be made, programs cannot be loaded.
fn without_perfmon(lab: &Lab) -> Result<()> {
    let mut command = doctor(lab, "", &["--json"])?;
    // SAFETY: system calls and no allocation between fork and exec.
    unsafe {
        command.pre_exec(|| {
            for capability in [CapabilitySet::PERFMON, CapabilitySet::SYS_ADMIN] {
                remove_capability_from_bounding_set(capability)?;
            }
            Ok(())
        });
    }
    let report = report(&mut command, 5)?;
    finds(&report, "fault", "CAP_PERFMON missing")?;
    let names = list(&report["privileges"], "capabilities")?;
    ensure!(names.contains(&json!("CAP_BPF")) && !names.contains(&json!("CAP_PERFMON")), "{names:?}");
    Ok(())
}

fn without_btf(lab: &Lab) -> Result<()> {
    let report = report(&mut doctor(lab, "[kernel]\nbtf = \"/nonexistent\"\n", &["--json"])?, 4)?;
    finds(&report, "fault", "/nonexistent")?;
    ensure!(list(&report, "fields")?.is_empty() && report["btf"]["bytes"].is_null(), "{report}");
    untried(&report)
}

fn wrong_configuration(lab: &Lab) -> Result<()> {
    let ended = Finished::of(&mut doctor(lab, "[rule]\nspam = 1\n", &[])?)?;
    ended.expect(3)?;
    ensure!(ended.log.contains("spam") && ended.output.is_empty(), "{ended:?}");
    Ok(())
}

/// A control group of the test's own, removed with it.
struct Group {
    directory: PathBuf,
    enabled: Option<PathBuf>,
}

impl Group {
    /// With a limit of memory in bytes; a skip where there are none.
    fn with_memory(name: &str, bytes: u64) -> Result<Self> {
        let (root, file) = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")]
            .into_iter()
            .find(|(root, _)| Path::new(root).join("cgroup.procs").exists())
            .map_or_else(|| skip("there are no control groups"), Ok)?;
        let control = Path::new(root).join("cgroup.subtree_control");
        let lists = |file: &Path| {
            Ok::<_, io::Error>(std::fs::read_to_string(file)?.split_whitespace().any(|name| name == "memory"))
        };
        let mut enabled = None;
        if file == "memory.max" && !lists(&control)? {
            if !lists(&Path::new(root).join("cgroup.controllers"))? {
                return skip("no control group limits memory");
            }
            std::fs::write(&control, "+memory").context("+memory")?;
            enabled = Some(control);
        }
        let group = Self { directory: Path::new(root).join(name), enabled };
        std::fs::create_dir(&group.directory)?;
        std::fs::write(group.directory.join(file), bytes.to_string()).context(file)?;
        Ok(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // What is left is found after the run.
        let _ = std::fs::remove_dir(&self.directory);
        if let Some(control) = &self.enabled {
            let _ = std::fs::write(control, "-memory");
        }
    }
}

fn little_memory(lab: &Lab) -> Result<()> {
    let group = Group::with_memory(&format!("sensor-tests-{}", lab.number()), 24 << 20)?;
    let procs = std::fs::File::options().write(true).open(group.directory.join("cgroup.procs"))?;
    let mut command = doctor(lab, "", &["--json"])?;
    // SAFETY: a system call and no allocation between fork and exec.
    unsafe { command.pre_exec(move || Ok(rustix::io::write(&procs, b"0").map(drop)?)) };
    let report = report(&mut command, 4)?;
    finds(&report, "fault", "memory limit of 24 MiB")?;
    let file = report["memory"]["cgroup"]["file"].as_str().context("no file")?;
    ensure!(Path::new(file).starts_with(&group.directory), "{file} is not below {}", group.directory.display());
    untried(&report)
}

/// Kernels before 5.11 count maps as locked memory; there a limit that cannot be raised is a fault, elsewhere nothing.
fn little_locked_memory(lab: &Lab) -> Result<()> {
    let mut command = doctor(lab, lab.hooks(), &["--json"])?;
    // SAFETY: system calls and no allocation between fork and exec.
    unsafe {
        command.pre_exec(|| {
            remove_capability_from_bounding_set(CapabilitySet::SYS_RESOURCE)?;
            let limit = Some(64 << 10);
            Ok(setrlimit(Resource::Memlock, Rlimit { current: limit, maximum: limit })?)
        });
    }
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let old = release.starts_with("5.") && !release.starts_with("5.1") || release.starts_with("5.10.");
    let report = report(&mut command, if old { 5 } else { 0 })?;
    ensure!(
        report["memory"]["memlock"] == 64 << 10 && report["memory"]["memlock_counts"] == old,
        "{}",
        report["memory"]
    );
    if old { finds(&report, "fault", "locked memory is 64 KiB") } else { Ok(()) }
}

fn read_only_tracefs(lab: &Lab) -> Result<()> {
    const PLACE: &CStr = c"/sys/kernel/tracing";
    let mounted = Path::new("/sys/kernel/tracing/events").is_dir();
    let mut command = doctor(lab, lab.hooks(), &["--json"])?;
    with_mounts(&mut command, move || {
        if mounted {
            return Ok(mount_remount(PLACE, MountFlags::BIND | MountFlags::RDONLY, c"")?);
        }
        mount_at(c"tracefs", PLACE, MountFlags::RDONLY)
    });
    let report = report(&mut command, 0)?;
    finds(&report, "note", "/sys/kernel/tracing) is mounted read-only")
}

/// Asked for alone, it is a fault where the kernel, an LSM or a seccomp filter refuses it.
fn fentry_refused(lab: &Lab) -> Result<()> {
    let found = report(&mut doctor(lab, lab.hooks(), &["--json"])?, 0)?;
    let connect =
        list(&found, "hooks")?.iter().find(|hook| hook["fact"] == "connect").context("no hook for connect")?;
    let candidates = list(connect, "candidates")?;
    let fentry = candidates.iter().find(|candidate| candidate["mechanism"] == "fentry").context("no fentry")?;
    let mut alone = doctor(lab, "[hooks]\nconnect = \"fentry\"\n", &["--json"])?;
    if fentry["state"] == "works" {
        ensure!(finds(&found, "note", "fentry: ").is_err(), "named though it works: {}", found["findings"]);
        return report(&mut alone, 0).map(drop);
    }
    finds(&found, "note", "fentry: ")?;
    let report = report(&mut alone, 4)?;
    finds(&report, "note", "fentry: ")?;
    finds(&report, "fault", "connect by fentry")
}

const SWITCH: &str = "/sys/kernel/debug/kprobes/enabled";

/// Switches kprobes for the whole host, and back on when dropped.
struct Switch<'a>(&'a Lab);

impl Switch<'_> {
    fn set(&self, value: &'static [u8]) -> Result<()> {
        // The file is reached in mounts of its own, by any program.
        let mut command = Command::new(self.0.binary());
        with_debugfs(command.arg("version").stdin(Stdio::null()), move || {
            let file = rustix::fs::open(SWITCH, OFlags::WRONLY, Mode::empty())?;
            Ok(rustix::io::write(file, value).map(drop)?)
        });
        Finished::of(&mut command)?.expect(0)
    }
}

impl Drop for Switch<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.set(b"1") {
            crate::report::fatal(&format!("kprobes cannot be switched on again: {error:#}"));
        }
    }
}

fn with_debugfs(command: &mut Command, then: impl Fn() -> io::Result<()> + Send + Sync + 'static) {
    with_mounts(command, move || {
        mount_at(c"debugfs", c"/sys/kernel/debug", MountFlags::empty())?;
        then()
    });
}

/// Switched off while the system runs, or not in the kernel at all.
fn kprobes_off(lab: &Lab) -> Result<()> {
    if !Path::new("/sys/bus/event_source/devices/kprobe/type").exists() {
        return finds(&report(&mut doctor(lab, "", &["--json"])?, 0)?, "note", "no kprobes");
    }
    let switch = Switch(lab);
    switch.set(b"0")?;
    let mut command = doctor(lab, "[hooks]\nconnect = \"kprobe\"\n", &["--json"])?;
    with_debugfs(&mut command, || Ok(()));
    let report = report(&mut command, 4)?;
    finds(&report, "note", SWITCH)?;
    finds(&report, "fault", "connect by kprobe")
}
