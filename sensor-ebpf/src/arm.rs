//! From a connection to a pending entry and a record: what the connect and accept hooks have in common.
//!
//! In this order: is the program named by a rule, is the socket TCP, is the destination excluded, has the first witness of
//! an accept recorded it already; then the connection is remembered, then it is reported. It is remembered even when the
//! report finds no room, since an execution carries it.

use crate::emit::{count, wake_when_filling};
use crate::filter::{AnyConnecting, Connecting, List, Relay, comm_is, file_is, is_excluded, settings};
use crate::kernel::{Access, Kptr, Probed, Typed, offset};
use crate::lineage;
use crate::maps::{ARMING, CONNECTIONS, COUNTS, ConnectionSpace, PENDING};
use crate::path;
use crate::socket::{Ends, tcp_ends};
use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::{
    bpf_get_current_pid_tgid, bpf_get_current_uid_gid, bpf_get_smp_processor_id, bpf_ktime_get_boot_ns,
};
use aya_log_ebpf::warn;
use sensor_common::counter::Counter;
use sensor_common::record::{
    ACCEPTED, Arm, CLASS_RELAY, CLASS_SHELL, CONNECTION_PATH_MAX, NAME_LEN, WITNESS_GRAFT, WITNESS_PROC,
};
use sensor_common::settings::{PENDING_CAPACITY, SPAN_SLACK_NS, Slot, WANT_RELAYS};

/// When a connection was last remembered, in boot time; 0 before the first. Alone in its section, so that the exec program
/// reads it in four instructions and shares no cache line with anything that is written more often.
#[unsafe(no_mangle)]
static mut LAST_ARMED: u64 = 0;

/// When a connection was last remembered.
#[inline(always)]
pub(crate) fn last_armed() -> u64 {
    // SAFETY: an aligned word; a value that another CPU is about to replace is allowed for by the early-out's slack.
    unsafe { core::ptr::read_volatile(&raw const LAST_ARMED) }
}

/// What tells one hook from another: how its connections are marked and where they are counted.
pub(crate) struct Hook {
    pub(crate) witness: u8,
    pub(crate) direction: u8,
    pub(crate) name: Counter,
    pub(crate) network: Counter,
    pub(crate) not_tcp: Counter,
    pub(crate) sent: Counter,
    pub(crate) ring: Counter,
    pub(crate) read: Counter,
    pub(crate) not_pending: Counter,
}

/// /proc gives the start of a process in units of 10 ms.
const PROC_TICK_NS: u64 = 10_000_000;

/// Whether a pending connection is one of the process that started then, and made within the span.
#[inline(always)]
pub(crate) fn is_pending(arm: &Arm, start_ns: u64, now: u64, span_ns: u64) -> bool {
    is_of(arm, start_ns) && is_recent(arm, now, span_ns)
}

/// Whether a pending connection is one of the process that started then.
#[inline(always)]
pub(crate) fn is_of(arm: &Arm, start_ns: u64) -> bool {
    if arm.witness & WITNESS_PROC == 0 {
        arm.start_ns == start_ns
    } else {
        arm.start_ns / PROC_TICK_NS == start_ns / PROC_TICK_NS
    }
}

/// Whether a connection was made within the span.
#[inline(always)]
pub(crate) fn is_recent(arm: &Arm, now: u64, span_ns: u64) -> bool {
    now.saturating_sub(arm.boot_ns) <= span_ns + SPAN_SLACK_NS
}

/// What sort of program the current task runs, `CLASS_…`, if its connections count; `None` if that cannot be read.
#[inline(always)]
pub(crate) fn class_of() -> Option<Option<u8>> {
    match Kptr::<Typed>::current() {
        Some(task) => class_of_task(task),
        None => class_of_task(Kptr::<Probed>::current()),
    }
}

