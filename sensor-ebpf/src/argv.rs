//! argv of the new program, from its own stack.
//!
//! Between `mm->arg_start` and `mm->arg_end` the kernel has laid the arguments one behind the other. What is longer than a record
//! holds is searched for flags through the pointer table at `mm->start_stack`: argc, then one pointer for each argument.

use crate::kernel::{Kptr, Probed, offset};
use aya_ebpf::helpers::generated::bpf_probe_read_user;
use sensor_common::record::{ARGS_SEARCHED, ARGV_MAX, FLAG_I, FLAG_L, FLAG_UNSEARCHED};

/// The number of arguments as the kernel has written it on the new stack, in front of the pointer table.
#[inline(always)]
pub(crate) fn count_on_stack(task: Kptr<Probed>) -> Option<u32> {
    let stack: u64 = task.follow(offset!(task_mm))?.read(offset!(mm_start_stack))?;
    let mut count = 0_u32;
    (user(stack, &mut count) == 0).then_some(count)
}

/// Whether the first argument behind the name is `-c`: the program runs one command and reads none. `false` where that cannot be read, and of
/// a 32-bit program, whose pointer table has other entries.
#[inline(always)]
pub(crate) fn is_one_command(task: Kptr<Probed>) -> bool {
    const C: u64 = u64::from_le_bytes(*b"-c\0\0\0\0\0\0");
    let start = (|| task.follow(offset!(task_mm))?.read::<u64>(offset!(mm_start_stack)))();
    let Some(stack) = start else { return false };
    let (mut pointer, mut text) = (0_u64, 0_u64);
    // Behind argc and the pointer to the name.
    user(stack + 16, &mut pointer) == 0 && user_flag(pointer, &mut text) == 0 && text == C
}

/// Where argv lies, and what was found in it.
#[derive(Clone, Copy)]
pub(crate) struct Argv {
    /// Address of the first argument in user memory.
    start: u64,
    /// Bytes that there are.
    pub(crate) total: u64,
    /// `FLAG_…`: only looked for where argv is longer than what can be copied.
    pub(crate) flags: u32,
}

/// Finds argv of `task`, and searches it if it is long; `None` if the mm cannot be read.
#[inline(always)]
pub(crate) fn find(task: Kptr<Probed>, argc: u32) -> Option<Argv> {
    let mm = task.follow(offset!(task_mm))?;
    let start: u64 = mm.read(offset!(mm_arg_start))?;
    let end: u64 = mm.read(offset!(mm_arg_end))?;
    let total = end.saturating_sub(start);
    let stack: u64 = mm.read(offset!(mm_start_stack))?;
    let flags = if total > ARGV_MAX as u64 { search_argv(stack, u64::from(argc)) as u32 } else { 0 };
    Some(Argv { start, total, flags })
}

impl Argv {
    /// Copies the front of argv to `to`, which has room for [`ARGV_MAX`] bytes; how many bytes, 0 if it cannot be read.
    #[inline(always)]
    pub(crate) fn copy(self, to: *mut u8) -> u32 {
        let len =
            bounded(if self.total > ARGV_MAX as u64 { ARGV_MAX as u32 } else { self.total as u32 }, ARGV_MAX as u32);
        // SAFETY: `to` has room for ARGV_MAX bytes, and the helper takes any source address.
        if unsafe { bpf_probe_read_user(to.cast(), len, self.start as *const _) } != 0 {
            return 0;
        }
        len
    }
}

/// The value, which is at most `max` anyway, in a form in which the verifier knows that too.
#[inline(always)]
pub(crate) fn bounded(value: u32, max: u32) -> u32 {
    // SAFETY: a local variable. The compiler must neither drop the comparison nor load the value again behind it.
    let value = unsafe { core::ptr::read_volatile(&raw const value) };
    if value > max { max } else { value }
}

/// The same for what is added to later; above `max`, where it never is, `None`. The way on from `max` itself, which [`bounded`] has too,
/// is one on which the next bound cannot hold, and verifiers up to 6.2 then take the sum for no number and a pointer with it for none.
#[inline(always)]
pub(crate) fn within(value: u32, max: u32) -> Option<u32> {
    // SAFETY: as above.
    let value = unsafe { core::ptr::read_volatile(&raw const value) };
    if value > max { None } else { Some(value) }
}

