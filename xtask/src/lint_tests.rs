//! Tests of the checks, on small objects made here: a sound one, and the same with one fault each.

use super::*;
use object::write::{Object as Output, Symbol, SymbolSection};
use object::{Architecture, BinaryFormat, SectionKind, SymbolFlags, SymbolScope};

const RETURN_ZERO: [u8; 16] = [0xb7, 0, 0, 0, 0, 0, 0, 0, EXIT, 0, 0, 0, 0, 0, 0, 0];

struct Parts {
    license: Option<&'static [u8]>,
    btf: Option<&'static [u8]>,
    layout: usize,
    constants_in: (&'static [u8], SectionKind),
    functions: Vec<(&'static str, &'static str, Vec<u8>)>,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            license: Some(b"Dual MIT/GPL\0"),
            btf: Some(&[0x9f, 0xeb, 1, 0]),
            layout: CONSTANTS[0].1,
            constants_in: (b".rodata", SectionKind::ReadOnlyData),
            functions: vec![("kprobe", "one", RETURN_ZERO.to_vec()), (".text", "helper", RETURN_ZERO.to_vec())],
        }
    }
}

fn add(output: &mut Output<'_>, section: (&[u8], SectionKind), name: &str, data: &[u8], kind: SymbolKind) {
    let id = output.add_section(Vec::new(), section.0.to_vec(), section.1);
    let symbol = Symbol {
        name: name.as_bytes().to_vec(),
        value: 0,
        size: 0,
        kind,
        scope: SymbolScope::Dynamic,
        weak: false,
        section: SymbolSection::Section(id),
        flags: SymbolFlags::None,
    };
    let symbol = output.add_symbol(symbol);
    output.add_symbol_data(symbol, id, data, 8);
}

fn object_of(parts: &Parts) -> Vec<u8> {
    let mut output = Output::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    if let Some(text) = parts.license {
        add(&mut output, (b"license", SectionKind::Data), "LICENSE", text, SymbolKind::Data);
    }
    if let Some(data) = parts.btf {
        let id = output.add_section(Vec::new(), b".BTF".to_vec(), SectionKind::Other);
        output.append_section_data(id, data, 4);
    }
    add(&mut output, parts.constants_in, "LAYOUT", &vec![0; parts.layout], SymbolKind::Data);
    add(&mut output, parts.constants_in, "NAMES", &vec![0; CONSTANTS[1].1], SymbolKind::Data);
    for (section, name, code) in &parts.functions {
        add(&mut output, (section.as_bytes(), SectionKind::Text), name, code, SymbolKind::Text);
    }
    output.write().unwrap()
}

fn faults_of(parts: &Parts) -> Vec<String> {
    faults(&object_of(parts), &["one"], &[]).unwrap()
}

fn one_fault(parts: &Parts, expected: &str) {
    let faults = faults_of(parts);
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains(expected), "{faults:?}");
}

#[test]
fn a_sound_object_has_no_faults() {
    assert_eq!(faults_of(&Parts::default()), Vec::<String>::new());
}

#[test]
fn licences() {
    one_fault(&Parts { license: None, ..Parts::default() }, "no section `license`");
    one_fault(&Parts { license: Some(b"MIT\0"), ..Parts::default() }, "licence `MIT`");
    one_fault(&Parts { license: Some(b""), ..Parts::default() }, "licence ``");
    assert!(faults_of(&Parts { license: Some(b"GPL\0"), ..Parts::default() }).is_empty());
}

#[test]
fn type_information() {
    one_fault(&Parts { btf: None, ..Parts::default() }, "no BTF");
    one_fault(&Parts { btf: Some(&[0, 0, 0, 0]), ..Parts::default() }, "no BTF");
}

#[test]
fn constants() {
    one_fault(&Parts { layout: 4, ..Parts::default() }, "constant LAYOUT has 4 bytes");
    let faults = faults_of(&Parts { constants_in: (b".bss", SectionKind::Data), ..Parts::default() });
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].contains("LAYOUT is not in .rodata") && faults[1].contains("NAMES is not in .rodata"));
}

#[test]
fn programs() {
    let mut parts = Parts::default();
    parts.functions.push(("tp_btf/sched_process_exec", "two", RETURN_ZERO.to_vec()));
    one_fault(&parts, "program two is not on");
    parts.functions = vec![(".text", "one", RETURN_ZERO.to_vec())];
    one_fault(&parts, "no program one");
}

#[test]
fn panic_functions() {
    let mut parts = Parts::default();
    parts.functions.push((".text", "_RNvNtCs2_4core9panicking18panic_bounds_check", RETURN_ZERO.to_vec()));
    one_fault(&parts, "something can panic: _RNvNtCs2_4core9panicking18panic_bounds_check");
}

#[test]
fn endings() {
    let code = |code: &[u8]| Parts { functions: vec![("kprobe", "one", code.to_vec())], ..Parts::default() };
    one_fault(&code(&[0xb7, 0, 0, 0, 0, 0, 0, 0]), "function one does not end");
    one_fault(&code(&[0x85, 0, 0, 0, 1, 0, 0, 0]), "function one does not end");
    one_fault(&code(&[JUMP, 0, 0xff, 0xff, 0, 0, 0, 0]), "function one has an endless loop");
    one_fault(&code(&[]), "function one has no code");
    one_fault(&code(&[EXIT, 0, 0, 0]), "function one has no code");
    let back = [&RETURN_ZERO[..8], &[JUMP, 0, 0xfe, 0xff, 0, 0, 0, 0]].concat();
    assert!(faults_of(&code(&back)).is_empty());
}

#[test]
fn paths_of_this_machine() {
    let mut parts = Parts::default();
    parts.functions.push((".text", "/home/somebody/sensor/main.rs", RETURN_ZERO.to_vec()));
    let bytes = object_of(&parts);
    assert!(faults(&bytes, &["one"], &["/home/somebody".into()]).unwrap()[0].contains("/home/somebody"));
    assert!(faults(&bytes, &["one"], &["/somebody".into(), "/home/some".into()]).unwrap().is_empty());
}

#[test]
fn other_files_are_refused() {
    assert!(check(b"", &[]).is_err());
    assert!(check(b"\x7fELF", &[]).is_err());
    let other = Output::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little).write().unwrap();
    assert!(check(&other, &[]).unwrap_err().to_string().contains("not an object for little-endian BPF"));
    let whole = object_of(&Parts::default());
    for length in 0..whole.len() {
        // A damaged object may be refused or found faulty, but must not end the program.
        let _ = check(&whole[..length], &[]);
    }
}
