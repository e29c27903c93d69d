//! Processes forked: a connection counts for the descendants of the process that made it too.
//!
//! Kernel: tracepoint `sched_process_fork(struct task_struct *parent, struct task_struct *child)`, since 2.6.28 (`kernel_clone`, before
//! 5.10 `_do_fork`). It runs in the parent, after the child was made and before it runs, for threads too. Walking up the parents at an
//! execution instead would lose those that have ended: whoever leaves a shell behind as an orphan.
//!
//! tp_btf since 5.5, raw tracepoint where that is refused. From 7.0 both can be preempted, and the kernel then skips the next fork on that
//! CPU; a classic tracepoint still runs to its end. It tells the child's number alone, so that a thread is remembered like a process;
//! nothing ever asks for it.
//!
//! Loaded only if a rule asks for descendants. Nearly every fork ends at the first question, which costs no counter.

use crate::arm::{is_pending, is_recent, last_armed};
use crate::emit::count;
use crate::exec::EARLY_OUT_SLACK_NS;
use crate::filter::settings;
use crate::kernel::{Access, Kptr, Probed, Typed, offset};
use crate::maps::{FORKING, INHERITED, PENDING};
use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_ktime_get_boot_ns};
use aya_ebpf::macros::{btf_tracepoint, raw_tracepoint, tracepoint};
use aya_ebpf::programs::{BtfTracePointContext, RawTracePointContext, TracePointContext};
use sensor_common::counter::Counter;
use sensor_common::layout::MISSING;
use sensor_common::record::{Arm, GENERATIONS, Inherited};
use sensor_common::settings::{INHERITED_CAPACITY, Slot, WANT_DESCENDANTS};

#[btf_tracepoint(function = "sched_process_fork")]
fn fork_btf(ctx: BtfTracePointContext) -> i32 {
    forked(|| of_task(Kptr::<Typed>::new(ctx.arg(1))));
    0
}

#[raw_tracepoint(tracepoint = "sched_process_fork")]
fn fork_raw(ctx: RawTracePointContext) -> i32 {
    // SAFETY: the tracepoint has two arguments, each a register wide.
    let child = unsafe { ctx.as_ptr().cast::<u64>().add(1).read() };
    forked(|| of_task(Kptr::<Probed>::new(child as *const u8)));
    0
}

#[tracepoint]
fn fork_trace(ctx: TracePointContext) -> u32 {
    if offset!(fork_child) == MISSING {
        return 0;
    }
    forked(|| {
        let record = Kptr::<Probed>::new(ctx.as_ptr().cast());
        Some(Child::Process(record.read(offset!(fork_child))?))
    });
    0
}

/// What was forked.
enum Child {
    Thread,
    /// Its number.
    Process(u32),
}

#[inline(always)]
fn of_task<A: Access>(task: Kptr<A>) -> Option<Child> {
    let (pid, tgid) = (task.read::<u32>(offset!(task_pid))?, task.read::<u32>(offset!(task_tgid))?);
    Some(if pid == tgid { Child::Process(tgid) } else { Child::Thread })
}

#[inline(always)]
fn forked(child: impl FnOnce() -> Option<Child>) {
    let last = last_armed();
    if last == 0 {
        return;
    }
    let Some(settings) = settings() else { return };
    if settings.wanted & WANT_DESCENDANTS == 0 {
        return;
    }
    // SAFETY: the helper takes no argument and always succeeds.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    if now.saturating_sub(last) > settings.span_ns + EARLY_OUT_SLACK_NS {
        return;
    }
    count(Counter::ForkSeen);
    count(match child() {
        Some(Child::Process(tgid)) => inherit(tgid, now, settings).unwrap_or(Counter::ForkRead),
        Some(Child::Thread) => Counter::ForkThread,
        None => Counter::ForkRead,
    });
}

/// Hands the current process's connection on, its own or one that it has inherited; the counter of what became of it.
#[inline(always)]
fn inherit(child: u32, now: u64, settings: &Slot) -> Option<Counter> {
    // SAFETY: the helper takes no argument and always succeeds.
    let tgid = (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32;
    let leader = Kptr::<Probed>::current().follow(offset!(task_group_leader))?;
    let start_ns: u64 = leader.read(offset!(task_start_boottime))?;
    let Some(arm) = held(tgid, start_ns, now, settings.span_ns) else { return Some(Counter::ForkUnarmed) };
    if arm.generations >= GENERATIONS {
        return Some(Counter::ForkFar);
    }
    let mut inherited = Inherited { forked_ns: now, tgid: child, reserved: 0, arm: *arm };
    inherited.arm.generations += 1;
    let inherited = &inherited;
    watch_pressure(now, settings.span_ns);
    Some(if INHERITED.insert(child, inherited, 0).is_ok() { Counter::ForkInherited } else { Counter::ForkTable })
}

/// The connection that a process has made or, if it has made none within the span, inherited.
#[inline(always)]
fn held<'a>(tgid: u32, start_ns: u64, now: u64, span_ns: u64) -> Option<&'a Arm> {
    // SAFETY: entries of a preallocated map stay readable; this process's own is replaced by its own threads alone.
    let own = PENDING.get_ptr(tgid).and_then(|arm| unsafe { arm.as_ref() });
    match own {
        Some(arm) if is_pending(arm, start_ns, now, span_ns) => Some(arm),
        _ => inherited(tgid, start_ns, now, span_ns),
    }
}

/// The connection that a process has inherited, if it still counts.
#[inline(always)]
pub(crate) fn inherited<'a>(tgid: u32, start_ns: u64, now: u64, span_ns: u64) -> Option<&'a Arm> {
    // SAFETY: entries of a preallocated map stay readable.
    let inherited = unsafe { INHERITED.get_ptr(tgid)?.as_ref()? };
    (start_ns <= inherited.forked_ns && is_recent(&inherited.arm, now, span_ns)).then_some(&inherited.arm)
}

/// The table evicts silently; that it may have done so is counted, as described for connections.
#[inline(always)]
fn watch_pressure(now: u64, span_ns: u64) {
    let Some(forking) = FORKING.get_ptr_mut(0) else { return };
    // SAFETY: a value of an array map lives as long as the map.
    let forking = unsafe { &mut *forking };
    if now.wrapping_sub(forking.start_ns) > span_ns {
        forking.start_ns = now;
        forking.count = 0;
    }
    forking.count += 1;
    if forking.count > u64::from(INHERITED_CAPACITY / 4) {
        count(Counter::ForkPressure);
    }
}
