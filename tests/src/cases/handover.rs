//! From one sensor to the next without a gap, as systemd starts a service anew: the kernel side goes on meanwhile, and what it records
//! is alerted once. The test is systemd.

use super::scene::{SHELL, closed, shell_after};
use super::{Case, Tag, tagged};
use crate::actor::step::{How, Outcome, Step, connect, connect_by, exec, exec_then, fork, report, stdio};
use crate::expect::field;
use crate::lab::Lab;
use crate::manager::Manager;
use crate::player::Player;
use crate::programs::{held_by, still_loaded};
use crate::sensor::{Ended, Sensor, command};
use crate::tail::Tail;
use crate::wait::until;
use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

pub(super) const CASES: &[Case] = &[
    tagged("handover: stopped, what happens until the next is alerted once", &[Tag::Own], stopped),
    tagged("handover: killed, what happens until the next is alerted once", &[Tag::Own], killed),
    tagged("handover: of shells without end each is alerted once", &[Tag::Own, Tag::Alone, Tag::Crowd], stream),
    tagged(
        "handover: what found no room until the next is told with its number and its time",
        &[Tag::Own, Tag::Alone, Tag::Once],
        full,
    ),
    tagged("handover: what is not whole, or of another form, is not used", &[Tag::Own, Tag::Once], unusable),
    tagged("handover: without the next, nothing stays attached", &[Tag::Own], for_good),
];

/// Longer than any of these tests.
const NEVER: Duration = Duration::from_secs(3600);
/// A connection counts for longer than a sensor takes to start on a slow processor.
const SPAN: &str = "[rule]\nspan = \"5m\"\n";
const TAKEN_OVER: &str = "taken over from the sensor before";

fn knock(lab: &Lab) -> Step {
    connect_by(closed(lab), How::Plain, Outcome::Refused)
}

/// A sensor in a directory of its own, with more configuration; with what is kept, as systemd would start it.
fn start(lab: &Lab, manager: &Manager, name: &str, config: &str) -> Result<Sensor> {
    let directory = lab.directory().join(name);
    std::fs::create_dir_all(&directory)?;
    let command = command(lab.binary(), &directory, &format!("{}{config}", lab.hooks()))?;
    let output = File::create(directory.join("alerts.ndjson"))?;
    let sensor = Sensor::start_command(manager.handing_over(&command)?, &directory, output.into())?;
    manager.told("READY=1\n")?;
    ensure!(!manager.kept().is_empty(), "it has nothing kept, log:\n{}", sensor.log_tail());
    Ok(sensor)
}

/// Ends a sensor so that the kernel side goes on.
fn end(sensor: &Sensor, signal: Signal) -> Result<()> {
    let Ended { code, .. } = sensor.stop(signal)?;
    let expected = (signal == Signal::TERM).then_some(0);
    ensure!(code == expected, "it ended with {code:?}, log:\n{}", sensor.log_tail());
    ensure!(!sensor.said(" disagree: ")?, "its counters disagree, log:\n{}", sensor.log_tail());
    Ok(())
}

fn stopped(lab: &Lab) -> Result<()> {
    handed_over(lab, Signal::TERM)
}

fn killed(lab: &Lab) -> Result<()> {
    handed_over(lab, Signal::KILL)
}

/// An orphan of a process that connected; it waits before it becomes a shell.
fn orphan(lab: &Lab) -> Result<Player> {
    let bash = lab.program("bash")?;
    let shell = vec![report("orphan"), Step::Wait, exec(&bash, SHELL)];
    let between = vec![Step::Fork { child: shell, reap: false, pids: Vec::new() }];
    let steps = vec![fork(vec![knock(lab), fork(between)]), report("gone"), Step::Sleep(600_000)];
    let mut player = lab.play(&bash, &["bash"], steps)?;
    player.reached("orphan")?;
    player.reached("gone")?;
    Ok(player)
}

