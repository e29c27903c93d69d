//! What an alert tells of an execution and no rule asks for: the executed file, the working directory, the session with its terminal, the
//! files that ancestors run, and, where that is wanted, the environment.
//!
//! All of it is read from kernel objects in the task that has just executed, so no other program can change it in between: the file
//! of the new mm, `fs->pwd`, `signal->pids` and `signal->tty` (`include/linux/sched/signal.h`), the environment on the new stack. What a
//! kernel does not have, or what cannot be read, is left out and keeps nothing else back.

use crate::argv::{bounded, within};
use crate::kernel::{Kptr, Probed, offset};
use crate::lineage;
use crate::maps::{FURTHER_ROOM, PATH_ROOM, PATHS_ROOM};
use crate::path::{Place, walked};
use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user};
use sensor_common::layout::MISSING;
use sensor_common::record::{
    ANCESTOR_PATH_MAX, ANCESTOR_PATHS, DIRECTORY_PATH_MAX, ENVIRONMENT_MAX, EXEC_PATH_MAX, ExecRecord, KNOWN_FILE,
    KNOWN_LINKED, KNOWN_SESSION, KNOWN_TTY, KNOWN_UNLINKED, PARENT_PATH_MAX, PathPart, Surroundings,
};
use sensor_common::settings::Slot;

/// Place of the session among `signal_struct.pids` (`PIDTYPE_SID`, since 4.19), in bytes.
const SESSION: u16 = 3 * 8;

/// Writes all paths to the tail, one behind the other; their bytes.
#[inline(always)]
pub(crate) fn paths(task: Kptr<Probed>, header: &mut ExecRecord, walk: *const u8, tail: *mut u8) -> Option<u32> {
    header.path = walked(Place::of_executable(task), EXEC_PATH_MAX);
    let mut at = copy(header.path.len, PATH_ROOM, walk, tail)?;
    let mut ancestor = lineage::parent(task);
    header.parent_path = walked(ancestor.and_then(Place::of_executable), PARENT_PATH_MAX);
    at = append(header.parent_path.len, walk, tail, at)?;
    for place in 0..ANCESTOR_PATHS {
        ancestor = ancestor.and_then(lineage::parent);
        let path = walked(ancestor.and_then(Place::of_executable), ANCESTOR_PATH_MAX);
        // SAFETY: `place` is below the length of the array.
        unsafe { (&raw mut header.surroundings.ancestors).cast::<PathPart>().add(place).write(path) };
        at = append(path.len, walk, tail, at)?;
    }
    header.surroundings.directory = walked(directory(task), DIRECTORY_PATH_MAX);
    append(header.surroundings.directory.len, walk, tail, at)
}

/// Copies a path behind what the tail has already; how many bytes it has then.
#[inline(always)]
fn append(len: u32, walked: *const u8, tail: *mut u8, at: u32) -> Option<u32> {
    let at = within(at, PATHS_ROOM as u32)?;
    Some(at + copy(len, FURTHER_ROOM, walked, tail.wrapping_add(at as usize))?)
}

/// Copies a path to where there is so much room; its bytes.
#[inline(always)]
fn copy(len: u32, room: usize, from: *const u8, to: *mut u8) -> Option<u32> {
    let len = within(len, room as u32)?;
    // SAFETY: there is room, and the helper takes any source address.
    if unsafe { bpf_probe_read_kernel(to.cast(), len, from.cast()) } == 0 { Some(len) } else { None }
}

#[inline(always)]
fn directory(task: Kptr<Probed>) -> Option<Place> {
    if offset!(task_fs) == MISSING || offset!(fs_directory) == MISSING || offset!(fs_directory_mnt) == MISSING {
        return None;
    }
    let fs = task.follow(offset!(task_fs))?;
    Some(Place { dentry: fs.follow(offset!(fs_directory))?, vfsmount: fs.follow(offset!(fs_directory_mnt))? })
}

/// Writes what is told of the file, the session and the terminal.
#[inline(always)]
pub(crate) fn facts(task: Kptr<Probed>, to: &mut Surroundings) {
    to.known = 0;
    if file(task, to).is_some() {
        to.known |= KNOWN_FILE;
    }
    if let Some(linked) = linked(task) {
        to.known |= if linked { KNOWN_LINKED } else { KNOWN_UNLINKED };
    }
    if let Some(session) = session(task) {
        to.session = session;
        to.known |= KNOWN_SESSION;
    }
    if let Some(tty) = tty(task) {
        to.tty = tty;
        to.known |= KNOWN_TTY;
    }
}

