//! Takes from the eBPF object what says which source line each instruction comes from.
//!
//! Nothing but a log of every instruction that the verifier looks at shows the lines, and the sensor never asks for that. They are more
//! than half of the object, which the sensor's file holds, and the kernel keeps a copy for each program. Which functions there are stays:
//! the verifier goes by it.

use anyhow::{Context, Result, bail, ensure};
use object::build::elf::{Builder, SectionData};
use object::elf::SHT_STRTAB;
use std::path::Path;

/// Where both kinds of information are (`struct btf_ext_header` of libbpf).
const SECTION: &[u8] = b".BTF.ext";
/// Where a linker would put its functions and lines; their places stand in it already.
const RELOCATIONS: &[u8] = b".rel.BTF.ext";
/// Words of the header: its own length, place and length of the functions, of the lines, and of relocations if it is so long.
const HEADER_LENGTH: usize = 4;
const FUNCTIONS: usize = 8;
const LINES: usize = 16;
const CORE_RELOCATIONS: usize = 24;

/// Rewrites an object file without it.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    let object = without(&bytes).with_context(|| format!("the lines in {}", path.display()))?;
    std::fs::write(path, object).with_context(|| path.display().to_string())
}

fn without(object: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(object)?;
    let mut found = false;
    for section in &mut builder.sections {
        match &section.name[..] {
            SECTION => {
                let SectionData::Data(data) = &section.data else { bail!("{} has no bytes", section.name) };
                section.data = SectionData::Data(functions(data)?.into());
                found = true;
            }
            RELOCATIONS => section.delete = true,
            _ => {}
        }
    }
    ensure!(found, "there is no section .BTF.ext");
    // Some linkers have one table for all names, which is written with those of symbols alone.
    if !builder.sections.iter().any(|section| matches!(section.data, SectionData::SectionString)) {
        let names = builder.sections.add();
        names.name = b".shstrtab"[..].into();
        names.sh_type = SHT_STRTAB;
        names.sh_addralign = 1;
        names.data = SectionData::SectionString;
    }
    let mut smaller = Vec::new();
    builder.write(&mut smaller)?;
    Ok(smaller)
}

/// The header and the functions.
fn functions(section: &[u8]) -> Result<Vec<u8>> {
    let word = |at: usize| section.get(at..).and_then(<[u8]>::first_chunk).map(|bytes| u32::from_le_bytes(*bytes));
    let word = |at| word(at).context("the section is shorter than its header");
    let header = word(HEADER_LENGTH)? as usize;
    ensure!(header >= CORE_RELOCATIONS, "a header of {header} bytes");
    ensure!(header < CORE_RELOCATIONS + 8 || word(CORE_RELOCATIONS + 4)? == 0, "there are relocations by BTF");
    ensure!(word(FUNCTIONS)? == 0, "functions are not in front");
    let length = word(FUNCTIONS + 4)?;
    let kept = section.get(..header + length as usize).context("functions run over the end of the section")?;
    let mut kept = kept.to_vec();
    // Both are empty, behind the functions.
    let empty = [length, 0, length, 0].map(u32::to_le_bytes);
    let rest =
        kept.get_mut(LINES..header.min(CORE_RELOCATIONS + 8)).context("the section is shorter than its header")?;
    rest.iter_mut().zip(empty.as_flattened()).for_each(|(old, new)| *old = *new);
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::write::{Object, SectionId, Symbol, SymbolSection};
    use object::{Architecture, BinaryFormat, Endianness, Object as _, ObjectSection as _, SectionKind};
    use object::{SymbolFlags, SymbolKind, SymbolScope};

    /// A section with these functions and lines, and relocations of so many bytes.
    fn section(functions: &[u8], lines: &[u8], relocations: u32) -> Vec<u8> {
        let [f, l] = [functions, lines].map(|part| u32::try_from(part.len()).unwrap());
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        bytes.extend([32, 0, f, f, l, f + l, relocations].iter().flat_map(|word: &u32| word.to_le_bytes()));
        [&bytes[..], functions, lines].concat()
    }

    fn object(ext: Option<&[u8]>) -> Vec<u8> {
        let mut object = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
        let code = object.add_section(Vec::new(), b"kprobe".to_vec(), SectionKind::Text);
        let add = |object: &mut Object<'_>, id: SectionId, name: &[u8], kind| {
            let value = object.append_section_data(id, &[0x95, 0, 0, 0, 0, 0, 0, 0], 8);
            let (section, flags) = (SymbolSection::Section(id), SymbolFlags::None);
            let (name, scope) = (name.to_vec(), SymbolScope::Dynamic);
            object.add_symbol(Symbol { name, value, size: 8, kind, scope, weak: false, section, flags });
        };
        add(&mut object, code, b"program", SymbolKind::Text);
        if let Some(ext) = ext {
            let id = object.add_section(Vec::new(), SECTION.to_vec(), SectionKind::Debug);
            object.append_section_data(id, ext, 4);
        }
        object.write().unwrap()
    }

    #[test]
    fn functions_and_programs_stay_and_lines_go() {
        let bytes = object(Some(&section(b"functions...", &[7; 4000], 0)));
        let smaller = without(&bytes).unwrap();
        assert!(smaller.len() + 4000 <= bytes.len());
        let [before, after] = [&bytes, &smaller].map(|bytes| object::File::parse(&bytes[..]).unwrap());
        let data = |file: &object::File<'_>, name| file.section_by_name(name).unwrap().data().unwrap().to_vec();
        assert_eq!(data(&after, ".BTF.ext"), section(b"functions...", b"", 0));
        assert_eq!(data(&after, "kprobe"), data(&before, "kprobe"));
        assert_eq!(after.symbols().count(), before.symbols().count());
        assert_eq!(without(&smaller).unwrap(), smaller, "there is nothing more to be taken");
    }

    #[test]
    fn what_is_not_as_expected_is_said() {
        let mut behind = section(b"functions...", b"lines", 0);
        behind[FUNCTIONS] = 4;
        for (ext, expected) in [
            (None, "no section"),
            (Some(section(b"functions...", b"lines", 8)), "relocations by BTF"),
            (Some(behind), "not in front"),
            (Some(section(b"functions...", b"", 0)[..40].to_vec()), "over the end"),
            (Some(vec![0x9f, 0xeb, 1, 0]), "shorter than its header"),
        ] {
            let error = without(&object(ext.as_deref())).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
