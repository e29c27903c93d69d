//! How long nobody has watched before this sensor did.

use crate::event::{BootTime, WallOffset, WallTime};
use jiff::Timestamp;

/// Says from when to when. `before` is when an earlier sensor was last known to watch, `boot` and `wall` when this one began to.
pub(super) fn log(before: BootTime, boot: BootTime, wall: WallTime) {
    tracing::warn!("{}", words(before, boot, wall));
}

fn words(before: BootTime, boot: BootTime, wall: WallTime) -> String {
    let offset = WallOffset::between(boot, wall);
    let [from, to] = [before, boot].map(|at| {
        let at = Timestamp::from_nanosecond(offset.wall(at).0.into()).unwrap_or(Timestamp::UNIX_EPOCH);
        format!("{at:.3}")
    });
    let millis = boot.0.saturating_sub(before.0) / 1_000_000;
    format!("nobody has watched from {from} to {to}, {millis} ms at most: shells of that time are not reported")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_are_told() {
        let (before, boot) = (BootTime(5_000_000_000), BootTime(5_250_999_999));
        let wall = WallTime(1_780_000_000_250_999_999);
        assert_eq!(
            words(before, boot, wall),
            "nobody has watched from 2026-05-28T20:26:40.000Z to 2026-05-28T20:26:40.250Z, 250 ms at most: shells of that \
             time are not reported"
        );
    }
}
