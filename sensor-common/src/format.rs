//! One number for the form of what the kernel side hands over: of two versions in which it is the same, each can read what the
//! other's kernel side has recorded.

/// Where that form is defined.
const SOURCES: [&[u8]; 3] = [include_bytes!("record.rs"), include_bytes!("counter.rs"), include_bytes!("address.rs")];

/// Changes with every change in the files that define records, the pending table's entries and counters: it takes two versions for
/// different too often rather than once too rarely.
pub const FORMAT: u64 = digest(&SOURCES);

/// FNV-1a, with the length of each part in front of it.
const fn digest(mut parts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    while let [first, others @ ..] = parts {
        let mut bytes = *first;
        hash = step(hash, bytes.len() as u64);
        while let [byte, rest @ ..] = bytes {
            hash = step(hash, *byte as u64);
            bytes = rest;
        }
        parts = others;
    }
    hash
}

const fn step(hash: u64, value: u64) -> u64 {
    (hash ^ value).wrapping_mul(0x0000_0100_0000_01b3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_change_gives_another_number() {
        let of = digest(&[b"ab", b"c"]);
        for other in [&[&b"ab"[..], b"d"][..], &[b"ab"], &[b"a", b"bc"], &[b"c", b"ab"], &[b"ab", b"c", b""]] {
            assert_ne!(digest(other), of, "{other:?}");
        }
        assert_eq!(FORMAT, digest(&SOURCES));
    }
}