/// A shell before, one between, and one after the two sensors; one whose connection is made between them, one that connected before, and
/// one that has inherited a connection of before. The next one is told of other buffers, and goes on with the old ones all the same.
fn handed_over(lab: &Lab, signal: Signal) -> Result<()> {
    let manager = Manager::new(lab.directory(), NEVER)?;
    let first = start(lab, &manager, "first", SPAN)?;
    let bash = lab.program("bash")?;
    let connected = || -> Result<_> {
        let steps = vec![knock(lab), report("connected"), Step::Wait, exec(&bash, SHELL)];
        let mut player = lab.play(&bash, &["bash"], steps)?;
        player.reached("connected")?;
        Ok(player)
    };
    let before = shell_after(lab, vec![knock(lab)])?;
    lab.expect_of(&first, &[before.alert()])?;
    let mut early = connected()?;
    let mut heir = orphan(lab)?;
    end(&first, signal)?;
    let between = shell_after(lab, vec![knock(lab)])?;
    let mut late = connected()?;
    early.go()?;
    let early_pid = early.reached("end")?.pid;
    let others = format!("{SPAN}[rings]\nconnections = 65536\nexecutions = 131072\n");
    let second = start(lab, &manager, "second", &others)?;
    ensure!(second.said(TAKEN_OVER)?, "it has not taken over, log:\n{}", second.log_tail());
    late.go()?;
    let late_pid = late.reached("end")?.pid;
    heir.go()?;
    let heir_pid = heir.reached("end")?.pid;
    let after = shell_after(lab, vec![knock(lab)])?;
    // These may take longer than the rule's own span, which the suite holds alerts to.
    for pid in [early_pid, late_pid, heir_pid] {
        lab.ignore(pid);
        let of = |alert: &Value| field(alert, "process.pid") == Some(&json!(pid));
        until("the alert", || Ok((second.count_alerts(of)? > 0).then_some(())))?;
    }
    lab.expect_of(&second, &[between.alert(), after.alert()])?;
    for pid in [early_pid, late_pid, heir_pid] {
        let alerts = second.alerts(|alert| field(alert, "process.pid") == Some(&json!(pid)))?;
        let [alert] = &alerts[..] else { anyhow::bail!("{} alerts about {pid}", alerts.len()) };
        let found = field(alert, "sensor.sequence.0.sensor.found_at_start");
        ensure!(found.is_none() && field(alert, "process.args") == Some(&json!(SHELL)), "{alert:.2000}");
        let forks = field(alert, "sensor.inherited.generations");
        ensure!(forks == (pid == heir_pid).then_some(&json!(2)), "{alert:.2000}");
    }
    second.stop_cleanly().map(drop)
}

