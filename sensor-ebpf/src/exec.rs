//! Programs executed.
//!
//! Kernel: tracepoint `sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`, since 3.4. It runs
//! in the task after the point of no return: the new mm, credentials and comm are in place, and argv lies on the new stack
//! where no other thread can change it any more. tp_btf since 5.5, raw tracepoint before and where that is refused.
//!
//! Nearly every execution ends at the first question, which costs no counter: was anything armed within the span?

use crate::argv;
use crate::arm::{is_under_pressure, last_armed};
use crate::emit::count;
use crate::filter::{comm, file_name, is_executed, is_parent, settings};
use crate::kernel::{Access, Kptr, Probed, Typed, offset};
use crate::lineage;
use crate::maps::{EXEC_SPACE, EXECUTIONS, ExecSpace, PENDING};
use crate::path;
use crate::socket::tcp_ends;
use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::BPF_RB_FORCE_WAKEUP;
use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;
use aya_ebpf::macros::{btf_tracepoint, raw_tracepoint};
use aya_ebpf::programs::{BtfTracePointContext, RawTracePointContext};
use aya_log_ebpf::warn;
use sensor_common::counter::Counter;
use sensor_common::layout::MISSING;
use sensor_common::record::{
    ARGV_MAX, Arm, EXEC_PATH_MAX, ExecRecord, FLAG_ARGV_UNREADABLE, FLAG_UNSEARCHED, PATH_SLACK, PATH_UNREADABLE,
    PathPart, REASON_ARMED, REASON_PARENT, REASON_PRESSURE, WITNESS_PROC,
};
use sensor_common::settings::SPAN_SLACK_NS;

/// What the early-out adds to the span: far more than a task can be held up between taking the time and writing it.
const EARLY_OUT_SLACK_NS: u64 = 1_000_000_000;
/// /proc gives the start of a process in units of 10 ms.
const PROC_TICK_NS: u64 = 10_000_000;

#[btf_tracepoint(function = "sched_process_exec")]
fn exec_btf(ctx: BtfTracePointContext) -> i32 {
    executed(
        &ctx,
        Kptr::<Typed>::new(ctx.arg(0)),
        ctx.arg(1),
        Kptr::<Typed>::new(ctx.arg(2)),
    );
    0
}

#[raw_tracepoint(tracepoint = "sched_process_exec")]
fn exec_raw(ctx: RawTracePointContext) -> i32 {
    let [task, old_tid, bprm] = [0, 1, 2].map(|n| {
        // SAFETY: the tracepoint has three arguments, each a register wide.
        unsafe { ctx.as_ptr().cast::<u64>().add(n).read() }
    });
    executed(
        &ctx,
        Kptr::<Probed>::new(task as *const u8),
        old_tid as u32,
        Kptr::<Probed>::new(bprm as *const u8),
    );
    0
}

/// Why an execution is sent, and the connection that it carries.
struct Cause<'a> {
    reason: u32,
    arm: Option<&'a Arm>,
    sent: Counter,
}

#[inline(always)]
fn executed<C: EbpfContext, A: Access>(ctx: &C, task: Kptr<A>, old_tid: u32, bprm: Kptr<A>) {
    let Some(name) = comm(task) else { return lost(ctx) };
    let exe = bprm.follow(offset!(binprm_file)).and_then(file_name);
    if is_parent(name) || exe.is_some_and(is_parent) {
        count(Counter::ExecSeen);
        let cause = Cause {
            reason: REASON_PARENT,
            arm: None,
            sent: Counter::ExecParent,
        };
        return send(ctx, task.probed(), old_tid, bprm.probed(), &cause);
    }
    let last = last_armed();
    if last == 0 {
        return;
    }
    let Some(settings) = settings() else { return lost(ctx) };
    // SAFETY: the helper takes no argument and always succeeds.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    if now.saturating_sub(last) > settings.span_ns + EARLY_OUT_SLACK_NS {
        return;
    }
    count(Counter::ExecSeen);
    if !is_executed(name) && !exe.is_some_and(is_executed) {
        return count(Counter::ExecName);
    }
    let (Some(tgid), Some(start_ns)) = (task.read::<u32>(offset!(task_tgid)), start_of(task)) else {
        return lost_seen(ctx);
    };
    let cause = match PENDING.get_ptr(tgid) {
        // SAFETY: entries of a preallocated map stay readable; this process has no other thread that could replace it.
        Some(arm) => match judge(unsafe { &*arm }, start_ns, now, settings.span_ns) {
            // SAFETY: as above.
            None => Ok(Cause {
                reason: REASON_ARMED,
                arm: Some(unsafe { &*arm }),
                sent: Counter::ExecSent,
            }),
            Some(unarmed) => Err(unarmed),
        },
        None => Err(Counter::ExecUnarmed),
    };
    match cause {
        Ok(cause) => send(ctx, task.probed(), old_tid, bprm.probed(), &cause),
        Err(_) if is_under_pressure(now) => {
            let cause = Cause {
                reason: REASON_PRESSURE,
                arm: None,
                sent: Counter::ExecPressure,
            };
            send(ctx, task.probed(), old_tid, bprm.probed(), &cause);
        }
        Err(unarmed) => count(unarmed),
    }
}

