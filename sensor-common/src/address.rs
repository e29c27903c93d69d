//! Addresses as both sides see them: 16 bytes in network order, IPv4 in its IPv6-mapped form.

use bytemuck::{Pod, Zeroable};

/// An IP address as 16 bytes in network order. IPv4 is held as `::ffff:a.b.c.d`, so that an IPv4 connection through an
/// IPv6 socket is the same address as through an IPv4 socket.
pub type Address = [u8; 16];

/// The IPv4-mapped form of an address given in network order, as `skc_daddr` holds it.
#[must_use]
#[inline(always)]
pub const fn mapped(v4: [u8; 4]) -> Address {
    let [a, b, c, d] = v4;
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

/// Whether the address is an IPv4-mapped one.
#[must_use]
#[inline(always)]
pub fn is_mapped(address: &Address) -> bool {
    let (high, low) = words(address);
    high == 0 && low >> 32 == 0xffff
}

/// The address as two numbers, the more significant half first.
#[must_use]
#[inline(always)]
pub const fn words(address: &Address) -> (u64, u64) {
    let number = u128::from_be_bytes(*address);
    // The halves of a u128 fit into u64 by construction.
    #[expect(clippy::cast_possible_truncation, reason = "each half is taken on purpose")]
    let halves = ((number >> 64) as u64, number as u64);
    halves
}

/// A network: an address matches when it equals `address` in every bit of `mask`.
///
/// Two halves, the more significant first, as [`words`] gives them: the kernel side compares them without a loop over bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Prefix {
    /// Network address; bits outside the mask are 0.
    pub address: [u64; 2],
    /// Network mask.
    pub mask: [u64; 2],
}

impl Prefix {
    /// Contains no address: the network address has a bit that the mask has not.
    pub const NONE: Self = Self { address: [0, 1], mask: [0, 0] };

    /// The network of `address` with the first `bits` of 128 bits fixed. An IPv4 network of n bits has 96 + n here.
    /// More than 128 bits count as 128.
    #[must_use]
    pub const fn new(address: &Address, bits: u8) -> Self {
        let bits = if bits > 128 { 128 } else { bits };
        let mask = if bits == 0 { 0 } else { u128::MAX << (128 - bits as u32) };
        let (mask_high, mask_low) = words(&mask.to_be_bytes());
        let (high, low) = words(address);
        Self { address: [high & mask_high, low & mask_low], mask: [mask_high, mask_low] }
    }

    /// Whether the network contains the address that [`words`] took apart.
    #[must_use]
    #[inline(always)]
    pub const fn contains(&self, words: (u64, u64)) -> bool {
        let Self { address: [high, low], mask: [mask_high, mask_low] } = *self;
        words.0 & mask_high == high && words.1 & mask_low == low
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv6Addr;

    fn address(text: &str) -> Address {
        text.parse::<Ipv6Addr>().unwrap().octets()
    }

    #[test]
    fn ipv4_is_folded_into_its_mapped_form() {
        assert_eq!(mapped([198, 51, 100, 1]), address("::ffff:198.51.100.1"));
        assert!(is_mapped(&mapped([127, 0, 0, 1])));
        assert!(!is_mapped(&address("::127.0.0.1")));
        assert!(!is_mapped(&address("::1")));
        assert!(!is_mapped(&address("64:ff9b::7f00:1")));
    }

    #[test]
    fn a_prefix_contains_exactly_its_network() {
        let loopback = Prefix::new(&mapped([127, 9, 9, 9]), 96 + 8);
        assert!(loopback.contains(words(&mapped([127, 0, 0, 1]))));
        assert!(loopback.contains(words(&mapped([127, 255, 255, 255]))));
        assert!(!loopback.contains(words(&mapped([128, 0, 0, 0]))));
        assert!(!loopback.contains(words(&address("::127.0.0.1"))));
        let one = Prefix::new(&address("::1"), 128);
        assert!(one.contains(words(&address("::1"))));
        assert!(!one.contains(words(&address("::2"))));
        let all = Prefix::new(&address("2001:db8::"), 0);
        assert!(all.contains(words(&address("::"))) && all.contains(words(&mapped([1, 2, 3, 4]))));
        assert!(!Prefix::NONE.contains(words(&address("::1"))) && !Prefix::NONE.contains(words(&mapped([0, 0, 0, 1]))));
        let half = Prefix::new(&address("fe80::"), 10);
        assert!(half.contains(words(&address("febf::1"))) && !half.contains(words(&address("fec0::1"))));
    }
}
