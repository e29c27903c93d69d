//! How long one waits for processes that keep a look at them waiting.
//!
//! A host at full load takes long over a healthy look, and whoever is being watched can make one take for ever. So one look may wait
//! for long, but what such waits take together is paid from an account that fills slowly: events are never held up for long.

use std::time::{Duration, Instant};

/// What each look may wait in any case: a host at full load lets a thread wait that long for its turn.
pub const LEAST: Duration = Duration::from_millis(20);
/// Looks of the longest wait that a full account pays.
const LOOKS: u32 = 4;
/// It gains a moment in this many.
const GAINS: u32 = 4;

/// The account.
#[derive(Debug)]
pub struct Patience {
    most: Duration,
    left: Duration,
    since: Instant,
}

impl Patience {
    /// A full one, and the longest that one look may wait.
    #[must_use]
    pub fn new(most: Duration, now: Instant) -> Self {
        Self { most, left: most.saturating_mul(LOOKS), since: now }
    }

    /// How long a look that begins now may wait.
    pub fn begin(&mut self, now: Instant) -> Duration {
        let gained = now.saturating_duration_since(self.since) / GAINS;
        self.left = self.left.saturating_add(gained).min(self.most.saturating_mul(LOOKS));
        self.since = now;
        self.left.saturating_add(LEAST).min(self.most)
    }

    /// The look has ended; what it took beyond what each may is paid.
    pub fn end(&mut self, now: Instant) {
        let paid = now.saturating_duration_since(self.since).saturating_sub(LEAST);
        self.left = self.left.saturating_sub(paid);
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MOST: Duration = Duration::from_millis(250);
    const FULL: Duration = Duration::from_secs(1);

    #[test]
    fn one_slow_look_is_waited_for_and_many_are_not() {
        let start = Instant::now();
        let mut patience = Patience::new(MOST, start);
        let mut now = start;
        let waits: Vec<Duration> = std::iter::repeat_with(|| {
            let wait = patience.begin(now);
            now += wait;
            patience.end(now);
            wait
        })
        .take(10)
        .collect();
        assert_eq!(waits[..4], [MOST; 4]);
        assert_eq!(waits[5..], [LEAST; 5]);
        assert_eq!(patience.begin(now + FULL * GAINS), MOST, "it fills again");
    }

    #[test]
    fn looks_of_a_host_at_full_load_cost_nothing_that_is_missed() {
        let mut now = Instant::now();
        let mut patience = Patience::new(MOST, now);
        for _ in 0..100_000 {
            assert_eq!(patience.begin(now), MOST);
            now += LEAST;
            patience.end(now);
        }
    }

    proptest! {
        /// However looks come and however long they take.
        #[test]
        fn waiting_is_bounded(steps in proptest::collection::vec((0_u32..2_000_000, any::<bool>()), 0..200)) {
            let start = Instant::now();
            let (mut now, mut waited) = (start, Duration::ZERO);
            let mut patience = Patience::new(MOST, start);
            for (pause, stuck) in &steps {
                now += Duration::from_micros(u64::from(*pause));
                let wait = patience.begin(now);
                prop_assert!((LEAST..=MOST).contains(&wait));
                let took = if *stuck { wait } else { wait / 100 };
                now += took;
                waited += took;
                patience.end(now);
            }
            let looks = u32::try_from(steps.len()).unwrap();
            prop_assert!(waited <= FULL + (now - start) / GAINS + LEAST * looks);
        }
    }
}
