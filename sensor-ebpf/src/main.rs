//! Kernel side of the sensor.
//!
//! The programs, of which the user side loads those that the running kernel takes:
//!
//! | file | programs |
//! |---|---|
//! | `connect.rs` | `connect_fexit`, `connect_kprobe`, `connect_state` |
//! | `accept.rs` | `accept_fexit_4`, `accept_fexit_2`, `graft_fentry`, `graft_kprobe`, `accept_exit` |
//! | `exec.rs` | `exec_btf`, `exec_raw`, `exec_trace` |
//! | `fork.rs` | `fork_btf`, `fork_raw`, `fork_trace` |
//!
//! A connection of a named program to a destination that is not excluded is remembered (`arm.rs`) and reported; the
//! execution of a shell is reported if its process is remembered or was forked by one that is, or if its standard input and output are
//! connections. Everything else is counted and dropped here.
#![no_std]
#![no_main]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the verifier bounds what it is told in the line beside; halves of words are taken on purpose"
)]
#![expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "the place of a field and its volatile access are one step for the reader and for the verifier"
)]
#![expect(clippy::needless_pass_by_value, reason = "aya's macros hand over contexts by value")]

mod accept;
mod argv;
mod arm;
mod connect;
mod emit;
mod exec;
mod filter;
mod fork;
mod kernel;
mod kprobe;
mod lineage;
mod maps;
mod path;
mod socket;
mod stream;
mod surroundings;

#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Never reached: the object is checked to hold no path that leads here.
#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
