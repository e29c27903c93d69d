//! Programs executed.
//!
//! Kernel: tracepoint `sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`, since 3.4. It runs
//! in the task after the point of no return: the new mm, credentials and comm are in place, and argv lies on the new stack
//! where no other thread can change it any more.
//!
//! Three ways to be there. tp_btf since 5.5; raw tracepoint before and where that is refused. From 7.0 both can be preempted, and the
//! kernel then skips the next execution on that CPU; a classic tracepoint still runs to its end, and is the first choice there.
//! It hands over no `linux_binprm`: the file is that of the new mm, the number of arguments stands on the new stack.
//!
//! Nearly every execution ends at the first question, which costs no counter: is it of a program that is in a list, or was anything armed
//! within the span? What stands on standard input is asked of listed ones alone: by way of the table of files, the file and the inode it
//! takes several times as long as all names.

use crate::argv::{self, bounded, within};
use crate::arm::{is_of, is_pending, is_recent, is_under_pressure, last_armed};
use crate::emit::{Counts, count};
use crate::filter::{AnyExecuted, List, Parent, comm_is, file_is, settings};
use crate::fork::inherited;
use crate::kernel::{Access, Kptr, Probed, Typed, offset};
use crate::lineage;
use crate::maps::{EXEC_SPACE, EXECUTIONS, INHERITED, PATHS_ROOM, PENDING};
use crate::socket::tcp_ends;
use crate::stream::{self, stdin_is_socket};
use crate::surroundings;
use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::BPF_RB_FORCE_WAKEUP;
use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;
use aya_ebpf::macros::{btf_tracepoint, raw_tracepoint, tracepoint};
use aya_ebpf::programs::{BtfTracePointContext, RawTracePointContext, TracePointContext};
use aya_log_ebpf::warn;
use sensor_common::counter::Counter;
use sensor_common::layout::MISSING;
use sensor_common::record::{
    ARGV_MAX, Arm, CLASS_RELAY, ExecRecord, FLAG_ARGV_UNREADABLE, FLAG_UNSEARCHED, REASON_ARMED, REASON_INHERITED,
    REASON_PARENT, REASON_PRESSURE, REASON_STREAMS,
};
use sensor_common::settings::{Slot, WANT_DESCENDANTS, WANT_RELAYS, WANT_STREAMS};

/// What the early-out adds to the span: far more than a task can be held up between taking the time and writing it.
pub(crate) const EARLY_OUT_SLACK_NS: u64 = 1_000_000_000;

#[btf_tracepoint(function = "sched_process_exec")]
fn exec_btf(ctx: BtfTracePointContext) -> i32 {
    executed(&ctx, Kptr::<Typed>::new(ctx.arg(0)), ctx.arg(1), Kptr::<Typed>::new(ctx.arg(2)));
    0
}

#[raw_tracepoint(tracepoint = "sched_process_exec")]
fn exec_raw(ctx: RawTracePointContext) -> i32 {
    let [task, old_tid, bprm] = [0, 1, 2].map(|n| {
        // SAFETY: the tracepoint has three arguments, each a register wide.
        unsafe { ctx.as_ptr().cast::<u64>().add(n).read() }
    });
    executed(&ctx, Kptr::<Probed>::new(task as *const u8), old_tid as u32, Kptr::<Probed>::new(bprm as *const u8));
    0
}

/// Where the record of the classic tracepoint holds the number that the thread had: behind 8 bytes common to all, the place of
/// the file name, and the number of the process.
const OLD_TID: usize = 16;

#[tracepoint]
fn exec_trace(ctx: TracePointContext) -> u32 {
    // SAFETY: the helper takes any source address.
    let old_tid: u32 = unsafe { ctx.read_at(OLD_TID) }.unwrap_or(0);
    executed(&ctx, Kptr::<Probed>::current(), old_tid, Kptr::<Probed>::new(core::ptr::null()));
    0
}

/// `bprm` is null where the hook does not have it.
#[inline(always)]
fn executed<C: EbpfContext, A: Access>(ctx: &C, task: Kptr<A>, old_tid: u32, bprm: Kptr<A>) {
    let name = name_of(task, bprm);
    if name != OTHER || last_armed() != 0 {
        considered(ctx, task, old_tid, bprm, name);
    }
}

