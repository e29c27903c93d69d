//! What the kernel side and the user side of the sensor share.
//!
//! `no_std` and without dependencies, so that the same code compiles for the BPF target and is tested on the host.
//! Everything that crosses the border is `#[repr(C)]`, has no hidden padding, and its size is asserted at compile time.
#![no_std]

pub mod address;
pub mod counter;
pub mod format;
pub mod layout;
pub mod name;
pub mod record;
pub mod settings;
pub mod starts;
