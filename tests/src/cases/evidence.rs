//! What an alert says beyond the rule's own facts: ancestors with their arguments, the executed file, where and for whom it runs.

use super::scene::{SHELL, closed};
use super::{Case, Tag, once, tagged};
use crate::actor::VARIABLE;
use crate::actor::step::{By, Exec, How, Outcome, Step, connect_by, exec, exec_then, fork, report};
use crate::expect::{Expect, field};
use crate::lab::Lab;
use anyhow::{Context, Result, ensure};
use std::fs::{Metadata, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

pub(super) const CASES: &[Case] = &[
    once("evidence: six ancestors with their arguments", ancestors),
    once("evidence: an ancestor that has overwritten its arguments is marked as read later", overwritten),
    once("evidence: the executed file and the working directory", file_and_directory),
    once("evidence: a file that was removed before it ran", removed),
    once("evidence: a session with a terminal", session),
    once("evidence: a session of an ancestor", session_of_another),
    tagged("evidence: secrets are in no alert and in no event", &[Tag::Own, Tag::Once], secrets),
    tagged(
        "evidence: variables of the environment that are wanted, and no others",
        &[Tag::Own, Tag::Once],
        environment,
    ),
    tagged("evidence: whoever has an ancestor's number later is no ancestor", &[Tag::Own, Tag::Once], reused),
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
        if place <= 4 {
            alert = alert.field(&entry("executable"), starter.to_string_lossy().as_ref());
        }
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

fn of_file(expect: Expect, file: &Metadata) -> Expect {
    let device = rustix::fs::major(file.dev()).to_string() + ":" + &rustix::fs::minor(file.dev()).to_string();
    expect
        .field("sensor.file.inode", file.ino().to_string())
        .field("sensor.file.device", device)
        .field("sensor.file.uid", file.uid().to_string())
        .field("sensor.file.gid", file.gid().to_string())
        .field("sensor.file.mode", format!("{:04o}", file.permissions().mode() & 0o7777))
        .field("sensor.file.memfd", None::<bool>)
}

/// A file of another owner, with a bit that says so, run in a directory with a name of its own.
fn file_and_directory(lab: &Lab) -> Result<()> {
    let directory = lab.directory().join("where it runs");
    std::fs::create_dir(&directory)?;
    let file = directory.join("bash");
    std::fs::copy(lab.program("bash")?, &file)?;
    std::os::unix::fs::chown(&file, Some(0), Some(7))?;
    std::fs::set_permissions(&file, Permissions::from_mode(0o2755))?;
    let steps = vec![knock(lab), Step::Enter(directory.clone()), exec(&file, SHELL)];
    let mut player = lab.play(&lab.program("bash")?, &["bash"], steps)?;
    let pid = player.reached("end")?.pid;
    let alert = Expect::alert(pid, &file, SHELL)
        .field("process.working_directory", directory.to_string_lossy().as_ref())
        .field("sensor.file.removed", None::<bool>)
        .field("process.env_vars", None::<bool>);
    lab.expect(&[of_file(alert, &file.metadata()?)])
}

/// Its name is gone, other names of the same file are not.
fn removed(lab: &Lab) -> Result<()> {
    let directory = lab.directory().join("gone");
    std::fs::create_dir(&directory)?;
    let (bash, file) = (lab.program("bash")?, directory.join("bash"));
    std::fs::hard_link(&bash, &file)?;
    let args = SHELL.iter().copied().map(Into::into).collect();
    let then = vec![report("end"), Step::Hold];
    let shell = Exec { file: file.as_path().into(), args, by: By::Removed, then };
    let mut player = lab.play(&bash, &["bash"], vec![knock(lab), Step::Exec(shell)])?;
    let pid = player.reached("end")?.pid;
    let alert = Expect::alert(pid, &file, SHELL).field("sensor.file.removed", true);
    lab.expect(&[of_file(alert, &bash.metadata()?)])
}

/// Number of the session and of its terminal, as /proc tells them now.
fn session_of(pid: u32) -> Result<(u32, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // Fields 6 and 7 of proc_pid_stat(5); the text behind the name begins with field 3.
    let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(3);
    let mut number = || fields.next().and_then(|field| field.parse().ok()).context("stat");
    Ok((number()?, number()?))
}

/// The shell leads it.
fn session(lab: &Lab) -> Result<()> {
    let bash = lab.program("bash")?;
    let steps = vec![fork(vec![Step::Session, knock(lab), exec(&bash, SHELL)])];
    let mut player = lab.play(&bash, &["bash"], steps)?;
    let pid = player.reached("end")?.pid;
    let (session, tty) = session_of(pid)?;
    ensure!(session == pid && tty != 0, "session {session}, terminal {tty}");
    lab.expect(&[Expect::alert(pid, &bash, SHELL)
        .field("process.session_leader.pid", pid)
        .field("process.session_leader.same_as_process", true)
        .field("process.tty.char_device.major", tty >> 8 & 0xfff)
        .field("process.tty.char_device.minor", tty & 0xff | tty >> 12 & 0xf_ff00)])
}

/// Its leader is known by its identity.
fn session_of_another(lab: &Lab) -> Result<()> {
    let bash = lab.program("bash")?;
    let shell = vec![knock(lab), exec(&bash, SHELL)];
    let leader = vec![Step::Session, report("leader"), fork(vec![fork(shell)])];
    let mut player = lab.play(&bash, &["bash"], vec![fork(leader)])?;
    let (leader, pid) = (player.reached("leader")?.pid, player.reached("end")?.pid);
    lab.expect(&[Expect::alert(pid, &bash, SHELL)
        .field("process.session_leader.pid", leader)
        .field("process.session_leader.same_as_process", false)
        .field("sensor.ancestors.1.pid", leader)])?;
    let alerts = lab.sensor()?.alerts(|alert| field(alert, "process.pid") == Some(&pid.into()))?;
    let [alert] = alerts.as_slice() else { anyhow::bail!("{} alerts", alerts.len()) };
    let (one, other) = ("process.session_leader.entity_id", "sensor.ancestors.1.entity_id");
    ensure!(field(alert, one).is_some() && field(alert, one) == field(alert, other), "another leader: {alert}");
    Ok(())
}

/// They are those of the program, as they were when it was executed; none without a reload that asks for them.
fn environment(lab: &Lab) -> Result<()> {
    let bash = lab.program("bash")?;
    let sensor = lab.start_sensor_with("environment", "")?;
    let shell = || {
        let mut player = lab.play(&bash, &["bash"], vec![knock(lab), exec(&bash, SHELL)])?;
        let pid = player.reached("end")?.pid;
        Ok::<_, anyhow::Error>((player, pid))
    };
    let (_before, first) = shell()?;
    let without = Expect::alert(first, &bash, SHELL).field("process.env_vars", None::<bool>);
    lab.expect_of(&sensor, std::slice::from_ref(&without))?;
    let wanted = format!("{}[evidence]\nenvironment = [\"{VARIABLE}\", \"NOT_THERE\"]\n", lab.hooks());
    sensor.reload(&wanted, "configuration read again")?;
    let (_after, second) = shell()?;
    let with = Expect::alert(second, &bash, SHELL).field("process.env_vars.1", None::<bool>);
    lab.expect_of(&sensor, &[without, with])?;
    let alerts = sensor.alerts(|alert| field(alert, "process.pid") == Some(&second.into()))?;
    let told = alerts.iter().filter_map(|alert| field(alert, "process.env_vars.0")?.as_str());
    let told: Vec<&str> = told.collect();
    ensure!(told.len() == 1 && told.iter().all(|one| one.starts_with(&format!("{VARIABLE}={{"))), "told: {told:?}");
    sensor.stop_cleanly().map(drop)
}