/// What the program that was executed is called: a name in no list, a name in a list, one that cannot be read.
const OTHER: u32 = 0;
const LISTED: u32 = 1;
const UNREADABLE: u32 = 2;

#[inline(always)]
fn name_of<A: Access>(task: Kptr<A>, bprm: Kptr<A>) -> u32 {
    match comm_is::<AnyExecuted, A>(task) {
        None => UNREADABLE,
        Some(true) => LISTED,
        Some(false) if executed_file_is::<AnyExecuted, A>(task, bprm) => LISTED,
        Some(false) => OTHER,
    }
}

#[inline(always)]
fn executed_file_is<L: List, A: Access>(task: Kptr<A>, bprm: Kptr<A>) -> bool {
    let file = if bprm.is_null() { task.exe_file() } else { bprm.follow(offset!(binprm_file)) };
    file.is_some_and(file_is::<L, A>)
}

/// A function of its own: what it needs to keep is no work for the many that do not come here.
#[inline(never)]
fn considered<C: EbpfContext, A: Access>(ctx: &C, task: Kptr<A>, old_tid: u32, bprm: Kptr<A>, name: u32) {
    let Some(settings) = settings() else { return lost(ctx) };
    let (mut parent, mut streams) = (false, false);
    if name != OTHER {
        if name == UNREADABLE {
            return lost(ctx);
        }
        parent = comm_is::<Parent, A>(task) == Some(true) || executed_file_is::<Parent, A>(task, bprm);
        if settings.wanted & WANT_STREAMS != 0 {
            let Some(is_socket) = stdin_is_socket(task) else { return lost(ctx) };
            streams = is_socket;
        }
    }
    let last = last_armed();
    if !parent && !streams && last == 0 {
        return;
    }
    // SAFETY: the helper takes no argument and always succeeds.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    if !parent && !streams && now.saturating_sub(last) > settings.span_ns + EARLY_OUT_SLACK_NS {
        return;
    }
    let counts = Counts::own();
    counts.count(Counter::ExecSeen);
    if name == OTHER {
        return counts.count(Counter::ExecName);
    }
    let (Some(tgid), Some(start_ns)) = (task.read::<u32>(offset!(task_tgid)), start_of(task)) else {
        return lost_seen(ctx);
    };
    let pending = PENDING.get_ptr(tgid).unwrap_or(core::ptr::null());
    // SAFETY: entries of a preallocated map stay readable; this process has no other thread that could replace it.
    let unarmed = match unsafe { pending.as_ref() } {
        Some(arm) => judge(arm, start_ns, now, settings.span_ns),
        None => Some(Counter::ExecUnarmed),
    };
    let inherited = if unarmed.is_some() && !parent && settings.wanted & WANT_DESCENDANTS != 0 {
        let inherited = inherited(tgid, start_ns, now, settings.span_ns);
        let arm = inherited.or_else(|| of_parent(task.probed(), now, settings.span_ns));
        arm.map_or(core::ptr::null(), core::ptr::from_ref)
    } else {
        core::ptr::null()
    };
    let (reason, arm) = match unarmed {
        None => (REASON_ARMED, pending),
        Some(_) if !inherited.is_null() => (REASON_INHERITED, inherited),
        Some(_) if parent => (REASON_PARENT, core::ptr::null()),
        Some(_) if is_under_pressure(now) => (REASON_PRESSURE, core::ptr::null()),
        Some(_) if streams => (REASON_STREAMS, core::ptr::null()),
        Some(unarmed) => return counts.count(unarmed),
    };
    send(ctx, task.probed(), old_tid, bprm.probed(), Why { reason, parent }, arm, settings);
}

/// The connection that the parent has made since it forked the process: the published rule asks for the parent alone.
#[inline(always)]
fn of_parent<'a>(task: Kptr<Probed>, now: u64, span_ns: u64) -> Option<&'a Arm> {
    let parent = lineage::parent(task)?;
    let tgid: u32 = parent.read(offset!(task_tgid))?;
    // SAFETY: entries of a preallocated map stay readable.
    let arm = unsafe { PENDING.get_ptr(tgid)?.as_ref()? };
    is_pending(arm, parent.read(offset!(task_start_boottime))?, now, span_ns).then_some(arm)
}

