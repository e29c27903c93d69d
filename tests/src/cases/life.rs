//! The sensor's own life: how it ends, what it leaves, what it counted, and how it refuses to start.

use super::scene::{SHELL, closed, shell_after};
use super::{Case, Tag, tagged};
use crate::actor::step::{How, Outcome, Step, connect, connect_by, exec, report};
use crate::expect::{Expect, field};
use crate::finished::Finished;
use crate::lab::Lab;
use crate::programs::{held_by, runs, still_loaded};
use crate::sensor::{Ended, Sensor, command};
use crate::tiny;
use crate::wait::until;
use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

pub(super) const CASES: &[Case] = &[
    tagged("life: an interrupt ends it cleanly, and nothing stays attached", &[Tag::Own], interrupted),
    tagged("life: killed, it leaves nothing attached", &[Tag::Own], killed),
    tagged("life: a connection older than the sensor", &[Tag::Own], held_connection),
    tagged("life: two sensors do not disturb each other", &[Tag::Own], two),
    tagged("life: a replay of its events gives its alerts", &[Tag::Own], replayed),
    tagged("life: the kernel's run counts agree with its counters", &[Tag::Own, Tag::Alone], run_counts),
    tagged("life: without root it says so (5)", &[Tag::Own, Tag::Once], not_root),
    tagged("life: without BTF it says so (4)", &[Tag::Own, Tag::Once], |lab| {
        refuses(lab, "[kernel]\nbtf = \"/nonexistent\"\n", &[], 4, "/nonexistent")
    }),
    tagged("life: a wrong configuration is named (3)", &[Tag::Own, Tag::Once], |lab| {
        refuses(lab, "[rule]\nspam = \"5s\"\n", &[], 3, "spam")
    }),
    tagged("life: a wrong option is named (2)", &[Tag::Own, Tag::Once], |lab| {
        refuses(lab, "", &["--nonsense"], 2, "--nonsense")
    }),
    tagged("life: a forced hook is used, or named as missing (4)", &[Tag::Own, Tag::Once], forced),
];

fn knock(lab: &Lab) -> Step {
    connect_by(closed(lab), How::Plain, Outcome::Refused)
}

/// As by the terminal.
fn interrupted(lab: &Lab) -> Result<()> {
    let sensor = lab.start_sensor()?;
    let programs = held_by(sensor.pid())?;
    ensure!(!programs.is_empty(), "the sensor holds no program");
    let shell = shell_after(lab, vec![knock(lab)])?;
    lab.expect_of(&sensor, &[shell.alert()])?;
    let Ended { code, counters } = sensor.stop(Signal::INT)?;
    ensure!(code == Some(0), "it ended with {code:?}, log:\n{}", sensor.log_tail());
    let counters = counters.context("it did not report its counters")?;
    counters.balance()?;
    // The test's shell and the canary, at least.
    ensure!(counters.get("exec", "sent_armed")? >= 2, "the counters miss what was seen: {counters:?}");
    ensure!(counters.get("connect", "sent_sent")? >= 2, "the counters miss what was seen: {counters:?}");
    gone(&programs)
}

/// The kernel frees programs a moment after their last user.
fn gone(programs: &BTreeSet<u32>) -> Result<()> {
    let mut left = Vec::new();
    let result = until("the programs to be unloaded", || {
        left = still_loaded(programs)?;
        Ok(left.is_empty().then_some(()))
    });
    result.with_context(|| format!("still loaded: {left:?}"))
}

/// No clean-up of its own is needed.
fn killed(lab: &Lab) -> Result<()> {
    let sensor = lab.start_sensor()?;
    let programs = held_by(sensor.pid())?;
    ensure!(!programs.is_empty(), "the sensor holds no program");
    let Ended { code, .. } = sensor.stop(Signal::KILL)?;
    ensure!(code.is_none(), "it ended with {code:?}");
    gone(&programs)
}

/// Both see the same shell; that one ends does not matter to the other.
fn two(lab: &Lab) -> Result<()> {
    let first = lab.start_sensor_with("first", "")?;
    let second = lab.start_sensor_with("second", "")?;
    let shell = shell_after(lab, vec![knock(lab)])?;
    lab.expect_of(&first, &[shell.alert()])?;
    lab.expect_of(&second, &[shell.alert()])?;
    first.stop_cleanly()?;
    let other = shell_after(lab, vec![knock(lab)])?;
    lab.expect_of(&second, &[shell.alert(), other.alert()])?;
    second.stop_cleanly().map(drop)
}

/// The file of events holds both events of every alert, and the same correlator finds the same alerts in it.
fn replayed(lab: &Lab) -> Result<()> {
    let sensor = lab.start_sensor()?;
    let shells = (0..3).map(|_| shell_after(lab, vec![knock(lab)])).collect::<Result<Vec<_>>>()?;
    lab.expect_of(&sensor, &shells.iter().map(super::scene::Shell::alert).collect::<Vec<Expect>>())?;
    sensor.stop_cleanly()?;
    let alerts = sensor.alerts(|_| true)?;
    let text = std::fs::read_to_string(sensor.events()).context("the file of events")?;
    let events = text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    let ids: BTreeSet<&str> = events.iter().filter_map(id).collect();
    for path in ["sensor.sequence.0.event.id", "sensor.sequence.1.event.id"] {
        for alert in &alerts {
            let wanted = field(alert, path).and_then(Value::as_str).context(path)?;
            ensure!(ids.contains(wanted), "{path} {wanted} is not in the file of events");
        }
    }
    let output = Command::new(lab.binary()).args(["replay", "--format", "json"]).arg(sensor.events()).output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "replay ended with {}: {errors}", output.status);
    let again = String::from_utf8(output.stdout)?;
    let again = again.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    let [live, replayed] = [&alerts, &again].map(|all| all.iter().filter_map(id).collect::<BTreeSet<_>>());
    ensure!(live.len() == alerts.len(), "two alerts have one id");
    ensure!(live == replayed && again.len() == alerts.len(), "live: {live:?}\nreplay: {replayed:?}\n{errors}");
    Ok(())
}

