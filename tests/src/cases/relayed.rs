//! Shells behind a program that can pass on what they read and write; and shells that only look so.

use super::scene::closed;
use super::{Case, Tag, once, tagged};
use crate::actor::step::{Accept, How, Outcome, Step, connect, connect_by, exec, fork, stdio};
use crate::expect::{Expect, RELAY_RULE};
use crate::lab::Lab;
use anyhow::Result;
use std::net::SocketAddr;
use std::path::Path;

pub(super) const CASES: &[Case] = &[
    once("relayed: a child on pipes", |lab| found(lab, vec![Step::Pipe, stdio()], &["bash"])),
    once("relayed: a child on a UNIX socket", |lab| found(lab, vec![Step::LocalPair, stdio()], &["bash", "-i"])),
    once("relayed: a child on a terminal of its own", |lab| found(lab, vec![Step::Session, stdio()], &["bash", "-l"])),
    once("relayed: a child on another terminal than its session's", |lab| {
        found(lab, vec![Step::Session, Step::Terminal, stdio()], &["bash"])
    }),
    once("relayed: the process itself", itself),
    once("relayed: an accepted connection", accepted),
    once("relayed: by the name of the group leader", by_comm),
    once("relayed: one command alone", |lab| {
        silent(lab, "python3.11", vec![Step::Pipe, stdio()], &["bash", "-c", "true"])
    }),
    once("relayed: a script alone", |lab| {
        silent(lab, "python3.11", vec![Step::Pipe, stdio()], &["bash", "-x", "script"])
    }),
    once("relayed: output into a file", |lab| {
        silent(lab, "python3.11", vec![Step::Pipe, Step::On(vec![0])], &["bash"])
    }),
    once("relayed: within the session on its terminal", |lab| {
        let bash = lab.program("bash")?;
        let shell = vec![Step::Session, stdio(), knock(lab), fork(vec![exec(&bash, &["bash"])])];
        quiet(lab, "python3.11", shell)
    }),
    once("relayed: another program", |lab| silent(lab, "nginx", vec![Step::Pipe, stdio()], &["bash"])),
    once("relayed: to an excluded network", |lab| {
        let bash = lab.program("bash")?;
        let local = SocketAddr::new(std::net::Ipv4Addr::LOCALHOST.into(), 9);
        let shell = fork(vec![Step::Pipe, stdio(), exec(&bash, &["bash"])]);
        quiet(lab, "python3.11", vec![connect_by(local, How::Plain, Outcome::Refused), shell])
    }),
    tagged("relayed: programs are configured", &[Tag::Own, Tag::Once], configured),
    tagged("relayed: the rule is off", &[Tag::Own, Tag::Once], off),
];

fn knock(lab: &Lab) -> Step {
    connect_by(closed(lab), How::Plain, Outcome::Refused)
}

/// Python connects, and its child becomes a shell after these steps.
fn shell(lab: &Lab, mut steps: Vec<Step>, args: &[&str]) -> Result<Vec<Step>> {
    steps.push(exec(lab.program("bash")?, args));
    Ok(vec![knock(lab), fork(steps)])
}

fn alert(lab: &Lab, (pid, file, args): (u32, &Path, &[&str]), maker: u32) -> Expect {
    Expect::inherited(RELAY_RULE, (pid, file, args), maker, 1)
        .field("sensor.matched_rules", [RELAY_RULE])
        .field("event.severity", 21)
        .field("destination.ip", lab.remote().to_string())
}

fn found(lab: &Lab, steps: Vec<Step>, args: &[&str]) -> Result<()> {
    let bash = lab.program("bash")?;
    let mut player = lab.play(&lab.program("python3.11")?, &["python3"], shell(lab, steps, args)?)?;
    let pid = player.reached("end")?.pid;
    lab.expect(&[])?;
    lab.expect_by(lab.sensor()?, RELAY_RULE, &[alert(lab, (pid, &bash, args), player.pid())])
}

fn silent(lab: &Lab, program: &str, steps: Vec<Step>, args: &[&str]) -> Result<()> {
    quiet(lab, program, shell(lab, steps, args)?)
}

