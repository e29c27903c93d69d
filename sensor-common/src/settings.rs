//! What the user side tells the kernel side: constants written before loading, and settings that a reload may change.

use crate::address::Prefix;
use crate::name::{Name, Pattern};
use crate::starts::Starts;
use bytemuck::{Pod, Zeroable};

/// Most networks that can be excluded.
pub const MAX_EXCLUDED: usize = 64;
/// Most names in each list of [`Names`].
pub const MAX_NAMES: usize = 16;
/// Most patterns in [`Names::relays`].
pub const MAX_RELAYS: usize = 16;
/// Connections that are remembered at a time, one per process.
pub const PENDING_CAPACITY: u32 = 32_768;
/// Processes that are remembered at a time as having inherited a connection.
pub const INHERITED_CAPACITY: u32 = 8_192;
/// Added to the span by the kernel side, in nanoseconds: the rule compares times cut to milliseconds, so two events may be
/// up to a millisecond farther apart than the span and still match.
pub const SPAN_SLACK_NS: u64 = 1_000_000;

/// [`Slot::wanted`]: executions of shells whose standard input and output are connections, armed or not.
pub const WANT_STREAMS: u64 = 1;
/// [`Slot::wanted`]: executions of shells that descend from a process with a connection.
pub const WANT_DESCENDANTS: u64 = 2;
/// [`Slot::wanted`]: connections of [`Names::relays`], and the shells of those programs that stand on a terminal, a pipe or a socket and read
/// their commands from there.
pub const WANT_RELAYS: u64 = 4;

/// The names that the kernel side looks for; constants for as long as the programs are loaded.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Names {
    // What is asked of every execution and connection comes first, in one cache line.
    /// How the names begin whose connections count, those of relays included.
    pub connecting_starts: Starts,
    /// How the names begin whose executions count, that of the parent program included.
    pub executed_starts: Starts,
    /// The program of which every execution is reported, since its arguments decide about its children.
    pub parent: Name,
    /// Programs whose connections count, in small letters: compared case-insensitively.
    pub connecting: [Name; MAX_NAMES],
    /// Programs that may stand between a connection and a shell, in small letters: compared case-insensitively.
    pub relays: [Pattern; MAX_RELAYS],
    /// Programs whose execution counts after a connection, compared exactly.
    pub executed: [Name; MAX_NAMES],
}

impl Names {
    /// Matches nothing.
    pub const NONE: Self = Self::new([Name::NEVER; MAX_NAMES], [Name::NEVER; MAX_NAMES], Name::NEVER);

    /// The names in one structure, without relays; see its fields.
    #[must_use]
    pub const fn new(connecting: [Name; MAX_NAMES], executed: [Name; MAX_NAMES], parent: Name) -> Self {
        Self {
            connecting,
            relays: [Pattern::NEVER; MAX_RELAYS],
            executed,
            parent,
            connecting_starts: Starts::NONE.with(&connecting),
            executed_starts: Starts::NONE.with(&executed).with(&[parent]),
        }
    }

    /// The same with these relays.
    #[must_use]
    pub const fn with_relays(self, relays: [Pattern; MAX_RELAYS]) -> Self {
        Self { relays, connecting_starts: self.connecting_starts.with_patterns(&relays), ..self }
    }
}

/// One complete set of settings.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Slot {
    /// Nanoseconds of boot time between a connection and an execution that still belong together, without slack.
    pub span_ns: u64,
    /// What is sent beside what follows a connection of the same process, `WANT_…`.
    pub wanted: u64,
    /// Bytes of the environment of a shell that are told; 0 for none.
    pub environment: u64,
    /// Destinations that never count; unused places hold [`Prefix::NONE`], so that no number of entries has to be trusted.
    pub excluded: [Prefix; MAX_EXCLUDED],
}

/// The settings map's only value. The user side writes the slot that is not in use, then flips `active`, so that a
/// program sees either the old settings or the new ones.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Settings {
    /// Number of the slot in use; only its lowest bit counts.
    pub active: u64,
    /// The slot in use and the one that the next reload writes.
    pub slots: [Slot; 2],
}