/// Why a pending connection does not count for this process; `None` if it does.
#[inline(always)]
fn judge(arm: &Arm, start_ns: u64, now: u64, span_ns: u64) -> Option<Counter> {
    let same = if arm.witness & WITNESS_PROC == 0 {
        arm.start_ns == start_ns
    } else {
        arm.start_ns / PROC_TICK_NS == start_ns / PROC_TICK_NS
    };
    if !same {
        return Some(Counter::ExecReused);
    }
    (now.saturating_sub(arm.boot_ns) > span_ns + SPAN_SLACK_NS).then_some(Counter::ExecExpired)
}

#[inline(always)]
fn start_of<A: Access>(task: Kptr<A>) -> Option<u64> {
    task.follow(offset!(task_group_leader))?
        .read(offset!(task_start_boottime))
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
fn send<C: EbpfContext>(ctx: &C, task: Kptr<Probed>, old_tid: u32, bprm: Kptr<Probed>, cause: &Cause<'_>) {
    let Some(space) = EXEC_SPACE.get_ptr_mut(0) else {
        return lost_seen(ctx);
    };
    let Some(len) = fill(task, old_tid, bprm, cause, space) else {
        return lost_seen(ctx);
    };
    // SAFETY: `fill` has written `len` bytes of the space, which is at least that long.
    let record = unsafe { core::slice::from_raw_parts(space.cast::<u8>(), len) };
    let result = EXECUTIONS.output_untyped::<[u8]>(record, u64::from(BPF_RB_FORCE_WAKEUP));
    count(if result.is_ok() { cause.sent } else { Counter::ExecRing });
}

/// Puts the record together; its length in bytes.
#[inline(always)]
fn fill(
    task: Kptr<Probed>,
    old_tid: u32,
    bprm: Kptr<Probed>,
    cause: &Cause<'_>,
    space: *mut ExecSpace,
) -> Option<usize> {
    // SAFETY: a value of the map, used by this program alone.
    let header: &mut ExecRecord = unsafe { &mut (*space).header };
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
    header.argc = bprm.read(offset!(binprm_argc))?;
    header.reason = cause.reason;
    match cause.arm {
        Some(arm) => {
            header.arm = *arm;
            complete_port(&mut header.arm);
        }
        None => header.arm.sequence = 0,
    }
    lineage::write(task, &raw mut header.lineage);

    // SAFETY: as above.
    let tail: *mut u8 = unsafe { &raw mut (*space).tail }.cast();
    header.path = match task.exe_file() {
        Some(file) => path::walk::<EXEC_PATH_MAX>(file, tail),
        None => PathPart {
            len: 0,
            state: PATH_UNREADABLE,
        },
    };
    let path_len = bounded(header.path.len, (EXEC_PATH_MAX + PATH_SLACK) as u32);
    let argv_len = match argv::copy(task, header.argc, tail.wrapping_add(path_len)) {
        Some(argv::Copied { len, total, flags }) => {
            header.argv_total = total;
            header.flags = flags;
            len
        }
        None => {
            header.argv_total = 0;
            header.flags = FLAG_ARGV_UNREADABLE | FLAG_UNSEARCHED;
            0
        }
    };
    let argv_len = bounded(argv_len, ARGV_MAX as u32);
    header.argv_len = argv_len as u32;
    Some(size_of::<ExecRecord>() + path_len + argv_len)
}

/// The value, which is at most `max` anyway, in a form in which the verifier knows that too.
#[inline(always)]
fn bounded(value: u32, max: u32) -> usize {
    let value = core::hint::black_box(value);
    (if value > max { max } else { value }) as usize
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
