//! The kernel side's counters, read from shared memory: no system call, no privilege, whatever else is stuck.

use super::error::LoadError;
use crate::health::losses::Losses;
use aya::maps::Map;
use memmap2::{MmapOptions, MmapRaw};
use sensor_common::counter::{COUNTERS, Counter, Fate};
use serde_json::{Map as JsonMap, Value};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// The counters map: a copy of all counters for each CPU.
#[derive(Debug)]
pub struct Counters {
    memory: MmapRaw,
    copies: usize,
}

impl Counters {
    /// Maps the counters map, which has `copies` entries.
    ///
    /// # Errors
    ///
    /// When the map is not the array that the object declares, or cannot be mapped.
    pub fn new(map: &Map, copies: usize) -> Result<Self, LoadError> {
        let memory = map_array(map, "COUNTS", copies * COUNTERS * size_of::<u64>())?;
        Ok(Self { memory, copies })
    }

    /// Counters that nothing counts.
    #[cfg(test)]
    pub(crate) fn zero() -> Self {
        let memory = MmapOptions::new().len(COUNTERS * size_of::<u64>()).map_anon().unwrap().into();
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
        let words = self.memory.as_ptr().cast::<AtomicU64>();
        let mut values = [0_u64; COUNTERS];
        for copy in 0..self.copies {
            for (place, value) in values.iter_mut().enumerate() {
                // SAFETY: the mapping holds `copies` times COUNTERS words.
                let word = unsafe { words.add(copy * COUNTERS + place) };
                // SAFETY: as above, aligned as pages are; the kernel writes whole words.
                let word = unsafe { &*word };
                *value = value.wrapping_add(word.load(Ordering::Relaxed));
            }
        }
        Snapshot { values }
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