/// Why an execution is sent.
#[derive(Clone, Copy)]
struct Why {
    /// `REASON_…`.
    reason: u32,
    /// Its arguments decide about its children, whatever else it is.
    parent: bool,
}

/// Why a pending connection does not count for this process; `None` if it does.
#[inline(always)]
fn judge(arm: &Arm, start_ns: u64, now: u64, span_ns: u64) -> Option<Counter> {
    if !is_of(arm, start_ns) {
        return Some(Counter::ExecReused);
    }
    (!is_recent(arm, now, span_ns)).then_some(Counter::ExecExpired)
}

#[inline(always)]
fn start_of<A: Access>(task: Kptr<A>) -> Option<u64> {
    task.follow(offset!(task_group_leader))?.read(offset!(task_start_boottime))
}

#[inline(always)]
fn lost<C: EbpfContext>(ctx: &C) {
    count(Counter::ExecSeen);
    lost_seen(ctx);
}

#[inline(always)]
fn lost_seen<C: EbpfContext>(ctx: &C) {
    count(Counter::ExecRead);
    warn!(ctx, "an execution could not be read");
}

#[inline(always)]
fn send<C: EbpfContext>(
    ctx: &C,
    task: Kptr<Probed>,
    old_tid: u32,
    bprm: Kptr<Probed>,
    Why { reason, parent }: Why,
    arm: *const Arm,
    settings: &Slot,
) {
    let Some(space) = EXEC_SPACE.get_ptr_mut(0) else {
        return lost_seen(ctx);
    };
    // SAFETY: a value of the map, used by this program alone.
    let header: &mut ExecRecord = unsafe { &mut (*space).header };
    // First of all, and read back at the end: the verifier then follows one way through the rest, not one for each reason.
    let reason_place = &raw mut header.reason;
    // SAFETY: a field of the value above.
    unsafe { reason_place.write_volatile(reason) };
    if !carry(arm, reason, task, &mut header.arm) {
        // SAFETY: as above.
        unsafe { reason_place.write_volatile(REASON_PRESSURE) };
    }
    stream::write(task, &raw mut header.streams);
    // SAFETY: as above.
    let reason = unsafe { reason_place.read_volatile() };
    let relayed = matches!(reason, REASON_ARMED | REASON_INHERITED) && header.arm.class == CLASS_RELAY && !parent;
    if reason == REASON_STREAMS || relayed {
        match stream::are_connections(&raw const header.streams) {
            Some(true) => {}
            Some(false) if relayed && is_relayed(task, header, settings) => {}
            Some(false) => {
                return count(if relayed { Counter::ExecNotRelayed } else { Counter::ExecOtherStreams });
            }
            None => return lost_seen(ctx),
        }
    }
    // SAFETY: as above.
    let walk: *mut u8 = unsafe { &raw mut (*space).walk }.cast();
    // SAFETY: as above.
    let tail: *mut u8 = unsafe { &raw mut (*space).tail }.cast();
    let Some(len) = fill(task, old_tid, bprm, header, walk, tail, settings) else {
        return lost_seen(ctx);
    };
    // SAFETY: `fill` has written `len` bytes of the space, which is at least that long.
    let record = unsafe { core::slice::from_raw_parts(space.cast::<u8>(), len) };
    let result = EXECUTIONS.output_untyped::<[u8]>(record, u64::from(BPF_RB_FORCE_WAKEUP));
    // SAFETY: as above.
    let reason = unsafe { reason_place.read_volatile() };
    count(match (result, reason) {
        (Err(_), _) => Counter::ExecRing,
        (Ok(()), REASON_ARMED) => Counter::ExecSent,
        (Ok(()), REASON_PRESSURE) => Counter::ExecPressure,
        (Ok(()), REASON_STREAMS) => Counter::ExecStreams,
        (Ok(()), REASON_INHERITED) => Counter::ExecInherited,
        (Ok(()), _) => Counter::ExecParent,
    });
}

