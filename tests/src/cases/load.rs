//! Many at a time, and very many that do not matter.

use super::scene::{SHELL, SUITE, closed, shell_after};
use super::{Case, Tag, case, tagged};
use crate::actor::step::{How, Outcome, Step, connect_by, exec, report};
use crate::expect::{Expect, field};
use crate::lab::Lab;
use crate::programs::{held_by, runs};
use crate::sensor::Sensor;
use crate::tiny;
use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

pub(super) const CASES: &[Case] = &[
    case("load: a hundred reverse shells one after another", one_after_another),
    tagged("load: twenty reverse shells at once", &[Tag::Crowd], at_once),
    case("load: reverse shells among many other programs", among_others),
    tagged("load: a flood of connections hides no shell", &[Tag::Own, Tag::Alone], flood),
    tagged("load: what happened while the sensor stood still is not lost", &[Tag::Own, Tag::Alone], stood_still),
    tagged("load: nothing is missed while all CPUs connect and execute", &[Tag::Own, Tag::Alone, Tag::Storm], all_busy),
    tagged("load: 100 000 other programs send nothing", &[Tag::Own, Tag::Alone, Tag::Storm], |lab| {
        nothing_sent(lab, "true", &["true"], 100_000)
    }),
    tagged("load: 10 000 shells without a connection send nothing", &[Tag::Own, Tag::Alone, Tag::Storm], |lab| {
        nothing_sent(lab, "dash", &["dash", "-c", ":"], 10_000)
    }),
    tagged(
        "load: other programs while a connection is pending send nothing",
        &[Tag::Own, Tag::Alone, Tag::Storm],
        pending,
    ),
];

/// How long a storm may take on a slow machine.
const STORM: Duration = Duration::from_secs(900);

fn knock(lab: &Lab) -> Step {
    connect_by(closed(lab), How::Plain, Outcome::Refused)
}

/// Each gives one alert.
fn one_after_another(lab: &Lab) -> Result<()> {
    let shells = (0..100).map(|_| shell_after(lab, vec![knock(lab)])).collect::<Result<Vec<_>>>()?;
    lab.expect(&shells.iter().map(super::scene::Shell::alert).collect::<Vec<_>>())
}

/// The same, made at the same moment.
fn at_once(lab: &Lab) -> Result<()> {
    let bash = lab.program("bash")?;
    let steps = || vec![report("ready"), Step::Wait, knock(lab), exec(&bash, SHELL)];
    let mut players = (0..20).map(|_| lab.play(&bash, &["bash"], steps())).collect::<Result<Vec<_>>>()?;
    for player in &mut players {
        player.reached("ready")?;
    }
    for player in &mut players {
        player.go()?;
    }
    let mut expected = Vec::new();
    for player in &mut players {
        let pid = player.reached("end")?.pid;
        expected.push(Expect::alert(pid, &bash, SHELL).parent(std::process::id(), SUITE));
    }
    lab.expect(&expected)
}

/// A build that runs beside them does not hide them.
fn among_others(lab: &Lab) -> Result<()> {
    let tiny = lab.directory().join("cc1");
    tiny::write(&tiny)?;
    let build = vec![spawn(&tiny, &["cc1"], 2000), report("built"), Step::Hold];
    let mut make = lab.play(&lab.program("make")?, &["make"], build)?;
    let shells = (0..10).map(|_| shell_after(lab, vec![knock(lab)])).collect::<Result<Vec<_>>>()?;
    make.reached_within("built", STORM)?;
    lab.expect(&shells.iter().map(super::scene::Shell::alert).collect::<Vec<_>>())
}

fn spawn(file: &Path, args: &[&str], times: u32) -> Step {
    Step::Repeat(times, vec![Step::Spawn(file.to_owned(), args.iter().copied().map(Into::into).collect())])
}

/// Executes a program many times, by two processes at once.
fn storm(lab: &Lab, name: &str, args: &[&str], times: u32) -> Result<()> {
    let tiny = lab.directory().join("bin").join(name);
    tiny::write(&tiny)?;
    let file = lab.program("make")?;
    let steps = || vec![spawn(&tiny, args, times / 2), report("done"), Step::Hold];
    let mut players = [lab.play(&file, &["make"], steps())?, lab.play(&file, &["make"], steps())?];
    for player in &mut players {
        player.reached_within("done", STORM)?;
    }
    Ok(())
}

/// With nothing pending no program is worth a record. That the sensor was awake all the time is shown by the two shells
/// that come last: the test's and the canary.
fn nothing_sent(lab: &Lab, name: &str, args: &[&str], times: u32) -> Result<()> {
    let sensor = lab.start_sensor()?;
    storm(lab, name, args, times)?;
    let shell = shell_after(lab, vec![knock(lab)])?;
    lab.expect_of(&sensor, &[shell.alert()])?;
    let counters = sensor.stop_cleanly()?;
    let sent: u64 = ["connect", "accept", "graft", "exec"].iter().map(|hook| counters.sum(hook, "sent_")).sum();
    let (ours, all) = events(lab, &sensor)?;
    // Two connections and two executions; more were sent only if the host itself did something that matters.
    ensure!(ours == 4, "{ours} events are about this test, 4 were expected: {counters:?}");
    ensure!(sent == 4 || all > ours, "{sent} records were sent, 4 were expected: {counters:?}");
    Ok(())
}

