//! How the names of a list begin: tells nearly every other name from all of them at once.

use crate::name::{Name, Pattern};
use bytemuck::{Pod, Zeroable};

/// For each of the first three bytes, which ones stand there in some name of a list; a name's end is one of them. Of a byte the lowest
/// five bits count, in which capitals and small letters are the same. A name that is not ruled out has to be compared.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Starts(pub [u32; 3]);

impl Starts {
    /// Those of no name: rules out every one.
    pub const NONE: Self = Self([0; 3]);

    /// These, and those of the names in a list. [`Name::NEVER`] adds nothing.
    #[must_use]
    pub const fn with(self, list: &[Name]) -> Self {
        let (mut starts, mut list) = (self, list);
        while let [Name([word, _]), rest @ ..] = list {
            if *word != u64::MAX {
                starts = starts.with_front(*word, 3);
            }
            list = rest;
        }
        starts
    }

    /// These, and those of the names that patterns match. [`Pattern::NEVER`] adds nothing.
    #[must_use]
    pub const fn with_patterns(self, list: &[Pattern]) -> Self {
        let (mut starts, mut list) = (self, list);
        while let [pattern, rest @ ..] = list {
            let (word, bytes) = pattern.front();
            if word != u64::MAX {
                starts = starts.with_front(word, bytes);
            }
            list = rest;
        }
        starts
    }

    /// These, and those of every name that begins with the first `bytes` bytes of `word`; of more than three, three count.
    const fn with_front(self, word: u64, bytes: usize) -> Self {
        let Self([first, second, third]) = self;
        Self([
            first | if bytes > 0 { bit(word) } else { u32::MAX },
            second | if bytes > 1 { bit(word >> 8) } else { u32::MAX },
            third | if bytes > 2 { bit(word >> 16) } else { u32::MAX },
        ])
    }

    /// Whether a name may be in the list, by the first eight bytes of the field that holds it.
    #[must_use]
    #[inline(always)]
    pub const fn may_hold(self, word: u64) -> bool {
        let Self([first, second, third]) = self;
        (first >> (word & 31)) & (second >> (word >> 8 & 31)) & (third >> (word >> 16 & 31)) & 1 != 0
    }
}

const fn bit(byte: u64) -> u32 {
    1 << (byte & 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: [Name; 4] = [Name::new("bash"), Name::new("sh"), Name::new("z"), Name::NEVER];

    fn may_hold(starts: Starts, name: &[u8]) -> bool {
        let mut word = [0; 8];
        word[..name.len()].copy_from_slice(name);
        starts.may_hold(u64::from_le_bytes(word))
    }

    #[test]
    fn every_name_of_the_list_passes_whatever_stands_behind_it() {
        let starts = Starts::NONE.with(&LIST);
        for name in [&b"bash"[..], b"BASH", b"Sh", b"sh\0xxxxx", b"z", b"Z\0"] {
            assert!(may_hold(starts, name), "{name:?}");
        }
        assert_eq!(starts, Starts::NONE.with(&LIST[2..]).with(&LIST[..2]));
    }

    #[test]
    fn others_are_ruled_out() {
        let starts = Starts::NONE.with(&LIST);
        for name in [&b""[..], b"true", b"dash", b"shutdown", b"curl", b"sleep"] {
            assert!(!may_hold(starts, name), "{name:?}");
        }
        assert!(!may_hold(Starts::NONE, b"bash"));
        assert_eq!(Starts::NONE.with(&[Name::NEVER; 3]), Starts::NONE);
    }

    #[test]
    fn of_a_front_the_bytes_behind_it_do_not_count() {
        for (pattern, name, passes) in [
            ("python*", "python3", true),
            ("python*", "perl", false),
            ("nc*", "ncat", true),
            ("nc", "nc", true),
            ("nc", "ncat", false),
            ("p*", "php", true),
            ("p*", "q", false),
            ("*", "anything", false),
        ] {
            let starts = Starts::NONE.with_patterns(&[Pattern::NEVER, Pattern::new(pattern)]);
            assert_eq!(may_hold(starts, name.as_bytes()), passes, "{pattern:?} {name:?}");
        }
    }
}
