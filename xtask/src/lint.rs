//! Checks the eBPF object for what a loader or verifier would only refuse on the user's machine, and in words that do
//! not name the cause.

use anyhow::{Result, bail};
use object::elf::EM_BPF;
use object::read::elf::{ElfFile64, FileHeader};
use object::{Endianness, Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// The programs, by the names under which the user side asks for them.
pub(crate) const PROGRAMS: [&str; 15] = [
    "accept_exit",
    "accept_fexit_2",
    "accept_fexit_4",
    "connect_fexit",
    "connect_kprobe",
    "connect_state",
    "connect_trace",
    "exec_btf",
    "exec_raw",
    "exec_trace",
    "fork_btf",
    "fork_raw",
    "fork_trace",
    "graft_fentry",
    "graft_kprobe",
];

/// Constants that the user side overwrites before loading, with their sizes.
const CONSTANTS: [(&str, usize); 2] =
    [("LAYOUT", size_of::<sensor_common::layout::Layout>()), ("NAMES", size_of::<sensor_common::settings::Names>())];

/// Licences that the kernel takes for GPL-compatible (`license_is_gpl_compatible` in `include/linux/license.h`).
const LICENSES: [&[u8]; 5] = [b"GPL", b"GPL v2", b"GPL and additional rights", b"Dual BSD/GPL", b"Dual MIT/GPL"];

/// Functions of Rust's core library that are there only if something can panic.
const PANICS: [&str; 5] = ["panic", "rust_begin_unwind", "unwrap_failed", "expect_failed", "_index_fail"];

/// Bytes of an instruction.
const INSTRUCTION: usize = 8;
/// Operation codes (`include/uapi/linux/bpf.h`): leave the function; jump by a 16-bit, by a 32-bit distance.
const EXIT: u8 = 0x95;
const JUMP: u8 = 0x05;
const JUMP_FAR: u8 = 0x06;
/// First bytes of BTF on a little-endian machine.
const BTF_MAGIC: &[u8] = &[0x9f, 0xeb];

type Elf<'data> = ElfFile64<'data, Endianness>;

/// Checks an object. `private` are paths that it must not contain. The error has a line for each fault.
pub(crate) fn check(bytes: &[u8], private: &[PathBuf]) -> Result<()> {
    let faults = faults(bytes, &PROGRAMS, private)?;
    if faults.is_empty() { Ok(()) } else { bail!("{} faults:\n    {}", faults.len(), faults.join("\n    ")) }
}

fn faults(bytes: &[u8], programs: &[&str], private: &[PathBuf]) -> Result<Vec<String>> {
    let elf = Elf::parse(bytes)?;
    let header = elf.elf_header();
    if !elf.is_little_endian() || header.e_machine(elf.endian()) != EM_BPF {
        bail!("not an object for little-endian BPF");
    }
    let mut faults = Vec::new();
    faults.extend(license(&elf));
    faults.extend(btf(&elf));
    faults.extend(CONSTANTS.into_iter().filter_map(|(name, size)| constant(&elf, name, size)));
    faults.extend(program_names(&elf, programs));
    for symbol in elf.symbols() {
        faults.extend(panics(&symbol));
        if symbol.kind() == SymbolKind::Text {
            faults.extend(ending(&elf, &symbol));
        }
    }
    for path in private {
        // Names of source files are strings of BTF: a null byte stands before each.
        let start = [b"\0", path.as_os_str().as_bytes(), b"/"].concat();
        if bytes.windows(start.len()).any(|window| window == start) {
            faults.push(format!("contains the path {} of this machine, so it differs on others", path.display()));
        }
    }
    Ok(faults)
}

fn license(elf: &Elf<'_>) -> Option<String> {
    let Some(text) = elf.section_by_name_bytes(b"license").and_then(|section| section.data().ok()) else {
        return Some("no section `license`: the kernel would refuse GPL-only helpers".into());
    };
    let text = text.strip_suffix(&[0]).unwrap_or(text);
    let known = LICENSES.contains(&text);
    (!known).then(|| format!("licence `{}` is not compatible with the GPL", String::from_utf8_lossy(text)))
}

fn btf(elf: &Elf<'_>) -> Option<String> {
    let data = elf.section_by_name(".BTF").and_then(|section| section.data().ok());
    let there = data.is_some_and(|data| data.starts_with(BTF_MAGIC));
    (!there).then(|| "no BTF: it is made from debug information by bpf-linker --btf".into())
}

fn constant(elf: &Elf<'_>, name: &str, size: usize) -> Option<String> {
    let Some(symbol) = elf.symbols().find(|symbol| symbol.name_bytes() == Ok(name.as_bytes())) else {
        return Some(format!("no constant {name}"));
    };
    if symbol.size() != size as u64 {
        return Some(format!("constant {name} has {} bytes, sensor-common says {size}", symbol.size()));
    }
    let section = symbol.section_index().and_then(|index| elf.section_by_index(index).ok());
    let frozen = section.is_some_and(|section| section.name().is_ok_and(|name| name.starts_with(".rodata")));
    (!frozen).then(|| format!("constant {name} is not in .rodata: the verifier would not fold it"))
}

/// Programs are the functions that other objects can see and that lie in sections of their own, named for their hooks.
fn program_names(elf: &Elf<'_>, expected: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for symbol in elf.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_global()) {
        let section = symbol.section_index().and_then(|index| elf.section_by_index(index).ok());
        let hook = section.filter(|section| section.kind() == SectionKind::Text && section.name() != Ok(".text"));
        if let (Some(_), Ok(name)) = (hook, symbol.name()) {
            found.push(name);
        }
    }
    let missing = expected.iter().filter(|name| !found.contains(name)).map(|name| format!("no program {name}"));
    let unknown = found.iter().filter(|name| !expected.contains(name));
    let unknown = unknown.map(|name| format!("program {name} is not on xtask's list of programs"));
    missing.chain(unknown).collect()
}

