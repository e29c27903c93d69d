//! TCP connections attempted.
//!
//! Kernel: `int tcp_connect(struct sock *sk)`, all versions. It builds and queues the SYN, in the task that called connect(2),
//! or sendto(2) with TCP Fast Open, or the io_uring equivalent; the route, both addresses and both ports are settled, and
//! neither "no route" nor an abandoned bind reaches it. At its exit, 0 says that the SYN was queued.
//!
//! Where neither fentry nor kprobes exist: `inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`,
//! a tracepoint since 4.16. It goes to SYN_SENT in the same task before the local port is chosen, so the port is completed
//! at the execution; an attempt that then finds no free port counts too. From 7.0 its programs can be preempted, and the kernel then
//! skips the next attempt on that CPU; as a classic tracepoint, at a higher cost for each change of a state, they run to their end.

use crate::arm::{Hook, class_of, connection};
use crate::emit::{Counts, count};
use crate::kernel::{Kptr, Probed};
use crate::kprobe::first_argument;
use aya_ebpf::EbpfContext;
use aya_ebpf::macros::{btf_tracepoint, fexit, kprobe, tracepoint};
use aya_ebpf::programs::{BtfTracePointContext, FExitContext, ProbeContext, TracePointContext};
use sensor_common::counter::Counter;
use sensor_common::record::{ATTEMPTED, WITNESS_CONNECT};

const TCP_SYN_SENT: i32 = 2;

const CONNECT: Hook = Hook {
    witness: WITNESS_CONNECT,
    direction: ATTEMPTED,
    name: Counter::ConnectName,
    network: Counter::ConnectNetwork,
    not_tcp: Counter::ConnectNotTcp,
    sent: Counter::ConnectSent,
    ring: Counter::ConnectRing,
    read: Counter::ConnectRead,
    not_pending: Counter::ConnectNotPending,
};

#[fexit]
fn connect_fexit(ctx: FExitContext) -> i32 {
    let sock: *const u8 = ctx.arg(0);
    let result: i32 = ctx.arg(1);
    if result == 0 {
        attempted(&ctx, sock);
    } else {
        count(Counter::ConnectSeen);
        count(Counter::ConnectNotTcp);
    }
    0
}

#[kprobe]
fn connect_kprobe(ctx: ProbeContext) -> u32 {
    attempted(&ctx, first_argument(&ctx));
    0
}

#[btf_tracepoint]
fn connect_state(ctx: BtfTracePointContext) -> i32 {
    let new_state: i32 = ctx.arg(2);
    if new_state == TCP_SYN_SENT {
        attempted(&ctx, ctx.arg(0));
    }
    0
}

/// Where the record of the classic tracepoint holds the socket's address and the new state: behind 8 bytes common to all, and behind
/// the old state.
const SOCKET: usize = 8;
const NEW_STATE: usize = 20;

#[tracepoint]
fn connect_trace(ctx: TracePointContext) -> u32 {
    // SAFETY: the helper takes any source address.
    let (new_state, sock) = unsafe { (ctx.read_at::<i32>(NEW_STATE), ctx.read_at::<u64>(SOCKET)) };
    match (new_state, sock) {
        (Ok(TCP_SYN_SENT), Ok(sock)) => attempted(&ctx, sock as *const u8),
        (Ok(_), Ok(_)) => {}
        _ => {
            count(Counter::ConnectSeen);
            count(CONNECT.read);
        }
    }
    0
}

#[inline(always)]
fn attempted<C: EbpfContext>(ctx: &C, sock: *const u8) {
    let counts = Counts::own();
    counts.count(Counter::ConnectSeen);
    match class_of() {
        Some(Some(class)) => counted(ctx, sock, class),
        Some(None) => counts.count(CONNECT.name),
        None => counts.count(CONNECT.read),
    }
}

/// No function of its own: what it needs leaves no room for another one on the stack, 512 bytes for all together.
#[inline(always)]
fn counted<C: EbpfContext>(ctx: &C, sock: *const u8, class: u8) {
    connection(ctx, &CONNECT, class, Kptr::<Probed>::current(), Kptr::new(sock));
}