#[inline(always)]
fn class_of_task<A: Access>(task: Kptr<A>) -> Option<Option<u8>> {
    // A thread of the kernel is no program, whatever it is called.
    let Some(mm) = task.follow(offset!(task_mm)) else {
        return Some(None);
    };
    // Threads have names of their own; io_uring's workers are called iou-….
    let leader = task.follow(offset!(task_group_leader))?;
    // First whether any of its names is in any list, which ends nearly all of it.
    if !is_called::<AnyConnecting, A>(task, leader, mm)? {
        return Some(None);
    }
    if is_called::<Connecting, A>(task, leader, mm)? {
        return Some(Some(CLASS_SHELL));
    }
    // By the group leader: threads of these programs are called as they like.
    let relay = is_called::<Relay, A>(leader, leader, mm)? && settings()?.wanted & WANT_RELAYS != 0;
    Some(if relay { Some(CLASS_RELAY) } else { None })
}

/// Whether a task is called by a name of a list, by its comm, that of its group leader or the file that it runs.
#[inline(always)]
fn is_called<L: List, A: Access>(task: Kptr<A>, leader: Kptr<A>, mm: Kptr<A>) -> Option<bool> {
    if comm_is::<L, A>(task)? || leader.address() != task.address() && comm_is::<L, A>(leader)? {
        return Some(true);
    }
    Some(mm.follow(offset!(mm_exe_file)).is_some_and(file_is::<L, A>))
}

/// Handles a connection of the current task whose program is of a class that counts.
#[inline(always)]
pub(crate) fn connection<C: EbpfContext>(ctx: &C, hook: &Hook, class: u8, task: Kptr<Probed>, sock: Kptr<Probed>) {
    let outcome = record(ctx, hook, class, task, sock);
    count(outcome.unwrap_or(hook.read));
    if outcome.is_none() {
        warn!(ctx, "a connection could not be read: witness {}", hook.witness);
    }
}

/// The counter of what became of it; `None` if something could not be read.
#[inline(always)]
fn record<C: EbpfContext>(ctx: &C, hook: &Hook, class: u8, task: Kptr<Probed>, sock: Kptr<Probed>) -> Option<Counter> {
    let Some(ends) = tcp_ends(sock)? else {
        return Some(hook.not_tcp);
    };
    let settings = settings()?;
    let destination = if hook.direction == ACCEPTED { &ends.local } else { &ends.remote };
    if is_excluded(destination) {
        return Some(hook.network);
    }
    // SAFETY: the helper takes no argument and always succeeds.
    let pid_tgid = unsafe { bpf_get_current_pid_tgid() };
    let tgid = (pid_tgid >> 32) as u32;
    let leader = task.follow(offset!(task_group_leader))?;
    let start_ns: u64 = leader.read(offset!(task_start_boottime))?;
    if hook.witness == WITNESS_GRAFT && was_witnessed(tgid, start_ns, &ends) {
        return Some(Counter::GraftDuplicate);
    }
    // SAFETY: the helper takes no argument and always succeeds.
    let uid_gid = unsafe { bpf_get_current_uid_gid() };
    // SAFETY: as above.
    let boot_ns = unsafe { bpf_ktime_get_boot_ns() };
    let mut arm = Arm {
        sequence: next_sequence(hook)?,
        boot_ns,
        start_ns,
        sock: sock.address() as u64,
        tgid,
        tid: pid_tgid as u32,
        uid: uid_gid as u32,
        gid: (uid_gid >> 32) as u32,
        local: ends.local,
        remote: ends.remote,
        local_port: ends.local_port,
        remote_port: ends.remote_port,
        direction: hook.direction,
        witness: hook.witness,
        class,
        generations: 0,
        comm: task.read(offset!(task_comm))?,
        leader_comm: leader.read(offset!(task_comm))?,
        exe: [0; NAME_LEN],
    };
    lineage::exe_name(task, &raw mut arm.exe);
    remember(ctx, hook, tgid, &arm, settings);
    Some(if report(task, &arm) { hook.sent } else { hook.ring })
}

