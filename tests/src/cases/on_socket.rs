//! Shells whose standard input and output are a connection, whoever made it; and shells and streams that are not both.

use super::scene::{SHELL, closed, needs_multipath};
use super::{Case, Tag, case, tagged};
use crate::actor::step::{Accept, How, Outcome, Step, connect, connect_by, exec, fork, report, stdio};
use crate::expect::{Expect, RULE, SOCKET_RULE};
use crate::lab::{LINK_LOCAL, Lab, Listener};
use crate::player::Player;
use anyhow::{Result, ensure};
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

pub(super) const CASES: &[Case] = &[
    case("on socket: python connects and becomes bash without flags", |lab| connected(lab, lab.remote(), How::Plain)),
    case("on socket: to an IPv6 address", |lab| connected(lab, lab.remote_v6(), How::Plain)),
    case("on socket: by Multipath TCP", |lab| {
        needs_multipath()?;
        connected(lab, lab.remote(), How::Multipath)
    }),
    case("on socket: python accepts and becomes bash without flags", accepted),
    case("on socket: a grandchild of the process that connected", grandchild),
    case("on socket: only the comm is that of a shell", by_comm),
    case("on socket: one connection to read from, another to write to", two_connections),
    case("on socket: both rules match, one alert", both),
    tagged("on socket: a connection older than the span", &[Tag::Own], older),
    tagged("on socket: the rule is turned off and on again", &[Tag::Own], switched),
    case("on socket: no shell", |lab| silent(lab, "nginx", on_connection(lab, lab.remote())?)),
    case("on socket: to an excluded network", |lab| silent(lab, "bash", on_connection(lab, LINK_LOCAL.into())?)),
    case("on socket: to loopback", |lab| silent(lab, "bash", on_connection(lab, Ipv4Addr::LOCALHOST.into())?)),
    case("on socket: a UNIX socket", |lab| silent(lab, "bash", (None, vec![Step::LocalPair, stdio()]))),
    case("on socket: a connection that was refused", |lab| {
        silent(lab, "bash", (None, vec![connect_by(closed(lab), How::Plain, Outcome::Refused), stdio()]))
    }),
    case("on socket: a socket that listens", |lab| {
        silent(lab, "bash", (None, vec![Step::Listen(SocketAddr::new(lab.local(), 4444)), stdio()]))
    }),
    case("on socket: reads from a pipe", |lab| partly(lab, Step::Pipe, vec![0])),
    case("on socket: writes to a pipe", |lab| partly(lab, Step::Pipe, vec![1])),
    case("on socket: reads from /dev/null", |lab| {
        let (far, mut steps) = on_connection(lab, lab.remote())?;
        steps.pop();
        steps.push(Step::On(vec![1, 2]));
        silent(lab, "bash", (far, steps))
    }),
    case("on socket: a terminal in front of it", |lab| partly(lab, Step::Terminal, vec![0, 1, 2])),
];

/// What made the connection.
const OTHER: &str = "python3";

/// Plays a program that is no shell, which takes the steps and then executes the shell `args` as `file`.
fn becomes(lab: &Lab, mut steps: Vec<Step>, file: &PathBuf, args: &[&str]) -> Result<Player> {
    steps.push(exec(file, args));
    lab.play(&lab.program(OTHER)?, &[OTHER], steps)
}

fn connected(lab: &Lab, address: IpAddr, how: How) -> Result<()> {
    let (far, bash) = (lab.listen(address)?, lab.program("bash")?);
    let steps = vec![connect_by(far.address, how, Outcome::Done), stdio()];
    let mut player = becomes(lab, steps, &bash, &["bash"])?;
    let (_connection, near) = far.accept()?;
    let pid = player.reached("end")?.pid;
    let alert = Expect::on_socket(pid, &bash, &["bash"], near, far.address);
    let multipath = if how == How::Multipath { json!(true) } else { json!(null) };
    lab.expect_on_socket(&[alert.field("sensor.stdio.2.kind", "tcp").field("sensor.stdio.0.multipath", multipath)])
}

fn accepted(lab: &Lab) -> Result<()> {
    let (at, bash) = (SocketAddr::new(lab.local(), 4444), lab.program("bash")?);
    let mut player =
        becomes(lab, vec![Step::Listen(at), Step::Accept(Accept::Plain), stdio()], &bash, &["bash", "--norc"])?;
    let connection = lab.connect(lab.remote(), at)?;
    let pid = player.reached("end")?.pid;
    lab.expect_on_socket(&[Expect::on_socket(pid, &bash, &["bash", "--norc"], at, connection.local_addr()?)])
}

fn grandchild(lab: &Lab) -> Result<()> {
    let (far, bash) = (lab.listen(lab.remote())?, lab.program("bash")?);
    let shell = fork(vec![fork(vec![exec(&bash, &["bash"])])]);
    let steps = vec![connect(far.address), stdio(), shell];
    let mut player = lab.play(&lab.program(OTHER)?, &[OTHER], steps)?;
    let (_connection, near) = far.accept()?;
    let pid = player.reached("end")?.pid;
    ensure!(pid != player.pid(), "nothing was forked");
    lab.expect_on_socket(&[Expect::on_socket(pid, &bash, &["bash"], near, far.address)])
}

