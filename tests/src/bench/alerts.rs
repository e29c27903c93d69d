//! From the execution of a shell to the alert's line being read from the sensor's standard output: with pauses between the shells, and as fast as
//! one process can start them, where alerts wait for those before them and for a processor.

use crate::process::{Memory, map_memory, processor_ns};
use crate::sensor::Sensor;
use crate::statistics::{median, percentile};
use crate::worker::{Shells, Taken, Work, perform};
use crate::{Setting, tell};
use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;
use std::collections::HashSet;
use std::io::{BufRead as _, BufReader};
use std::process::{ChildStdout, Stdio};
use std::thread;
use std::time::Duration;

const SHELLS: usize = 10_000;
/// Those with pauses.
const PACED: usize = 1000;
const PAUSE: Duration = Duration::from_millis(5);
/// The first ones, for what is built up once.
const FIRST: u32 = 10;
/// Each shell is told by itself, and none is held back.
const CONFIG: &str = "[noise]\ncollapse = \"off\"\nper_minute = 0\n";
/// What the sensor still has to say after the last shell.
const AFTERWARDS: Duration = Duration::from_secs(1);
/// After so much more it has forgotten the shells: the span of 5 s, and as much again until it looks.
const FORGOTTEN: Duration = Duration::from_secs(11);

/// An alert's line, and when it was read, on the boot clock.
struct Arrived {
    line: String,
    boot_ns: i64,
}

/// Starts shells, first with pauses, which leave the sensor nothing else to do, then without; looks for the alert of each.
pub(crate) fn measure(setting: &Setting) -> Result<()> {
    run(setting, "with pauses", setting.times(PACED), PAUSE)?;
    run(setting, "one after the other", setting.times(SHELLS), Duration::ZERO)
}

#[expect(clippy::cast_precision_loss, reason = "figures far below 2^52")]
fn run(setting: &Setting, how: &str, shells: usize, pause: Duration) -> Result<()> {
    let mut sensor = Sensor::start_to(&setting.sensor, CONFIG, Stdio::piped())?;
    let output = sensor.output()?;
    let reader = thread::spawn(move || read(output));
    // Whatever is built up at the first alert is there before.
    perform(Work::Shells(Shells { times: FIRST, pause }))?;
    let before = (Memory::of(sensor.pid())?, map_memory(sensor.pid())?);
    let used = processor_ns(sensor.pid())?;
    let Taken { time_ns, .. } = perform(Work::Shells(Shells { times: u32::try_from(shells)?, pause }))?;
    thread::sleep(AFTERWARDS);
    let after = (Memory::of(sensor.pid())?, map_memory(sensor.pid())?);
    let used = (processor_ns(sensor.pid())? - used) as f64 / shells as f64;
    thread::sleep(FORGOTTEN);
    let later = Memory::of(sensor.pid())?;
    sensor.stop()?;
    let arrived = reader.join().ok().context("the reader")?.context("the alerts")?;
    let mut latencies = Vec::new();
    let mut processes = HashSet::new();
    for Arrived { line, boot_ns } in &arrived {
        let alert: Value = serde_json::from_str(line).with_context(|| line.clone())?;
        let exec = alert.pointer("/sensor/sequence/1").context("an alert without its events")?;
        let executed =
            exec.pointer("/sensor/boot_ns").and_then(Value::as_i64).context("an execution without a time")?;
        processes.insert(alert.pointer("/process/entity_id").context("an alert without a process")?.to_string());
        latencies.push((boot_ns - executed) as f64 / 1e3);
    }
    let subject = format!("{shells} shells {how}");
    let lost = shells + usize::try_from(FIRST)? - processes.len();
    tell::figure(&subject, "without an alert", lost as f64, "", format!("{} alerts", arrived.len()))?;
    tell::figure(
        &subject,
        "shells a second",
        shells as f64 / (time_ns as f64 / 1e9),
        "/s",
        "by one process".to_owned(),
    )?;
    let note = "the sensor alone: what it can do in a second on one processor is the inverse".to_owned();
    tell::figure(&subject, "on a processor, an alert", used / 1e3, "µs", note)?;
    for (quantity, value) in [
        ("alert read after, half within", median(&latencies)),
        ("99 % within", percentile(&latencies, 0.99)),
        ("all within", percentile(&latencies, 1.0)),
    ] {
        tell::figure(&subject, quantity, value, "µs", "since the execution in the kernel".to_owned())?;
    }
    for (quantity, now, then) in [
        ("resident memory afterwards", after.0.resident, before.0.resident),
        ("of that, its own", after.0.anonymous, before.0.anonymous),
        ("resident memory when they are forgotten", later.resident, before.0.resident),
        ("of that, its own then", later.anonymous, before.0.anonymous),
        ("peak", after.0.peak, before.0.peak),
        ("maps in the kernel", after.1, before.1),
    ] {
        tell::figure(&subject, quantity, now as f64, "KiB", format!("{then} KiB after the first {FIRST}"))?;
    }
    Ok(())
}

/// Reads lines until the end. What is no alert does not come here: life is not told on standard output.
fn read(output: ChildStdout) -> Result<Vec<Arrived>> {
    let mut output = BufReader::new(output);
    let mut arrived = Vec::new();
    loop {
        let mut line = String::new();
        if output.read_line(&mut line)? == 0 {
            return Ok(arrived);
        }
        let time = clock_gettime(ClockId::Boottime);
        arrived.push(Arrived { line, boot_ns: time.tv_sec * 1_000_000_000 + time.tv_nsec });
    }
}
