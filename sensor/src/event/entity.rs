//! `process.entity_id`: one text for one process, the same in every document of every event of it.

use super::ProcessKey;
use sha2::{Digest as _, Sha256};

/// The identity of a process across hosts and boots: 32 hexadecimal digits of a SHA-256 over host id, boot id, process
/// number and start time.
#[must_use]
pub fn entity_id(host_id: &str, boot_id: &str, process: ProcessKey) -> String {
    let ProcessKey { tgid, start } = process;
    let mut hash = Sha256::new();
    for text in [host_id, boot_id] {
        // The length first, so that no two pairs of texts run into the same bytes.
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    hash.update(tgid.to_le_bytes());
    hash.update(start.0.to_le_bytes());
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::BootTime;
    use std::collections::HashSet;

    #[test]
    fn it_differs_in_every_part_and_in_nothing_else() {
        let key = |tgid, start| ProcessKey { tgid, start: BootTime(start) };
        let ids = [
            entity_id("host", "boot", key(7, 9)),
            entity_id("hos", "tboot", key(7, 9)),
            entity_id("host", "boot2", key(7, 9)),
            entity_id("host", "boot", key(8, 9)),
            entity_id("host", "boot", key(7, 10)),
        ];
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
        assert_eq!(ids[0], entity_id("host", "boot", key(7, 9)));
        assert!(ids.iter().all(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())));
    }

    /// Documents of different versions of the sensor must agree; this value was computed with sha256sum.
    #[test]
    fn it_stays_what_it_is() {
        let key = ProcessKey { tgid: 1234, start: BootTime(5_000_000_001) };
        assert_eq!(entity_id("h", "b", key), "f5c1b5f542c545a291760cff42297f74");
    }
}
