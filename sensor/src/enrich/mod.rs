//! What the kernel's records do not hold: names of users, the host, containers, what /proc knows of older processes.
//!
//! All of it is read from files, late and at the mercy of whoever owns them: it explains an event, and never decides
//! whether it matters. Each reader takes the root of its files, so that tests can give it another one.

pub mod clock;
pub mod container;
pub mod host;
pub mod namespace;
pub mod onlooker;
pub mod parents;
pub mod patience;
pub mod proc;
pub mod process;
pub mod runtime;
pub mod scan;
pub mod tcp;
pub mod user;
