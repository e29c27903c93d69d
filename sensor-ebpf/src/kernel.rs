//! Checked reads of kernel structures.
//!
//! Two ways lead to a member. [`Probed`] copies it with `bpf_probe_read_kernel` (5.5): works on any address in any program.
//! [`Typed`] loads it directly: only from the arguments of BTF-typed programs (tp_btf, fentry, fexit) and from pointers
//! loaded from those, and from the task that runs now, where the verifier checks the type at the offset and the kernel turns a fault into a zero. Offsets come
//! from [`LAYOUT`], read-only data that the user side fills before loading, so that the verifier sees constants.

use aya_ebpf::helpers::generated::{
    bpf_get_current_task, bpf_get_current_task_btf, bpf_probe_read_kernel, bpf_probe_read_kernel_str,
};
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use sensor_common::layout::Layout;

/// Offsets of the members that the programs read; resolved against the running kernel's BTF.
#[unsafe(no_mangle)]
pub(crate) static LAYOUT: Layout = Layout::UNRESOLVED;

/// Whether the kernel tells the task that runs now as a typed pointer, 0 or 1; written by the user side. Where it does not, the verifier never
/// looks at the call.
#[unsafe(no_mangle)]
static TYPED_CURRENT: u64 = 0;

/// The offset of a member. Volatile: the compiler must not fold the value that the object file holds.
macro_rules! offset {
    ($field:ident) => {
        // SAFETY: a static of this object is always readable.
        unsafe { core::ptr::read_volatile(&raw const $crate::kernel::LAYOUT.$field) }
    };
}
pub(crate) use offset;

/// How a member is read.
pub(crate) trait Access: Copy {
    /// The value at `address`; `None` if it cannot be read.
    fn read<T: Copy>(address: *const T) -> Option<T>;
}

/// Reads through a helper, at any address.
#[derive(Clone, Copy)]
pub(crate) struct Probed;

/// Reads through typed pointers, without a helper.
#[derive(Clone, Copy)]
pub(crate) struct Typed;

impl Access for Probed {
    #[inline(always)]
    fn read<T: Copy>(address: *const T) -> Option<T> {
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: the helper writes at most size_of::<T>() bytes to `value`, and takes any source address.
        let result = unsafe { bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, address.cast()) };
        // SAFETY: on success the helper has filled every byte; all types read here are valid for any bytes.
        (result == 0).then(|| unsafe { value.assume_init() })
    }
}

impl Access for Typed {
    #[inline(always)]
    fn read<T: Copy>(address: *const T) -> Option<T> {
        // SAFETY: the verifier admits the load only through a pointer whose type it knows; the kernel handles faults.
        Some(unsafe { core::ptr::read_volatile(address) })
    }
}

/// A pointer to a kernel structure.
#[derive(Clone, Copy)]
pub(crate) struct Kptr<A: Access> {
    address: *const u8,
    access: PhantomData<A>,
}

impl Kptr<Probed> {
    /// The task that runs now (`current`). Since 4.8.
    #[inline(always)]
    pub(crate) fn current() -> Self {
        // SAFETY: the helper takes no argument and always succeeds.
        Self::new(unsafe { bpf_get_current_task() } as *const u8)
    }
}

impl Kptr<Typed> {
    /// The task that runs now, where the kernel tells it as a typed pointer (`bpf_get_current_task_btf`, 5.11).
    #[inline(always)]
    pub(crate) fn current() -> Option<Self> {
        // SAFETY: a static of this object is always readable.
        if unsafe { core::ptr::read_volatile(&raw const TYPED_CURRENT) } == 0 {
            return None;
        }
        // SAFETY: the helper takes no argument and always succeeds.
        Some(Self::new(unsafe { bpf_get_current_task_btf() }.cast()))
    }
}

impl<A: Access> Kptr<A> {
    #[inline(always)]
    pub(crate) const fn new(address: *const u8) -> Self {
        Self { address, access: PhantomData }
    }

    #[inline(always)]
    pub(crate) fn is_null(self) -> bool {
        self.address.is_null()
    }

    #[inline(always)]
    pub(crate) fn address(self) -> *const u8 {
        self.address
    }

    /// The same pointer, read through the helper from here on.
    #[inline(always)]
    pub(crate) const fn probed(self) -> Kptr<Probed> {
        Kptr::new(self.address)
    }

    /// The member at `offset`.
    #[inline(always)]
    pub(crate) fn read<T: Copy>(self, offset: u16) -> Option<T> {
        A::read(self.address.wrapping_add(offset as usize).cast())
    }

    /// The structure that the pointer at `offset` leads to; `None` if the read fails or the pointer is null.
    #[inline(always)]
    pub(crate) fn follow(self, offset: u16) -> Option<Self> {
        let next = Self::new(self.read::<*const u8>(offset)?);
        if next.is_null() { None } else { Some(next) }
    }

    /// The file that a task runs; `None` for a kernel thread, which has no mm.
    #[inline(always)]
    pub(crate) fn exe_file(self) -> Option<Self> {
        self.follow(offset!(task_mm))?.follow(offset!(mm_exe_file))
    }

    /// The address of an embedded structure.
    #[inline(always)]
    pub(crate) fn embedded(self, offset: u16) -> *const u8 {
        self.address.wrapping_add(offset as usize)
    }

    /// An embedded structure.
    #[inline(always)]
    pub(crate) fn at(self, offset: u16) -> Self {
        Self::new(self.embedded(offset))
    }
}

impl Kptr<Probed> {
    /// Copies the string that this points to with its zero, cut to `N - 1` bytes. `false` if it cannot be read.
    #[inline(always)]
    pub(crate) fn copy_string<const N: usize>(self, to: *mut [u8; N]) -> bool {
        // SAFETY: `to` has room for N bytes, and the helper takes any source address.
        unsafe { bpf_probe_read_kernel_str(to.cast(), N as u32, self.address.cast()) >= 0 }
    }
}
