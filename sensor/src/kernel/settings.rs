//! Changing the kernel side's settings while it runs: two slots in shared memory, of which one is in use.

use super::counters::map_array;
use super::error::LoadError;
use aya::maps::Map;
use memmap2::MmapRaw;
use sensor_common::settings::{Settings, Slot};
use std::sync::atomic::{AtomicU64, Ordering};

/// The settings map.
#[derive(Debug)]
pub struct SettingsMap {
    memory: MmapRaw,
}

impl SettingsMap {
    /// Maps the settings map.
    ///
    /// # Errors
    ///
    /// When the map is not the array that the object declares, or cannot be mapped.
    pub fn new(map: &Map) -> Result<Self, LoadError> {
        Ok(Self { memory: map_array(map, "SETTINGS", size_of::<Settings>())? })
    }

    /// Puts new settings in force: writes the slot that is not in use, then flips. A program that is just running sees the
    /// old settings or the new ones, never a mixture, unless two reloads happen within its run of a few microseconds.
    pub fn write(&mut self, slot: &Slot) {
        let settings = self.memory.as_mut_ptr().cast::<Settings>();
        // SAFETY: the mapping is page-aligned and holds a whole Settings.
        let active = unsafe { &raw mut (*settings).active };
        // SAFETY: as above.
        let slots = unsafe { &raw mut (*settings).slots };
        // SAFETY: as above; the kernel side only reads it.
        let active = unsafe { AtomicU64::from_ptr(active) };
        let idle = usize::from(active.load(Ordering::Acquire) & 1 == 0);
        // SAFETY: `idle` is 0 or 1.
        let idle_slot = unsafe { slots.cast::<Slot>().add(idle) };
        // SAFETY: as above; no program reads the idle slot.
        unsafe { idle_slot.write_volatile(*slot) };
        active.store(idle as u64, Ordering::Release);
    }
}
