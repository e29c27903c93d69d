//! Programs that do nothing, one for each program of the sensor: of the same kind, under the same name, at the same places.

use super::side::{Runs, runs};
use anyhow::{Context, Result};
use aya::{Btf, Ebpf};
use object::write::{Object, Symbol, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope};
use sensor::kernel::attach::attach_program;
use sensor::kernel::hook::{Attachment, Place};
use std::collections::BTreeSet;

/// r0 = 0; exit. In the encoding of `include/uapi/linux/bpf.h`.
const NOTHING: [u8; 16] = [0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];

/// The programs, attached as long as this lives.
pub(crate) struct Empty(Ebpf);

impl Empty {
    /// Loads and attaches one beside each of these.
    pub(crate) fn attach(beside: &[Attachment]) -> Result<Self> {
        let mut ebpf = Ebpf::load(&object(beside)?)?;
        let btf = Btf::from_sys_fs()?;
        let mut loaded = BTreeSet::new();
        for Attachment { program, place } in beside {
            let empty = ebpf.program_mut(program).context(*program)?;
            attach_program(empty, *place, loaded.insert(program), &btf).with_context(|| place.to_string())?;
        }
        Ok(Self(ebpf))
    }

    /// How often one has run, and how long.
    pub(crate) fn runs(&self, program: &str) -> Result<Runs> {
        runs(&self.0, program)
    }
}

/// An object file with the programs, each in a section that says its kind.
fn object(programs: &[Attachment]) -> Result<Vec<u8>> {
    let mut object = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let license = object.add_section(Vec::new(), b"license".to_vec(), SectionKind::Data);
    object.append_section_data(license, b"GPL\0", 1);
    let mut done = BTreeSet::new();
    for Attachment { program, place } in programs {
        if !done.insert(program) {
            continue;
        }
        let name = format!("{}/{program}", kind(*place));
        let section = object.add_section(Vec::new(), name.into_bytes(), SectionKind::Text);
        let value = object.append_section_data(section, &NOTHING, 8);
        object.add_symbol(Symbol {
            name: program.as_bytes().to_vec(),
            value,
            size: NOTHING.len().try_into()?,
            kind: SymbolKind::Text,
            scope: SymbolScope::Dynamic,
            weak: false,
            section: SymbolSection::Section(section),
            flags: SymbolFlags::None,
        });
    }
    object.write().context("the object with empty programs")
}

/// The name of the kind of program that goes to a place, as loaders know it.
const fn kind(place: Place) -> &'static str {
    match place {
        Place::FunctionExit(..) => "fexit",
        Place::FunctionEntry(_) => "fentry",
        Place::Kprobe(_) => "kprobe",
        Place::BtfTracepoint(_) => "tp_btf",
        Place::RawTracepoint(_) => "raw_tp",
        Place::Tracepoint(..) => "tracepoint",
    }
}
