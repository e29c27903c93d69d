//! A sensor under a mixed load for as long as it is asked for: its memory, descriptors and threads stay what they were, each shell is
//! alerted once on each output, and its numbers add up at the end.
//!
//! Meanwhile it is told other configurations, its file is rotated, its numbers are asked for, the server at the other end fails, and
//! the sensor stands still now and then.

mod arrived;
mod load;

use crate::lab::Lab;
use crate::scrape::scrape;
use crate::sensor::Sensor;
use crate::usage::{self, Usage};
use crate::wait::until;
use anyhow::{Context, Result, ensure};
use arrived::{Arrived, File, Listener};
use load::Load;
use rustix::process::Signal;
use sensor_receiver::{Reply, Server};
use std::collections::HashSet;
use std::io::pipe;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// From one turn of the load to the next, if it takes no longer.
const TURN: Duration = Duration::from_millis(200);
/// How often things happen, in turns.
const SAMPLE: u64 = 5;
const RELOAD: u64 = 25;
const ROTATE: u64 = 35;
const FAIL: u64 = 100;
const STAND_STILL: u64 = 150;
/// Turns that the sensor stands still.
const STILL: u64 = 4;
/// The beginning of a run, in which tables and queues fill, at most.
const WARM_UP: Duration = Duration::from_secs(120);
/// Memory in KiB that may be more in the second half: what an allocator holds differs from time to time.
const SLACK: u64 = 1024;
/// Descriptors likewise: a connection for metrics, a file of the spool.
const SOME: usize = 2;

/// A run of so long; what was seen.
pub(crate) fn run(lab: &Lab, duration: Duration) -> Result<String> {
    let [socket, path] = ["metrics", "alerts.ndjson"].map(|name| lab.directory().join(name));
    let server = Server::start()?;
    let config = |span: u64| {
        format!(
            "{}[rule]\nspan = \"{span}s\"\n[noise]\ncollapse = \"10s\"\n[life]\nheartbeat = \"10s\"\n[metrics]\nlisten = \"{}\"\n\
             [output]\nfile = \"{}\"\nspool.directory = \"{}\"\nelasticsearch.url = \"http://{}\"\n",
            lab.hooks(),
            socket.display(),
            path.display(),
            lab.directory().join("spool").display(),
            server.address(),
        )
    };
    let (reader, writer) = pipe()?;
    let sensor = Sensor::start_without_events_to(
        lab.binary(),
        &lab.directory().join("sensor"),
        &config(5),
        Stdio::from(writer),
    )?;
    let stdout = Listener::new(reader, lab.directory());
    let mut file = File::new(path.clone(), lab.directory());
    let mut remote = Remote { server: &server, ids: HashSet::new(), arrived: Arrived::new(lab.directory()) };
    let mut load = Load::new(lab)?;
    let mut samples = Vec::new();
    let start = Instant::now();
    let mut turn = 0;
    while start.elapsed() < duration {
        let begin = Instant::now();
        load.turn()?;
        turn += 1;
        if turn % SAMPLE == 0 {
            samples.push((start.elapsed(), usage::of(sensor.pid())?));
            let law = scrape(&socket)?.get("sensor_law_violations_total").copied();
            ensure!(law == Some(0.0), "violations of the law: {law:?}");
        }
        if turn % RELOAD == 0 {
            sensor.configure(&config(4 + turn / RELOAD % 2))?;
            sensor.signal(Signal::HUP)?;
        }
        if turn % ROTATE == 0 {
            file.rotate()?;
            sensor.signal(Signal::USR1)?;
        }
        if turn % FAIL == 0 {
            server.reply(failures(turn / FAIL));
            remote.take();
        }
        if turn % STAND_STILL == 0 {
            sensor.signal(Signal::STOP)?;
            let made = (0..STILL).try_for_each(|_| load.turn());
            sensor.signal(Signal::CONT)?;
            made?;
        }
        sleep(TURN.saturating_sub(begin.elapsed()));
    }
    let made = load.made();
    let everywhere = until("all alerts", || {
        remote.take();
        Ok((stdout.count() >= made && remote.arrived.count() >= made).then_some(()))
    });
    let counts = (stdout.count(), remote.arrived.count());
    everywhere.with_context(|| format!("{made} shells, {counts:?} alerts, log:\n{}", sensor.log_tail()))?;
    let counters = sensor.stop_cleanly()?;
    remote.take();
    file.close()?;
    for (place, arrived) in [("stdout", &stdout.close()?), ("file", &file.arrived), ("server", &remote.arrived)] {
        arrived.each_once(made).context(place)?;
    }
    ensure!(server.faults().is_empty(), "{:?}", server.faults());
    let flat = flat(&samples, duration)?;
    let [connections, executions] = ["connect", "exec"].map(|hook| counters.get(hook, "seen"));
    Ok(format!(
        "{made} shells, each alerted once on three outputs, among {} connections and {} executions in {} s; {flat}",
        connections?,
        executions?,
        start.elapsed().as_secs()
    ))
}