fn panics<'data>(symbol: &impl ObjectSymbol<'data>) -> Option<String> {
    let name = String::from_utf8_lossy(symbol.name_bytes().ok()?);
    let panics = PANICS.iter().any(|part| name.contains(part));
    panics.then(|| format!("something can panic: {name} is linked in"))
}

/// A path that panics ends in the panic handler, which never returns: once inlined, it is a jump to itself, or nothing
/// at all behind the last instruction. The verifier wants an exit or a jump there (`check_subprogs`).
fn ending<'data>(elf: &Elf<'data>, symbol: &impl ObjectSymbol<'data>) -> Vec<String> {
    let name = String::from_utf8_lossy(symbol.name_bytes().unwrap_or_default()).into_owned();
    let section = symbol.section_index().and_then(|index| elf.section_by_index(index).ok());
    let code = section.and_then(|section| section.data_range(symbol.address(), symbol.size()).ok().flatten());
    let Some(code) = code.filter(|code| !code.is_empty() && code.len().is_multiple_of(INSTRUCTION)) else {
        return vec![format!("function {name} has no code")];
    };
    let mut faults = Vec::new();
    let last = code.chunks_exact(INSTRUCTION).next_back().and_then(|instruction| instruction.first());
    if !last.is_some_and(|operation| [EXIT, JUMP, JUMP_FAR].contains(operation)) {
        faults.push(format!("function {name} does not end with an exit or a jump: something in it can panic"));
    }
    // Distance -1 from the next instruction.
    if code.chunks_exact(INSTRUCTION).any(|instruction| matches!(instruction, [JUMP, _, 0xff, 0xff, ..])) {
        faults.push(format!("function {name} has an endless loop: something in it can panic"));
    }
    faults
}

#[cfg(test)]
#[path = "lint_tests.rs"]
mod tests;
