//! The decisions of the kernel side: names and networks. Each is a superset of what the rules say.

use crate::kernel::{Access, Kptr, Probed, offset};
use crate::maps::SETTINGS;
use sensor_common::address::{Address, words};
use sensor_common::name::{Name, Pattern};
use sensor_common::settings::{MAX_EXCLUDED, MAX_NAMES, MAX_RELAYS, Names, Slot};

/// The names that count; written by the user side before loading.
#[unsafe(no_mangle)]
pub(crate) static NAMES: Names = Names::NONE;

macro_rules! names {
    ($field:ident) => {
        (&raw const NAMES.$field).cast::<Name>()
    };
}

/// Whether `name` stands in the list, which ends at its first unused place.
#[inline(always)]
fn listed(list: *const Name, name: Name) -> bool {
    for place in 0..MAX_NAMES {
        // SAFETY: the lists of NAMES have MAX_NAMES entries; a static of this object is always readable.
        let entry = unsafe { core::ptr::read_volatile(list.add(place)) };
        if entry == Name::NEVER {
            break;
        }
        if entry == name {
            return true;
        }
    }
    false
}

/// Whether connections of a program with this name count. Case-insensitive.
#[inline(always)]
pub(crate) fn connects(name: Name) -> bool {
    listed(names!(connecting), name.to_lower())
}

/// Whether a program with this name may stand between a connection and a shell. Case-insensitive.
#[inline(always)]
pub(crate) fn is_relay(name: Name) -> bool {
    let name = name.to_lower();
    let list = (&raw const NAMES.relays).cast::<Pattern>();
    for place in 0..MAX_RELAYS {
        // SAFETY: as above, with MAX_RELAYS entries.
        let pattern = unsafe { core::ptr::read_volatile(list.add(place)) };
        if pattern == Pattern::NEVER {
            break;
        }
        if pattern.matches(name) {
            return true;
        }
    }
    false
}

/// Whether executions of a program with this name count.
#[inline(always)]
pub(crate) fn is_executed(name: Name) -> bool {
    listed(names!(executed), name)
}

/// Whether this is the program of which every execution is reported.
#[inline(always)]
pub(crate) fn is_parent(name: Name) -> bool {
    // SAFETY: a static of this object is always readable.
    name == unsafe { core::ptr::read_volatile(&raw const NAMES.parent) }
}

/// comm of a task.
#[inline(always)]
pub(crate) fn comm<A: Access>(task: Kptr<A>) -> Option<Name> {
    let comm = offset!(task_comm);
    Some(Name::from_words([task.read(comm)?, task.read(comm + 8)?]))
}

/// Whether an opened file has the name of the program of which every execution is reported.
#[inline(always)]
pub(crate) fn is_parent_file<A: Access>(file: Kptr<A>) -> bool {
    let Some(len) = file.follow(offset!(file_dentry)).and_then(|dentry| dentry.read::<u32>(offset!(dentry_name_len)))
    else {
        return false;
    };
    // SAFETY: a static of this object is always readable.
    u64::from(len) == unsafe { core::ptr::read_volatile(&raw const NAMES.parent_len) }
        && file_name(file).is_some_and(is_parent)
}

/// Last component of the path of an opened file; `None` if it is too long for a name, or cannot be read.
#[inline(always)]
pub(crate) fn file_name<A: Access>(file: Kptr<A>) -> Option<Name> {
    let dentry = file.follow(offset!(file_dentry))?;
    let len: u32 = dentry.read(offset!(dentry_name_len))?;
    if len as usize > Name::MAX {
        return None;
    }
    let name = Kptr::<Probed>::new(dentry.read(offset!(dentry_name))?);
    // A name is followed by its zero and lies in an allocation of at least 32 bytes.
    Some(Name::from_words(name.read(0)?))
}

/// The settings in use.
#[inline(always)]
pub(crate) fn settings() -> Option<&'static Slot> {
    let settings = SETTINGS.get_ptr(0)?;
    // SAFETY: a value of an array map lives as long as the map; the field is a plain number.
    let active = unsafe { core::ptr::read_volatile(&raw const (*settings).active) } & 1;
    // SAFETY: the index is 0 or 1.
    Some(unsafe { &*(&raw const (*settings).slots).cast::<Slot>().add(active as usize) })
}

/// Whether connections to this destination never count.
#[inline(always)]
pub(crate) fn is_excluded(settings: &Slot, destination: &Address) -> bool {
    let destination = words(destination);
    for place in 0..MAX_EXCLUDED {
        // SAFETY: `place` is below the length of the array.
        if unsafe { &*settings.excluded.as_ptr().add(place) }.contains(destination) {
            return true;
        }
    }
    false
}
