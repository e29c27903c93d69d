//! `sensor replay` on the rule's vectors, repeated to a large file: each repetition a day later and with processes of its own, so that the
//! number of matches is known.

use super::figure::{Figure, Line};
use crate::host;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Events and matches of a file.
struct Stream {
    path: PathBuf,
    bytes: u64,
    events: u64,
    matches: u64,
}

/// Writes a file of this size, replays it on one core, checks the number of alerts, and returns the figures.
pub(crate) fn measure(root: &Path, megabytes: u64) -> Result<Vec<Line>> {
    let stream = generate(root, megabytes << 20)?;
    let replayed = replay(&host::profile_directory("release")?.join("sensor"), &stream.path);
    fs::remove_file(&stream.path)?;
    let Run { took, cost, alerts } = replayed?;
    ensure!(alerts == stream.matches, "{alerts} alerts, {} expected", stream.matches);
    let subject = format!("{} events, {} MB", stream.events, stream.bytes >> 20);
    let figure = |quantity: &str, value: f64, unit: &str, note: String| {
        let [quantity, unit] = [quantity, unit].map(str::to_owned);
        Line::Measured(Figure { subject: subject.clone(), quantity, value, unit, note })
    };
    let found = format!("{alerts} matches, all found");
    Ok(vec![
        figure("events of one core", rate(stream.events, cost.processor), "/s", found),
        figure("time on the processor", cost.processor.as_secs_f64(), "s", format!("of {:.2} s", took.as_secs_f64())),
        figure("peak memory", f64::from(cost.peak_kb) / 1024.0, "MB", String::new()),
    ])
}

#[expect(clippy::cast_precision_loss, reason = "figures for people, far below 2^52")]
fn rate(number: u64, took: Duration) -> f64 {
    number as f64 / took.as_secs_f64()
}

fn generate(root: &Path, size: u64) -> Result<Stream> {
    let vectors = vectors(&root.join("tests/rule-vectors"))?;
    let folder = root.join("target/bench");
    fs::create_dir_all(&folder)?;
    let path = folder.join("replay.ndjson");
    let mut out = BufWriter::with_capacity(1 << 20, File::create(&path)?);
    let mut stream = Stream { path, bytes: 0, events: 0, matches: 0 };
    for round in 0.. {
        if stream.bytes >= size {
            break;
        }
        for (number, (events, matches)) in vectors.iter().enumerate() {
            for event in events {
                let line = moved(event, round, number)?;
                out.write_all(line.as_bytes())?;
                stream.bytes += line.len() as u64;
            }
            stream.events += events.len() as u64;
            stream.matches += matches;
        }
    }
    out.flush()?;
    Ok(stream)
}

/// The events of each vector, and how many matches they hold.
fn vectors(folder: &Path) -> Result<Vec<(Vec<Value>, u64)>> {
    let read = |name: String| fs::read_to_string(folder.join(&name)).with_context(|| name);
    (0..100)
        .map(|number| {
            let events = read(format!("{number:02}.ndjson"))?;
            let matches = read(format!("{number:02}.expected.ndjson"))?;
            let events = events.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
            Ok((events, matches.lines().count() as u64))
        })
        .collect()
}

/// The event `round` days later, by a process that no other round and vector has.
fn moved(event: &Value, round: i64, number: usize) -> Result<String> {
    let mut event = event.clone();
    let time = event.get_mut("@timestamp").context("an event without a time")?;
    let moved = time.as_str().context("a time that is no text")?.parse::<jiff::Timestamp>()?;
    *time = (moved + jiff::SignedDuration::from_hours(24 * round)).to_string().into();
    if let Some(Value::String(id)) = event.pointer_mut("/process/entity_id") {
        id.push_str(&format!("-{round}-{number}"));
    }
    Ok(format!("{event}\n"))
}

/// A replay: how long it took, what it cost, and the number of alerts.
struct Run {
    took: Duration,
    cost: Cost,
    alerts: u64,
}

/// What a process has used.
#[derive(Default)]
struct Cost {
    /// Time on a processor.
    processor: Duration,
    /// Peak of resident memory.
    peak_kb: u32,
}

fn replay(sensor: &Path, file: &Path) -> Result<Run> {
    let alerts = file.with_extension("alerts");
    let start = Instant::now();
    let mut child = Command::new(sensor)
        .args(["replay", "--format", "json"])
        .arg(file)
        .stdout(File::create(&alerts)?)
        .stdin(Stdio::null())
        .spawn()
        .context("sensor replay")?;
    let cost = watch(&mut child)?;
    let took = start.elapsed();
    let count = fs::read_to_string(&alerts)?.lines().count() as u64;
    fs::remove_file(&alerts)?;
    Ok(Run { took, cost, alerts: count })
}

/// Waits for the end, and asks meanwhile for what the kernel counts of the process. It has one thread.
fn watch(child: &mut Child) -> Result<Cost> {
    let mut cost = Cost::default();
    loop {
        let read = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", child.id())).unwrap_or_default();
        if let Some(peak) = read("status").lines().find_map(|line| line.strip_prefix("VmHWM:")).and_then(first) {
            cost.peak_kb = u32::try_from(peak)?;
        }
        if let Some(nanoseconds) = first(&read("schedstat")) {
            cost.processor = Duration::from_nanos(nanoseconds);
        }
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(cost),
            Some(status) => bail!("sensor replay ended with {status}"),
            None => sleep(Duration::from_millis(20)),
        }
    }
}

/// The number that a line begins with.
fn first(line: &str) -> Option<u64> {
    line.split_whitespace().next()?.parse().ok()
}
