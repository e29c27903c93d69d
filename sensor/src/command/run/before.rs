//! What happened before the hooks were attached, from /proc.

use crate::detect::eql::Networks;
use crate::detect::rule::{CONNECTING, SOCAT};
use crate::enrich::proc::Proc;
use crate::enrich::scan::{self, Found, Limits, Wanted};
use crate::enrich::{clock, process};
use crate::event::{BootTime, ProcessKey};
use crate::kernel::load::Loaded;
use crate::pipeline::{Pipeline, from_proc};
use anyhow::{Context, Result};
use sensor_common::address::{Address, mapped};
use sensor_common::record::{ACCEPTED, ATTEMPTED, Arm, CLASS_SHELL, NAME_LEN, WITNESS_PROC};
use std::net::IpAddr;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// How long the look at what is running may take; it ends by itself after a second, unless a process holds it up.
const LOOK_PATIENCE: Duration = Duration::from_secs(3);

/// Reads from /proc what happened before the hooks were attached.
///
/// If an earlier sensor has `watched` until now, of connections there is nothing to be learnt.
pub(super) fn look_around(
    loaded: &mut Loaded,
    pipeline: &mut Pipeline,
    excluded: &Networks,
    watched: bool,
) -> Result<()> {
    let proc = Proc::live();
    // A process can keep whoever reads its command line waiting: the look then goes on without the sensor, and to nobody.
    let (found, answer) = channel();
    let look = move || {
        let wanted = Wanted { connecting: &CONNECTING, parent: SOCAT };
        // Nobody may be listening any more.
        let _ = found.send(scan::scan(&Proc::live(), &wanted, &Limits::default()));
    };
    thread::Builder::new().name("look-around".to_owned()).spawn(look).context("no thread can be started")?;
    let found = match answer.recv_timeout(LOOK_PATIENCE) {
        Ok(found) => found.context("/proc cannot be read")?,
        Err(_) => Found { incomplete: true, ..Found::default() },
    };
    let Found { parents, connections, waiting, processes, denied, incomplete } = found;
    for parent in &parents {
        let key = ProcessKey { tgid: parent.process.tgid, start: proc.start(parent.process.start_ticks) };
        if let Ok(args) = &parent.args {
            pipeline.parents().found(key, from_proc(args.clone(), true));
        }
    }
    let (now, _) = clock::now();
    // A process has one place in the table, which must not go to a connection that does not count.
    let destination = |found: &&scan::Connection| if found.accepted { found.local.ip() } else { found.remote.ip() };
    let counting = connections.iter().filter(|found| !watched && !excluded.contain(destination(found)));
    let arms: Vec<Arm> = counting.zip(1..).map(|(found, number)| arm(&proc, found, number, now)).collect();
    loaded.remember(&arms, &[], || clock::now().0)?;
    tracing::info!(
        processes,
        parents = parents.len(),
        connections = connections.len(),
        waiting_in_accept = waiting.len(),
        "looked at what is running; of connections made before, the age is unknown"
    );
    if incomplete || denied != 0 {
        tracing::warn!(
            denied,
            incomplete,
            "the look at what is running has gaps: /proc hides processes, or there are too many"
        );
    }
    Ok(())
}

/// A pending entry for a connection that was found; `number` tells it from the others.
fn arm(proc: &Proc, found: &scan::Connection, number: u64, now: BootTime) -> Arm {
    let scan::Connection { process, local, remote, accepted, .. } = found;
    let (uid, gid) = process.ids.unwrap_or((u32::MAX, u32::MAX));
    let comm = padded(&process.comm);
    Arm {
        // Numbers that the kernel side gives have a witness in their lowest bits.
        sequence: number << 3,
        boot_ns: now.0,
        start_ns: proc.start(process.start_ticks).0,
        sock: 0,
        tgid: process.tgid,
        tid: process.tgid,
        uid,
        gid,
        local: bytes(local.ip()),
        remote: bytes(remote.ip()),
        local_port: local.port(),
        remote_port: remote.port(),
        direction: if *accepted { ACCEPTED } else { ATTEMPTED },
        witness: WITNESS_PROC,
        class: CLASS_SHELL,
        generations: 0,
        comm,
        leader_comm: comm,
        exe: padded::<NAME_LEN>(process.exe.as_ref().map_or(b"", process::Exe::name)),
    }
}

fn bytes(ip: IpAddr) -> Address {
    match ip.to_canonical() {
        IpAddr::V4(ip) => mapped(ip.octets()),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// The bytes with at least one zero behind them, cut if need be.
fn padded<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut padded = [0; N];
    for (to, from) in padded.iter_mut().take(N - 1).zip(bytes) {
        *to = *from;
    }
    padded
}
