//! The kernel side as seen from user space: what the running kernel offers, loading, ring buffers, counters.

pub mod attach;
pub mod btf;
pub mod counters;
pub mod earlier;
pub mod error;
pub mod hook;
pub mod layout;
pub mod load;
mod loader;
pub mod log;
pub mod missed;
pub mod preemption;
pub mod ring;
pub mod settings;
mod tracefs;
