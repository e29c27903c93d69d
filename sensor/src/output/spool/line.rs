//! A document in a segment of the spool: one line, `CHECKSUM NUMBER JSON`.
//!
//! The checksum is the CRC-32 of zip and Ethernet, in eight hexadecimal digits, over everything behind the space after it. JSON
//! on one line holds no end of a line, so reading finds its way again at the next line, whatever has become of one.

use std::io;

/// The line of a document, with its end.
///
/// # Errors
///
/// When the document is not on one line.
pub(super) fn encode(number: u64, json: &str) -> io::Result<Vec<u8>> {
    if json.contains('\n') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a document has more than one line"));
    }
    let text = format!("{number} {json}");
    Ok(format!("{:08x} {text}\n", crc32fast::hash(text.as_bytes())).into_bytes())
}

/// The number and the document of a line without its end; `None` if it is not as it was written.
pub(super) fn decode(line: &[u8]) -> Option<(u64, &str)> {
    let (checksum, rest) = line.split_at_checked(8)?;
    let text = rest.strip_prefix(b" ")?;
    if format!("{:08x}", crc32fast::hash(text)).as_bytes() != checksum {
        return None;
    }
    let (number, json) = std::str::from_utf8(text).ok()?.split_once(' ')?;
    Some((number.parse().ok()?, json))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_form_on_disk_stays_the_same() {
        let line = encode(7, "{\"a\":1}").unwrap();
        assert_eq!(String::from_utf8(line).unwrap(), "9e58a832 7 {\"a\":1}\n");
        assert!(encode(7, "{\n}").is_err());
    }

    proptest! {
        #[test]
        fn a_line_reads_back(number in any::<u64>(), json in "[^\n]*") {
            let line = encode(number, &json).unwrap();
            prop_assert_eq!(decode(line.strip_suffix(b"\n").unwrap()), Some((number, json.as_str())));
        }

        #[test]
        fn a_changed_byte_is_noticed(json in "[^\n]{0,50}", place in any::<proptest::sample::Index>(), bits in 1..=255_u8) {
            let mut line = encode(3, &json).unwrap();
            line.pop();
            let place = place.index(line.len());
            line[place] ^= bits;
            prop_assert_eq!(decode(&line), None);
        }

        #[test]
        fn no_bytes_panic(bytes in any::<Vec<u8>>()) {
            prop_assert_eq!(decode(&bytes), None);
        }
    }
}
