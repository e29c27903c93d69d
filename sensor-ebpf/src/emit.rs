//! Counting, and waking the reader.

use crate::maps::{CONNECTIONS, COUNTS};
use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP, BPF_RB_RING_SIZE};
use aya_ebpf::helpers::generated::{bpf_get_smp_processor_id, bpf_ringbuf_query};
use sensor_common::counter::Counter;

/// Counts one event.
///
/// Needs no atomic operation: a counter belongs to one hook, a hook to one loaded program, each CPU has its own copy, and the
/// kernel never runs a program twice at a time on one CPU (it is not preempted there, or the second run is skipped and counted
/// as a miss).
#[inline(always)]
pub(crate) fn count(counter: Counter) {
    // SAFETY: the helper takes no argument and always succeeds.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    if let Some(counts) = COUNTS.get_ptr_mut(cpu) {
        // SAFETY: a counter's number is below the length of the array.
        let place = unsafe { counts.cast::<u64>().add(counter as usize) };
        // SAFETY: as above; nothing else writes this copy now.
        unsafe { place.write_volatile(place.read_volatile().wrapping_add(1)) };
    }
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
