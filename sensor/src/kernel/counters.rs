//! The kernel side's counters, read from shared memory: no system call, no privilege, whatever else is stuck.

use super::error::LoadError;
use crate::event::BootTime;
use crate::health::losses::Losses;
use aya::maps::Map;
use memmap2::{MmapOptions, MmapRaw};
use sensor_common::counter::{COUNTERS, Counter, Fate, TOLD_ROWS};
use serde_json::{Map as JsonMap, Value};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// [`TOLD_ROWS`].
const TOLD: usize = TOLD_ROWS as usize;
/// How often the counters are read for a moment at which they add up.
const SETTLING: u32 = 1000;

/// The counters map: a copy of all counters for each CPU, and what was told of them.
#[derive(Debug)]
pub struct Counters {
    memory: MmapRaw,
    copies: usize,
}

impl Counters {
    /// Maps the counters map, which has `copies` entries and [`TOLD_ROWS`].
    ///
    /// # Errors
    ///
    /// When the map is not the array that the object declares, or cannot be mapped.
    pub fn new(map: &Map, copies: usize) -> Result<Self, LoadError> {
        let memory = map_array(map, "COUNTS", (copies + TOLD) * COUNTERS * size_of::<u64>())?;
        Ok(Self { memory, copies })
    }

    /// Counters that nothing counts.
    #[cfg(test)]
    pub(crate) fn zero() -> Self {
        let memory = MmapOptions::new().len((1 + TOLD) * COUNTERS * size_of::<u64>()).map_anon().unwrap().into();
        Self { memory, copies: 1 }
    }

    /// How many CPUs the kernel may use.
    #[must_use]
    pub fn cpus(&self) -> usize {
        self.copies
    }

    /// The counters as they are now. Each is exact; together they belong to one moment only while the hooks are quiet.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let Snapshot { mut values } = Snapshot::default();
        for word in self.words().chunks(COUNTERS).take(self.copies) {
            for (value, word) in values.iter_mut().zip(word) {
                *value = value.wrapping_add(word.load(Ordering::Relaxed));
            }
        }
        Snapshot { values }
    }

    /// The counters at a moment at which each hook's add up, if there is one soon: on a host that is not busy, the first.
    #[must_use]
    pub fn settled(&self) -> Snapshot {
        let adds_up = |snapshot: &Snapshot| snapshot.sums().iter().all(|sum| sum.seen == sum.settled);
        (0..SETTLING).map(|_| self.snapshot()).find(adds_up).unwrap_or_else(|| self.snapshot())
    }

    /// Remembers, for whoever goes on with the map, that what these say was lost has been told.
    pub fn told(&self, counters: &Snapshot, at: BootTime) {
        let rows = self.words().chunks(COUNTERS).skip(self.copies);
        for (row, values) in rows.zip([&counters.values[..], &[at.0]]) {
            row.iter().zip(values).for_each(|(word, value)| word.store(*value, Ordering::Relaxed));
        }
    }

    /// What was lost and not told, and since when.
    #[must_use]
    pub fn untold(&self) -> (Losses, BootTime) {
        let mut rows = self.words().chunks(COUNTERS).skip(self.copies);
        let mut told = Snapshot::default();
        for (value, word) in told.values.iter_mut().zip(rows.next().unwrap_or_default()) {
            *value = word.load(Ordering::Relaxed);
        }
        let at = rows.next().and_then(<[_]>::first).map_or(0, |word| word.load(Ordering::Relaxed));
        (self.snapshot().losses().since(&told.losses()), BootTime(at))
    }

    fn words(&self) -> &[AtomicU64] {
        let len = (self.copies + TOLD) * COUNTERS;
        // SAFETY: so many words are mapped for as long as `self` lives, aligned as pages are; the kernel writes whole words.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().cast::<AtomicU64>(), len) }
    }
}

/// Maps the values of an array map that was created with `BPF_F_MMAPABLE`.
pub(super) fn map_array(map: &Map, name: &'static str, len: usize) -> Result<MmapRaw, LoadError> {
    let Map::Array(data) = map else { return Err(LoadError::MapKind { name }) };
    let descriptor = data.fd().as_fd().as_raw_fd();
    MmapOptions::new().len(len).map_raw(descriptor).map_err(|reason| LoadError::MapMemory { name, reason })
}

/// The values of all counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    values: [u64; COUNTERS],
}

impl Default for Snapshot {
    fn default() -> Self {
        Self { values: [0; COUNTERS] }
    }
}

/// The sums of one hook.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Name of the hook.
    pub hook: &'static str,
    /// Events seen.
    pub seen: u64,
    /// Events that were filtered, unarmed, sent or lost.
    pub settled: u64,
    /// Events lost.
    pub lost: u64,
}

