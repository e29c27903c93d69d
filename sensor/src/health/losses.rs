//! What was lost, by place and cause: one form for the log, for alerts and for events about the sensor.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

/// Where something was lost, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cause {
    /// A hook, a part of the sensor, or an output.
    pub place: String,
    /// In one word.
    pub cause: &'static str,
}

impl Display for Cause {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { place, cause } = self;
        write!(f, "{place}: {cause}")
    }
}

/// How much was lost, by cause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses(BTreeMap<Cause, u64>);

impl Losses {
    /// Adds what was lost at a place.
    pub fn add(&mut self, place: &str, cause: &'static str, count: u64) {
        if count > 0 {
            *self.0.entry(Cause { place: place.to_owned(), cause }).or_insert(0) += count;
        }
    }

    /// Adds what was lost elsewhere.
    pub fn extend(&mut self, more: &Self) {
        more.iter().for_each(|(cause, count)| self.add(&cause.place, cause.cause, count));
    }

    /// Whether nothing was lost.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All causes together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Each cause with its number, which is not 0.
    pub fn iter(&self) -> impl Iterator<Item = (&Cause, u64)> {
        self.0.iter().map(|(cause, count)| (cause, *count))
    }

    /// What is more here than in `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let more = |(cause, count): (&Cause, &u64)| {
            let more = count.saturating_sub(before.0.get(cause).copied().unwrap_or(0));
            (more > 0).then(|| (cause.clone(), more))
        };
        Self(self.0.iter().filter_map(more).collect())
    }

    /// As documents have it: the sum, and each cause.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let cause =
            |(Cause { place, cause }, count): (&Cause, u64)| json!({"place": place, "cause": cause, "count": count});
        json!({"total": self.total(), "causes": self.iter().map(cause).collect::<Vec<_>>()})
    }
}

impl Display for Losses {
    /// On one line, for a person.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (place, (cause, count)) in self.iter().enumerate() {
            write!(f, "{}{cause}: {count}", if place == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// Tells what was lost since it was last asked.
#[derive(Debug, Default)]
pub struct Ledger {
    told: Losses,
}

impl Ledger {
    /// What was lost since the last time, if all so far is this.
    pub fn news(&mut self, so_far: Losses) -> Losses {
        let news = so_far.since(&self.told);
        self.told = so_far;
        news
    }

    /// What it has told so far.
    #[must_use]
    pub fn told(&self) -> &Losses {
        &self.told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn losses(counts: &[(&str, &'static str, u64)]) -> Losses {
        let mut losses = Losses::default();
        counts.iter().for_each(|(place, cause, count)| losses.add(place, cause, *count));
        losses
    }

    #[test]
    fn what_was_told_is_not_told_again() {
        let mut ledger = Ledger::default();
        assert!(ledger.news(Losses::default()).is_empty());
        let first = losses(&[("exec", "ring_full", 3), ("exec", "read", 0)]);
        assert_eq!(ledger.news(first.clone()), losses(&[("exec", "ring_full", 3)]));
        assert!(ledger.news(first).is_empty());
        let news = ledger.news(losses(&[("exec", "ring_full", 4), ("file", "dropped", 2)]));
        assert_eq!(news.to_string(), "exec: ring_full: 1, file: dropped: 2");
        let document = json!({"total": 3, "causes": [
            {"place": "exec", "cause": "ring_full", "count": 1},
            {"place": "file", "cause": "dropped", "count": 2},
        ]});
        assert_eq!(news.to_json(), document);
    }

    proptest! {
        /// Whenever it is asked, the parts add up to the whole.
        #[test]
        fn nothing_is_told_twice_or_never(
            steps in proptest::collection::vec((0..3_usize, 0..3_usize, 0..5_u64, any::<bool>()), 0..50),
        ) {
            let (mut so_far, mut ledger, mut sum) = (Losses::default(), Ledger::default(), 0);
            for (place, cause, count, ask) in steps {
                so_far.add(["connect", "exec", "file"][place], ["read", "ring_full", "dropped"][cause], count);
                if ask {
                    sum += ledger.news(so_far.clone()).total();
                }
            }
            sum += ledger.news(so_far.clone()).total();
            prop_assert_eq!(sum, so_far.total());
            prop_assert_eq!(ledger.told(), &so_far);
        }
    }
}
