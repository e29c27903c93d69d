//! Which process it was: threads, numbers that are used again, namespaces.

use super::scene::{SHELL, SUITE, Shell, closed, shell_after, shell_of};
use super::{Case, Tag, case, tagged};
use crate::actor::step::{Exec, How, Outcome, Step, connect, connect_by, exec, exec_then, report};
use crate::expect::{Expect, field};
use crate::field;
use crate::lab::Lab;
use crate::tiny;
use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub(super) const CASES: &[Case] = &[
    case("identity: another thread connects", thread_connects),
    case("identity: another thread executes", thread_executes),
    case("identity: one thread connects, another one executes", threads_do_both),
    case("identity: a thread with a name of its own connects", named_thread),
    case("identity: a number that is used again is another process", reused_number),
    case("identity: inside a process namespace, known by the host's numbers", namespace),
    case("identity: the entity is the same across exec and threads, and no other process's", entities),
    case("identity: the leader has ended, another thread connects and executes", no_leader),
    case("identity: below another root", other_root),
    case("identity: in a container's mount namespace", container),
    tagged("identity: the shell has ended before the sensor looks", &[Tag::Own], ended),
    case("identity: the parent has ended before the exec", orphan),
];

fn knock(lab: &Lab) -> Step {
    connect_by(closed(lab), How::Plain, Outcome::Refused)
}

/// The connection is the process's, whichever thread made it.
fn thread_connects(lab: &Lab) -> Result<()> {
    let far = lab.listen(lab.remote())?;
    let shell = shell_after(lab, vec![Step::Thread(vec![connect(far.address)])])?;
    let (_connection, near) = far.accept()?;
    lab.expect(&[shell.alert().egress(near, far.address)])
}

/// On exec the thread takes the number and the place of the group's leader.
fn thread_executes(lab: &Lab) -> Result<()> {
    let file = lab.program("bash")?;
    let steps = vec![knock(lab), Step::Thread(vec![report("thread"), exec(&file, SHELL)])];
    let mut player = lab.play(&file, &["bash"], steps)?;
    let thread = player.reached("thread")?;
    ensure!(thread.tid != thread.pid, "the steps ran in the leader");
    let end = player.reached("end")?;
    ensure!(end.tid == end.pid && end.pid == thread.pid, "the thread did not become the leader");
    lab.expect(&[Shell::new(player, file, end.pid).alert()])
}

/// Neither of them is the leader.
fn threads_do_both(lab: &Lab) -> Result<()> {
    let file = lab.program("bash")?;
    let steps = vec![Step::Thread(vec![knock(lab)]), Step::Thread(vec![exec(&file, SHELL)])];
    let mut player = lab.play(&file, &["bash"], steps)?;
    let pid = player.reached("end")?.pid;
    lab.expect(&[Shell::new(player, file, pid).alert()])
}

/// Its comm is not a shell's, its executable is.
fn named_thread(lab: &Lab) -> Result<()> {
    let shell = shell_after(lab, vec![Step::Thread(vec![Step::Name("worker".to_owned()), knock(lab)])])?;
    lab.expect(&[shell.alert().field("sensor.sequence.0.process.name", "bash")])
}

/// The first process connects and ends, the second has its number and executes a shell: two processes, no alert.
fn reused_number(lab: &Lab) -> Result<()> {
    let most: i32 = std::fs::read_to_string("/proc/sys/kernel/pid_max")?.trim().parse()?;
    // Innermost namespace first. Both are far from where the kernel is handing out numbers.
    let outer = most - 1 - i32::from(lab.number());
    let pids = vec![1000, outer];
    let file = lab.program("bash")?;
    let child = |steps: Vec<Step>| Step::Fork { child: steps, reap: true, pids: pids.clone() };
    let steps = vec![child(vec![knock(lab), report("first")]), child(vec![exec(&file, SHELL)])];
    let mut player = lab.play(&file, &["bash"], steps)?;
    let (first, second) = (player.reached("first")?.pid, player.reached("end")?.pid);
    ensure!(
        first == second && i64::from(first) == i64::from(outer),
        "the number was not used again: {first}, {second}"
    );
    lab.expect_none()
}

/// What the process calls itself is not what the alert says.
fn namespace(lab: &Lab) -> Result<()> {
    let shell = shell_after(lab, vec![knock(lab)])?;
    let status = std::fs::read_to_string(format!("/proc/{}/status", shell.pid()))?;
    let numbers = field::text(&status, "NSpid").context("NSpid")?;
    let inner = numbers.split_whitespace().last().context("NSpid")?;
    ensure!(inner != shell.pid().to_string(), "the process is in no namespace of its own");
    lab.expect(&[shell.alert()])
}

