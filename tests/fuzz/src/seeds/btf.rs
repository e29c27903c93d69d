//! Small type information, type by type, in the format of the kernel's `include/uapi/linux/btf.h`.

use sensor_common::layout::FIELDS;

const INT: u32 = 1;
const PTR: u32 = 2;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const FWD: u32 = 7;
const TYPEDEF: u32 = 8;
const VOLATILE: u32 = 9;
const CONST: u32 = 10;
const RESTRICT: u32 = 11;
const FUNC: u32 = 12;
const FUNC_PROTO: u32 = 13;
const VAR: u32 = 14;
const DATASEC: u32 = 15;
const FLOAT: u32 = 16;
const DECL_TAG: u32 = 17;
const TYPE_TAG: u32 = 18;
const ENUM64: u32 = 19;

/// Bit 31 of a type's second word: of a structure, its members state the width of bit fields.
const FLAG: u32 = 1 << 31;

pub(super) fn seeds() -> Vec<(String, Vec<u8>)> {
    let seeds = [
        ("every-member", every_member()),
        ("every-kind", every_kind()),
        ("functions", functions()),
        ("circles", circles()),
        ("too-large", too_large()),
    ];
    seeds.map(|(name, bytes)| (name.to_owned(), bytes)).into()
}

/// Types under construction. What adds one returns its number.
#[derive(Default)]
struct Blob {
    types: Vec<u8>,
    strings: Vec<u8>,
    count: u32,
}

impl Blob {
    fn string(&mut self, text: &str) -> u32 {
        if self.strings.is_empty() {
            self.strings.push(0);
        }
        if text.is_empty() {
            return 0;
        }
        let offset = length(&self.strings);
        self.strings.extend(text.bytes().chain([0]));
        offset
    }

    /// A type: name, kind with the number of what follows, size or type, and what follows.
    fn add(&mut self, name: &str, kind: u32, count: u32, size_or_type: u32, rest: &[u32]) -> u32 {
        let name = self.string(name);
        let info = (kind & FLAG) | (kind & !FLAG) << 24 | count;
        self.types.extend([name, info, size_or_type].iter().chain(rest).flat_map(|word| word.to_le_bytes()));
        self.count += 1;
        self.count
    }

    /// A structure or union: members by name, type and bits from its beginning.
    fn holding(&mut self, name: &str, kind: u32, members: &[(&str, u32, u32)]) -> u32 {
        let rest: Vec<u32> = members.iter().flat_map(|(name, ty, bits)| [self.string(name), *ty, *bits]).collect();
        self.add(name, kind, length(members), 4096, &rest)
    }

    fn function(&mut self, name: &str, returns: u32, parameters: &[u32]) {
        let rest: Vec<u32> = parameters.iter().flat_map(|ty| [0, *ty]).collect();
        let declaration = self.add("", FUNC_PROTO, length(parameters), returns, &rest);
        self.add(name, FUNC, 0, declaration, &[]);
    }

    /// The header and the two sections.
    fn bytes(self) -> Vec<u8> {
        let Self { types, strings, .. } = self;
        let header = [24, 0, length(&types), length(&types), length(&strings)];
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        bytes.extend(header.iter().flat_map(|word| word.to_le_bytes()));
        [bytes, types, strings].concat()
    }
}

fn length<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).expect("few")
}

/// Everything that the sensor looks for in a kernel.
fn every_member() -> Vec<u8> {
    let mut blob = Blob::default();
    let byte = blob.add("char", INT, 0, 1, &[8]);
    let mut outermost: Vec<&str> = FIELDS.iter().filter_map(|field| field.path.split('.').next()).collect();
    outermost.dedup();
    for name in outermost {
        structure(&mut blob, byte, name);
    }
    blob.bytes()
}