/// As busybox is a shell.
fn by_comm(lab: &Lab) -> Result<()> {
    let (far, busybox) = (lab.listen(lab.remote())?, lab.program("busybox")?);
    let sh = lab.link("sh", &busybox)?;
    let mut player = becomes(lab, vec![connect(far.address), stdio()], &sh, &["sh"])?;
    let (_connection, near) = far.accept()?;
    let pid = player.reached("end")?.pid;
    let alert = Expect::on_socket(pid, &busybox, &["sh"], near, far.address);
    lab.expect_on_socket(&[alert.field("process.thread.name", "sh")])
}

fn two_connections(lab: &Lab) -> Result<()> {
    let (first, second, bash) = (lab.listen(lab.remote())?, lab.listen(lab.remote())?, lab.program("bash")?);
    let steps = vec![connect(first.address), Step::On(vec![0]), connect(second.address), Step::On(vec![1])];
    let mut player = becomes(lab, steps, &bash, &["bash"])?;
    let (_one, near) = first.accept()?;
    let (_other, near_second) = second.accept()?;
    let pid = player.reached("end")?.pid;
    let alert = Expect::on_socket(pid, &bash, &["bash"], near, first.address)
        .field("sensor.stdio.1.local.port", near_second.port())
        .without("sensor.stdio.1.local")
        .without("sensor.stdio.1.remote")
        .field("sensor.stdio.1.remote.port", second.address.port());
    lab.expect_on_socket(&[alert])
}

/// The connection of the sequence is the one that the shell is on, though the two rules know it from different places.
fn both(lab: &Lab) -> Result<()> {
    let (far, bash) = (lab.listen(lab.remote())?, lab.program("bash")?);
    let mut player = lab.play(&bash, &["bash"], vec![connect(far.address), stdio(), exec(&bash, SHELL)])?;
    let (_connection, near) = far.accept()?;
    let pid = player.reached("end")?.pid;
    let mut alert = Expect::alert(pid, &bash, SHELL)
        .egress(near, far.address)
        .field("sensor.matched_rules", [RULE, SOCKET_RULE])
        .field("event.severity", 73);
    for stream in 0..3 {
        alert = alert.field(&format!("sensor.stdio.{stream}.in_sequence"), true);
    }
    lab.expect(&[alert.clone()])?;
    lab.expect_on_socket(&[alert])
}

/// The rule about a process that connects and becomes a shell has forgotten it; the socket is still there.
fn older(lab: &Lab) -> Result<()> {
    let sensor = lab.start_sensor_with("sensor", "[rule]\nspan = \"500ms\"\n")?;
    let (far, bash) = (lab.listen(lab.remote())?, lab.program("bash")?);
    let steps = vec![connect(far.address), stdio(), Step::Sleep(1500), exec(&bash, SHELL)];
    let mut player = lab.play(&bash, &["bash"], steps)?;
    let (_connection, near) = far.accept()?;
    let pid = player.reached("end")?.pid;
    lab.expect_of(&sensor, &[])?;
    let alert = Expect::on_socket(pid, &bash, SHELL, near, far.address);
    lab.expect_by(&sensor, SOCKET_RULE, &[alert])?;
    sensor.stop_cleanly().map(drop)
}

fn switched(lab: &Lab) -> Result<()> {
    let sensor = lab.start_sensor()?;
    let off = format!("{}[rule]\ndisabled = [\"{SOCKET_RULE}\"]\n", lab.hooks());
    let (mut alerts, mut kept) = (Vec::new(), Vec::new());
    for (config, is_on) in [(None, true), (Some(&*off), false), (Some(lab.hooks()), true)] {
        if let Some(config) = config {
            sensor.reload(config, "configuration read again")?;
        }
        let (player, alert) = shell_of(lab)?;
        kept.push(player);
        alerts.extend(is_on.then_some(alert));
        lab.expect_by(&sensor, SOCKET_RULE, &alerts)?;
    }
    sensor.stop_cleanly().map(drop)
}

fn shell_of(lab: &Lab) -> Result<(Player, Expect)> {
    let (far, bash) = (lab.listen(lab.remote())?, lab.program("bash")?);
    let mut player = becomes(lab, vec![connect(far.address), stdio()], &bash, &["bash"])?;
    let (connection, near) = far.accept()?;
    let pid = player.reached("end")?.pid;
    drop(connection);
    Ok((player, Expect::on_socket(pid, &bash, &["bash"], near, far.address)))
}

/// The far end that must be kept, and the steps to a connection on all standard streams.
type OnConnection = (Option<Listener>, Vec<Step>);

fn on_connection(lab: &Lab, address: IpAddr) -> Result<OnConnection> {
    let far = lab.listen(address)?;
    let steps = vec![connect(far.address), stdio()];
    Ok((Some(far), steps))
}

/// A shell that is on a connection but for these descriptors.
fn partly(lab: &Lab, other: Step, descriptors: Vec<u8>) -> Result<()> {
    let (far, mut steps) = on_connection(lab, lab.remote())?;
    steps.extend([other, Step::On(descriptors)]);
    silent(lab, "bash", (far, steps))
}

/// A program of this name without flags, after these steps, gives no alert.
fn silent(lab: &Lab, name: &str, (_far, mut steps): OnConnection) -> Result<()> {
    let file = lab.program(name)?;
    steps.insert(0, report("begin"));
    let mut player = becomes(lab, steps, &file, &[name])?;
    player.reached("end")?;
    lab.expect_none()?;
    lab.expect_on_socket(&[])
}
