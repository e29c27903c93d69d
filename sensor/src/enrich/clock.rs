//! Reading the clocks.

use crate::event::{BootTime, WallTime};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Readings of the two clocks that are no further apart count as taken together, in nanoseconds: much less than the millisecond to
/// which their difference is rounded.
const TOGETHER: i64 = 100_000;
/// Whoever is interrupted between the two as often as this takes the best.
const TRIES: u32 = 8;

/// The boot clock and the wall clock, read at the same moment.
#[must_use]
pub fn now() -> (BootTime, WallTime) {
    let (boot, wall) = together(|clock| nanos(clock_gettime(clock)));
    (BootTime(u64::try_from(boot).unwrap_or(0)), WallTime(wall))
}

/// Reads the one, the other, and the first again, until little has passed in between.
fn together(mut read: impl FnMut(ClockId) -> i64) -> (i64, i64) {
    let mut best: Option<(i64, (i64, i64))> = None;
    for _ in 0..TRIES {
        let (boot, wall) = (read(ClockId::Boottime), read(ClockId::Realtime));
        let apart = read(ClockId::Boottime).saturating_sub(boot);
        if best.is_none_or(|(least, _)| apart < least) {
            best = Some((apart, (boot, wall)));
        }
        if apart <= TOGETHER {
            break;
        }
    }
    best.map_or((0, 0), |(_, both)| both)
}

/// Nanoseconds; fits until the year 2262.
fn nanos(time: Timespec) -> i64 {
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clocks that are 1000 ns apart, of which each reading takes as long as the next of these.
    fn read(mut takes: Vec<i64>) -> (i64, i64) {
        let mut now = 0;
        together(|clock| {
            now += if takes.is_empty() { 10 } else { takes.remove(0) };
            if clock == ClockId::Realtime { now + 1000 } else { now }
        })
    }

    #[test]
    fn an_interruption_in_between_does_not_count() {
        assert_eq!(read(vec![0, 10, 10]), (0, 1010));
        assert_eq!(read(vec![0, 30_000_000, 10]), (30_000_020, 30_001_030));
        assert_eq!(read(vec![0, 10, 30_000_000]), (30_000_020, 30_001_030));
        let (boot, wall) = read([1_000_000, 1_000_000, 300_000].repeat(8));
        assert_eq!(wall - boot - 1000, 1_000_000, "the best that there was");
    }
}
