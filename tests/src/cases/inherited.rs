//! Shells of processes that descend from the one that connected: children, grandchildren, orphans; and what a connection is not handed on to.

use super::scene::{SHELL, closed};
use super::{Case, Tag, once, tagged};
use crate::actor::step::{Accept, How, Outcome, Step, connect, connect_by, exec, exec_then, fork, report};
use crate::expect::{DESCENDANT_RULE, Expect, RULE};
use crate::lab::Lab;
use anyhow::{Result, ensure};
use std::net::SocketAddr;

pub(super) const CASES: &[Case] = &[
    once("inherited: a child of the bash that connected", |lab| descends(lab, 1)),
    once("inherited: a grandchild", |lab| descends(lab, 2)),
    once("inherited: over sixteen forks", |lab| descends(lab, 16)),
    once("inherited: over seventeen forks it is not", |lab| silent(lab, below(lab, 17)?)),
    once("inherited: an orphan", orphan),
    once("inherited: a child that was forked by another thread", by_thread),
    once("inherited: each child of a server has its own connection", server),
    once("inherited: one that the process has made itself comes first", own),
    once("inherited: both rules match, one alert", both),
    once("inherited: forked before the connection, the parent's counts all the same", |lab| before(lab, 1)),
    once("inherited: forked before the connection, the grandparent's does not", |lab| before(lab, 2)),
    once("inherited: a shell without flags", |lab| {
        let bash = lab.program("bash")?;
        silent(lab, vec![knock(lab), fork(vec![exec(&bash, &["bash", "-x"])])])
    }),
    once("inherited: to an excluded network", |lab| {
        let bash = lab.program("bash")?;
        let local = SocketAddr::new(std::net::Ipv4Addr::LOCALHOST.into(), 9);
        silent(lab, vec![connect_by(local, How::Plain, Outcome::Refused), fork(vec![exec(&bash, SHELL)])])
    }),
    tagged("inherited: later than the span", &[Tag::Own, Tag::Once], late),
    tagged("inherited: forks are not watched", &[Tag::Own, Tag::Once], unwatched),
];

/// Lives until the lab ends, and leaves every sign to go on to others.
const STAYS: Step = Step::Sleep(600_000);

fn knock(lab: &Lab) -> Step {
    connect_by(closed(lab), How::Plain, Outcome::Refused)
}

/// A connection, and so many forks below it `bash -i`.
fn below(lab: &Lab, forks: u8) -> Result<Vec<Step>> {
    let shell = vec![exec(lab.program("bash")?, SHELL)];
    let shell = (0..forks).fold(shell, |inner, _| vec![fork(inner)]);
    Ok([vec![knock(lab)], shell].concat())
}

fn descends(lab: &Lab, forks: u8) -> Result<()> {
    let bash = lab.program("bash")?;
    let mut player = lab.play(&bash, &["bash"], below(lab, forks)?)?;
    let pid = player.reached("end")?.pid;
    ensure!(pid != player.pid(), "nothing was forked");
    let alert = Expect::inherited(DESCENDANT_RULE, (pid, &bash, SHELL), player.pid(), forks);
    let alert =
        alert.field("sensor.matched_rules", [DESCENDANT_RULE]).field("destination.ip", lab.remote().to_string());
    lab.expect(&[])?;
    lab.expect_by(lab.sensor()?, DESCENDANT_RULE, &[alert])
}

/// Takes the steps as bash; nothing comes of it.
fn silent(lab: &Lab, steps: Vec<Step>) -> Result<()> {
    let mut player = lab.play(&lab.program("bash")?, &["bash"], steps)?;
    player.reached("end")?;
    lab.expect_none()?;
    lab.expect_by(lab.sensor()?, DESCENDANT_RULE, &[])
}

/// The process between the two has ended when the shell is executed, so that no look upwards finds the one that connected.
fn orphan(lab: &Lab) -> Result<()> {
    let bash = lab.program("bash")?;
    let shell = vec![report("orphan"), Step::Wait, exec(&bash, SHELL)];
    let between = vec![Step::Fork { child: shell, reap: false, pids: Vec::new() }];
    let steps = vec![knock(lab), fork(between), report("maker"), STAYS];
    let mut player = lab.play(&bash, &["bash"], steps)?;
    player.reached("orphan")?;
    player.reached("maker")?;
    player.go()?;
    let pid = player.reached("end")?.pid;
    let alert = Expect::inherited(DESCENDANT_RULE, (pid, &bash, SHELL), player.pid(), 2)
        .parent(lab.init_pid(), super::scene::SUITE);
    lab.expect_by(lab.sensor()?, DESCENDANT_RULE, &[alert])
}

fn by_thread(lab: &Lab) -> Result<()> {
    let bash = lab.program("bash")?;
    let steps = vec![knock(lab), Step::Thread(vec![fork(vec![exec(&bash, SHELL)])])];
    let mut player = lab.play(&bash, &["bash"], steps)?;
    let pid = player.reached("end")?.pid;
    let alert = Expect::inherited(DESCENDANT_RULE, (pid, &bash, SHELL), player.pid(), 1);
    lab.expect_by(lab.sensor()?, DESCENDANT_RULE, &[alert])
}

