//! The clause about parents: a shell without flags below a socat whose arguments hold `exec`.

use super::scene::closed;
use super::{Case, Tag, once, tagged};
use crate::actor::step::{How, Outcome, Step, connect_by, exec, exec_then, fork, report};
use crate::expect::Expect;
use crate::lab::Lab;
use crate::player::Player;
use anyhow::{Result, ensure};

pub(super) const CASES: &[Case] = &[
    once("parent: socat with EXEC", |lab| below(lab, "socat", "EXEC:bash", true)),
    once("parent: socat with exec in any spelling and place", |lab| below(lab, "socat", "SYSTEM:'ExEc sh'", true)),
    once("parent: socat without exec does not count", |lab| below(lab, "socat", "SYSTEM:bash", false)),
    once("parent: another program with exec does not count", |lab| below(lab, "ncat", "EXEC:bash", false)),
    once("parent: SOCAT does not count", |lab| below(lab, "SOCAT", "EXEC:bash", false)),
    once("parent: a fork of socat has the arguments of its ancestor", forked_socat),
    once("parent: a grandparent does not count", grandparent),
    once("parent: socat that has overwritten its arguments", overwritten),
    once("parent: without a connection it does not count", no_connection),
    tagged("parent: socat older than the sensor", &[Tag::Own, Tag::Once], older),
];

fn knock(lab: &Lab) -> Step {
    connect_by(closed(lab), How::Plain, Outcome::Refused)
}

/// What runs below socat: a shell that connects and becomes a shell without a flag.
fn inner(lab: &Lab) -> Result<Step> {
    let bash = lab.program("bash")?;
    Ok(exec_then(&bash, &["bash", "-c", "…"], vec![report("inner"), knock(lab), exec(&bash, &["bash"])]))
}

/// A parent that is executed as `name` with `argument`, in a process that had another program before.
fn play(lab: &Lab, name: &str, argument: &str, steps: Vec<Step>) -> Result<Player> {
    let parent = exec_then(lab.program(name)?, &args(name, argument), steps);
    lab.play(&lab.program("starter")?, &["starter"], vec![parent])
}

fn args<'a>(name: &'a str, argument: &'a str) -> [&'a str; 3] {
    [name, "TCP:192.0.2.1:443", argument]
}

fn alert(lab: &Lab, pid: u32, parent: u32) -> Result<Expect> {
    let alert = Expect::alert(pid, &lab.program("bash")?, &["bash"]).parent(parent, "socat");
    Ok(alert.field("process.parent.executable", lab.program("socat")?.to_string_lossy().as_ref()))
}

/// The child of the parent.
fn below(lab: &Lab, name: &str, argument: &str, counts: bool) -> Result<()> {
    let mut player = play(lab, name, argument, vec![fork(vec![inner(lab)?])])?;
    let pid = player.reached("end")?.pid;
    if !counts {
        return lab.expect_none();
    }
    lab.expect(&[alert(lab, pid, player.pid())?.field("process.parent.args", args(name, argument))])
}

/// As with `socat TCP-LISTEN:…,fork`: the parent has executed nothing itself.
fn forked_socat(lab: &Lab) -> Result<()> {
    let steps = vec![fork(vec![report("fork"), fork(vec![inner(lab)?])])];
    let mut player = play(lab, "socat", "EXEC:bash,fork", steps)?;
    let (parent, pid) = (player.reached("fork")?.pid, player.reached("end")?.pid);
    ensure!(parent != player.pid(), "nothing was forked");
    lab.expect(&[alert(lab, pid, parent)?.field("process.parent.args", args("socat", "EXEC:bash,fork"))])
}

/// The rule asks for the parent alone.
fn grandparent(lab: &Lab) -> Result<()> {
    let between = exec_then(lab.program("setsid")?, &["setsid", "bash"], vec![fork(vec![inner(lab)?])]);
    let mut player = play(lab, "socat", "EXEC:bash", vec![fork(vec![between])])?;
    player.reached("end")?;
    lab.expect_none()
}

/// The arguments are those of its exec, not those that /proc shows by now.
fn overwritten(lab: &Lab) -> Result<()> {
    let steps = vec![Step::Scribble(b'#'), fork(vec![inner(lab)?])];
    let mut player = play(lab, "socat", "EXEC:bash", steps)?;
    let pid = player.reached("end")?.pid;
    lab.expect(&[alert(lab, pid, player.pid())?.field("process.parent.args", args("socat", "EXEC:bash"))])
}

/// The parent replaces the flag, not the connection.
fn no_connection(lab: &Lab) -> Result<()> {
    let bash = lab.program("bash")?;
    let mut player = play(lab, "socat", "EXEC:bash", vec![fork(vec![exec(&bash, &["bash"])])])?;
    player.reached("end")?;
    lab.expect_none()
}

/// Its exec was not seen, so its arguments come from /proc.
fn older(lab: &Lab) -> Result<()> {
    let steps = vec![report("socat"), Step::Wait, fork(vec![inner(lab)?])];
    let mut player = play(lab, "socat", "EXEC:bash", steps)?;
    player.reached("socat")?;
    let sensor = lab.start_sensor()?;
    player.go()?;
    let pid = player.reached("end")?.pid;
    let alert = alert(lab, pid, player.pid())?.field("process.parent.args", args("socat", "EXEC:bash"));
    lab.expect_of(&sensor, &[alert])?;
    sensor.stop_cleanly().map(drop)
}
