//! Counting, and waking the reader.

use crate::maps::{CONNECTIONS, COUNTS};
use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP, BPF_RB_RING_SIZE};
use aya_ebpf::helpers::generated::{bpf_get_smp_processor_id, bpf_ringbuf_query};
use sensor_common::counter::{COUNTERS, Counter};

/// The copy of the counters that belongs to the CPU; it stays so, since a program never changes the CPU.
///
/// Counting needs no atomic operation: a counter belongs to one hook, a hook to one loaded program, each CPU has its own copy, and the
/// kernel never runs a program twice at a time on one CPU (it is not preempted there, or the second run is skipped and counted
/// as a miss).
#[derive(Clone, Copy)]
pub(crate) struct Counts(*mut [u64; COUNTERS]);

impl Counts {
    #[inline(always)]
    pub(crate) fn own() -> Self {
        // SAFETY: the helper takes no argument and always succeeds.
        let cpu = unsafe { bpf_get_smp_processor_id() };
        // There is one for each CPU; null is for the verifier.
        Self(COUNTS.get_ptr_mut(cpu).unwrap_or(core::ptr::null_mut()))
    }

    /// Counts one event.
    #[inline(always)]
    pub(crate) fn count(self, counter: Counter) {
        if !self.0.is_null() {
            // SAFETY: a counter's number is below the length of the array.
            let place = unsafe { self.0.cast::<u64>().add(counter as usize) };
            // SAFETY: as above; nothing else writes this copy now.
            unsafe { place.write_volatile(place.read_volatile().wrapping_add(1)) };
        }
    }
}

/// Counts one event, where nothing else is counted beside it.
#[inline(always)]
pub(crate) fn count(counter: Counter) {
    Counts::own().count(counter);
}

/// Flags for a record of a connection: the reader drains these with the next execution, so it is woken only when a
/// quarter of the ring buffer is waiting.
#[inline(always)]
pub(crate) fn wake_when_filling() -> u64 {
    let ring = (&raw const CONNECTIONS).cast_mut().cast();
    // SAFETY: the map is a ring buffer.
    let waiting = unsafe { bpf_ringbuf_query(ring, u64::from(BPF_RB_AVAIL_DATA)) };
    // SAFETY: as above.
    let size = unsafe { bpf_ringbuf_query(ring, u64::from(BPF_RB_RING_SIZE)) };
    u64::from(if waiting >= size / 4 { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP })
}