/// The ways in which the server fails, two at a time.
fn failures(number: u64) -> Vec<Reply> {
    if number.is_multiple_of(2) {
        vec![Reply::Status(503, Vec::new(), ""), Reply::CreateAndBreak]
    } else {
        vec![Reply::Close, Reply::CreateHalf(429, "es_rejected_execution_exception")]
    }
}

/// What the server has.
struct Remote<'a> {
    server: &'a Server,
    ids: HashSet<String>,
    arrived: Arrived,
}

impl Remote<'_> {
    /// Takes over what came since the last time. What comes again under an id that was there is not created a second time.
    fn take(&mut self) {
        for (id, document) in self.server.take() {
            if self.ids.insert(id) {
                self.arrived.add(&document);
            }
        }
    }
}

/// That the second half, once all is warm, takes no more than the first.
fn flat(samples: &[(Duration, Usage)], duration: Duration) -> Result<String> {
    let warm = (duration / 3).min(WARM_UP);
    let warm: Vec<&Usage> = samples.iter().filter(|(at, _)| *at >= warm).map(|(_, usage)| usage).collect();
    let (first, second) = warm.split_at(warm.len() / 2);
    let median = |half: &[&Usage], of: fn(&Usage) -> u64| {
        let mut all: Vec<u64> = half.iter().map(|usage| of(usage)).collect();
        all.sort_unstable();
        all.get(all.len() / 2).copied().context("too short for a sample in each half")
    };
    let most = |half: &[&Usage], of: fn(&Usage) -> usize| half.iter().map(|usage| of(usage)).max().unwrap_or(0);
    let descriptors = [first, second].map(|half| most(half, |usage| usage.descriptors));
    let threads = [first, second].map(|half| most(half, |usage| usage.threads));
    let own = [median(first, |usage| usage.anonymous)?, median(second, |usage| usage.anonymous)?];
    let resident = [median(first, |usage| usage.resident)?, median(second, |usage| usage.resident)?];
    let peak = warm.iter().map(|usage| usage.peak).max().unwrap_or(0);
    let said = format!(
        "memory of its own {} KiB, then {} KiB; resident {} KiB, then {} KiB (peak {peak} KiB); descriptors {}, then {}; threads {}, then {}",
        own[0], own[1], resident[0], resident[1], descriptors[0], descriptors[1], threads[0], threads[1]
    );
    let flat = own[1] <= own[0] + SLACK && descriptors[1] <= descriptors[0] + SOME && threads[1] <= threads[0];
    ensure!(flat, "it takes more and more: {said}");
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(own: impl Fn(u64) -> u64, descriptors: impl Fn(u64) -> usize) -> Vec<(Duration, Usage)> {
        // Pages of files come back at the end.
        let usage = |at| {
            let anonymous = own(at);
            let resident = anonymous + if at < 100 { 0 } else { 5000 };
            Usage { resident, anonymous, peak: 90_000, descriptors: descriptors(at), threads: 4 }
        };
        (0..120).map(|at| (Duration::from_secs(at), usage(at))).collect()
    }

    #[test]
    fn what_grows_is_noticed_and_what_warms_up_is_not() {
        let minutes = Duration::from_secs(120);
        flat(&samples(|at| 8000 + at.min(30) * 100, |_| 20), minutes).unwrap();
        flat(&samples(|at| 8000 + at % 10 * 300, |at| if at % 7 == 0 { 21 } else { 20 }), minutes).unwrap();
        assert!(flat(&samples(|at| 8000 + at * 100, |_| 20), minutes).is_err());
        assert!(flat(&samples(|_| 8000, |at| usize::try_from(20 + at / 10).unwrap()), minutes).is_err());
        assert!(flat(&[], minutes).is_err());
    }
}
