//! A sensor that has nothing to do: how long it takes to be attached, what it holds, and how often it wakes up.

use crate::process::{Memory, map_memory, processor_ns, sleeps};
use crate::sensor::Sensor;
use crate::statistics::{median, quartiles};
use crate::{Setting, tell};
use anyhow::Result;
use std::thread::sleep;
use std::time::Duration;

const STARTS: usize = 20;
/// How long it is left alone.
const IDLE: Duration = Duration::from_secs(30);
/// After its start, what it does once.
const SETTLE: Duration = Duration::from_secs(2);

/// Starts it again and again, and then leaves it alone.
#[expect(clippy::cast_precision_loss, reason = "figures far below 2^52")]
pub(crate) fn measure(setting: &Setting) -> Result<()> {
    let (mut time, mut processor) = (Vec::new(), Vec::new());
    let (mut resident, mut anonymous, mut peak) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..setting.times(STARTS).max(3) {
        let sensor = Sensor::start(&setting.sensor, "")?;
        processor.push(processor_ns(sensor.pid())? as f64 / 1e6);
        time.push(sensor.took.as_secs_f64() * 1e3);
        let memory = Memory::of(sensor.pid())?;
        resident.push(memory.resident as f64);
        anonymous.push(memory.anonymous as f64);
        peak.push(memory.peak as f64);
        sensor.stop()?;
    }
    let told = |subject: &str, quantity: &str, values: &[f64], unit: &str| {
        let half = quartiles(values);
        let note = format!("half of {} within {:.0} to {:.0}", values.len(), half.start(), half.end());
        tell::figure(subject, quantity, median(values), unit, note)
    };
    told("from the start to being attached", "time", &time, "ms")?;
    told("from the start to being attached", "on a processor", &processor, "ms")?;
    told("memory once it is attached", "resident", &resident, "KiB")?;
    told("memory once it is attached", "of that, its own", &anonymous, "KiB")?;
    told("memory once it is attached", "peak", &peak, "KiB")?;
    let sensor = Sensor::start(&setting.sensor, "")?;
    let maps = map_memory(sensor.pid())? as f64;
    tell::figure("memory once it is attached", "maps in the kernel", maps, "KiB", String::new())?;
    let size = setting.sensor.metadata()?.len() as f64 / 1e6;
    tell::figure(
        "the sensor's file",
        "size",
        size,
        "MB",
        "as it was built; `strip` is part of the release profile".to_owned(),
    )?;
    let idle = if setting.quick { IDLE / 10 } else { IDLE };
    sleep(SETTLE);
    let (before, used) = (sleeps(sensor.pid())?, processor_ns(sensor.pid())?);
    sleep(idle);
    let (woken, used) = (sleeps(sensor.pid())? - before, processor_ns(sensor.pid())? - used);
    let note = format!("all threads; {:.2} ms on a processor", used as f64 / 1e6);
    tell::figure(&format!("left alone for {} s", idle.as_secs()), "wake-ups", woken as f64, "", note)?;
    sensor.stop()
}
