//! Nothing is left out by the kernel, as far as it tells. Where it can preempt the programs of the hooks that were asked for, the
//! sensor has said so, and tells each run that was left out.

use super::scene::closed;
use super::{Case, Tag, tagged};
use crate::actor::step::{Accept, How, Outcome, Step, connect_by, report};
use crate::lab::Lab;
use crate::misses::Misses;
use crate::skip::skip;
use crate::tiny;
use anyhow::{Result, ensure};
use std::net::SocketAddr;

pub(super) const CASES: &[Case] =
    &[tagged("missed: no run of a program and no hit of a probe", &[Tag::Own, Tag::Alone], none)];

/// Connects, accepts and executes with two processes at once, then asks.
fn none(lab: &Lab) -> Result<()> {
    const CONNECTIONS: u32 = 100;
    let sensor = lab.start_sensor()?;
    let probes = [&sensor.hooks().connect, &sensor.hooks().accept].into_iter().any(|kind| kind == "kprobe");
    let true_ = lab.directory().join("bin").join("true");
    tiny::write(&true_)?;
    let knock = connect_by(closed(lab), How::Plain, Outcome::Refused);
    let client = || {
        let spawn = Step::Spawn(true_.clone(), vec!["true".into()]);
        vec![Step::Repeat(CONNECTIONS, vec![knock.clone(), spawn]), report("done"), Step::Hold]
    };
    let at = SocketAddr::new(lab.local(), 4444);
    let accept = Step::Fork { child: vec![Step::Accept(Accept::Four)], reap: true, pids: Vec::new() };
    let server = vec![Step::Listen(at), Step::Repeat(CONNECTIONS, vec![accept]), report("done"), Step::Hold];
    let (curl, nginx) = (lab.program("curl")?, lab.program("nginx")?);
    let mut players = [
        lab.play(&nginx, &["nginx"], server)?,
        lab.play(&curl, &["curl"], client())?,
        lab.play(&curl, &["curl"], client())?,
    ];
    for _ in 0..CONNECTIONS {
        lab.connect(lab.remote(), at)?;
    }
    for player in &mut players {
        player.reached("done")?;
    }
    let misses = Misses::of(sensor.pid())?;
    let counters = sensor.stop_cleanly()?;
    ensure!(counters.get("connect", "seen")? >= (2 * CONNECTIONS).into(), "connections were not seen: {counters:?}");
    ensure!(misses.hits.unwrap_or(0) == 0, "there were {misses:?}");
    let told =
        ["connect", "accept", "graft", "exec"].map(|hook| (hook, counters.get(hook, "missed_recursion").unwrap_or(0)));
    let missed = misses.runs.unwrap_or(0);
    let connect = told.iter().find(|(hook, _)| *hook == "connect").map_or(0, |(_, missed)| *missed);
    let sum: u64 = told.iter().map(|(_, missed)| missed).sum();
    ensure!(sum >= missed, "{missed} runs were left out, the sensor tells {told:?}");
    // The tracepoint of connections is hit in interrupts too, which can come in the middle of its program: what is left out then is
    // another change of a connection's state than the one that counts, which the kernel does not tell apart.
    let interrupted = sensor.hooks().connect == "tracepoint" && missed == connect;
    let announced = interrupted || sensor.said("the kernel can preempt")?;
    ensure!(missed == 0 || announced, "runs were left out: {told:?}");
    match misses {
        Misses { runs: None, .. } => skip("this kernel does not tell of runs that it has left out"),
        Misses { hits: None, .. } if probes => skip("this kernel does not tell of hits that it has missed"),
        _ => Ok(()),
    }
}
