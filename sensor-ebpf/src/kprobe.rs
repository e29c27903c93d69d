//! The first argument of a function under a kprobe, on any architecture with the same object.

use crate::kernel::{Access, Probed};
use aya_ebpf::EbpfContext;
use aya_ebpf::programs::ProbeContext;

/// Where `struct pt_regs` holds the first argument, in bytes; written by the user side for its architecture.
#[unsafe(no_mangle)]
static ARGUMENT_OFFSET: u64 = 0;

/// The first argument; null if it cannot be read. Goes through the helper, since the verifier wants the offset of a direct
/// read from the context to be in the instruction.
#[inline(always)]
pub(crate) fn first_argument(ctx: &ProbeContext) -> *const u8 {
    // SAFETY: a static of this object is always readable.
    let offset = unsafe { core::ptr::read_volatile(&raw const ARGUMENT_OFFSET) } as usize;
    Probed::read(ctx.as_ptr().cast::<u8>().wrapping_add(offset).cast()).unwrap_or(core::ptr::null())
}