impl Snapshot {
    /// The value of one counter.
    #[must_use]
    pub fn get(&self, counter: Counter) -> u64 {
        Counter::ALL.iter().zip(self.values).find(|(other, _)| **other == counter).map_or(0, |(_, value)| value)
    }

    /// Per hook, what was seen and what has become of it. The two agree when the hooks are quiet.
    #[must_use]
    pub fn sums(&self) -> Vec<Sums> {
        let mut sums: Vec<Sums> = Vec::new();
        for (counter, value) in Counter::ALL.into_iter().zip(self.values) {
            let hook = counter.hook();
            if sums.last().is_none_or(|last| last.hook != hook) {
                sums.push(Sums { hook, ..Sums::default() });
            }
            let Some(sum) = sums.last_mut() else { continue };
            match counter.fate() {
                Fate::Seen => sum.seen += value,
                Fate::Note => {}
                Fate::Lost => {
                    sum.lost += value;
                    sum.settled += value;
                }
                Fate::Filtered | Fate::Unarmed | Fate::Sent => sum.settled += value,
            }
        }
        sums
    }

    /// Events of all hooks that cannot matter, and went no further.
    #[must_use]
    pub fn filtered(&self) -> u64 {
        let counters = Counter::ALL.into_iter().zip(self.values);
        counters
            .filter(|(counter, _)| matches!(counter.fate(), Fate::Filtered | Fate::Unarmed))
            .map(|(_, value)| value)
            .sum()
    }

    /// What was lost, by hook and cause.
    #[must_use]
    pub fn losses(&self) -> Losses {
        let mut losses = Losses::default();
        let lost = Counter::ALL.into_iter().zip(self.values).filter(|(counter, _)| counter.fate() == Fate::Lost);
        lost.for_each(|(counter, value)| losses.add(counter.hook(), counter.cause(), value));
        losses
    }

    /// All counters as `{hook: {name: value}}`; the name is `seen`, or the fate and the cause.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut hooks = JsonMap::new();
        for (counter, value) in Counter::ALL.into_iter().zip(self.values) {
            let hook = hooks.entry(counter.hook()).or_insert_with(|| Value::Object(JsonMap::new()));
            if let Value::Object(counters) = hook {
                counters.insert(name(counter), value.into());
            }
        }
        Value::Object(hooks)
    }
}

/// The counter's name within its hook.
fn name(counter: Counter) -> String {
    match counter.fate() {
        Fate::Seen => Fate::Seen.word().to_owned(),
        fate => format!("{}_{}", fate.word(), counter.cause()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_is_told_once() {
        let counters = Counters::zero();
        let word = |counter: Counter| &counters.words()[counter as usize];
        word(Counter::ConnectRing).store(3, Ordering::Relaxed);
        word(Counter::ConnectSent).store(5, Ordering::Relaxed);
        let (lost, at) = counters.untold();
        assert_eq!((lost.total(), at), (3, BootTime(0)));
        counters.told(&counters.snapshot(), BootTime(7));
        assert_eq!(counters.untold(), (Losses::default(), BootTime(7)));
        word(Counter::ConnectRing).store(4, Ordering::Relaxed);
        let (lost, at) = counters.untold();
        assert_eq!((lost.to_string(), at), ("connect: ring_full: 1".to_owned(), BootTime(7)));
        assert_eq!(counters.snapshot().get(Counter::ConnectRing), 4, "what was told counts for nothing");
    }

    #[test]
    fn counters_that_never_add_up_are_read_all_the_same() {
        let counters = Counters::zero();
        counters.words()[Counter::ConnectSeen as usize].store(1, Ordering::Relaxed);
        assert_eq!(counters.settled(), counters.snapshot());
    }

    #[test]
    fn sums_and_names_cover_every_counter() {
        let mut values = [0; COUNTERS];
        for (place, value) in values.iter_mut().enumerate() {
            *value = 1 << (place % 32);
        }
        let snapshot = Snapshot { values };
        assert_eq!(snapshot.get(Counter::ConnectName), 2);
        let json = snapshot.to_json();
        let named: usize = json.as_object().unwrap().values().map(|hook| hook.as_object().unwrap().len()).sum();
        assert_eq!(named, COUNTERS);
        assert_eq!(json["connect"]["filtered_name"], 2);
        let total: u64 = snapshot.sums().iter().map(|sum| sum.seen + sum.settled).sum();
        let notes: u64 = Counter::ALL.iter().filter(|c| c.fate() == Fate::Note).map(|c| snapshot.get(*c)).sum();
        assert_eq!(total + notes, values.iter().sum::<u64>());
    }
}
