//! What system calls pay that the sensor has nothing to do with: getppid(2) again and again, with a sensor and without, in turn.
//!
//! A turn is without, with, without: what is told is the median of how much longer a call takes with the sensor than in the mean of the two
//! without, and, as the resolution, by how much these two differ. Of each of the three the fastest of ten bursts counts, in time on the processor.

use crate::sensor::Sensor;
use crate::statistics::median;
use crate::{Setting, tell};
use anyhow::Result;
use rustix::process::getppid;
use rustix::time::{ClockId, clock_gettime};
use std::hint::black_box;

const TURNS: usize = 21;
const BURSTS: usize = 10;
/// Calls in a burst.
const CALLS: u32 = 30_000;

/// Measures with the hooks that the sensor chooses here, and without the one for accepts, which is the only one that may sit at system calls.
pub(crate) fn measure(setting: &Setting) -> Result<()> {
    let configurations = [("as it is by default", ""), ("without watching accepts", "[hooks]\naccept = \"off\"\n")];
    for (name, config) in configurations {
        let (mut more, mut resolution, mut without) = (Vec::new(), Vec::new(), Vec::new());
        let mut hooks = String::new();
        for _ in 0..setting.times(TURNS).max(3) {
            let before = call();
            let sensor = Sensor::start(&setting.sensor, config)?;
            let with = call();
            hooks = chosen(&sensor.ready);
            sensor.stop()?;
            let after = call();
            more.push(with - f64::midpoint(before, after));
            resolution.push((before - after).abs());
            without.push(f64::midpoint(before, after));
        }
        let note = format!(
            "resolution {:.1} ns; {} turns; a call takes {:.0} ns without; {hooks}",
            median(&resolution),
            more.len(),
            median(&without)
        );
        tell::figure(name, "a system call takes longer by", median(&more), "ns", note)?;
    }
    Ok(())
}

/// Nanoseconds of a call, in the fastest burst.
fn call() -> f64 {
    let burst = || {
        let begin = processor_ns();
        for _ in 0..CALLS {
            black_box(getppid());
        }
        (processor_ns() - begin) / f64::from(CALLS)
    };
    (0..BURSTS).map(|_| burst()).fold(f64::INFINITY, f64::min)
}

/// Time on a processor that this thread has had, in nanoseconds.
#[expect(clippy::cast_precision_loss, reason = "differences of less than a second")]
fn processor_ns() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// The hooks that a sensor has said it has chosen.
fn chosen(ready: &str) -> String {
    let words = ready
        .split_whitespace()
        .filter(|word| ["exec=", "connect=", "accept="].iter().any(|hook| word.starts_with(hook)));
    words.map(|word| word.replace('"', "")).collect::<Vec<_>>().join(" ")
}
