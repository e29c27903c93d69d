//! When an event happened, and what identifies a process: what the correlator keeps of a document.

use crate::event::facts::{Boot, Facts, Millis};
use crate::event::{BootTime, WallTime};
use sha2::{Digest as _, Sha256};

/// A SHA-256 over texts, each with its length in front. Texts from documents are as long as their writer likes; kept as
/// digests they take the same memory whatever they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of these texts in this order.
    #[must_use]
    pub fn of(texts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for text in texts {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
        Self(hash.finalize().into())
    }
}

/// The process that an event belongs to: `host.id` and the field that a rule's stage names, compared exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Digest);

impl Key {
    /// The key of a process.
    #[must_use]
    pub fn new(host_id: &str, entity_id: &str) -> Self {
        Self(Digest::of(&[host_id, entity_id]))
    }

    /// The bytes of the digest that the key is.
    #[must_use]
    pub const fn bytes(&self) -> [u8; 32] {
        self.0.0
    }
}

/// When an event happened.
///
/// Two events of one boot are compared by the boot clock, to the nanosecond; any others by the wall clock, to the
/// millisecond. A time between two events is always the difference of milliseconds, each cut off first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// On the wall clock.
    pub wall: Millis,
    /// On the boot clock, if the document says so.
    pub boot: Option<BootMoment>,
}

/// A point on the clock of one boot of one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootMoment {
    /// Which boot.
    pub id: Digest,
    /// When.
    pub at: BootTime,
    /// Tells two events of the same nanosecond apart.
    pub sequence: Option<u64>,
}

impl Moment {
    /// When the document's event happened.
    #[must_use]
    pub fn of(facts: &Facts<'_>) -> Self {
        let boot = facts.boot.as_ref().map(|Boot { id, at, sequence }| BootMoment {
            id: Digest::of(&[id]),
            at: *at,
            sequence: *sequence,
        });
        Self { wall: facts.time, boot }
    }

    /// A moment of this sensor's own boot, of which only the time is known.
    #[must_use]
    pub fn on_boot_clock(boot_id: &str, at: BootTime, wall: WallTime) -> Self {
        let boot = BootMoment { id: Digest::of(&[boot_id]), at, sequence: None };
        Self { wall: Millis(wall.0.div_euclid(1_000_000)), boot: Some(boot) }
    }

    /// The same, with the place of its event among those of the boot: behind what happened in the same nanosecond and has a lower number.
    #[must_use]
    pub fn numbered(self, sequence: u64) -> Self {
        Self { boot: self.boot.map(|boot| BootMoment { sequence: Some(sequence), ..boot }), ..self }
    }

    fn boots<'m>(&'m self, other: &'m Self) -> Option<(&'m BootMoment, &'m BootMoment)> {
        self.boot.as_ref().zip(other.boot.as_ref()).filter(|(one, two)| one.id == two.id)
    }

    /// Whether two readings of one event's time agree: its place in the order of events is not part of it.
    #[must_use]
    pub fn is_same_time(&self, other: &Self) -> bool {
        match self.boots(other) {
            Some((one, two)) => one.at == two.at,
            None => self.wall == other.wall,
        }
    }

    /// Whether the event happened earlier than the other one, not at the same time.
    #[must_use]
    pub fn is_before(&self, other: &Self) -> bool {
        match self.boots(other) {
            Some((one, two)) => (one.at, one.sequence) < (two.at, two.sequence),
            None => self.wall < other.wall,
        }
    }

    /// Milliseconds from this event to a later one; 0 if it is not later.
    #[must_use]
    pub fn millis_until(&self, later: &Self) -> u64 {
        match self.boots(later) {
            Some((one, two)) => (two.at.0 / 1_000_000).saturating_sub(one.at.0 / 1_000_000),
            None => u64::try_from(i128::from(later.wall.0) - i128::from(self.wall.0)).unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(id: &str, at: u64, sequence: u64, wall: i64) -> Moment {
        let boot = BootMoment { id: Digest::of(&[id]), at: BootTime(at), sequence: Some(sequence) };
        Moment { wall: Millis(wall), boot: Some(boot) }
    }

    #[test]
    fn keys_do_not_run_together() {
        assert_ne!(Key::new("ab", "c"), Key::new("a", "bc"));
        assert_ne!(Key::new("a", "b"), Key::new("b", "a"));
        assert_ne!(Key::new("a", "b"), Key::new("a", "B"));
        assert_eq!(Key::new("", "b"), Key::new("", "b"));
    }

    #[test]
    fn one_boot_is_measured_by_its_own_clock() {
        let (one, two) = (boot("b", 1_999_999, 1, 9_000), boot("b", 2_000_000, 2, 3));
        assert!(one.is_before(&two) && !two.is_before(&one));
        assert_eq!((one.millis_until(&two), two.millis_until(&one)), (1, 0));
        let (one, two) = (boot("b", 1, 1, 0), boot("b", 999_999, 2, 0));
        assert!(one.is_before(&two));
        assert_eq!(one.millis_until(&two), 0);
    }

    #[test]
    fn the_sequence_decides_within_a_nanosecond() {
        let (one, two) = (boot("b", 5, 1, 0), boot("b", 5, 2, 0));
        assert!(one.is_before(&two) && !two.is_before(&one) && !one.is_before(&one));
    }

    #[test]
    fn different_boots_are_measured_by_the_wall_clock() {
        let (one, two) = (boot("a", 9_000_000, 9, 1), boot("b", 1, 1, 2));
        assert!(one.is_before(&two) && !two.is_before(&one));
        assert_eq!(one.millis_until(&two), 1);
        let plain = Moment { wall: Millis(2), boot: None };
        assert!(one.is_before(&plain) && !two.is_before(&plain) && !plain.is_before(&two));
        let (first, last) =
            (Moment { wall: Millis(i64::MIN), boot: None }, Moment { wall: Millis(i64::MAX), boot: None });
        assert_eq!(first.millis_until(&last), u64::MAX);
    }
}