/// Two shells of one process have one entity, a third of another process has another one, and so have the parents.
fn entities(lab: &Lab) -> Result<()> {
    let file = lab.program("bash")?;
    // A second alert about the same destination would be collapsed with the first.
    let elsewhere = SocketAddr::new(lab.remote(), 10);
    let other = connect_by(elsewhere, How::Plain, Outcome::Refused);
    let again = vec![Step::Thread(vec![other, exec(&file, SHELL)])];
    let first = Step::Exec(Exec { then: again, ..program(&file) });
    let mut player = lab.play(&file, &["bash"], vec![knock(lab), first])?;
    let pid = player.reached("end")?.pid;
    let twice = Shell::new(player, file, pid);
    let other = shell_of(lab, "dash", vec![knock(lab)])?;
    lab.expect(&[twice.alert(), twice.alert(), other.alert()])?;
    let entity = |alert: &Value, path: &str| field(alert, path).and_then(Value::as_str).map(str::to_owned);
    let of = |pid: u32| {
        let alerts =
            lab.sensor()?.alerts(|alert| field(alert, "process.pid").and_then(Value::as_u64) == Some(pid.into()))?;
        let all =
            alerts.iter().map(|alert| (entity(alert, "process.entity_id"), entity(alert, "process.parent.entity_id")));
        Ok::<_, anyhow::Error>(all.collect::<Vec<_>>())
    };
    let (twice, other) = (of(twice.pid())?, of(other.pid())?);
    let ([(Some(a), Some(p)), (Some(b), Some(q))], [(Some(c), Some(r))]) = (twice.as_slice(), other.as_slice()) else {
        anyhow::bail!("entities: {twice:?} {other:?}");
    };
    ensure!(a == b && a != c, "processes: {a} {b} {c}");
    ensure!(p == q && p == r && p != a, "parents: {p} {q} {r}");
    Ok(())
}

fn program(file: &Path) -> Exec {
    let args = SHELL.iter().copied().map(Into::into).collect();
    Exec { file: file.into(), args, by: crate::actor::step::By::Path, then: Vec::new() }
}

/// The parent is whoever has adopted it: the init of its namespace.
fn orphan(lab: &Lab) -> Result<()> {
    let file = lab.program("bash")?;
    let child = vec![knock(lab), report("ready"), Step::Wait, exec(&file, SHELL)];
    let fork = Step::Fork { child, reap: false, pids: Vec::new() };
    let mut player = lab.play(&file, &["bash"], vec![fork])?;
    player.reached("ready")?;
    player.ended()?;
    player.go()?;
    let pid = player.reached("end")?.pid;
    lab.expect(&[Expect::alert(pid, &file, SHELL).parent(lab.init_pid(), SUITE)])
}

/// The leader's remains have no memory, no files and no program, but the process has.
fn no_leader(lab: &Lab) -> Result<()> {
    let file = lab.program("bash")?;
    let steps = vec![Step::LeaveLeader(vec![Step::Sleep(50), knock(lab), exec(&file, SHELL)])];
    let mut player = lab.play(&file, &["bash"], steps)?;
    let pid = player.reached("end")?.pid;
    lab.expect(&[Shell::new(player, file, pid).alert()])
}

/// Below a root of its own a program finds no libraries, so the shell there is the smallest program there is: it ends at
/// once. `enter` is the step that makes the directory the root; the path expected is the one given `inside` it.
fn below(lab: &Lab, enter: impl FnOnce(PathBuf) -> Step, inside: impl FnOnce(&Path) -> PathBuf) -> Result<()> {
    let root = lab.directory().join("root");
    let shell = Path::new("bin/bash");
    std::fs::create_dir_all(root.join("bin"))?;
    tiny::write(&root.join(shell))?;
    let steps = vec![knock(lab), enter(root.clone()), exec_then(Path::new("/").join(shell), SHELL, vec![])];
    let mut player = lab.play(&lab.program("bash")?, &["bash"], steps)?;
    let status = player.ended()?;
    ensure!(status.success(), "the shell ended with {status}");
    let alert = Expect::alert(player.pid(), &inside(&root).join(shell), SHELL);
    lab.expect(&[alert.parent(std::process::id(), SUITE)])
}

/// The path is that of the mount namespace, whatever the process takes for its root.
fn other_root(lab: &Lab) -> Result<()> {
    below(lab, Step::Root, Path::to_owned)
}

/// The path is that of the mount namespace that the program runs in.
fn container(lab: &Lab) -> Result<()> {
    below(lab, Step::Container, |_| PathBuf::from("/"))
}

/// Everything that matters was in the kernel's record.
fn ended(lab: &Lab) -> Result<()> {
    let far = lab.listen(lab.remote())?;
    let sensor = lab.start_sensor()?;
    let file = lab.program("bash")?;
    sensor.signal(Signal::STOP)?;
    let played = (|| {
        let mut player = lab.play(&file, &["bash"], vec![connect(far.address), exec_then(&file, SHELL, vec![])])?;
        let (_connection, near) = far.accept()?;
        player.ended()?;
        Ok::<_, anyhow::Error>((player.pid(), near))
    })();
    sensor.signal(Signal::CONT)?;
    let (pid, near) = played?;
    let alert = Expect::alert(pid, &file, SHELL).egress(near, far.address).parent(std::process::id(), SUITE);
    lab.expect_of(&sensor, &[alert.field("user.id", "0")])?;
    sensor.stop_cleanly().map(drop)
}