/// The structure that a path of the table leads to, with all that the table says it holds.
fn structure(blob: &mut Blob, byte: u32, path: &str) -> u32 {
    let within = |field: &'static str| field.strip_prefix(path)?.strip_prefix('.')?.split('.').next();
    let mut names: Vec<&str> = FIELDS.iter().filter_map(|field| within(field.path)).collect();
    names.dedup();
    let mut members = Vec::new();
    let mut bits = 0;
    for name in names {
        let inner = format!("{path}.{name}");
        let ty = match FIELDS.iter().find(|field| field.path == inner) {
            Some(field) => blob.add("", ARRAY, 0, 0, &[byte, byte, field.size]),
            None => structure(blob, byte, &inner),
        };
        members.push((name, ty, bits));
        bits += 512;
    }
    blob.holding(path.rsplit('.').next().unwrap_or(path), STRUCT, &members)
}

/// Each kind of type once, and members behind typedefs, in anonymous unions and as bit fields.
fn every_kind() -> Vec<u8> {
    let mut blob = Blob::default();
    let int = blob.add("int", INT, 0, 4, &[32]);
    let partial = blob.add("bool", INT, 0, 1, &[1]);
    let pointer = blob.add("", PTR, 0, int, &[]);
    let constant = blob.add("", CONST, 0, int, &[]);
    let volatile = blob.add("", VOLATILE, 0, constant, &[]);
    let restrict = blob.add("", RESTRICT, 0, pointer, &[]);
    let tagged = blob.add("rcu", TYPE_TAG, 0, restrict, &[]);
    let typedef = blob.add("pid_t", TYPEDEF, 0, volatile, &[]);
    blob.add("later", FWD | FLAG, 0, 0, &[]);
    blob.add("real", FLOAT, 0, 8, &[]);
    let narrow = blob.add("narrow", ENUM, 1, 4, &[0, 1]);
    blob.add("wide", ENUM64, 2, 8, &[0, 1, 0, 0, 2, 0]);
    let variable = blob.add("variable", VAR, 0, int, &[0]);
    blob.add(".data", DATASEC, 1, 8, &[variable, 0, 8]);
    blob.add("tag", DECL_TAG, 0, int, &[u32::MAX]);
    let union = blob.holding("", UNION, &[("pid", typedef, 0), ("tgid", narrow, 32)]);
    let flags = (3 << 24) | 64;
    blob.holding("task_struct", STRUCT | FLAG, &[("", union, 0), ("flag", int, flags), ("mm", tagged, 128)]);
    blob.holding("file", STRUCT, &[("f_path", partial, 0), ("f_inode", pointer, 64)]);
    blob.bytes()
}

/// The functions that hooks look at, some of them declared.
fn functions() -> Vec<u8> {
    let mut blob = Blob::default();
    let int = blob.add("int", INT, 0, 4, &[32]);
    let sock = blob.add("sock", FWD, 0, 0, &[]);
    let pointer = blob.add("", PTR, 0, sock, &[]);
    let constant = blob.add("", CONST, 0, pointer, &[]);
    blob.function("tcp_connect", int, &[pointer]);
    blob.function("inet_csk_accept", pointer, &[pointer, int, constant, 0]);
    blob.function("security_sock_graft", 0, &[pointer, pointer]);
    blob.bytes()
}

/// Types that refer to themselves, and structures of one name.
fn circles() -> Vec<u8> {
    let mut blob = Blob::default();
    blob.add("again", TYPEDEF, 0, 1, &[]);
    blob.holding("task_struct", STRUCT, &[("", 2, 0), ("pid", 1, 0)]);
    blob.add("", ARRAY, 0, 0, &[3, 3, 2]);
    blob.holding("file", STRUCT, &[("f_path", 3, 0)]);
    blob.holding("file", STRUCT, &[("f_path", 2, 64), ("f_inode", 6, 0)]);
    blob.add("", PTR, 0, 6, &[]);
    blob.function("tcp_connect", 6, &[1, 6]);
    blob.bytes()
}

/// An array of arrays whose bytes no number holds.
fn too_large() -> Vec<u8> {
    let mut blob = Blob::default();
    let int = blob.add("int", INT, 0, 4, &[32]);
    let many = blob.add("", ARRAY, 0, 0, &[int, int, 1 << 31]);
    let more = blob.add("", ARRAY, 0, 0, &[many, int, 1 << 31]);
    blob.holding("file", STRUCT, &[("f_path", more, 0)]);
    blob.bytes()
}
