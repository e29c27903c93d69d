//! The smallest program there is: an ELF file of one page that exits at once. What its execution costs is the kernel's
//! part alone, so that a hundred thousand of them take seconds.

use anyhow::{Result, bail};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Where the file is mapped.
const BASE: u64 = 0x40_0000;
/// Size of an ELF header and of one program header: the code follows.
const HEADERS: u64 = 64 + 56;

/// Writes the program.
pub(crate) fn write(path: &Path) -> Result<()> {
    let (machine, code): (u16, &[u8]) = match std::env::consts::ARCH {
        // xor edi, edi; mov eax, 60 (exit); syscall
        "x86_64" => (62, &[0x31, 0xff, 0xb8, 0x3c, 0, 0, 0, 0x0f, 0x05]),
        // mov x0, 0; mov x8, 93 (exit); svc 0
        "aarch64" => (183, &[0, 0, 0x80, 0xd2, 0xa8, 0x0b, 0x80, 0xd2, 0x01, 0, 0, 0xd4]),
        other => bail!("no smallest program for {other}"),
    };
    let size = HEADERS + u64::try_from(code.len())?;
    // 64 bits, little-endian, version 1, System V; an executable file.
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0".to_vec();
    file.extend(machine.to_le_bytes());
    file.extend(1_u32.to_le_bytes());
    // Entry, offset of the program headers, no section headers.
    [BASE + HEADERS, 64, 0].iter().for_each(|word| file.extend(word.to_le_bytes()));
    // No flags; sizes: this header, a program header, one of these, and no section headers.
    file.extend(0_u32.to_le_bytes());
    [64_u16, 56, 1, 64, 0, 0].iter().for_each(|half| file.extend(half.to_le_bytes()));
    // One segment to load, readable and executable: offset, two addresses, size in the file and in memory, alignment.
    [1_u32, 5].iter().for_each(|word| file.extend(word.to_le_bytes()));
    [0, BASE, BASE, size, size, 0x1000].iter().for_each(|word| file.extend(word.to_le_bytes()));
    file.extend(code);
    std::fs::write(path, file)?;
    Ok(std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?)
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_runs_and_ends_well() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tiny");
        super::write(&path).unwrap();
        assert!(std::process::Command::new(path).status().unwrap().success());
    }
}