/// `-i` and `-l` with their zeros, as numbers.
const I: u64 = u64::from_le_bytes(*b"-i\0\0\0\0\0\0");
const L: u64 = u64::from_le_bytes(*b"-l\0\0\0\0\0\0");

/// Looks for `-i` and `-l` among all arguments but the first; the result is made of `FLAG_…`.
///
/// `stack` is the address of the pointer table in user memory. A function of its own with plain numbers, so that the verifier
/// looks at it once and not once for every way that leads here; so is what it calls for some arguments at a time, so that the verifier
/// looks at those steps once and not once for all arguments.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn search_argv(stack: u64, argc: u64) -> u64 {
    let mut first = 0_u64;
    if user(stack, &mut first) != 0 {
        return u64::from(FLAG_UNSEARCHED);
    }
    // A 32-bit program's table has 4-byte entries, so that argv[0] stands in the upper half of this word.
    let upper = first ^ argc;
    if upper & 0xffff_ffff != 0 {
        return u64::from(FLAG_UNSEARCHED);
    }
    // 0 or 1 without a branch, for the verifier would follow both widths through the loop.
    let is_32_bit = core::hint::black_box((upper | upper.wrapping_neg()) >> 1) >> 62;
    let searched = if argc > u64::from(ARGS_SEARCHED) { u64::from(ARGS_SEARCHED) } else { argc };
    let mut flags = if argc > searched { u64::from(FLAG_UNSEARCHED) } else { 0 };
    // Behind argc and the first argument.
    let mut place = 1;
    for _ in 0..u64::from(ARGS_SEARCHED) / AT_A_TIME {
        if place >= searched {
            break;
        }
        flags |= search_some(stack, is_32_bit, place, searched);
        place += AT_A_TIME;
    }
    flags
}

/// Arguments that are searched at a time.
const AT_A_TIME: u64 = 32;

/// Looks for the flags among the arguments from `first` on, in front of `end`; the result is made of `FLAG_…`.
///
/// One branch for each step and no more, since the verifier keeps a note of each.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn search_some(stack: u64, is_32_bit: u64, first: u64, end: u64) -> u64 {
    let (width, mask) = (8 - 4 * is_32_bit, u64::MAX >> (32 * is_32_bit));
    let (mut failed, mut not_i, mut not_l) = (0_u64, u64::MAX, u64::MAX);
    let mut entry = stack + width * first;
    for step in 0..AT_A_TIME {
        if first + step >= end {
            break;
        }
        entry += width;
        let (mut pointer, mut text) = (0_u64, 0_u64);
        failed |= user(entry, &mut pointer) as u64;
        failed |= user_flag(pointer & mask, &mut text) as u64;
        // 0 - 1 has the highest bit, no other of these does: a comparison without a branch.
        not_i &= !core::hint::black_box(text ^ I).wrapping_sub(1);
        not_l &= !core::hint::black_box(text ^ L).wrapping_sub(1);
    }
    let mut flags = 0;
    if not_i >> 63 == 0 {
        flags |= FLAG_I;
    }
    if not_l >> 63 == 0 {
        flags |= FLAG_L;
    }
    if failed != 0 {
        flags |= FLAG_UNSEARCHED;
    }
    u64::from(flags)
}

/// Reads as much user memory as a flag and its zero have; 0 if that worked.
#[inline(always)]
fn user_flag(address: u64, to: &mut u64) -> i64 {
    // SAFETY: the helper writes 3 of 8 bytes.
    unsafe { bpf_probe_read_user((&raw mut *to).cast(), 3, address as *const _) }
}

/// Reads user memory; 0 if that worked.
#[inline(always)]
fn user<T: Copy>(address: u64, to: &mut T) -> i64 {
    // SAFETY: the helper writes size_of::<T>() bytes, any of which are valid for the integers read here.
    unsafe { bpf_probe_read_user((&raw mut *to).cast(), size_of::<T>() as u32, address as *const _) }
}
