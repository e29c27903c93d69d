//! Which connection an exec is joined to: the span, what renews it, and what leaves it alone.

use super::scene::{SHELL, Shell, closed, shell_after};
use super::{Case, case};
use crate::actor::step::{How, Outcome, Step, connect, connect_by, exec, exec_then, fork, report};
use crate::lab::Lab;
use anyhow::{Result, bail};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

pub(super) const CASES: &[Case] = &[
    case("span: exec after 4.5 s counts", just_within),
    case("span: exec after 5.5 s does not count", too_late),
    case("span: a newer connection renews it", renewed),
    case("span: a newer connection takes the older one's place", replaced),
    case("span: an excluded connection in between changes nothing", excluded_between),
    case("span: an unrelated exec in between changes nothing", exec_between),
    case("span: a shell without the flag in between changes nothing", plain_shell_between),
    case("span: a fork in between changes nothing", fork_between),
    case("span: closing the connection changes nothing", closed_before),
    case("span: a connection serves one exec", consumed),
    case("span: a new connection after an alert gives another one", twice),
    case("span: an exec before the connection does not count", exec_first),
    case("span: the connection of one process, the shell of its child", child_executes),
    case("span: the connection of a child, the shell of its parent", parent_executes),
];

/// Refused connections are enough for the rule, and need no far end.
fn knock(lab: &Lab) -> Step {
    connect_by(closed(lab), How::Plain, Outcome::Refused)
}

/// Less than the span of 5 s. Where the machine did not keep to that it is tried again.
fn just_within(lab: &Lab) -> Result<()> {
    for _ in 0..5 {
        let start = Instant::now();
        let shell = shell_after(lab, vec![knock(lab), Step::Sleep(4500)])?;
        if start.elapsed() < Duration::from_millis(4990) {
            return lab.expect(&[shell.alert()]);
        }
        lab.ignore(shell.pid());
    }
    bail!("this machine is too busy for a test of 4.5 s")
}

/// More than the span of 5 s.
fn too_late(lab: &Lab) -> Result<()> {
    let _shell = shell_after(lab, vec![knock(lab), Step::Sleep(5500)])?;
    lab.expect_none()
}

/// The first connection is too old at the exec, the second is not.
fn renewed(lab: &Lab) -> Result<()> {
    let shell = shell_after(lab, vec![knock(lab), Step::Sleep(3000), knock(lab), Step::Sleep(3000)])?;
    lab.expect(&[shell.alert()])
}

/// One slot a process: the alert is about the newest.
fn replaced(lab: &Lab) -> Result<()> {
    let [first, second] = [lab.listen(lab.remote())?, lab.listen(lab.remote())?];
    let shell = shell_after(lab, vec![connect(first.address), connect(second.address)])?;
    let (_connection, near) = second.accept()?;
    lab.expect(&[shell.alert().egress(near, second.address)])
}

/// It is no stage of the rule, so the slot keeps what it has.
fn excluded_between(lab: &Lab) -> Result<()> {
    let far = lab.listen(lab.remote())?;
    let loopback = lab.listen(Ipv4Addr::LOCALHOST.into())?;
    let shell = shell_after(lab, vec![connect(far.address), connect(loopback.address)])?;
    let (_connection, near) = far.accept()?;
    lab.expect(&[shell.alert().egress(near, far.address)])
}

/// Connects, then becomes `between`, then `bash -i`.
fn by_way_of(lab: &Lab, name: &str, args: &[&str]) -> Result<Shell> {
    let between = exec_then(lab.program(name)?, args, vec![exec(lab.program("bash")?, SHELL)]);
    let file = lab.program("bash")?;
    let mut player = lab.play(&file, &["bash"], vec![knock(lab), between])?;
    let pid = player.reached("end")?.pid;
    Ok(Shell::new(player, file, pid))
}

/// As `exec setsid bash -i`.
fn exec_between(lab: &Lab) -> Result<()> {
    let shell = by_way_of(lab, "setsid", &["setsid", "bash", "-i"])?;
    lab.expect(&[shell.alert()])
}

/// A shell that is no second stage does not use the connection up.
fn plain_shell_between(lab: &Lab) -> Result<()> {
    let shell = by_way_of(lab, "dash", &["dash", "-c", "exec bash -i"])?;
    lab.expect(&[shell.alert()])
}

/// The process is the same one after its child has come and gone.
fn fork_between(lab: &Lab) -> Result<()> {
    let shell = shell_after(lab, vec![knock(lab), fork(vec![])])?;
    lab.expect(&[shell.alert()])
}

/// The rule asks whether there was a connection, not whether there is one.
fn closed_before(lab: &Lab) -> Result<()> {
    let far = lab.listen(lab.remote())?;
    let shell = shell_after(lab, vec![connect(far.address), Step::Close])?;
    lab.expect(&[shell.alert().field("destination.port", far.address.port())])
}

/// The second shell finds the slot empty.
fn consumed(lab: &Lab) -> Result<()> {
    let again = vec![report("first"), Step::Wait, exec(lab.program("bash")?, &["bash", "-i", "again"])];
    let file = lab.program("bash")?;
    let mut player = lab.play(&file, &["bash"], vec![knock(lab), exec_then(&file, SHELL, again)])?;
    let pid = player.reached("first")?.pid;
    player.go()?;
    player.reached("end")?;
    lab.expect(&[Shell::new(player, file, pid).alert()])
}

/// Each exec has its own connection, so each gives an alert.
fn twice(lab: &Lab) -> Result<()> {
    let [first, second] = [lab.listen(lab.remote())?, lab.listen(lab.remote())?];
    let file = lab.program("bash")?;
    let again = vec![connect(second.address), exec(&file, SHELL)];
    let mut player = lab.play(&file, &["bash"], vec![connect(first.address), exec_then(&file, SHELL, again)])?;
    let pid = player.reached("end")?.pid;
    let ((_one, near_first), (_two, near_second)) = (first.accept()?, second.accept()?);
    let shell = Shell::new(player, file, pid);
    lab.expect(&[shell.alert().egress(near_first, first.address), shell.alert().egress(near_second, second.address)])
}

/// The order is part of the rule.
fn exec_first(lab: &Lab) -> Result<()> {
    let file = lab.program("bash")?;
    let mut player = lab.play(&file, SHELL, vec![knock(lab), report("connected")])?;
    player.reached("connected")?;
    lab.expect_none()
}

/// A fork is another process, and does not inherit the connection.
fn child_executes(lab: &Lab) -> Result<()> {
    let far = lab.listen(lab.remote())?;
    let file = lab.program("bash")?;
    let mut player = lab.play(&file, &["bash"], vec![connect(far.address), fork(vec![exec(&file, SHELL)])])?;
    player.reached("end")?;
    lab.expect_none()
}

/// Nor does a parent have its child's.
fn parent_executes(lab: &Lab) -> Result<()> {
    let to = SocketAddr::new(lab.remote(), 9);
    let _shell = shell_after(lab, vec![fork(vec![connect_by(to, How::Plain, Outcome::Refused)])])?;
    lab.expect_none()
}
