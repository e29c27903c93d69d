//! What can be wrong with type information, or missing from it.

use super::MAX_BYTES;
use std::io;

/// Why type information could not be read, or does not answer a question.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    Read(io::Error),
    /// The file is longer than anything a kernel has.
    #[error("it is longer than {MAX_BYTES} bytes")]
    TooLarge,
    /// Not BTF at all.
    #[error("this is no BTF: it does not begin with its magic number")]
    NotBtf,
    /// Made for a machine of the other byte order.
    #[error("this BTF is big-endian, which no supported machine is")]
    BigEndian,
    /// A format that is not known.
    #[error("BTF of version {0}, only version 1 is known")]
    Version(u8),
    /// The bytes contradict the format.
    #[error("malformed BTF: {what} at byte {at}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
        /// Where, counted from the beginning of the file.
        at: usize,
    },
    /// A kind of type that is not known, so that what follows it cannot be found.
    #[error("BTF type of the unknown kind {kind} at byte {at}: made by a newer kernel than this sensor knows")]
    UnknownKind {
        /// Its number.
        kind: u8,
        /// Where, counted from the beginning of the file.
        at: usize,
    },
    /// There is no structure of this name.
    #[error("there is no structure `{name}`")]
    NoType {
        /// The name looked for.
        name: String,
    },
    /// The structure has no member of this name.
    #[error("`{path}`: there is no member `{member}`")]
    NoMember {
        /// The path looked for.
        path: String,
        /// The part of it that is absent.
        member: String,
    },
    /// A member has no members of its own.
    #[error("`{path}`: what holds `{member}` is no structure")]
    NotAStruct {
        /// The path looked for.
        path: String,
        /// The part of it that cannot be.
        member: String,
    },
    /// The member is a bit field, which has no byte offset.
    #[error("`{path}` is a bit field")]
    Bitfield {
        /// The path looked for.
        path: String,
    },
    /// Several structures of this name have the member in different places.
    #[error("`{path}` is ambiguous: structures of the same name hold it in different places")]
    Ambiguous {
        /// The path looked for.
        path: String,
    },
}
