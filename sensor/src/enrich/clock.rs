//! Reading the clocks.

use crate::event::{BootTime, WallTime};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// The boot clock and the wall clock, read one behind the other.
#[must_use]
pub fn now() -> (BootTime, WallTime) {
    let boot = nanos(clock_gettime(ClockId::Boottime));
    let wall = nanos(clock_gettime(ClockId::Realtime));
    (BootTime(u64::try_from(boot).unwrap_or(0)), WallTime(wall))
}

/// Nanoseconds; fits until the year 2262.
fn nanos(time: Timespec) -> i64 {
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}
