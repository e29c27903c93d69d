//! The decisions of the kernel side: names and networks. Each is a superset of what the rules say.

use crate::kernel::{Access, Kptr, Probed, offset};
use crate::maps::SETTINGS;
use sensor_common::address::{Address, words};
use sensor_common::layout::MISSING;
use sensor_common::name::{Name, Pattern};
use sensor_common::settings::{MAX_EXCLUDED, MAX_NAMES, MAX_RELAYS, Names, Slot};

/// The names that count; written by the user side before loading.
#[unsafe(no_mangle)]
pub(crate) static NAMES: Names = Names::NONE;

/// A field of them. Volatile: the compiler must not fold the value that the object file holds.
macro_rules! constant {
    ($($field:tt)*) => {
        // SAFETY: a static of this object is always readable.
        unsafe { core::ptr::read_volatile(&raw const NAMES.$($field)*) }
    };
}

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

/// Which names are asked for. Nearly every other is told apart by its first word, without a comparison with each.
pub(crate) trait List {
    /// Whether a name may be in it, by the first word of the field that holds it.
    fn may_hold(word: u64) -> bool;

    /// Whether a name is in it.
    fn holds(name: Name) -> bool;
}

/// Programs whose connections count for every rule. Case-insensitive.
pub(crate) struct Connecting;

impl List for Connecting {
    #[inline(always)]
    fn may_hold(word: u64) -> bool {
        constant!(connecting_starts).may_hold(word)
    }

    #[inline(always)]
    fn holds(name: Name) -> bool {
        let Name([first, second]) = name.to_lower();
        is_connecting(first, second) != 0
    }
}

/// Programs that may stand between a connection and a shell. Case-insensitive.
pub(crate) struct Relay;

impl List for Relay {
    #[inline(always)]
    fn may_hold(word: u64) -> bool {
        constant!(connecting_starts).may_hold(word)
    }

    #[inline(always)]
    fn holds(name: Name) -> bool {
        let Name([first, second]) = name.to_lower();
        is_relay(first, second) != 0
    }
}

/// Both of these.
pub(crate) struct AnyConnecting;

impl List for AnyConnecting {
    #[inline(always)]
    fn may_hold(word: u64) -> bool {
        constant!(connecting_starts).may_hold(word)
    }

    #[inline(always)]
    fn holds(name: Name) -> bool {
        Connecting::holds(name) || Relay::holds(name)
    }
}

/// Functions of their own with plain numbers, so that the verifier looks at them once and not once for every way that leads here.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn is_connecting(first: u64, second: u64) -> u64 {
    u64::from(listed(names!(connecting), Name([first, second])))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn is_relay(first: u64, second: u64) -> u64 {
    let list = (&raw const NAMES.relays).cast::<Pattern>();
    for place in 0..MAX_RELAYS {
        // SAFETY: the list has MAX_RELAYS entries; a static of this object is always readable.
        let pattern = unsafe { core::ptr::read_volatile(list.add(place)) };
        if pattern == Pattern::NEVER {
            break;
        }
        if pattern.matches(Name([first, second])) {
            return 1;
        }
    }
    0
}

/// Programs whose executions count, and the one of which every execution is reported.
pub(crate) struct AnyExecuted;

impl List for AnyExecuted {
    #[inline(always)]
    fn may_hold(word: u64) -> bool {
        constant!(executed_starts).may_hold(word)
    }

    #[inline(always)]
    fn holds(name: Name) -> bool {
        let Name([first, second]) = name;
        is_executed(first, second) != 0 || Parent::holds(name)
    }
}

/// A function of its own with plain numbers, so that the verifier looks at it once and not once for every way that leads here.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn is_executed(first: u64, second: u64) -> u64 {
    u64::from(listed(names!(executed), Name([first, second])))
}

/// The program of which every execution is reported.
pub(crate) struct Parent;

impl List for Parent {
    #[inline(always)]
    fn may_hold(word: u64) -> bool {
        AnyExecuted::may_hold(word)
    }

    #[inline(always)]
    fn holds(name: Name) -> bool {
        name == constant!(parent)
    }
}

/// Whether the field of at least 16 bytes that this points to holds a name of a list; `None` if it cannot be read.
#[inline(always)]
fn holds<L: List, A: Access>(field: Kptr<A>) -> Option<bool> {
    let first = field.read(0)?;
    if !L::may_hold(first) {
        return Some(false);
    }
    Some(L::holds(Name::from_words([first, field.read(8)?])))
}

/// Whether comm of a task is in a list; `None` if it cannot be read.
#[inline(always)]
pub(crate) fn comm_is<L: List, A: Access>(task: Kptr<A>) -> Option<bool> {
    holds::<L, A>(task.at(offset!(task_comm)))
}

/// Whether the last component of the path of an opened file is in a list; `false` if it cannot be read.
#[inline(always)]
pub(crate) fn file_is<L: List, A: Access>(file: Kptr<A>) -> bool {
    let Some(dentry) = file.follow(offset!(file_dentry)) else { return false };
    let Some(len) = dentry.read::<u32>(offset!(dentry_name_len)) else { return false };
    if len as usize > Name::MAX {
        return false;
    }
    // A name that is short enough for a list always lies in the dentry itself (`d_alloc`, `copy_name`): no helper is needed for it.
    let found = if offset!(dentry_inline_name) == MISSING {
        // It is followed by its zero and lies in an allocation of at least 32 bytes.
        dentry.read(offset!(dentry_name)).and_then(|name| holds::<L, Probed>(Kptr::new(name)))
    } else {
        holds::<L, A>(dentry.at(offset!(dentry_inline_name)))
    };
    found == Some(true)
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
pub(crate) fn is_excluded(destination: &Address) -> bool {
    let (high, low) = words(destination);
    excluded(high, low) != 0
}

/// A function of its own with plain numbers, so that the verifier looks at it once and not once for every way that leads here.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn excluded(high: u64, low: u64) -> u64 {
    let Some(settings) = settings() else { return 0 };
    for place in 0..MAX_EXCLUDED {
        // SAFETY: `place` is below the length of the array.
        if unsafe { &*settings.excluded.as_ptr().add(place) }.contains((high, low)) {
            return 1;
        }
    }
    0
}