fn id(document: &Value) -> Option<&str> {
    field(document, "event.id")?.as_str()
}

/// Switches the kernel's run counts on, and back to what they were when dropped.
struct Statistics(String);

const STATISTICS: &str = "/proc/sys/kernel/bpf_stats_enabled";

impl Statistics {
    fn on() -> Result<Self> {
        let before = std::fs::read_to_string(STATISTICS)?;
        std::fs::write(STATISTICS, "1")?;
        Ok(Self(before))
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        // Nobody is left to tell if this fails.
        let _ = std::fs::write(STATISTICS, &self.0);
    }
}

/// Every exec runs the program once, and every connection is seen, also those that no rule is about.
fn run_counts(lab: &Lab) -> Result<()> {
    const EXECS: u32 = 500;
    const CONNECTIONS: u32 = 200;
    let _statistics = Statistics::on()?;
    let sensor = lab.start_sensor()?;
    let programs = held_by(sensor.pid())?;
    let tiny = lab.directory().join("tiny");
    tiny::write(&tiny)?;
    let steps = vec![
        Step::Repeat(CONNECTIONS, vec![knock(lab), Step::Close]),
        report("connected"),
        Step::Wait,
        Step::Repeat(EXECS, vec![Step::Spawn(tiny, vec!["tiny".into()])]),
        report("done"),
        Step::Hold,
    ];
    let mut player = lab.play(&lab.program("curl")?, &["curl"], steps)?;
    player.reached("connected")?;
    let (before, forks_before) = (runs(&programs)?, forks()?);
    player.go()?;
    player.reached("done")?;
    let (after, forks_after) = (runs(&programs)?, forks()?);
    let missed: Vec<_> = after.iter().filter(|(_, runs)| runs.missed != 0).collect();
    ensure!(missed.is_empty(), "runs were missed: {missed:?}");
    let count = |of: &std::collections::BTreeMap<String, crate::programs::Runs>| {
        of.iter().filter(|(name, _)| name.starts_with("exec_")).map(|(_, runs)| runs.count).sum::<u64>()
    };
    let (execs, others) = (count(&after) - count(&before), (forks_after - forks_before).saturating_sub(EXECS.into()));
    // What else runs on the host forks before it executes.
    let most = u64::from(EXECS) + 2 * others;
    ensure!((EXECS.into()..=most).contains(&execs), "{execs} runs for {EXECS} execs and at most {most}: {after:?}");
    let counters = sensor.stop_cleanly()?;
    let (seen, other_names) = (counters.get("connect", "seen")?, counters.get("connect", "filtered_name")?);
    let least = u64::from(CONNECTIONS);
    ensure!(seen >= least && other_names >= least, "{CONNECTIONS} connections were made: {counters:?}");
    Ok(())
}

/// Processes made since boot, on the whole host.
fn forks() -> Result<u64> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().find_map(|line| line.strip_prefix("processes ")).context("/proc/stat")?;
    Ok(line.trim().parse()?)
}

/// It ends with the documented status, and what it says names the cause.
fn gives_up(command: &mut Command, code: i32, cause: &str) -> Result<()> {
    let ended = Finished::of(command.stdin(Stdio::null()))?;
    ended.expect(code)?;
    ensure!(ended.log.contains(cause), "it does not name {cause}: {}", ended.log);
    Ok(())
}

fn refuses(lab: &Lab, config: &str, options: &[&str], code: i32, cause: &str) -> Result<()> {
    gives_up(command(lab.binary(), lab.directory(), config)?.args(options), code, cause)
}

/// As nobody.
fn not_root(lab: &Lab) -> Result<()> {
    let mut command = Command::new(lab.binary());
    gives_up(command.arg("run").uid(65534).gid(65534).current_dir("/"), 5, "")
}

/// Each kind of hook is used when it is asked for, or named as missing.
fn forced(lab: &Lab) -> Result<()> {
    for hook in ["connect", "accept"] {
        for kind in ["fentry", "kprobe", "tracepoint"] {
            let directory = lab.directory().join(format!("{hook}-{kind}"));
            let config = format!("[hooks]\n{hook} = \"{kind}\"\n");
            match Sensor::start(lab.binary(), &directory, &config) {
                Ok(sensor) => {
                    let hooks = sensor.hooks();
                    let got = if hook == "connect" { &hooks.connect } else { &hooks.accept };
                    ensure!(got == kind, "{kind} was asked for, {got} is used");
                    sensor.stop_cleanly()?;
                }
                Err(_) => gives_up(&mut command(lab.binary(), &directory, &config)?, 4, kind)?,
            }
        }
    }
    Ok(())
}

/// A connection that was there when the sensor started counts from then on.
fn held_connection(lab: &Lab) -> Result<()> {
    let far = lab.listen(lab.remote())?;
    let bash = lab.program("bash")?;
    let steps = vec![connect(far.address), report("connected"), Step::Wait, exec(&bash, SHELL)];
    let mut player = lab.play(&bash, &["bash"], steps)?;
    let (_connection, near) = far.accept()?;
    player.reached("connected")?;
    let sensor = lab.start_sensor()?;
    player.go()?;
    let pid = player.reached("end")?.pid;
    lab.expect_of(&sensor, &[Expect::alert(pid, &bash, SHELL).egress(near, far.address)])?;
    sensor.stop_cleanly().map(drop)
}
