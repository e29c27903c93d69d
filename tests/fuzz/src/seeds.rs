//! Inputs to begin with, made from what the sensor itself knows of each format.
//!
//! They are committed, so that the corpus is complete without building anything; a test compares the two. What is
//! written by hand (`corpus/config`, a part of `corpus/replay`) is only committed.

mod btf;
mod record;
mod replay;

use std::path::{Path, PathBuf};

/// One input.
#[derive(Clone, Debug)]
pub struct Seed {
    /// What it is for, one of [`TARGETS`](crate::TARGETS).
    pub target: &'static str,
    /// Name of its file.
    pub name: String,
    /// The input.
    pub bytes: Vec<u8>,
}

impl Seed {
    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(self.target).join(&self.name)
    }
}

/// All of them.
#[must_use]
pub fn all() -> Vec<Seed> {
    let sets = [("argv", argv()), ("btf", btf::seeds()), ("record", record::seeds()), ("replay", replay::seeds())];
    let each = |(target, seeds): (&'static str, Vec<(String, Vec<u8>)>)| {
        seeds.into_iter().map(move |(name, bytes)| Seed { target, name, bytes })
    };
    sets.into_iter().flat_map(each).collect()
}

/// Flags, bytes that were not copied, argc, argv.
fn argv() -> Vec<(String, Vec<u8>)> {
    let seeds: [(&str, [u8; 3], &[u8]); 8] = [
        ("none", [0, 0, 0], b""),
        ("interactive", [1, 0, 2], b"bash\0-i\0"),
        ("login", [2, 0, 3], b"sh\0-l\0x\0"),
        ("cut-flag", [0, 9, 2], b"bash\0-i"),
        ("found-beyond", [3, 200, 9], b"bash\0-x\0lon"),
        ("unsearched", [4, 255, 255], b"bash\0-c\0"),
        ("unreadable", [12, 1, 1], b""),
        ("no-text", [0, 0, 5], b"-i\0\xff\xfe-i\0\0-i \xe2\x80\xa6\0\xf0\x9f\0"),
    ];
    seeds.map(|(name, head, argv)| (name.to_owned(), [&head, argv].concat())).into()
}
