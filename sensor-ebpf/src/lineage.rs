//! The ancestors of a task.

use crate::kernel::{Kptr, Probed, offset};
use sensor_common::record::{ANCESTORS, Ancestor, Lineage};

/// Writes the ancestors of `task`, the parent first. Ends early where a read fails: the list is then shorter, and says
/// that it goes on.
#[inline(always)]
pub(crate) fn write(task: Kptr<Probed>, lineage: *mut Lineage) {
    // SAFETY: the caller's memory is a whole Lineage.
    unsafe { (&raw mut (*lineage).count).write_volatile(0) };
    // SAFETY: as above.
    unsafe { (&raw mut (*lineage).more).write_volatile(1) };
    let Some(mut child) = task.follow(offset!(task_group_leader)) else {
        return;
    };
    for place in 0..=ANCESTORS {
        let Some(parent) = child.follow(offset!(task_real_parent)) else {
            return;
        };
        let Some(leader) = parent.follow(offset!(task_group_leader)) else {
            return;
        };
        let Some(tgid) = leader.read::<u32>(offset!(task_tgid)) else {
            return;
        };
        if tgid == 0 {
            // The idle task is the parent of the first process and of the kernel's thread daemon: the end of the chain.
            // SAFETY: as above.
            unsafe { (&raw mut (*lineage).more).write_volatile(0) };
            return;
        }
        if place == ANCESTORS {
            return;
        }
        // SAFETY: `place` is below the length of the array.
        let entry = unsafe { (&raw mut (*lineage).ancestors).cast::<Ancestor>().add(place) };
        if one(leader, tgid, entry).is_none() {
            return;
        }
        // SAFETY: the caller's memory is a whole Lineage.
        unsafe { (&raw mut (*lineage).count).write_volatile(place as u32 + 1) };
        child = leader;
    }
}

/// The group leader of the parent of `task`.
#[inline(always)]
pub(crate) fn parent(task: Kptr<Probed>) -> Option<Kptr<Probed>> {
    let leader = task.follow(offset!(task_group_leader))?;
    leader.follow(offset!(task_real_parent))?.follow(offset!(task_group_leader))
}

#[inline(always)]
fn one(leader: Kptr<Probed>, tgid: u32, entry: *mut Ancestor) -> Option<()> {
    let start_ns: u64 = leader.read(offset!(task_start_boottime))?;
    let comm: [u8; 16] = leader.read(offset!(task_comm))?;
    let uid: u32 = leader.follow(offset!(task_cred))?.read(offset!(cred_uid))?;
    // SAFETY: the caller's memory is a whole Ancestor.
    let entry = unsafe { &mut *entry };
    entry.start_ns = start_ns;
    entry.tgid = tgid;
    entry.uid = uid;
    entry.comm = comm;
    exe_name(leader, &raw mut entry.exe);
    Some(())
}

/// Copies the last component of the path of the file that a task runs; empty where there is none.
#[inline(always)]
pub(crate) fn exe_name<const N: usize>(task: Kptr<Probed>, to: *mut [u8; N]) {
    let copied = (|| {
        let dentry = task.exe_file()?.follow(offset!(file_dentry))?;
        let name = dentry.follow(offset!(dentry_name))?;
        Some(name.copy_string(to))
    })();
    if copied != Some(true) {
        // SAFETY: the caller's memory has N bytes, and N is not 0.
        unsafe { to.cast::<u8>().write_volatile(0) };
    }
}