/// Whether the first witness of an accept has recorded this connection; marks it as seen by both, so that the next
/// connection with the same ends is a new one. Goes by addresses and ports: under MPTCP the two see different sockets.
#[inline(always)]
fn was_witnessed(tgid: u32, start_ns: u64, ends: &Ends) -> bool {
    let Some(pending) = PENDING.get_ptr_mut(tgid) else {
        return false;
    };
    // SAFETY: entries of a preallocated map stay readable; only threads of this process write this one.
    let pending = unsafe { &mut *pending };
    let same = pending.start_ns == start_ns
        && pending.direction == ACCEPTED
        && pending.witness & WITNESS_GRAFT == 0
        && pending.local_port == ends.local_port
        && pending.remote_port == ends.remote_port
        && pending.local == ends.local
        && pending.remote == ends.remote;
    if same {
        pending.witness |= WITNESS_GRAFT;
    }
    same
}

/// A number that no other connection has: how many this hook has recorded on this CPU, the CPU, the hook. Needs no atomic
/// operation for the reason given at [`count`].
#[inline(always)]
fn next_sequence(hook: &Hook) -> Option<u64> {
    // SAFETY: the helper takes no argument and always succeeds.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let counts = COUNTS.get_ptr(cpu)?.cast::<u64>();
    // SAFETY: a counter's number is below the length of the array.
    let recorded = [hook.sent, hook.ring].map(|counter| unsafe { counts.add(counter as usize).read_volatile() });
    Some((recorded[0] + recorded[1] + 1) << 19 | u64::from(cpu & 0xffff) << 3 | u64::from(hook.witness & 7))
}

#[inline(always)]
fn remember<C: EbpfContext>(ctx: &C, hook: &Hook, tgid: u32, arm: &Arm, settings: &Slot) {
    watch_pressure(arm.boot_ns, settings.span_ns);
    if PENDING.insert(tgid, arm, 0).is_err() {
        count(hook.not_pending);
        warn!(ctx, "a connection of process {} could not be remembered", tgid);
    }
    // SAFETY: an aligned word, see `last_armed`.
    unsafe { core::ptr::write_volatile(&raw mut LAST_ARMED, arm.boot_ns) };
}

/// The table evicts silently. Any span touches at most two windows, so if more than half of the table's capacity is
/// remembered within a span, one of the windows has more than a quarter. CPUs that count at the same moment may lose counts, so an
/// eighth is taken: from then on, for two spans, nothing is held back.
#[inline(always)]
fn watch_pressure(now: u64, span_ns: u64) {
    let Some(arming) = ARMING.get_ptr_mut(0) else { return };
    // SAFETY: a value of an array map lives as long as the map.
    let arming = unsafe { &mut *arming };
    if now.wrapping_sub(arming.window_start_ns) > span_ns {
        arming.window_start_ns = now;
        arming.window_arms = 0;
    }
    arming.window_arms += 1;
    if arming.window_arms > u64::from(PENDING_CAPACITY / 8) {
        arming.pressure_until_ns = now + 2 * span_ns;
    }
}

/// Whether the table may have evicted connections that still count.
#[inline(always)]
pub(crate) fn is_under_pressure(now: u64) -> bool {
    // SAFETY: a value of an array map lives as long as the map.
    ARMING
        .get_ptr(0)
        .is_some_and(|arming| now < unsafe { core::ptr::read_volatile(&raw const (*arming).pressure_until_ns) })
}

#[inline(always)]
fn report(task: Kptr<Probed>, arm: &Arm) -> bool {
    let wake = wake_when_filling();
    let Some(mut entry) = CONNECTIONS.reserve(0) else {
        return false;
    };
    let space: *mut ConnectionSpace = entry.as_mut_ptr();
    // SAFETY: the reservation is a whole ConnectionSpace.
    unsafe { (&raw mut (*space).header.arm).write(*arm) };
    // SAFETY: as above.
    lineage::write(task, unsafe { &raw mut (*space).header.lineage });
    // SAFETY: as above.
    let (part, room) = unsafe { (&raw mut (*space).header.path, &raw mut (*space).path) };
    path::write::<CONNECTION_PATH_MAX>(task, part, room.cast());
    entry.submit(wake);
    true
}