/// How many events are about programs of this lab, and how many there are.
fn events(lab: &Lab, sensor: &Sensor) -> Result<(usize, usize)> {
    let events = std::fs::read_to_string(sensor.events())?;
    let events = events.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    let directory = lab.directory().to_string_lossy().into_owned();
    let ours = events.iter().filter(|event| {
        let file = field(event, "process.executable").and_then(Value::as_str);
        file.is_none_or(|file| file.starts_with(&directory))
    });
    Ok((ours.count(), events.len()))
}

/// The sensor looks at every program then, and counts it, but holds it back.
fn pending(lab: &Lab) -> Result<()> {
    const TIMES: u32 = 2000;
    let sensor = lab.start_sensor()?;
    let bash = lab.program("bash")?;
    let mut player = lab.play(&bash, &["bash"], vec![knock(lab), report("connected"), Step::Hold])?;
    player.reached("connected")?;
    storm(lab, "true", &["true"], TIMES)?;
    let counters = sensor.stop_cleanly()?;
    let (seen, name) = (counters.get("exec", "seen")?, counters.get("exec", "filtered_name")?);
    ensure!(seen > 0 && name > 0, "nothing was looked at: {counters:?}");
    ensure!(counters.get("connect", "sent_sent")? >= 1, "the connection was not sent: {counters:?}");
    ensure!(counters.sum("exec", "sent_armed") == 0, "an exec was sent: {counters:?}");
    Ok(())
}

/// As many connections of another process as fit into half of the span, on a fast machine more than the table of pending
/// ones holds at ease: the older connection still counts, also if reports of the flood found no room.
fn flood(lab: &Lab) -> Result<()> {
    let sensor = lab.start_sensor()?;
    let bash = lab.program("bash")?;
    let steps =
        vec![report("ready"), Step::Wait, Step::RepeatFor(2500, vec![knock(lab), Step::Close]), report("flooded")];
    let mut noise = lab.play(&lab.program("zsh")?, &["zsh"], steps)?;
    noise.reached("ready")?;
    let steps = vec![knock(lab), report("connected"), Step::Wait, exec(&bash, SHELL)];
    let mut victim = lab.play(&bash, &["bash"], steps)?;
    victim.reached("connected")?;
    noise.go()?;
    noise.reached("flooded")?;
    victim.go()?;
    let pid = victim.reached("end")?.pid;
    lab.expect_of(&sensor, &[Expect::alert(pid, &bash, SHELL)])?;
    let counters = sensor.stop_with_losses()?;
    ensure!(counters.get("connect", "seen")? > 100, "there was no flood: {counters:?}");
    Ok(())
}

/// The kernel side goes on alone, and its queue is read when the sensor runs again.
fn stood_still(lab: &Lab) -> Result<()> {
    let sensor = lab.start_sensor()?;
    sensor.signal(Signal::STOP)?;
    let shells = (0..20).map(|_| shell_after(lab, vec![knock(lab)])).collect::<Result<Vec<_>>>();
    sensor.signal(Signal::CONT)?;
    lab.expect_of(&sensor, &shells?.iter().map(super::scene::Shell::alert).collect::<Vec<_>>())?;
    sensor.stop_cleanly().map(drop)
}

/// A program of the sensor that is interrupted by another task on its CPU must not swallow that task's event: where the
/// kernel lets tracing programs be interrupted, it skips the second run and only counts that.
fn all_busy(lab: &Lab) -> Result<()> {
    const TIMES: u32 = 5000;
    const SHELLS: u32 = 100;
    let sensor = lab.start_sensor()?;
    let tiny = lab.directory().join("bin").join("true");
    tiny::write(&tiny)?;
    let (make, curl) = (lab.program("make")?, lab.program("curl")?);
    let executes = || vec![spawn(&tiny, &["true"], TIMES), report("done"), Step::Hold];
    let connects = || vec![Step::Repeat(TIMES, vec![knock(lab), Step::Close]), report("done"), Step::Hold];
    let pairs = 2 * std::thread::available_parallelism()?.get();
    let mut players = Vec::new();
    for _ in 0..pairs {
        players.push(lab.play(&make, &["make"], executes())?);
        players.push(lab.play(&curl, &["curl"], connects())?);
    }
    let shells = (0..SHELLS).map(|_| shell_after(lab, vec![knock(lab)])).collect::<Result<Vec<_>>>()?;
    for player in &mut players {
        player.reached_within("done", STORM)?;
    }
    let runs = runs(&held_by(sensor.pid())?)?;
    let missed: Vec<_> = runs.iter().filter(|(_, runs)| runs.missed != 0).collect();
    let alerts = lab.expect_of(&sensor, &shells.iter().map(super::scene::Shell::alert).collect::<Vec<_>>());
    alerts.with_context(|| format!("runs that the kernel skipped: {missed:?}"))?;
    let counters = sensor.stop_cleanly()?;
    let (seen, made) = (counters.get("connect", "seen")?, u64::from(TIMES) * u64::try_from(pairs)? + u64::from(SHELLS));
    ensure!(seen >= made, "{made} connections were made, {seen} were seen; runs that the kernel skipped: {missed:?}");
    Ok(())
}
