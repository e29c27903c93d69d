//! What the kernel's records do not hold: names of users, the host, containers, what /proc knows of older processes.

pub mod container;
pub mod host;
pub mod process;
pub mod scan;
pub mod user;
