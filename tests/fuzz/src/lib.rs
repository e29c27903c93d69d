//! What is fuzzed: one function for each sort of untrusted bytes, given any bytes.
//!
//! A function panics if the sensor's answer to the bytes is wrong. It returns whether the bytes were good enough to be
//! taken all the way, so that tests can see that the corpus has both sorts. libFuzzer runs the functions through the
//! programs in `fuzzers/`; the crate's tests run them on every committed input, without it.

#![allow(clippy::expect_used, clippy::panic, reason = "a panic is how a finding is told")]

mod argv;
mod btf;
mod config;
mod file;
mod record;
mod replay;
pub mod seeds;

pub use argv::argv;
pub use btf::btf;
pub use config::config;
pub use record::record;
pub use replay::replay;

/// One sort of bytes: panics if the answer to them is wrong, and says whether they were taken all the way.
pub type Target = fn(&[u8]) -> bool;

/// What is fuzzed, by name: each has a program in `fuzzers/`, a directory in `corpus/`, and one in `regressions/` once it
/// has had a finding.
pub const TARGETS: [(&str, Target); 5] =
    [("argv", argv), ("btf", btf), ("config", config), ("record", record), ("replay", replay)];