/// Whether a program that is no shell may pass on what this shell reads and writes, and the shell reads its commands there.
#[inline(always)]
fn is_relayed(task: Kptr<Probed>, header: &ExecRecord, settings: &Slot) -> bool {
    settings.wanted & WANT_RELAYS != 0
        && stream::can_be_relayed(&raw const header.streams)
        && !argv::is_one_command(task)
}

/// Copies the pending connection into the record, or notes that there is none. The table's entries are used again without delay, so
/// under a flood of connections the copy may be another process's by now: then it is not carried, and `false`.
#[inline(always)]
fn carry(arm: *const Arm, reason: u32, task: Kptr<Probed>, to: &mut Arm) -> bool {
    // SAFETY: null, or an entry of a preallocated map.
    let Some(arm) = (unsafe { arm.as_ref() }) else {
        to.sequence = 0;
        return true;
    };
    *to = *arm;
    let Some(tgid) = task.read::<u32>(offset!(task_tgid)) else { return false };
    let same = if reason == REASON_INHERITED && to.generations == 0 {
        lineage::parent(task).and_then(|parent| parent.read(offset!(task_tgid))) == Some(to.tgid)
    } else if reason == REASON_INHERITED {
        // SAFETY: an entry of a preallocated map.
        let still = INHERITED.get_ptr(tgid).and_then(|inherited| unsafe { inherited.as_ref() });
        still.is_some_and(|inherited| inherited.arm.sequence == to.sequence)
    } else {
        tgid == to.tgid
    };
    if same {
        complete_port(to);
    } else {
        to.sequence = 0;
    }
    same
}

/// Puts the rest of the record together; its length in bytes.
#[inline(always)]
fn fill(
    task: Kptr<Probed>,
    old_tid: u32,
    bprm: Kptr<Probed>,
    header: &mut ExecRecord,
    walk: *mut u8,
    tail: *mut u8,
    settings: &Slot,
) -> Option<usize> {
    // SAFETY: the helper takes no argument and always succeeds.
    header.boot_ns = unsafe { bpf_ktime_get_boot_ns() };
    header.start_ns = start_of(task)?;
    header.tgid = task.read(offset!(task_tgid))?;
    header.old_tid = old_tid;
    let cred = task.follow(offset!(task_cred))?;
    header.uid = cred.read(offset!(cred_uid))?;
    header.gid = cred.read(offset!(cred_gid))?;
    header.euid = cred.read(offset!(cred_euid))?;
    header.loginuid = match offset!(task_loginuid) {
        MISSING => u32::MAX,
        offset => task.read(offset)?,
    };
    header.comm = task.read(offset!(task_comm))?;
    header.argc = if bprm.is_null() { argv::count_on_stack(task)? } else { bprm.read(offset!(binprm_argc))? };
    let argv = argv::find(task, header.argc)?;
    header.argv_total = argv.total;
    header.flags = argv.flags;
    lineage::write(task, &raw mut header.lineage);
    let paths_len = surroundings::paths(task, header, walk, tail)?;
    surroundings::facts(task, &mut header.surroundings);
    let paths_len = within(paths_len, PATHS_ROOM as u32)? as usize;
    let argv_len = bounded(argv.copy(tail.wrapping_add(paths_len)), ARGV_MAX as u32);
    if argv_len == 0 && argv.total != 0 {
        header.flags |= FLAG_ARGV_UNREADABLE | FLAG_UNSEARCHED;
    }
    header.argv_len = argv_len;
    let len = bounded((paths_len as u32) + argv_len, (PATHS_ROOM + ARGV_MAX) as u32) as usize;
    let environment_len = surroundings::environment(task, settings, &mut header.surroundings, tail.wrapping_add(len));
    Some(size_of::<ExecRecord>() + len + environment_len as usize)
}

/// Reads the local port if the connection was seen before it was chosen, and the socket still has the same remote end.
#[inline(always)]
fn complete_port(arm: &mut Arm) {
    if arm.local_port != 0 || arm.sock == 0 {
        return;
    }
    if let Some(Some(ends)) = tcp_ends(Kptr::new(arm.sock as *const u8))
        && ends.remote == arm.remote
        && ends.remote_port == arm.remote_port
    {
        arm.local_port = ends.local_port;
    }
}
