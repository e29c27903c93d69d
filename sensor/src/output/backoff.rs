//! How long to wait before another try: longer each time, at random, and as long as the far end asks for.

use std::time::Duration;

/// The first wait, at most.
const FIRST: Duration = Duration::from_secs(1);
/// The longest one that is chosen here.
const LONGEST: Duration = Duration::from_secs(60);
/// The longest one that the far end may ask for.
const MOST_ASKED: Duration = Duration::from_secs(300);

/// The tries that have failed in a row.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after a further failure. `random` is from 0 to 1, so that many hosts do not come back at the same moment; `asked`
    /// is the least that the far end asks for.
    #[must_use]
    pub fn next(&mut self, random: f64, asked: Option<Duration>) -> Duration {
        let longest = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        // Never less than half, so that a far end in trouble is left alone.
        let own = longest.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0);
        asked.map_or(own, |asked| asked.min(MOST_ASKED) + own)
    }

    /// A try has succeeded.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute_and_begin_again_after_a_success() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..9).map(|_| backoff.next(1.0, None).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(backoff.next(0.0, None), LONGEST / 2);
        backoff.reset();
        assert_eq!(backoff.next(0.0, None), FIRST / 2);
        backoff.failures = u32::MAX;
        assert_eq!(backoff.next(1.0, None), LONGEST);
    }

    #[test]
    fn what_is_asked_for_is_waited_for_within_bounds() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next(1.0, Some(Duration::from_secs(7))), Duration::from_secs(8));
        assert!(backoff.next(1.0, Some(Duration::MAX)) <= MOST_ASKED + LONGEST);
    }
}
