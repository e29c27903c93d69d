//! Rows of bytes that sort as the values they hold do.

/// Joins parts whose lengths add up to `N`.
pub(super) fn join<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    debug_assert_eq!(parts.iter().map(|part| part.len()).sum::<usize>(), N);
    let mut whole = [0; N];
    let mut rest = &mut whole[..];
    for part in parts {
        let Some((to, behind)) = std::mem::take(&mut rest).split_at_mut_checked(part.len()) else { break };
        to.copy_from_slice(part);
        rest = behind;
    }
    whole
}

/// Takes the first `N` bytes off.
pub(super) fn take<const N: usize>(from: &mut &[u8]) -> [u8; N] {
    let head = from.split_first_chunk();
    debug_assert!(head.is_some(), "{} bytes are left, {N} are asked for", from.len());
    let Some((head, rest)) = head else { return [0; N] };
    *from = rest;
    *head
}

/// Takes a number off that was put there by its big-endian bytes.
pub(super) fn number(from: &mut &[u8]) -> u64 {
    u64::from_be_bytes(take(from))
}

/// A signed number as an unsigned one in the same order.
pub(super) const fn unsigned(signed: i64) -> u64 {
    signed.cast_unsigned() ^ (1 << 63)
}

/// The signed number that [`unsigned`] turned.
pub(super) const fn signed(unsigned: u64) -> i64 {
    (unsigned ^ (1 << 63)).cast_signed()
}

/// A number that may be absent.
pub(super) fn optional(number: Option<u64>) -> [u8; 9] {
    join(&[&[u8::from(number.is_some())], &number.unwrap_or(0).to_be_bytes()])
}

/// Takes off a number that may be absent.
pub(super) fn take_optional(from: &mut &[u8]) -> Option<u64> {
    let [present] = take(from);
    let value = number(from);
    (present == 1).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_joined_comes_off_again() {
        let row: [u8; 1 + 8 + 9 + 9] =
            join(&[&[7], &unsigned(-5).to_be_bytes(), &optional(None), &optional(Some(u64::MAX))]);
        let mut row = &row[..];
        assert_eq!(take(&mut row), [7]);
        assert_eq!(signed(number(&mut row)), -5);
        assert_eq!((take_optional(&mut row), take_optional(&mut row)), (None, Some(u64::MAX)));
        assert!(row.is_empty());
    }

    #[test]
    fn signed_numbers_keep_their_order() {
        let numbers = [i64::MIN, -2, -1, 0, 1, i64::MAX];
        assert!(numbers.map(|number| unsigned(number).to_be_bytes()).is_sorted());
        assert_eq!(numbers.map(|number| signed(unsigned(number))), numbers);
    }
}
