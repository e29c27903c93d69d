//! The whole path of an opened file, from dentries and mounts.
//!
//! `bpf_d_path` is not allowed in these programs, so the walk is done here, as the kernel's `prepend_path` does it: up the
//! dentries to the root of a mount, on at the place where the mount is mounted, up to the root of the mount tree. The
//! components are written in the order of the walk, the last one first, each with a zero behind it.

use crate::kernel::{Kptr, Probed, offset};
use crate::maps::EXEC_SPACE;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use sensor_common::record::{
    EXEC_PATH_MAX, PATH_CUT, PATH_DETACHED, PATH_SLACK, PATH_UNREADABLE, PATH_WHOLE, PathPart,
};

/// Steps of the walk: components and crossings of mounts.
const STEPS: usize = 64;
/// Steps that the verifier looks at, of those for executions.
const AT_A_TIME: usize = 4;
/// What a step says that was not the last one; no `PATH_…`.
const GOES_ON: u32 = u32::MAX;

/// Where a path ends: a dentry and the mount that it is in.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) dentry: Kptr<Probed>,
    pub(crate) vfsmount: Kptr<Probed>,
}

impl Place {
    /// That of the file that a task runs; `None` for a kernel thread.
    #[inline(always)]
    pub(crate) fn of_executable(task: Kptr<Probed>) -> Option<Self> {
        let file = task.exe_file()?;
        Some(Self { dentry: file.follow(offset!(file_dentry))?, vfsmount: file.follow(offset!(file_mnt))? })
    }
}

/// Writes the path of the file that `task` runs to `room`, which has `MAX` + [`PATH_SLACK`] bytes, and what it is to `part`.
/// `MAX` is a power of two.
#[inline(always)]
pub(crate) fn write<const MAX: usize>(task: Kptr<Probed>, part: *mut PathPart, room: *mut u8) {
    // SAFETY: the caller's memory is a whole PathPart.
    let len = unsafe { &raw mut (*part).len };
    // SAFETY: as above.
    unsafe { len.write_volatile(0) };
    let state = Place::of_executable(task).and_then(|place| walk::<MAX>(place, MAX, len, room));
    // SAFETY: as above.
    unsafe { (&raw mut (*part).state).write_volatile(state.unwrap_or(PATH_UNREADABLE)) };
}

/// Writes the path of a place to the room for walks of the space for executions: at most `max` bytes and the component that begins
/// there. The length in the lower half, the state in the upper one.
#[inline(always)]
pub(crate) fn walked(place: Option<Place>, max: usize) -> PathPart {
    let Some(Place { dentry, vfsmount }) = place else {
        return PathPart { len: 0, state: PATH_UNREADABLE };
    };
    let packed = walk_place(dentry.address() as u64, vfsmount.address() as u64, max as u64);
    PathPart { len: packed as u32, state: (packed >> 32) as u32 }
}

/// A function of its own with plain numbers, so that the verifier looks at it once and not once for every path.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn walk_place(dentry: u64, vfsmount: u64, max: u64) -> u64 {
    let unreadable = u64::from(PATH_UNREADABLE) << 32;
    let Some(space) = EXEC_SPACE.get_ptr_mut(0) else { return unreadable };
    // SAFETY: a value of the map, used by the program for executions alone.
    let len = unsafe { &raw mut (*space).walk_len };
    // SAFETY: as above.
    unsafe { len.write_volatile(0) };
    // SAFETY: as above.
    unsafe { (&raw mut (*space).walk_place).write_volatile([dentry, vfsmount]) };
    let mut state = u64::from(PATH_CUT);
    for _ in 0..STEPS / AT_A_TIME {
        let reached = walk_on(max);
        if reached != u64::from(GOES_ON) {
            state = reached;
            break;
        }
    }
    // SAFETY: as above.
    state << 32 | u64::from(unsafe { len.read_volatile() })
}

/// Some steps from the place that the space holds; the state, or [`GOES_ON`]. Again a function of its own, so that the verifier looks at
/// these steps once and not once for each place that they begin at.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn walk_on(max: u64) -> u64 {
    let unreadable = u64::from(PATH_UNREADABLE);
    let Some(space) = EXEC_SPACE.get_ptr_mut(0) else { return unreadable };
    // SAFETY: a value of the map, used by the program for executions alone.
    let (len, room) = unsafe { (&raw mut (*space).walk_len, &raw mut (*space).walk) };
    // SAFETY: as above.
    let at = unsafe { &raw mut (*space).walk_place };
    // SAFETY: as above.
    let [dentry, vfsmount] = unsafe { at.read_volatile() };
    let mut place = Place { dentry: Kptr::new(dentry as *const u8), vfsmount: Kptr::new(vfsmount as *const u8) };
    for _ in 0..AT_A_TIME {
        match step::<EXEC_PATH_MAX>(&mut place, max as usize, len, room.cast()) {
            Some(GOES_ON) => {}
            Some(state) => return u64::from(state),
            None => return unreadable,
        }
    }
    // SAFETY: as above.
    unsafe { at.write_volatile([place.dentry.address() as u64, place.vfsmount.address() as u64]) };
    u64::from(GOES_ON)
}

#[inline(always)]
fn walk<const MAX: usize>(mut place: Place, max: usize, len: *mut u32, room: *mut u8) -> Option<u32> {
    for _ in 0..STEPS {
        let state = step::<MAX>(&mut place, max, len, room)?;
        if state != GOES_ON {
            return Some(state);
        }
    }
    Some(PATH_CUT)
}

/// One step: the component is written, and the place is the next one; the state, or [`GOES_ON`].
///
/// The length so far lives in the record and not in a register: the verifier forgets its range there, and so sees that one step of
/// the walk is like the other instead of following each combination of steps.
#[inline(always)]
fn step<const MAX: usize>(place: &mut Place, max: usize, len: *mut u32, room: *mut u8) -> Option<u32> {
    let Place { dentry, vfsmount } = *place;
    let root = vfsmount.follow(offset!(vfsmount_root))?;
    if dentry.address() == root.address() {
        let mount = Kptr::<Probed>::new(vfsmount.address().wrapping_sub(offset!(mount_mnt) as usize));
        let parent = mount.follow(offset!(mount_parent))?;
        if parent.address() == mount.address() {
            return Some(PATH_WHOLE);
        }
        place.dentry = mount.follow(offset!(mount_mountpoint))?;
        place.vfsmount = parent.at(offset!(mount_mnt));
        return Some(GOES_ON);
    }
    // SAFETY: the caller's memory is a whole number.
    let at = unsafe { len.read_volatile() } as usize;
    if at >= MAX || at >= max {
        return Some(PATH_CUT);
    }
    let up = dentry.follow(offset!(dentry_parent))?;
    let size = component(dentry, room.wrapping_add(masked::<MAX>(at)))?;
    // SAFETY: as above.
    unsafe { len.write_volatile((at + size) as u32) };
    if up.address() == dentry.address() {
        return Some(PATH_DETACHED);
    }
    place.dentry = up;
    Some(GOES_ON)
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
