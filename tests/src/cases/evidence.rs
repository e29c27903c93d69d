//! What an alert says beyond the rule's own facts: ancestors with their arguments.

use super::scene::{SHELL, closed};
use super::{Case, Tag, case, tagged};
use crate::actor::step::{How, Outcome, Step, connect_by, exec, exec_then, fork, report};
use crate::expect::{Expect, field};
use crate::lab::Lab;
use anyhow::{Result, ensure};

pub(super) const CASES: &[Case] = &[
    case("evidence: six ancestors with their arguments", ancestors),
    case("evidence: an ancestor that has overwritten its arguments is marked as read later", overwritten),
    tagged("evidence: secrets are in no alert and in no event", &[Tag::Own], secrets),
    tagged("evidence: whoever has an ancestor's number later is no ancestor", &[Tag::Own], reused),
];

fn knock(lab: &Lab) -> Step {
    connect_by(closed(lab), How::Plain, Outcome::Refused)
}

/// Each executes a program with arguments of its own and forks the next one.
fn ancestors(lab: &Lab) -> Result<()> {
    const DEPTH: usize = 6;
    let (starter, bash) = (lab.program("starter")?, lab.program("bash")?);
    let level = |place: usize| format!("ancestor number {place}");
    // The connection is a shell's, so the last of them is one.
    let shell = exec_then(&bash, &["bash", &level(0)], vec![fork(vec![knock(lab), exec(&bash, SHELL)])]);
    let inner = vec![fork(vec![shell])];
    let steps = (1..DEPTH).fold(inner, |steps, place| {
        vec![fork(vec![exec_then(&starter, &["starter", "--level", &level(place)], steps)])]
    });
    let mut player = lab.play(&starter, &["starter"], steps)?;
    let pid = player.reached("end")?.pid;
    let mut alert = Expect::alert(pid, &bash, SHELL)
        .field("sensor.ancestors.0.args", ["bash", &level(0)])
        .field("sensor.ancestors.0.executable", bash.to_string_lossy().as_ref())
        .field("sensor.ancestors.6.pid", player.pid())
        .field("sensor.ancestors.6.args", ["starter"]);
    for place in 1..DEPTH {
        let entry = |name: &str| format!("sensor.ancestors.{place}.{name}");
        alert = alert
            .field(&entry("name"), "starter")
            .field(&entry("args"), ["starter", "--level", &level(place)])
            .field(&entry("args_count"), 3)
            .field(&entry("command_line"), format!("starter --level {}", level(place)))
            .field(&entry("args_source"), "proc")
            .field(&entry("user.id"), "0");
    }
    lab.expect(&[alert])
}

/// It is shown what the process shows, and where that comes from.
fn overwritten(lab: &Lab) -> Result<()> {
    let (starter, bash) = (lab.program("starter")?, lab.program("bash")?);
    let shell = exec_then(&bash, &["bash", "-c"], vec![knock(lab), exec(&bash, SHELL)]);
    let steps = vec![Step::Scribble(b'#'), fork(vec![shell])];
    let mut player = lab.play(&starter, &["starter", "--secret"], steps)?;
    let pid = player.reached("end")?.pid;
    let shown = "#".repeat("starter --secret".len());
    lab.expect(&[Expect::alert(pid, &bash, SHELL)
        .field("sensor.ancestors.0.pid", player.pid())
        .field("sensor.ancestors.0.args", [shown.as_str()])
        .field("sensor.ancestors.0.args_source", "proc")
        .field("sensor.sequence.1.sensor.parent.args_source", "proc")])
}

/// The parent has ended when the sensor looks, and another process has its number.
fn reused(lab: &Lab) -> Result<()> {
    let most: i32 = std::fs::read_to_string("/proc/sys/kernel/pid_max")?.trim().parse()?;
    // Innermost namespace first. Both are far from where the kernel is handing out numbers.
    let pids = vec![1001, most - 500 - i32::from(lab.number())];
    let (starter, bash) = (lab.program("starter")?, lab.program("bash")?);
    let child = |steps: Vec<Step>| Step::Fork { child: steps, reap: true, pids: pids.clone() };
    // /proc tells when a process started in steps of 10 ms.
    let shell = exec_then(&bash, SHELL, vec![report("end")]);
    let parent = vec![report("parent"), fork(vec![knock(lab), Step::Sleep(50), shell])];
    let impostor = vec![exec_then(&starter, &["starter", "impostor"], vec![report("impostor"), Step::Hold])];
    let sensor = lab.start_sensor()?;
    sensor.signal(rustix::process::Signal::STOP)?;
    let played = (|| {
        let mut player = lab.play(&bash, &["bash"], vec![child(parent), child(impostor)])?;
        let (first, pid, other) =
            (player.reached("parent")?.pid, player.reached("end")?.pid, player.reached("impostor")?.pid);
        ensure!(first == other, "the number was not used again: {first}, {other}");
        Ok::<_, anyhow::Error>((player, pid, first))
    })();
    sensor.signal(rustix::process::Signal::CONT)?;
    let (player, pid, parent) = played?;
    let alert = Expect::alert(pid, &bash, SHELL)
        .field("sensor.ancestors.0.pid", parent)
        .field("sensor.ancestors.0.args", None::<&str>)
        .field("process.parent.args", None::<&str>)
        .field("sensor.ancestors.1.pid", player.pid())
        .field("sensor.ancestors.1.args", ["bash"]);
    lab.expect_of(&sensor, &[alert])?;
    sensor.stop_cleanly().map(drop)
}

/// Neither the shell's nor an ancestor's; what the rule asks for is there, also for a replay of the events.
fn secrets(lab: &Lab) -> Result<()> {
    let (starter, bash) = (lab.program("starter")?, lab.program("bash")?);
    let args = ["bash", "--password=open sesame", "-c", "x token=open-sesame y", "-i"];
    let shell = vec![exec_then(&bash, &["bash", "--token", "open-sesame"], vec![knock(lab), exec(&bash, &args)])];
    let sensor = lab.start_sensor()?;
    let mut player = lab.play(&starter, &["starter", "https://me:open-sesame@host/"], vec![fork(shell)])?;
    let pid = player.reached("end")?.pid;
    let told = ["bash", "--password=[redacted]", "-c", "x token=[redacted] y", "-i"];
    let alert = Expect::alert(pid, &bash, &told)
        .field("process.command_line", told.join(" "))
        .field("process.parent.args", ["starter", "https://[redacted]@host/"])
        .field("sensor.ancestors.0.args", ["starter", "https://[redacted]@host/"])
        .field("sensor.redacted", ["sensor.ancestors.args", "process.args", "process.parent.args"]);
    lab.expect_of(&sensor, &[alert])?;
    let alerts = sensor.alerts(|alert| field(alert, "process.pid") == Some(&pid.into()))?;
    let (events, log) = (std::fs::read_to_string(sensor.events())?, sensor.log_tail());
    for text in alerts.iter().map(ToString::to_string).chain([events, log]) {
        ensure!(!text.contains("sesame"), "a secret is told: {text:.4000}");
    }
    let output =
        std::process::Command::new(lab.binary()).args(["replay", "--format", "json"]).arg(sensor.events()).output()?;
    let again = String::from_utf8(output.stdout)?;
    ensure!(again.lines().any(|alert| alert.contains(&format!("\"pid\":{pid},"))), "a replay does not find it");
    sensor.stop_cleanly().map(drop)
}
