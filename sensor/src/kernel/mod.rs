//! The kernel side as seen from user space: what the running kernel offers, loading, ring buffers, counters.

pub mod btf;
pub mod layout;
