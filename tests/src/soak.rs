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
/// The parts that a run is compared in, once all is warm.
const PARTS: usize = 4;
/// Memory in KiB: what leaks is more in each part than in the one before, by more than this.
const MORE: u64 = 256;
/// A burst, where the host had no time for the sensor, may leave its mark on an allocator, once: so much, in KiB, from the first half to
/// the second.
const MARK: u64 = 4096;
/// Descriptors that may be more in the second half: a connection for metrics, a file of the spool.
const SOME: u64 = 2;

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
    let flat = flat(&samples, duration)?;
    let counters = sensor.stop_cleanly().with_context(|| flat.clone())?;
    remote.take();
    file.close()?;
    for (place, arrived) in [("stdout", &stdout.close()?), ("file", &file.arrived), ("server", &remote.arrived)] {
        arrived.each_once(made).context(place)?;
    }
    ensure!(server.faults().is_empty(), "{:?}", server.faults());
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

/// That a run takes no more and more, once all is warm. What counts is the median of each part: what leaks stays, and a thread that helps
/// out for a moment, or a connection, does not.
fn flat(samples: &[(Duration, Usage)], duration: Duration) -> Result<String> {
    let warm = (duration / 3).min(WARM_UP);
    let warm: Vec<&Usage> = samples.iter().filter(|(at, _)| *at >= warm).map(|(_, usage)| usage).collect();
    ensure!(warm.len() >= PARTS, "too short for a sample in each part");
    let parts: Vec<&[&Usage]> = warm.chunks(warm.len().div_ceil(PARTS)).collect();
    let medians = |of: fn(&Usage) -> u64| -> Vec<u64> {
        parts.iter().map(|part| median(part.iter().map(|usage| of(usage)).collect())).collect()
    };
    let [own, resident] = [|usage: &Usage| usage.anonymous, |usage: &Usage| usage.resident].map(medians);
    let [descriptors, threads] =
        [|usage: &Usage| usage.descriptors as u64, |usage: &Usage| usage.threads as u64].map(medians);
    let peak = warm.iter().map(|usage| usage.peak).max().unwrap_or(0);
    let said = format!(
        "memory of its own {}; resident {} (peak {peak}) KiB; descriptors {}; threads {}",
        listed(&own),
        listed(&resident),
        listed(&descriptors),
        listed(&threads)
    );
    let leaks = own.iter().zip(own.iter().skip(1)).all(|(before, after)| *after > before + MORE);
    let grown = [
        ("memory of its own", leaks || grows(&own, MARK)),
        ("descriptors", grows(&descriptors, SOME)),
        ("threads", grows(&threads, 0)),
    ];
    let grown: Vec<&str> = grown.into_iter().filter(|(_, grows)| *grows).map(|(what, _)| what).collect();
    ensure!(grown.is_empty(), "it takes more and more {}: {said}", grown.join(", "));
    Ok(said)
}

/// Whether the second half has so much more than the first, at most.
fn grows(parts: &[u64], more: u64) -> bool {
    let (first, second) = parts.split_at(parts.len() / 2);
    let most = |half: &[u64]| half.iter().copied().max().unwrap_or(0);
    most(second) > most(first) + more
}

fn median(mut all: Vec<u64>) -> u64 {
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or(0)
}

fn listed(all: &[u64]) -> String {
    all.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a run of two minutes takes, sampled each second.
    struct Run {
        own: fn(u64) -> u64,
        descriptors: fn(u64) -> usize,
        threads: fn(u64) -> usize,
    }

    const FLAT: Run = Run { own: |_| 8000, descriptors: |_| 20, threads: |_| 8 };

    impl Run {
        fn judge(&self) -> Result<String> {
            // Pages of files come back at the end.
            let usage = |at| {
                let anonymous = (self.own)(at);
                let resident = anonymous + if at < 100 { 0 } else { 5000 };
                let (descriptors, threads) = ((self.descriptors)(at), (self.threads)(at));
                Usage { resident, anonymous, peak: 90_000, descriptors, threads }
            };
            let samples: Vec<_> = (0..120).map(|at| (Duration::from_secs(at), usage(at))).collect();
            flat(&samples, Duration::from_secs(120))
        }

        /// What is found to grow.
        fn grows(&self) -> String {
            let error = self.judge().unwrap_err().to_string();
            error.trim_start_matches("it takes more and more ").split(':').next().unwrap_or_default().to_owned()
        }
    }

    #[test]
    fn what_warms_up_and_what_comes_and_goes_is_no_growth() {
        FLAT.judge().unwrap();
        Run { own: |at| 8000 + at.min(30) * 100, ..FLAT }.judge().unwrap();
        Run { own: |at| 8000 + at % 10 * 300, ..FLAT }.judge().unwrap();
        Run { own: |at| if at < 85 { 8000 } else { 12_000 }, ..FLAT }.judge().unwrap();
        Run { own: |at| 8000 + at, ..FLAT }.judge().unwrap();
        Run { descriptors: |at| if at % 7 == 0 { 25 } else { 20 }, ..FLAT }.judge().unwrap();
        Run { threads: |at| if (90..95).contains(&at) { 9 } else { 8 }, ..FLAT }.judge().unwrap();
    }

    #[test]
    fn what_grows_is_named() {
        assert_eq!(Run { own: |at| if at < 85 { 8000 } else { 12_200 }, ..FLAT }.grows(), "memory of its own");
        assert_eq!(Run { own: |at| 8000 + at * 20, ..FLAT }.grows(), "memory of its own");
        let leaking = |at| 20 + usize::from(at > 60) * 3 + usize::from(at > 80) * 3;
        assert_eq!(Run { descriptors: leaking, ..FLAT }.grows(), "descriptors");
        assert_eq!(Run { threads: |at| if at < 85 { 8 } else { 9 }, ..FLAT }.grows(), "threads");
        assert_eq!(Run { descriptors: leaking, threads: leaking, ..FLAT }.grows(), "descriptors, threads");
    }

    #[test]
    fn a_run_without_samples_shows_nothing() {
        assert!(flat(&[], Duration::from_secs(120)).is_err());
    }
}