/// Shells one behind the other, while one sensor ends and the next begins: by turns one whose connection the sensor remembers, and one
/// that only sits on a connection, of which nothing is remembered.
fn stream(lab: &Lab) -> Result<()> {
    const SHELLS: u32 = 1500;
    // What is told twice must not be taken for what a process has repeated.
    let config = format!("{SPAN}[noise]\ncollapse = \"off\"\n");
    let manager = Manager::new(lab.directory(), NEVER)?;
    let mut sensors = vec![start(lab, &manager, "first", &config)?];
    let bash = lab.program("bash")?;
    let far = lab.listen(lab.remote())?;
    let shells =
        vec![fork(vec![knock(lab), exec_then(&bash, SHELL, vec![])]), fork(vec![exec_then(&bash, ON_SOCKET, vec![])])];
    let steps = vec![connect(far.address), stdio(), Step::Repeat(SHELLS / 2, shells), report("done"), Step::Hold];
    let mut player = lab.play(&bash, &["bash"], steps)?;
    let _connection = far.accept()?;
    for name in ["second", "third"] {
        let last = sensors.last().context("no sensor")?;
        until("the first alerts", || Ok((last.count_alerts(|alert| is_of(alert, &bash))? > 10).then_some(())))?;
        end(last, Signal::TERM)?;
        sensors.push(start(lab, &manager, name, &config)?);
    }
    player.reached("done")?;
    let last = sensors.last().context("no sensor")?;
    // Its alert comes behind all others.
    lab.canary(last)?;
    // Connections that find no room are counted, and executions carry them: only these must not be lost.
    let counters = last.stop_with_losses()?;
    ensure!(counters.sum("exec", "lost_") == 0, "executions were lost: {counters:?}");
    let mut told = BTreeMap::<u64, Vec<String>>::new();
    for sensor in &sensors {
        let of = |alert: &Value| {
            let (pid, at) = (field(alert, "process.pid")?.as_u64()?, field(alert, "@timestamp")?.as_str()?);
            Some((pid, at.to_owned()))
        };
        for alert in sensor.of_alerts(|alert| is_of(alert, &bash).then(|| of(alert)))? {
            let (pid, at) = alert.context("no process.pid, or no @timestamp")?;
            told.entry(pid).or_default().push(at);
        }
    }
    let twice: Vec<_> = told.iter().filter(|(_, times)| times.len() != 1).collect();
    ensure!(twice.is_empty(), "alerted more than once, executed at: {twice:?}");
    ensure!(told.len() == usize::try_from(SHELLS)?, "{} of {SHELLS} shells are alerted", told.len());
    Ok(())
}

/// Arguments of a shell that matches by its standard input and output alone.
const ON_SOCKET: &[&str] = &["bash", "--norc"];

fn is_of(alert: &Value, bash: &PathBuf) -> bool {
    let args = field(alert, "process.args");
    field(alert, "process.executable") == Some(&json!(bash))
        && [SHELL, ON_SOCKET].iter().any(|of| args == Some(&json!(of)))
}

/// More executions than a small buffer takes while nobody reads it.
fn full(lab: &Lab) -> Result<()> {
    const SHELLS: u32 = 200;
    let file = lab.directory().join("stream.ndjson");
    let config = format!("[rings]\nconnections = 65536\nexecutions = 65536\n[output]\nfile = \"{}\"\n", file.display());
    let manager = Manager::new(lab.directory(), NEVER)?;
    let first = start(lab, &manager, "first", &config)?;
    end(&first, Signal::TERM)?;
    let bash = lab.program("bash")?;
    let long = "v".repeat(2000);
    let shell = fork(vec![knock(lab), exec_then(&bash, &["bash", "-i", &long], vec![])]);
    let steps = vec![Step::Repeat(SHELLS, vec![shell]), report("done"), Step::Hold];
    lab.play(&bash, &["bash"], steps)?.reached("done")?;
    let second = start(lab, &manager, "second", &config)?;
    lab.canary(&second)?;
    let counters = second.stop_cleanly()?;
    ensure!(counters.sum("exec", "lost_") == 0, "what the one before has lost is not this one's: {counters:?}");
    let mut tail = Tail::new(&file)?;
    tail.read()?;
    let documents = tail.documents()?;
    let alerted = documents.iter().filter(|one| field(one, "process.args.2") == Some(&json!(long))).count();
    let losses: Vec<_> =
        documents.iter().filter(|one| field(one, "event.action") == Some(&json!("sensor-lost-events"))).collect();
    let [loss] = losses[..] else { anyhow::bail!("told {} times of losses: {losses:?}", losses.len()) };
    let causes = field(loss, "sensor.lost.causes").and_then(Value::as_array).context("no causes")?;
    let of_exec = causes.iter().find(|cause| field(cause, "place") == Some(&json!("exec"))).context("none of exec")?;
    let lost = field(of_exec, "count").and_then(Value::as_u64).context("no count")?;
    ensure!(u64::try_from(alerted)? + lost == u64::from(SHELLS), "{alerted} alerts and {lost} lost of {SHELLS}");
    ensure!(lost > 0 && alerted > 0, "{alerted} alerts and {lost} lost");
    // From the end of the one to the start of the other, as the stream has both.
    let of = |action: &str, at: &str| {
        let one = documents.iter().rev().find(|one| field(one, "event.action") == Some(&json!(action)));
        one.and_then(|one| field(one, at)?.as_str()?.parse::<jiff::Timestamp>().ok()).context(action.to_owned())
    };
    let first_stopped = documents.iter().find(|one| field(one, "event.action") == Some(&json!("sensor-stopped")));
    let stopped: jiff::Timestamp =
        first_stopped.and_then(|one| field(one, "@timestamp")?.as_str()).context("no end")?.parse()?;
    let (from, to) = (of("sensor-lost-events", "event.start")?, of("sensor-lost-events", "event.end")?);
    let started = of("sensor-started", "@timestamp")?;
    let near = |one: jiff::Timestamp, other| one.duration_since(other).unsigned_abs() < Duration::from_secs(1);
    ensure!(near(from, stopped) && near(to, started) && from < to, "from {from} to {to}, not {stopped} to {started}");
    Ok(())
}