/// Three connections are accepted before the first shell is executed, and the shells come in the other order.
fn server(lab: &Lab) -> Result<()> {
    let (at, bash) = (SocketAddr::new(lab.local(), 4444), lab.program("bash")?);
    let child = |label: &str| Step::Fork {
        child: vec![report(label), Step::Wait, exec_then(&bash, SHELL, vec![report("end"), STAYS])],
        reap: false,
        pids: Vec::new(),
    };
    let labels = ["first", "second", "third"];
    let accepted = labels.iter().flat_map(|label| [Step::Accept(Accept::Plain), child(label), Step::Close]);
    let steps = [Step::Listen(at)].into_iter().chain(accepted).chain([report("maker"), STAYS]).collect();
    let mut player = lab.play(&bash, &["bash"], steps)?;
    let mut near = Vec::new();
    let mut held = Vec::new();
    let mut pids = Vec::new();
    for label in labels {
        let connection = lab.connect(lab.remote(), at)?;
        near.push(connection.local_addr()?);
        held.push(connection);
        pids.push(player.reached(label)?.pid);
    }
    player.reached("maker")?;
    let mut ended = Vec::new();
    for _ in labels {
        player.go()?;
        ended.push(player.reached("end")?.pid);
    }
    let alerts: Vec<Expect> = pids
        .iter()
        .zip(&near)
        .map(|(pid, near)| Expect::inherited(DESCENDANT_RULE, (*pid, &bash, SHELL), player.pid(), 1).ingress(*near, at))
        .collect();
    ended.sort_unstable();
    pids.sort_unstable();
    ensure!(ended == pids, "other processes have become shells");
    lab.expect_by(lab.sensor()?, DESCENDANT_RULE, &alerts)
}

/// The child's own connection is the one that counts.
fn own(lab: &Lab) -> Result<()> {
    let (far, bash) = (lab.listen(lab.remote())?, lab.program("bash")?);
    let shell = vec![connect(far.address), exec(&bash, SHELL)];
    let mut player = lab.play(&bash, &["bash"], vec![knock(lab), fork(shell)])?;
    let (_connection, near) = far.accept()?;
    let pid = player.reached("end")?.pid;
    lab.expect(&[Expect::alert(pid, &bash, SHELL)
        .egress(near, far.address)
        .field("sensor.matched_rules", [RULE, DESCENDANT_RULE])])
}

/// The process has connected, and so has its parent.
fn both(lab: &Lab) -> Result<()> {
    own(lab)?;
    let reported = lab.reported()?;
    ensure!(reported.len() == 1, "{} alerts about one shell", reported.len());
    Ok(())
}

/// A process that was forked before the connection has inherited none; its parent's counts all the same, and no other ancestor's.
fn before(lab: &Lab, forks: u8) -> Result<()> {
    let bash = lab.program("bash")?;
    let child = vec![report("child"), Step::Wait, exec(&bash, SHELL)];
    let descendant = (1..forks).fold(child, |inner, _| vec![fork(inner)]);
    let first = Step::Fork { child: descendant, reap: false, pids: Vec::new() };
    let mut player = lab.play(&bash, &["bash"], vec![first, knock(lab), report("maker"), STAYS])?;
    let child = player.reached("child")?.pid;
    player.reached("maker")?;
    player.go()?;
    ensure!(player.reached("end")?.pid == child, "another process");
    let alert = Expect::inherited(DESCENDANT_RULE, (child, &bash, SHELL), player.pid(), 0)
        .without("sensor.sequence.1.sensor.inherited.pid")
        .without("sensor.sequence.1.sensor.inherited.generations")
        .field("sensor.sequence.1.sensor.inherited", ());
    let alerts = if forks == 1 { vec![alert] } else { Vec::new() };
    lab.expect_none()?;
    lab.expect_by(lab.sensor()?, DESCENDANT_RULE, &alerts)
}

fn late(lab: &Lab) -> Result<()> {
    let sensor = lab.start_sensor_with("sensor", "[rule]\nspan = \"500ms\"\n")?;
    let bash = lab.program("bash")?;
    let steps = vec![knock(lab), fork(vec![Step::Sleep(1500), exec(&bash, SHELL)])];
    let mut player = lab.play(&bash, &["bash"], steps)?;
    player.reached("end")?;
    lab.expect_by(&sensor, DESCENDANT_RULE, &[])?;
    sensor.stop_cleanly().map(drop)
}

/// Without the hook a parent's connection still counts, and no other ancestor's.
fn unwatched(lab: &Lab) -> Result<()> {
    let hooks = lab.hooks();
    let with = if hooks.contains("[hooks]") { "fork = \"off\"\n" } else { "[hooks]\nfork = \"off\"\n" };
    let sensor = lab.start_sensor_with("sensor", with)?;
    let bash = lab.program("bash")?;
    for (forks, alerts) in [(2, 0), (1, 1)] {
        let mut player = lab.play(&bash, &["bash"], below(lab, forks)?)?;
        let pid = player.reached("end")?.pid;
        let alert = Expect::inherited(DESCENDANT_RULE, (pid, &bash, SHELL), player.pid(), 0)
            .without("sensor.sequence.1.sensor.inherited.pid")
            .without("sensor.sequence.1.sensor.inherited.generations");
        lab.expect_by(&sensor, DESCENDANT_RULE, &vec![alert; alerts])?;
    }
    sensor.stop_cleanly().map(drop)
}
