//! Program names as two machine words, so that the kernel side compares a name with a constant in two instructions.

use bytemuck::{Pod, Zeroable};

/// A name of at most 15 bytes, zero behind its end: `task_struct.comm`, or the last component of an executable's path.
/// The first byte is the least significant one of the first word (all supported targets are little-endian).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Name(pub [u64; 2]);

const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);

impl Name {
    /// Longest name that can be told apart; a comm has 16 bytes with its terminating zero.
    pub const MAX: usize = 15;

    /// Equals no name, since a name's last byte is zero: fills the unused places of a table.
    pub const NEVER: Self = Self([u64::MAX; 2]);

    /// The name spelled by `text`; [`Name::NEVER`] if it is empty, too long or contains a zero.
    #[must_use]
    pub const fn new(text: &str) -> Self {
        let text = text.as_bytes();
        if text.is_empty() || text.len() > Self::MAX {
            return Self::NEVER;
        }
        let mut bytes = [0; 16];
        let (head, _) = bytes.split_at_mut(text.len());
        head.copy_from_slice(text);
        let name = Self::from_comm(bytes);
        // A zero inside would cut the name to another one.
        if name.len() == text.len() { name } else { Self::NEVER }
    }

    /// Bytes in front of the first zero.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "nobody asks whether a name is empty")]
    pub const fn len(self) -> usize {
        let [first, second] = self.0;
        16 - (((second as u128) << 64 | first as u128).leading_zeros() / 8) as usize
    }

    /// The name held by a comm-like field. What stands behind the first zero is dropped: kernels up to 5.10 leave there
    /// what an earlier, longer name had.
    #[must_use]
    #[inline(always)]
    pub const fn from_comm(bytes: [u8; 16]) -> Self {
        let both = u128::from_le_bytes(bytes);
        #[expect(clippy::cast_possible_truncation, reason = "the number is taken apart into its halves")]
        let halves = [both as u64, (both >> 64) as u64];
        Self::from_words(halves)
    }

    /// As [`Name::from_comm`], from the two words as they lie in memory. Branch-free: the BPF verifier sees one path.
    #[must_use]
    #[inline(always)]
    pub const fn from_words([first, second]: [u64; 2]) -> Self {
        let ends_in_first = zero_bytes(first);
        let second = second & before_end(zero_bytes(second)) & ((ends_in_first != 0) as u64).wrapping_sub(1);
        Self([first & before_end(ends_in_first), second])
    }

    /// The name with the letters A to Z made small; no other byte changes.
    #[must_use]
    #[inline(always)]
    pub const fn to_lower(self) -> Self {
        let Self([first, second]) = self;
        Self([lower(first), lower(second)])
    }
}

/// A name, or the front of one: what is behind the front may be anything.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Pattern {
    name: Name,
    /// Which bits of a name are compared.
    mask: [u64; 2],
}

impl Pattern {
    /// Matches no name, as [`Name::NEVER`] equals none.
    pub const NEVER: Self = Self { name: Name::NEVER, mask: [u64::MAX; 2] };

    /// The pattern spelled by `text`: a name, or with a `*` at its end the front of one. [`Pattern::NEVER`] where [`Name::new`] gives
    /// [`Name::NEVER`].
    #[must_use]
    pub const fn new(text: &str) -> Self {
        let Some((last, front)) = text.as_bytes().split_last() else { return Self::NEVER };
        if *last != b'*' {
            return Self { name: Name::new(text), mask: [u64::MAX; 2] };
        }
        let Ok(front) = core::str::from_utf8(front) else { return Self::NEVER };
        let name = Name::new(front);
        if name.0[0] == Name::NEVER.0[0] && name.0[1] == Name::NEVER.0[1] {
            return Self::NEVER;
        }
        let bits = (1_u128 << (8 * front.len())) - 1;
        #[expect(clippy::cast_possible_truncation, reason = "the number is taken apart into its halves")]
        let mask = [bits as u64, (bits >> 64) as u64];
        Self { name, mask }
    }

    /// The first word, and how many bytes from its beginning on are compared at least.
    pub(crate) const fn front(&self) -> (u64, usize) {
        (self.name.0[0], (self.mask[0].count_ones() / 8) as usize)
    }

