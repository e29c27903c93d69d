//! Synthetic type information, the running kernel's, and damaged bytes.

use super::blob::Blob;
use super::*;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

fn offset_and_size(btf: &Btf, path: &str) -> (u64, u64) {
    let member = btf.member(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    (member.offset, member.size)
}

/// The shapes that kernels use: anonymous unions within structures, typedefs and tags in between, pointers, arrays.
fn shapes() -> Blob {
    let mut blob = Blob::new();
    let int = blob.int("int", 4);
    let byte = blob.int("char", 1);
    let pointer = blob.pointer(int);
    let path = blob.structure("path", 16, &[("mnt", pointer, 0), ("dentry", pointer, 64)]);
    let qualified = blob.constant(path);
    let tagged = blob.type_tag("rcu", qualified);
    let path_t = blob.typedef("path_t", tagged);
    let either = blob.union("", 16, &[("f_path", path_t, 0), ("__f_path", qualified, 0)]);
    blob.bystanders();
    let name = blob.array(byte, 16);
    let names = blob.array(name, 3);
    let partial = blob.add("unsigned int", INT, false, 0, 4, &[3]);
    let file = blob.structure(
        "file",
        96,
        &[
            ("f_mode", int, 0),
            ("", either, 128),
            ("names", names, 256),
            ("inner", path, 640),
            ("old_bits", partial, 704),
        ],
    );
    let file_pointer = blob.pointer(file);
    blob.aggregate(
        "flagged",
        STRUCT,
        true,
        16,
        &[("first", int, 0), ("", int, 5 << 24 | 32), ("bits", int, 3 << 24 | 37), ("behind", file_pointer, 64)],
    );
    let flags = blob.typedef("flags_t", int);
    blob.function("accept_it", file_pointer, &[file_pointer, flags, int]);
    blob.function("nothing", 0, &[]);
    blob
}

#[test]
fn members_are_found_through_everything_but_pointers() {
    let btf = Btf::parse(shapes().bytes()).unwrap();
    assert_eq!(offset_and_size(&btf, "file.f_mode"), (0, 4));
    assert_eq!(offset_and_size(&btf, "file.f_path"), (16, 16));
    assert_eq!(offset_and_size(&btf, "file.f_path.dentry"), (24, 8));
    assert_eq!(offset_and_size(&btf, "file.__f_path.mnt"), (16, 8));
    assert_eq!(offset_and_size(&btf, "file.names"), (32, 48));
    assert_eq!(offset_and_size(&btf, "file.inner.dentry"), (88, 8));
    assert_eq!(offset_and_size(&btf, "flagged.first"), (0, 4));
    assert_eq!(offset_and_size(&btf, "flagged.behind"), (8, 8));
    assert_eq!(offset_and_size(&btf, "file"), (0, 96));
}

#[test]
fn what_is_not_there_is_named() {
    let btf = Btf::parse(shapes().bytes()).unwrap();
    for (path, expected) in [
        ("inode.i_mode", "there is no structure `inode`"),
        ("fil.f_mode", "there is no structure `fil`"),
        ("file.f_pat", "`file.f_pat`: there is no member `f_pat`"),
        ("file.f_path.dent", "`file.f_path.dent`: there is no member `dent`"),
        ("file.f_mode.x", "`file.f_mode.x`: what holds `x` is no structure"),
        ("flagged.behind.f_mode", "`flagged.behind.f_mode`: what holds `f_mode` is no structure"),
        ("flagged.bits", "`flagged.bits` is a bit field"),
        ("file.old_bits", "`file.old_bits` is a bit field"),
        ("", "there is no structure ``"),
        ("file..mnt", "`file..mnt`: there is no member ``"),
        ("file.", "`file.`: there is no member ``"),
    ] {
        assert_eq!(btf.member(path).unwrap_err().to_string(), expected, "{path}");
    }
}

#[test]
fn functions_show_their_declaration() {
    let btf = Btf::parse(shapes().bytes()).unwrap();
    assert!(btf.has_function("accept_it") && btf.has_function("nothing"));
    assert!(!btf.has_function("accept") && !btf.has_function("file"));
    let prototype = btf.prototype("accept_it").unwrap();
    assert_eq!(prototype.parameters, ["struct file *", "flags_t", "int"]);
    assert_eq!(prototype.returns, "struct file *");
    assert_eq!(btf.prototype("nothing"), Some(Prototype { parameters: vec![], returns: "void".to_owned() }));
    assert_eq!(btf.prototype("absent"), None);
}

#[test]
fn a_longer_header_is_stepped_over() {
    let mut blob = shapes();
    blob.longer_header = 8;
    let btf = Btf::parse(blob.bytes()).unwrap();
    assert_eq!(offset_and_size(&btf, "file.f_path.dentry"), (24, 8));
}

#[test]
fn structures_of_one_name_must_agree() {
    let mut blob = Blob::new();
    let int = blob.int("int", 4);
    blob.structure("twice", 8, &[("same", int, 0), ("moved", int, 32)]);
    blob.structure("twice", 16, &[("same", int, 0), ("moved", int, 64), ("only_here", int, 96)]);
    let btf = Btf::parse(blob.bytes()).unwrap();
    assert_eq!(offset_and_size(&btf, "twice.same"), (0, 4));
    assert_eq!(offset_and_size(&btf, "twice.only_here"), (12, 4));
    assert!(matches!(btf.member("twice.moved"), Err(BtfError::Ambiguous { .. })));
}

#[test]
fn circles_end() {
    let mut blob = Blob::new();
    // Type 1 refers to itself, type 2 contains itself, type 3 is an array of itself.
    blob.typedef("again", 1);
    blob.structure("nested", 8, &[("", 2, 0), ("x", 1, 0)]);
    blob.array(3, 2);
    blob.structure("holder", 8, &[("array", 3, 0)]);
    blob.pointer(5);
    blob.function("circular", 5, &[1]);
    let btf = Btf::parse(blob.bytes()).unwrap();
    for path in ["nested.x", "nested.absent", "holder.array"] {
        assert!(matches!(btf.member(path), Err(BtfError::Malformed { .. })), "{path}");
    }
    assert!(btf.prototype("circular").unwrap().returns.starts_with('?'));
    // Eight anonymous members on each of 32 levels would be 8^32 visits.
    let mut blob = Blob::new();
    let ids: Vec<u32> = (1..=40).collect();
    for id in ids {
        blob.structure(if id == 1 { "wide" } else { "" }, 8, &[("", id + 1, 0); 8]);
    }
    blob.int("int", 4);
    assert!(matches!(Btf::parse(blob.bytes()).unwrap().member("wide.x"), Err(BtfError::Malformed { .. })));
}

#[test]
fn what_is_no_btf_is_refused() {
    let good = shapes().bytes();
    let refused = |bytes: &[u8]| Btf::parse(bytes.to_vec()).unwrap_err().to_string();
    assert_eq!(refused(b""), "this is no BTF: it does not begin with its magic number");
    assert_eq!(refused(b"\x7fELF"), "this is no BTF: it does not begin with its magic number");
    assert_eq!(refused(b"\xeb\x9f\x01\x00"), "this BTF is big-endian, which no supported machine is");
    assert_eq!(refused(b"\x9f\xeb\x02\x00"), "BTF of version 2, only version 1 is known");
    assert!(refused(&good[..good.len() - 1]).contains("a section that runs over the end of the file at byte 16"));
    let mut blob = shapes();
    blob.add("", 31, false, 0, 0, &[]);
    assert!(refused(&blob.bytes()).contains("unknown kind 31"));
    let mut blob = shapes();
    blob.add("", ARRAY, false, 0, 0, &[]);
    assert!(refused(&blob.bytes()).contains("runs over the end of its section"));
    for length in 0..good.len() {
        assert!(Btf::parse(good[..length].to_vec()).is_err(), "cut to {length} bytes");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let absent = directory.path().join("absent");
    assert!(Btf::read(&absent).unwrap_err().to_string().contains("No such file"));
    assert!(matches!(Btf::read(directory.path()), Err(BtfError::Read(_))));
    let present = directory.path().join("present");
    std::fs::write(&present, shapes().bytes()).unwrap();
    assert_eq!(Btf::read(&present).unwrap().member("file.f_mode").unwrap().size, 4);
}

#[test]
fn this_kernel_is_readable() {
    let Some(btf) = this_kernel("btf::this_kernel_is_readable") else {
        return;
    };
    assert_eq!(btf.member("list_head.prev").unwrap(), Member { offset: 8, size: 8 });
    assert_eq!(btf.member("task_struct.comm").unwrap().size, 16);
    assert!(btf.has_function("tcp_connect"));
    assert_eq!(btf.prototype("tcp_connect").unwrap().parameters, ["struct sock *"]);
    let accept = btf.prototype("inet_csk_accept").unwrap();
    assert_eq!(accept.returns, "struct sock *");
    assert!(matches!(accept.parameters.len(), 2 | 4), "{accept:?}");
}

/// The running kernel's type information; without it the test that asks says that it is skipped.
pub(crate) fn this_kernel(test: &str) -> Option<Btf> {
    match Btf::read(Path::new(KERNEL_BTF)) {
        Ok(btf) => Some(btf),
        Err(BtfError::Read(source)) => {
            eprintln!("SKIPPED {test}: {KERNEL_BTF} cannot be read: {source}");
            None
        }
        Err(error) => panic!("{KERNEL_BTF}: {error}"),
    }
}

/// Asks everything of whatever could be parsed.
fn ask(data: Vec<u8>) {
    let Ok(btf) = Btf::parse(data) else { return };
    for path in ["file.f_path.dentry", "file.names", "flagged.bits", "flagged.behind", "path.mnt", "absent.x"] {
        let _ = btf.member(path);
    }
    for name in ["accept_it", "nothing"] {
        let _ = btf.prototype(name);
    }
    for id in 0..=u32::try_from(btf.places.len()).unwrap() {
        let _ = btf.spell(id, MAX_DEPTH);
        let _ = btf.size(id, MAX_DEPTH);
    }
}

/// The numbers under which type information has a type.
fn numbers(btf: &Btf, kind: u8, name: &str) -> Vec<usize> {
    let types = btf.places.iter().zip(1..).map(|(place, number)| (btf.type_at(*place as usize).unwrap(), number));
    types.filter(|(ty, _)| ty.kind == kind && btf.is_named(ty.name, name)).map(|(_, number)| number).collect()
}

#[test]
fn an_extract_has_what_was_asked_for_under_its_numbers_and_nothing_else() {
    let mut blob = shapes();
    let traced = blob.typedef("btf_trace_traced", 1);
    // What is named alike and of another kind, or only begins alike.
    blob.structure("btf_trace_traced", 0, &[]);
    blob.typedef("btf_trace_traced_too", 1);
    blob.typedef("accept_it", 1);
    let again = blob.function("accept_it", 0, &[]);
    blob.function("behind", 0, &[]);
    let btf = Btf::parse(blob.bytes()).unwrap();
    let accept = numbers(&btf, FUNC, "accept_it");
    assert_eq!(accept.last(), usize::try_from(again).ok().as_ref());
    let anchors = [
        Anchor::Function("accept_it"),
        Anchor::Tracepoint("traced"),
        Anchor::Function("absent"),
        Anchor::Tracepoint(""),
    ];
    let extract = Btf::parse(btf.extract(&anchors)).unwrap();
    assert_eq!(numbers(&extract, FUNC, "accept_it"), accept);
    assert_eq!(numbers(&extract, TYPEDEF, "btf_trace_traced"), [usize::try_from(traced).unwrap()]);
    assert_eq!(extract.places.len(), accept[1]);
    assert_eq!(numbers(&extract, FWD, "").len(), extract.places.len() - 3);
    let empty = Btf::parse(btf.extract(&[])).unwrap();
    assert!(empty.places.is_empty());
}

#[test]
fn an_extract_of_this_kernel_is_taken_by_aya_and_names_the_same_types() {
    let name = "btf::an_extract_of_this_kernel_is_taken_by_aya_and_names_the_same_types";
    let Some(btf) = this_kernel(name) else { return };
    let (function, tracepoint) = ("tcp_connect", "sched_process_exec");
    let bytes = btf.extract(&[Anchor::Function(function), Anchor::Tracepoint(tracepoint)]);
    aya::Btf::parse(&bytes, aya::Endianness::default()).unwrap();
    let extract = Btf::parse(bytes).unwrap();
    for (kind, name) in [(FUNC, function), (TYPEDEF, "btf_trace_sched_process_exec")] {
        let numbers = [&btf, &extract].map(|btf| numbers(btf, kind, name));
        assert_eq!((numbers[0].len(), &numbers[0]), (1, &numbers[1]), "{name}");
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(mut data in proptest::collection::vec(any::<u8>(), 0..400)) {
        ask(data.clone());
        // The same behind a header that lets it through.
        let length = u32::try_from(data.len()).unwrap();
        let mut whole = vec![0x9f, 0xeb, 1, 0];
        whole.extend([24, 0, length / 2, length / 2, length - length / 2].iter().flat_map(|word: &u32| word.to_le_bytes()));
        whole.append(&mut data);
        ask(whole);
    }

    #[test]
    fn mutated_bytes_never_panic(changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..12)) {
        let mut data = shapes().bytes();
        for (place, value) in changes {
            let place = place.index(data.len());
            data[place] = value;
        }
        ask(data);
    }
}

/// Damages names, references, sizes and members, and leaves the word that tells where the next type begins, so that the
/// damaged types are really looked at.
#[test]
fn this_kernel_damaged_never_panics() {
    let Some(good) = this_kernel("btf::this_kernel_damaged_never_panics") else { return };
    let ends = good.places.iter().skip(1);
    let types: Vec<(usize, usize)> = good.places.iter().zip(ends).map(|(a, b)| (*a as usize, *b as usize)).collect();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let change = (any::<proptest::sample::Index>(), any::<proptest::sample::Index>(), any::<u8>());
    let changes = proptest::collection::vec(change, 1..20_000);
    let mut answers = [0; 2];
    for _ in 0..16 {
        let mut data = good.data.clone();
        for (ty, byte, value) in changes.new_tree(&mut runner).unwrap().current() {
            let (start, end) = types[ty.index(types.len())];
            match start + byte.index(end - start) {
                info if (start + 4..start + 8).contains(&info) => {}
                place => data[place] = value,
            }
        }
        let btf = Btf::parse(data).unwrap();
        for field in &sensor_common::layout::FIELDS {
            answers[usize::from(btf.member(field.path).is_ok())] += 1;
        }
        let _ = btf.prototype("inet_csk_accept");
        let extract = btf.extract(&[Anchor::Function("inet_csk_accept"), Anchor::Tracepoint("sched_process_exec")]);
        assert!(Btf::parse(extract).is_ok());
        for id in (0..btf.places.len()).step_by(97) {
            let _ = btf.spell(u32::try_from(id).unwrap(), MAX_DEPTH);
            let _ = btf.size(u32::try_from(id).unwrap(), MAX_DEPTH);
        }
    }
    assert!(answers.iter().all(|count| *count > 0), "{answers:?}");
}
