//! argv of the new program, from its own stack.
//!
//! Between `mm->arg_start` and `mm->arg_end` the kernel has laid the arguments one behind the other. What is longer than a record
//! holds is searched for flags through the pointer table at `mm->start_stack`: argc, then one pointer for each argument.

use crate::kernel::{Kptr, Probed, offset};
use aya_ebpf::helpers::generated::bpf_probe_read_user;
use core::mem::MaybeUninit;
use sensor_common::record::{ARGS_SEARCHED, ARGV_MAX, FLAG_ARGV_UNREADABLE, FLAG_I, FLAG_L, FLAG_UNSEARCHED};

/// What was copied and found.
pub(crate) struct Copied {
    /// Bytes copied.
    pub(crate) len: u32,
    /// Bytes that there are.
    pub(crate) total: u64,
    /// `FLAG_…`.
    pub(crate) flags: u32,
}

/// Copies argv of `task` to `to`, which has room for [`ARGV_MAX`] bytes; `None` if the mm cannot be read.
#[inline(always)]
pub(crate) fn copy(task: Kptr<Probed>, argc: u32, to: *mut u8) -> Option<Copied> {
    let mm = task.follow(offset!(task_mm))?;
    let start: u64 = mm.read(offset!(mm_arg_start))?;
    let end: u64 = mm.read(offset!(mm_arg_end))?;
    let total = end.saturating_sub(start);
    let whole = total <= ARGV_MAX as u64;
    let len = if whole {
        core::hint::black_box(total as u32)
    } else {
        ARGV_MAX as u32
    };
    let len = if len > ARGV_MAX as u32 { ARGV_MAX as u32 } else { len };
    let mut flags = if whole { 0 } else { search(mm, argc) };
    // SAFETY: `to` has room for ARGV_MAX bytes, and the helper takes any source address.
    if unsafe { bpf_probe_read_user(to.cast(), len, start as *const _) } != 0 {
        flags |= FLAG_ARGV_UNREADABLE | search(mm, argc);
        return Some(Copied { len: 0, total, flags });
    }
    Some(Copied { len, total, flags })
}

/// Looks for `-i` and `-l` among all arguments but the first.
#[inline(always)]
fn search(mm: Kptr<Probed>, argc: u32) -> u32 {
    let Some(stack) = mm.read::<u64>(offset!(mm_start_stack)) else {
        return FLAG_UNSEARCHED;
    };
    let Some(first) = user::<u64>(stack) else {
        return FLAG_UNSEARCHED;
    };
    // A 32-bit program's table has 4-byte entries, so that argv[0] stands in the upper half.
    let width = if first == u64::from(argc) {
        8
    } else if first as u32 == argc {
        4
    } else {
        return FLAG_UNSEARCHED;
    };
    let mut flags = 0;
    for place in 1..ARGS_SEARCHED {
        if place >= argc {
            return flags;
        }
        let entry = stack + width * (u64::from(place) + 1);
        let pointer = if width == 8 {
            user::<u64>(entry)
        } else {
            user::<u32>(entry).map(u64::from)
        };
        let Some(pointer) = pointer else {
            return flags | FLAG_UNSEARCHED;
        };
        match user::<[u8; 3]>(pointer) {
            Some([b'-', b'i', 0]) => flags |= FLAG_I,
            Some([b'-', b'l', 0]) => flags |= FLAG_L,
            Some(_) => {}
            None => return flags | FLAG_UNSEARCHED,
        }
    }
    flags | FLAG_UNSEARCHED
}

#[inline(always)]
fn user<T: Copy>(address: u64) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper writes at most size_of::<T>() bytes to `value`, and takes any source address.
    let result = unsafe { bpf_probe_read_user(value.as_mut_ptr().cast(), size_of::<T>() as u32, address as *const _) };
    // SAFETY: on success the helper has filled every byte; all types read here are valid for any bytes.
    (result == 0).then(|| unsafe { value.assume_init() })
}