/// A descriptor is missing, one too many is there, one is something else, or all are of another version.
fn unusable(lab: &Lab) -> Result<()> {
    let manager = Manager::new(lab.directory(), NEVER)?;
    let mut before = start(lab, &manager, "whole", "")?;
    type Change = fn(&Manager) -> Result<()>;
    let changes: [(&str, Change); 4] = [
        ("missing", |manager| manager.kept().pop().map(drop).context("nothing is kept")),
        ("more", |manager| {
            let name = name(manager)?;
            manager.kept().push((name, foreign()?));
            Ok(())
        }),
        ("foreign", |manager| {
            let mut kept = manager.kept();
            kept.last_mut().context("nothing is kept")?.1 = foreign()?;
            Ok(())
        }),
        ("other", |manager| {
            manager.kept().iter_mut().for_each(|(name, _)| *name = name.replacen("sensor.", "sensor.0", 1));
            Ok(())
        }),
    ];
    for (what, change) in changes {
        let programs = held_by(before.pid())?;
        end(&before, Signal::TERM)?;
        change(&manager)?;
        let names: Vec<String> = manager.kept().iter().map(|(name, _)| name.clone()).collect();
        let next = start(lab, &manager, what, "")?;
        ensure!(!next.said(TAKEN_OVER)?, "{what}: it has taken over, log:\n{}", next.log_tail());
        ensure!(next.said("which cannot be used")?, "{what}: it does not say so, log:\n{}", next.log_tail());
        gone(&programs).with_context(|| format!("{what}: kept under {names:?}"))?;
        let shell = shell_after(lab, vec![knock(lab)])?;
        lab.expect_of(&next, &[shell.alert()]).context(what)?;
        before = next;
    }
    before.stop_cleanly().map(drop)
}

fn name(manager: &Manager) -> Result<String> {
    Ok(manager.kept().last().context("nothing is kept")?.0.clone())
}

fn foreign() -> Result<OwnedFd> {
    Ok(std::io::pipe()?.0.into())
}

/// systemd lets go of what it keeps when a service is stopped for good.
fn for_good(lab: &Lab) -> Result<()> {
    let manager = Manager::new(lab.directory(), NEVER)?;
    let sensor = start(lab, &manager, "sensor", "")?;
    let programs = held_by(sensor.pid())?;
    ensure!(!programs.is_empty(), "the sensor holds no program");
    end(&sensor, Signal::TERM)?;
    ensure!(!still_loaded(&programs)?.is_empty(), "what is kept keeps nothing attached");
    manager.kept().clear();
    gone(&programs)
}

/// The kernel frees programs a moment after their last user.
fn gone(programs: &std::collections::BTreeSet<u32>) -> Result<()> {
    let mut left = Vec::new();
    let result = until("the programs to be unloaded", || {
        left = still_loaded(programs)?;
        Ok(left.is_empty().then_some(()))
    });
    result.with_context(|| format!("still loaded: {left:?}"))
}
