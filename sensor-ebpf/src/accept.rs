//! TCP connections accepted.
//!
//! First witness: `struct sock *inet_csk_accept(struct sock *sk, int flags, int *err, bool kern)` up to 6.9,
//! `(struct sock *sk, struct proto_accept_arg *arg)` from 6.10. It returns the new connection in the task that called
//! accept(2) or its io_uring equivalent. The return value's slot follows the arguments, hence two programs.
//!
//! Second witness: `void security_sock_graft(struct sock *sk, struct socket *parent)`, all versions with
//! CONFIG_SECURITY_NETWORK. It is entered after the task has slept, right behind the first one; fexit misses calls that were
//! asleep when it was attached, and up to 7.0 also those asleep while anybody attaches to or leaves the function. It sees every
//! protocol's accept, so the socket's own protocol decides.
//!
//! Where neither fentry nor kprobes exist: the tracepoints `syscalls/sys_exit_accept4` and `sys_exit_accept`, from the returned
//! descriptor to its socket. They tax every system call and fire neither for 32-bit programs nor for io_uring.

use crate::arm::{Hook, class_of, connection};
use crate::emit::{Counts, count};
use crate::kernel::{Kptr, Probed};
use crate::kprobe::first_argument;
use crate::stream::socket_of;
use aya_ebpf::EbpfContext;
use aya_ebpf::macros::{fentry, fexit, kprobe, tracepoint};
use aya_ebpf::programs::{FEntryContext, FExitContext, ProbeContext, TracePointContext};
use sensor_common::counter::Counter;
use sensor_common::record::{ACCEPTED, WITNESS_ACCEPT, WITNESS_GRAFT};

const ACCEPT: Hook = Hook {
    witness: WITNESS_ACCEPT,
    direction: ACCEPTED,
    name: Counter::AcceptName,
    network: Counter::AcceptNetwork,
    not_tcp: Counter::AcceptNotTcp,
    sent: Counter::AcceptSent,
    ring: Counter::AcceptRing,
    read: Counter::AcceptRead,
    not_pending: Counter::AcceptNotPending,
};

const GRAFT: Hook = Hook {
    witness: WITNESS_GRAFT,
    direction: ACCEPTED,
    name: Counter::GraftName,
    network: Counter::GraftNetwork,
    not_tcp: Counter::GraftNotTcp,
    sent: Counter::GraftSent,
    ring: Counter::GraftRing,
    read: Counter::GraftRead,
    not_pending: Counter::GraftNotPending,
};

#[fexit]
fn accept_fexit_4(ctx: FExitContext) -> i32 {
    returned(&ctx, ctx.arg(4));
    0
}

#[fexit]
fn accept_fexit_2(ctx: FExitContext) -> i32 {
    returned(&ctx, ctx.arg(2));
    0
}

#[fentry]
fn graft_fentry(ctx: FEntryContext) -> i32 {
    grafted(&ctx, ctx.arg(0));
    0
}

#[kprobe]
fn graft_kprobe(ctx: ProbeContext) -> u32 {
    grafted(&ctx, first_argument(&ctx));
    0
}

/// Where the record of a `sys_exit_…` tracepoint holds the return value: behind 8 bytes common to all and the call's number.
const RETURN_VALUE: usize = 16;

#[tracepoint]
fn accept_exit(ctx: TracePointContext) -> u32 {
    // SAFETY: the helper takes any source address.
    let descriptor: i64 = unsafe { ctx.read_at(RETURN_VALUE) }.unwrap_or(-1);
    let counts = Counts::own();
    counts.count(Counter::AcceptSeen);
    if descriptor < 0 {
        counts.count(ACCEPT.not_tcp);
        return 0;
    }
    match class_of() {
        Some(Some(class)) => descriptor_counted(&ctx, descriptor as u64, class),
        Some(None) => counts.count(ACCEPT.name),
        None => counts.count(ACCEPT.read),
    }
    0
}

#[inline(never)]
fn descriptor_counted(ctx: &TracePointContext, descriptor: u64, class: u8) {
    let task = Kptr::<Probed>::current();
    match socket_of(task, descriptor) {
        Some(Some(sock)) => connection(ctx, &ACCEPT, class, task, sock),
        Some(None) => count(ACCEPT.not_tcp),
        None => count(ACCEPT.read),
    }
}

#[inline(always)]
fn returned<C: EbpfContext>(ctx: &C, sock: *const u8) {
    let counts = Counts::own();
    counts.count(Counter::AcceptSeen);
    if sock.is_null() {
        return counts.count(ACCEPT.not_tcp);
    }
    match class_of() {
        Some(Some(class)) => accept_counted(ctx, sock, class),
        Some(None) => counts.count(ACCEPT.name),
        None => counts.count(ACCEPT.read),
    }
}

#[inline(always)]
fn grafted<C: EbpfContext>(ctx: &C, sock: *const u8) {
    let counts = Counts::own();
    counts.count(Counter::GraftSeen);
    match class_of() {
        Some(Some(class)) => graft_counted(ctx, sock, class),
        Some(None) => counts.count(GRAFT.name),
        None => counts.count(GRAFT.read),
    }
}

/// Functions of their own: what they need to keep is no work for the many that do not come here.
#[inline(never)]
fn accept_counted<C: EbpfContext>(ctx: &C, sock: *const u8, class: u8) {
    connection(ctx, &ACCEPT, class, Kptr::<Probed>::current(), Kptr::new(sock));
}

#[inline(never)]
fn graft_counted<C: EbpfContext>(ctx: &C, sock: *const u8, class: u8) {
    connection(ctx, &GRAFT, class, Kptr::<Probed>::current(), Kptr::new(sock));
}