#[inline(always)]
fn file(task: Kptr<Probed>, to: &mut Surroundings) -> Option<()> {
    let absent = [offset!(inode_number), offset!(inode_super), offset!(inode_uid), offset!(inode_gid)];
    if absent.contains(&MISSING) || offset!(super_device) == MISSING {
        return None;
    }
    let inode = task.exe_file()?.follow(offset!(file_inode))?;
    to.inode = inode.read(offset!(inode_number))?;
    to.device = inode.follow(offset!(inode_super))?.read(offset!(super_device))?;
    to.uid = inode.read(offset!(inode_uid))?;
    to.gid = inode.read(offset!(inode_gid))?;
    to.mode = u32::from(inode.read::<u16>(offset!(inode_mode))?);
    Some(())
}

/// Whether the file that a task runs still stands in its directory (`d_unhashed`).
#[inline(always)]
fn linked(task: Kptr<Probed>) -> Option<bool> {
    if offset!(dentry_hashed) == MISSING {
        return None;
    }
    let dentry = task.exe_file()?.follow(offset!(file_dentry))?;
    Some(dentry.read::<u64>(offset!(dentry_hashed))? != 0)
}

/// The number of the session in the first namespace of processes.
#[inline(always)]
fn session(task: Kptr<Probed>) -> Option<u32> {
    if offset!(task_signal) == MISSING || offset!(signal_pids) == MISSING || offset!(pid_numbers) == MISSING {
        return None;
    }
    let pid = task.follow(offset!(task_signal))?.follow(offset!(signal_pids) + SESSION)?;
    pid.read(offset!(pid_numbers))
}

/// The device of the session's terminal; 0 if it has none.
#[inline(always)]
fn tty(task: Kptr<Probed>) -> Option<u32> {
    if offset!(task_signal) == MISSING || offset!(signal_tty) == MISSING || offset!(tty_driver) == MISSING {
        return None;
    }
    if offset!(tty_index) == MISSING || offset!(driver_major) == MISSING || offset!(driver_minor) == MISSING {
        return None;
    }
    let tty = Kptr::<Probed>::new(task.follow(offset!(task_signal))?.read::<*const u8>(offset!(signal_tty))?);
    if tty.is_null() {
        return Some(0);
    }
    let driver = tty.follow(offset!(tty_driver))?;
    let minor = driver.read::<u32>(offset!(driver_minor))?.wrapping_add(tty.read(offset!(tty_index))?);
    Some(driver.read::<u32>(offset!(driver_major))? << 20 | minor & 0xf_ffff)
}

/// Copies the front of the environment to `to`, as far as that is wanted; how many bytes.
#[inline(always)]
pub(crate) fn environment(task: Kptr<Probed>, settings: &Slot, surroundings: &mut Surroundings, to: *mut u8) -> u32 {
    let copied = copy_environment(task, settings, surroundings, to).unwrap_or(0);
    surroundings.environment_len = copied;
    copied
}

#[inline(always)]
fn copy_environment(task: Kptr<Probed>, settings: &Slot, surroundings: &mut Surroundings, to: *mut u8) -> Option<u32> {
    surroundings.environment_total = 0;
    let wanted = settings.environment;
    if wanted == 0 || offset!(mm_env_start) == MISSING || offset!(mm_env_end) == MISSING {
        return None;
    }
    let mm = task.follow(offset!(task_mm))?;
    let start: u64 = mm.read(offset!(mm_env_start))?;
    let total = mm.read::<u64>(offset!(mm_env_end))?.saturating_sub(start);
    surroundings.environment_total = total;
    let len = if total > wanted { wanted } else { total };
    let len = if len > ENVIRONMENT_MAX as u64 { ENVIRONMENT_MAX as u32 } else { len as u32 };
    let len = bounded(len, ENVIRONMENT_MAX as u32);
    // SAFETY: `to` has room for ENVIRONMENT_MAX bytes, and the helper takes any source address.
    if unsafe { bpf_probe_read_user(to.cast(), len, start as *const _) } != 0 {
        return None;
    }
    Some(len)
}