/// Takes the steps as that program; nothing comes of it.
fn quiet(lab: &Lab, program: &str, steps: Vec<Step>) -> Result<()> {
    let mut player = lab.play(&lab.program(program)?, &[program], steps)?;
    player.reached("end")?;
    lab.expect_none()?;
    lab.expect_by(lab.sensor()?, RELAY_RULE, &[])
}

fn itself(lab: &Lab) -> Result<()> {
    let bash = lab.program("bash")?;
    let steps = vec![knock(lab), Step::Pipe, stdio(), exec(&bash, &["bash"])];
    let mut player = lab.play(&lab.program("perl")?, &["perl"], steps)?;
    let pid = player.reached("end")?.pid;
    let alert = alert(lab, (pid, &bash, &["bash"]), pid)
        .without("sensor.sequence.1.sensor.inherited.pid")
        .without("sensor.sequence.1.sensor.inherited.generations");
    lab.expect_by(lab.sensor()?, RELAY_RULE, &[alert.field("sensor.sequence.1.sensor.inherited", ())])
}

fn accepted(lab: &Lab) -> Result<()> {
    let (at, bash) = (SocketAddr::new(lab.local(), 4444), lab.program("bash")?);
    let child = fork(vec![Step::Pipe, stdio(), exec(&bash, &["bash"])]);
    let steps = vec![Step::Listen(at), Step::Accept(Accept::Plain), child];
    let mut player = lab.play(&lab.program("ncat")?, &["ncat"], steps)?;
    let connection = lab.connect(lab.remote(), at)?;
    let pid = player.reached("end")?.pid;
    let alert = alert(lab, (pid, &bash, &["bash"]), player.pid()).without("destination.ip");
    lab.expect_by(lab.sensor()?, RELAY_RULE, &[alert.ingress(connection.local_addr()?, at)])
}

/// A thread of any name connects; the executable has another name too, as that of a script has not its interpreter's comm.
fn by_comm(lab: &Lab) -> Result<()> {
    let (far, bash) = (lab.listen(lab.remote())?, lab.program("bash")?);
    let thread = Step::Thread(vec![Step::Name("worker".to_owned()), connect(far.address)]);
    let child = fork(vec![Step::Pipe, stdio(), exec(&bash, &["bash"])]);
    let steps = vec![Step::Name("ruby3.1".to_owned()), thread, child];
    let mut player = lab.play(&lab.program("app")?, &["app"], steps)?;
    let _connection = far.accept()?;
    let pid = player.reached("end")?.pid;
    lab.expect_by(lab.sensor()?, RELAY_RULE, &[alert(lab, (pid, &bash, &["bash"]), player.pid())])
}

fn configured(lab: &Lab) -> Result<()> {
    let sensor = lab.start_sensor_with("sensor", "[rule]\nrelays = [\"agent-*\"]\n")?;
    let bash = lab.program("bash")?;
    let steps = || shell(lab, vec![Step::Pipe, stdio()], &["bash"]);
    let mut python = lab.play(&lab.program("python3")?, &["python3"], steps()?)?;
    python.reached("end")?;
    let mut agent = lab.play(&lab.program("agent-7")?, &["agent-7"], steps()?)?;
    let pid = agent.reached("end")?.pid;
    lab.expect_by(&sensor, RELAY_RULE, &[alert(lab, (pid, &bash, &["bash"]), agent.pid())])?;
    sensor.stop_cleanly().map(drop)
}

fn off(lab: &Lab) -> Result<()> {
    let sensor = lab.start_sensor_with("sensor", "[rule]\ndisabled = [\"relayed-shell\"]\n")?;
    let steps = shell(lab, vec![Step::Pipe, stdio()], &["bash"])?;
    let mut player = lab.play(&lab.program("python3")?, &["python3"], steps)?;
    player.reached("end")?;
    lab.expect_by(&sensor, RELAY_RULE, &[])?;
    sensor.stop_cleanly().map(drop)
}