    /// Whether a name is this one, or begins like it.
    #[must_use]
    #[inline(always)]
    pub const fn matches(&self, name: Name) -> bool {
        let Self { name: Name(wanted), mask } = self;
        name.0[0] & mask[0] == wanted[0] && name.0[1] & mask[1] == wanted[1]
    }
}

/// The high bit of the first zero byte of `word` and possibly of later bytes; 0 if there is no zero byte.
#[inline(always)]
const fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGH
}

/// All bits in front of the first byte marked in `zeros`.
#[inline(always)]
const fn before_end(zeros: u64) -> u64 {
    ((zeros & zeros.wrapping_neg()) >> 7).wrapping_sub(1)
}

#[inline(always)]
const fn lower(word: u64) -> u64 {
    let low = word & !HIGH;
    let at_least_a = low + ONES * (0x80 - b'A' as u64);
    let above_z = low + ONES * (0x7f - b'Z' as u64);
    word | ((at_least_a & !above_z & !word & HIGH) >> 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comm(bytes: &[u8]) -> [u8; 16] {
        let mut comm = [0; 16];
        comm[..bytes.len()].copy_from_slice(bytes);
        comm
    }

    #[test]
    fn what_stands_behind_the_end_does_not_count() {
        assert_eq!(Name::from_comm(comm(b"sh\0ash-and-more")), Name::new("sh"));
        assert_eq!(Name::from_comm(comm(b"twelve-bytes\0xy")), Name::new("twelve-bytes"));
        assert_eq!(Name::from_comm(comm(b"eight-by\0rest")), Name::new("eight-by"));
        assert_ne!(Name::from_comm(comm(b"sh ")), Name::new("sh"));
        assert_eq!(Name::from_comm([0; 16]).0, [0, 0]);
    }

    #[test]
    fn every_length_is_told_apart() {
        let text = "abcdefghijklmnop";
        for length in 1..=Name::MAX {
            assert_eq!(Name::from_comm(comm(&text.as_bytes()[..length])), Name::new(&text[..length]));
            assert_ne!(Name::new(&text[..length]), Name::NEVER);
            assert_eq!(Name::new(&text[..length]).len(), length);
            if length > 1 {
                assert_ne!(Name::new(&text[..length]), Name::new(&text[..length - 1]));
            }
        }
        assert_eq!(Name::new(text), Name::NEVER);
        assert_eq!(Name::new(""), Name::NEVER);
        assert_eq!(Name::new("a\0b"), Name::NEVER);
    }

    #[test]
    fn only_ascii_capitals_fold() {
        for byte in 1..=u8::MAX {
            let mut bytes = [byte; 16];
            bytes[15] = 0;
            let folded = Name::from_comm(bytes).to_lower();
            let mut expected = [byte.to_ascii_lowercase(); 16];
            expected[15] = 0;
            assert_eq!(folded, Name::from_comm(expected), "byte {byte:#x}");
        }
    }

    #[test]
    fn a_pattern_is_a_name_or_the_front_of_one() {
        for (pattern, name, matches) in [
            ("nc", "nc", true),
            ("nc", "ncat", false),
            ("nc", "n", false),
            ("python*", "python", true),
            ("python*", "python3.11", true),
            ("python*", "pytho", false),
            ("python*", "jython", false),
            ("a-long-name-15*", "a-long-name-15x", true),
            ("a-long-name-15*", "a-long-name-1", false),
            ("sixteen-bytes-x*", "sixteen-bytes-x", true),
            ("", "", false),
            ("*", "", false),
            ("*", "sh", false),
            ("more-than-15-byt*", "more-than-15-by", false),
        ] {
            let mut bytes = [0; 16];
            bytes[..name.len()].copy_from_slice(name.as_bytes());
            assert_eq!(Pattern::new(pattern).matches(Name::from_comm(bytes)), matches, "{pattern:?} {name:?}");
        }
        assert!(!Pattern::NEVER.matches(Name::from_comm([0x7f; 16])));
    }

    #[test]
    fn never_equals_no_name() {
        let mut bytes = [0xff; 16];
        bytes[15] = 0;
        assert_ne!(Name::from_comm(bytes), Name::NEVER);
        assert_ne!(Name::from_comm([0xff; 16]).to_lower(), Name::new("bash"));
    }
}
