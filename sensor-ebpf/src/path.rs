//! The whole path of an opened file, from dentries and mounts.
//!
//! `bpf_d_path` is not allowed in these programs, so the walk is done here, as the kernel's `prepend_path` does it: up the
//! dentries to the root of a mount, on at the place where the mount is mounted, up to the root of the mount tree. The
//! components are written in the order of the walk, the last one first, each with a zero behind it.

use crate::kernel::{Kptr, Probed, offset};
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use sensor_common::record::{PATH_CUT, PATH_DETACHED, PATH_SLACK, PATH_UNREADABLE, PATH_WHOLE, PathPart};

/// Steps of the walk: components and crossings of mounts.
const STEPS: usize = 64;

/// Writes the path of the file that `task` runs to `room`, which has `MAX` + [`PATH_SLACK`] bytes, and what it is to `part`.
/// `MAX` is a power of two.
#[inline(always)]
pub(crate) fn write<const MAX: usize>(task: Kptr<Probed>, part: *mut PathPart, room: *mut u8) {
    // SAFETY: the caller's memory is a whole PathPart.
    let len = unsafe { &raw mut (*part).len };
    // SAFETY: as above.
    unsafe { len.write_volatile(0) };
    let state = walk::<MAX>(task, len, room).unwrap_or(PATH_UNREADABLE);
    // SAFETY: as above.
    unsafe { (&raw mut (*part).state).write_volatile(state) };
}

/// The length so far lives in the record and not in a register: the verifier forgets its range there, and so sees that one step of
/// the walk is like the other instead of following each combination of steps.
#[inline(always)]
fn walk<const MAX: usize>(task: Kptr<Probed>, len: *mut u32, room: *mut u8) -> Option<u32> {
    let file = task.exe_file()?;
    let mut dentry = file.follow(offset!(file_dentry))?;
    let mut vfsmount = file.follow(offset!(file_mnt))?;
    for _ in 0..STEPS {
        let root = vfsmount.follow(offset!(vfsmount_root))?;
        if dentry.address() == root.address() {
            let mount = Kptr::<Probed>::new(vfsmount.address().wrapping_sub(offset!(mount_mnt) as usize));
            let parent = mount.follow(offset!(mount_parent))?;
            if parent.address() == mount.address() {
                return Some(PATH_WHOLE);
            }
            dentry = mount.follow(offset!(mount_mountpoint))?;
            vfsmount = Kptr::new(parent.embedded(offset!(mount_mnt)));
            continue;
        }
        // SAFETY: the caller's memory is a whole number.
        let at = unsafe { len.read_volatile() } as usize;
        if at >= MAX {
            return Some(PATH_CUT);
        }
        let up = dentry.follow(offset!(dentry_parent))?;
        let size = component(dentry, room.wrapping_add(masked::<MAX>(at)))?;
        // SAFETY: as above.
        unsafe { len.write_volatile((at + size) as u32) };
        if up.address() == dentry.address() {
            return Some(PATH_DETACHED);
        }
        dentry = up;
    }
    Some(PATH_CUT)
}

/// The place, which is below `MAX` anyway, in a form in which the verifier knows that too wherever the compiler keeps it: up to 6.2 a
/// comparison says nothing about the copy that was put aside before.
#[inline(always)]
fn masked<const MAX: usize>(at: usize) -> usize {
    // SAFETY: a local variable. The compiler, which knows that the mask changes nothing, must not leave it out.
    let at = unsafe { core::ptr::read_volatile(&raw const at) };
    at & (MAX - 1)
}

/// Copies a dentry's name and a zero; the number of bytes written, at most [`PATH_SLACK`].
#[inline(always)]
fn component(dentry: Kptr<Probed>, to: *mut u8) -> Option<usize> {
    let len = dentry.read::<u32>(offset!(dentry_name_len))?;
    if len >= PATH_SLACK as u32 {
        // Some network file systems have longer names; the mask below would make another name of such a one.
        return None;
    }
    let size = len & (PATH_SLACK as u32 - 1);
    let name: *const u8 = dentry.read(offset!(dentry_name))?;
    // SAFETY: `to` has room for PATH_SLACK bytes, and the helper takes any source address.
    if unsafe { bpf_probe_read_kernel(to.cast(), size, name.cast()) } != 0 {
        return None;
    }
    // SAFETY: `size` is below PATH_SLACK.
    unsafe { to.add(size as usize).write_volatile(0) };
    Some(size as usize + 1)
}
