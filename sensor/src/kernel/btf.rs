//! Reads the kernel's type information (BTF) to find where structure members lie and how functions are declared.
//!
//! The format is the one of the kernel's `include/uapi/linux/btf.h`. One pass notes where each type begins and which
//! types are structures and functions; names are compared where they stand. Nothing else is kept, and all of it goes when
//! [`Btf`] is dropped: about 6.5 MB for a distribution kernel. The bytes are not trusted: every step is checked, every
//! chain bounded.

#[cfg(test)]
pub(crate) mod blob;
mod error;
mod extract;
mod member;
#[cfg(test)]
pub(crate) mod tests;

pub use error::BtfError;
pub use extract::Anchor;
pub use member::Member;

use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::Path;

/// Where the running kernel offers its own type information, if built with `CONFIG_DEBUG_INFO_BTF`.
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Largest file that is read, in bytes. Distribution kernels have 4 to 8 MB; one built with everything about 30 MB.
const MAX_BYTES: usize = 128 << 20;
/// Longest chain of modifiers, arrays or anonymous structures that is followed.
const MAX_DEPTH: u32 = 32;
/// Bytes of `struct btf_header` up to the fields that are read. Newer kernels append more: `hdr_len` says how long it is.
const HEADER: usize = 24;
/// Bytes of `struct btf_type`.
const TYPE: usize = 12;
/// Bytes of `struct btf_member`.
const MEMBER: usize = 12;

const INT: u8 = 1;
const PTR: u8 = 2;
const ARRAY: u8 = 3;
const STRUCT: u8 = 4;
const UNION: u8 = 5;
const ENUM: u8 = 6;
const FWD: u8 = 7;
const TYPEDEF: u8 = 8;
const VOLATILE: u8 = 9;
const CONST: u8 = 10;
const RESTRICT: u8 = 11;
const FUNC: u8 = 12;
const FUNC_PROTO: u8 = 13;
const VAR: u8 = 14;
const DATASEC: u8 = 15;
const FLOAT: u8 = 16;
const DECL_TAG: u8 = 17;
const TYPE_TAG: u8 = 18;
const ENUM64: u8 = 19;

/// Declaration of a function, with its types spelled as in C: `struct sock *`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prototype {
    /// Types of the parameters in order; `...` for a variable rest.
    pub parameters: Vec<String>,
    /// Type of the return value, `void` if there is none.
    pub returns: String,
}

/// The type information of a kernel.
#[derive(Debug)]
pub struct Btf {
    data: Vec<u8>,
    strings: Range<usize>,
    /// Where type number n + 1 begins in `data`; type 0 is `void` and has no place.
    places: Vec<u32>,
    /// Structures and unions.
    structs: Vec<Named>,
    /// Functions.
    functions: Vec<Named>,
}

/// A type that is looked up by name.
#[derive(Clone, Copy, Debug)]
struct Named {
    /// Where its name begins among the strings.
    name: u32,
    /// Where it begins in the file.
    place: u32,
}

/// `struct btf_type`, taken apart.
#[derive(Clone, Copy)]
struct Type {
    /// Where what follows it begins.
    body: usize,
    name: u32,
    kind: u8,
    /// For structures: members state a bit field's width. For forward declarations: it is a union.
    flag: bool,
    /// Number of members, parameters or values.
    count: usize,
    /// Bytes of the type, or the number of the type it refers to.
    size_or_type: u32,
}

impl Btf {
    /// Reads the file, which is [`KERNEL_BTF`] or a copy of it.
    ///
    /// # Errors
    /// The file cannot be read, or is no type information of a supported kernel.
    pub fn read(path: &Path) -> Result<Self, BtfError> {
        let file = File::open(path).map_err(BtfError::Read)?;
        let length = usize::try_from(file.metadata().map_err(BtfError::Read)?.len()).unwrap_or(usize::MAX);
        // One byte more than the file says, so that its end is seen without growing.
        let mut data = Vec::with_capacity(length.min(MAX_BYTES) + 1);
        file.take(MAX_BYTES as u64 + 1).read_to_end(&mut data).map_err(BtfError::Read)?;
        if data.len() > MAX_BYTES {
            return Err(BtfError::TooLarge);
        }
        Self::parse(data)
    }

    /// Indexes type information that has been read.
    ///
    /// # Errors
    /// The bytes are no BTF, or made for another byte order, or malformed.
    pub fn parse(data: Vec<u8>) -> Result<Self, BtfError> {
        match (data.first(), data.get(1)) {
            (Some(0x9f), Some(0xeb)) => {}
            (Some(0xeb), Some(0x9f)) => return Err(BtfError::BigEndian),
            _ => return Err(BtfError::NotBtf),
        }
        match data.get(2) {
            Some(1) => {}
            version => return Err(BtfError::Version(version.copied().unwrap_or(0))),
        }
        let header = word(&data, 4)? as usize;
        if header < HEADER {
            return Err(BtfError::Malformed { what: "a header shorter than its fields", at: 4 });
        }
        let types = section(&data, header, 8)?;
        let strings = section(&data, header, 16)?;
        let mut btf = Self { data, strings, places: Vec::new(), structs: Vec::new(), functions: Vec::new() };
        btf.index(types)?;
        Ok(btf)
    }

    /// Whether the kernel has a function of this name that can be named in a tracing program.
    #[must_use]
    pub fn has_function(&self, name: &str) -> bool {
        self.named(&self.functions, name).next().is_some()
    }

    /// How a function is declared; `None` if the kernel has none of this name.
    #[must_use]
    pub fn prototype(&self, name: &str) -> Option<Prototype> {
        let function = self.named(&self.functions, name).next()?;
        let declaration = self.by_id(function.size_or_type).ok().filter(|ty| ty.kind == FUNC_PROTO)?;
        let parameters = (0..declaration.count).map(|place| {
            let at = declaration.body + place * 8;
            match (word(&self.data, at).ok()?, word(&self.data, at + 4).ok()?) {
                (0, 0) => Some("...".to_owned()),
                (_, type_id) => Some(self.spell(type_id, MAX_DEPTH)),
            }
        });
        let returns = self.spell(declaration.size_or_type, MAX_DEPTH);
        Some(Prototype { parameters: parameters.collect::<Option<_>>()?, returns })
    }

    /// Notes the place of every type.
    fn index(&mut self, types: Range<usize>) -> Result<(), BtfError> {
        // A type has 12 bytes at least, in a kernel 24 on average; the memory is not touched before it is used.
        self.places.reserve_exact(types.len() / TYPE);
        let mut at = types.start;
        while at < types.end {
            let place = u32::try_from(at).map_err(|_| BtfError::Malformed { what: "a type beyond 4 GiB", at })?;
            let ty = self.type_at(at)?;
            let each = match ty.kind {
                PTR | FWD | TYPEDEF | VOLATILE | CONST | RESTRICT | FUNC | FLOAT | TYPE_TAG => 0,
                INT | VAR | DECL_TAG => 4,
                ARRAY => 12,
                STRUCT | UNION => ty.count * MEMBER,
                ENUM | FUNC_PROTO => ty.count * 8,
                DATASEC | ENUM64 => ty.count * 12,
                kind => return Err(BtfError::UnknownKind { kind, at }),
            };
            let next = ty.body + each;
            if next > types.end {
                return Err(BtfError::Malformed { what: "a type that runs over the end of its section", at });
            }
            self.places.push(place);
            match ty.kind {
                STRUCT | UNION => self.structs.push(Named { name: ty.name, place }),
                FUNC => self.functions.push(Named { name: ty.name, place }),
                _ => {}
            }
            at = next;
        }
        Ok(())
    }

    fn type_at(&self, at: usize) -> Result<Type, BtfError> {
        let info = word(&self.data, at + 4)?;
        // Bits 16 to 23 and 29 to 30 are zero up to now, and set aside for more members and kinds.
        let [.., kind] = info.to_le_bytes();
        Ok(Type {
            body: at + TYPE,
            name: word(&self.data, at)?,
            kind: kind & 0x7f,
            flag: info >> 31 == 1,
            count: (info & 0x00ff_ffff) as usize,
            size_or_type: word(&self.data, at + 8)?,
        })
    }

    fn by_id(&self, id: u32) -> Result<Type, BtfError> {
        let place = (id as usize).checked_sub(1).and_then(|index| self.places.get(index));
        match place {
            Some(place) => self.type_at(*place as usize),
            None => Err(BtfError::Malformed { what: "a reference to a type that is not there", at: id as usize }),
        }
    }

    /// The types of this name.
    fn named<'a>(&'a self, types: &'a [Named], name: &'a str) -> impl Iterator<Item = Type> {
        let found = types.iter().filter(move |ty| !name.is_empty() && self.is_named(ty.name, name));
        found.filter_map(|ty| self.type_at(ty.place as usize).ok())
    }

    fn is_named(&self, offset: u32, name: &str) -> bool {
        let strings = self.data.get(self.strings.clone()).unwrap_or_default();
        let rest = strings.get(offset as usize..).unwrap_or_default();
        rest.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
    }

    fn name(&self, offset: u32) -> String {
        let strings = self.data.get(self.strings.clone()).unwrap_or_default();
        let rest = strings.get(offset as usize..).unwrap_or_default();
        // C names in kernels are far below 128 bytes.
        let name = rest.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(name.get(..128).unwrap_or(name)).into_owned()
    }

    /// A type as C spells it. Function types are `function`; what cannot be followed is `?`.
    fn spell(&self, id: u32, depth: u32) -> String {
        if id == 0 {
            return "void".to_owned();
        }
        let (Ok(ty), Some(depth)) = (self.by_id(id), depth.checked_sub(1)) else {
            return "?".to_owned();
        };
        let target = || self.spell(ty.size_or_type, depth);
        let name = || self.name(ty.name);
        match ty.kind {
            PTR => {
                let target = target();
                let space = if target.ends_with('*') { "" } else { " " };
                format!("{target}{space}*")
            }
            CONST => format!("const {}", target()),
            VOLATILE => format!("volatile {}", target()),
            RESTRICT | TYPE_TAG => target(),
            STRUCT => format!("struct {}", name()),
            UNION => format!("union {}", name()),
            FWD => format!("{} {}", if ty.flag { "union" } else { "struct" }, name()),
            ENUM | ENUM64 => format!("enum {}", name()),
            INT | FLOAT | TYPEDEF => name(),
            FUNC_PROTO => "function".to_owned(),
            _ => "?".to_owned(),
        }
    }
}

/// The little-endian number of four bytes at a place.
fn word(data: &[u8], at: usize) -> Result<u32, BtfError> {
    let bytes = data.get(at..).and_then(<[u8]>::first_chunk);
    bytes.map(|bytes| u32::from_le_bytes(*bytes)).ok_or(BtfError::Malformed { what: "the end of the file", at })
}

/// A section whose offset behind the header and length stand at `at`.
fn section(data: &[u8], header: usize, at: usize) -> Result<Range<usize>, BtfError> {
    let offset = word(data, at)? as usize;
    let length = word(data, at + 4)? as usize;
    // Three numbers of 32 bits do not overflow 64.
    let start = header + offset;
    let end = start + length;
    if end > data.len() {
        return Err(BtfError::Malformed { what: "a section that runs over the end of the file", at });
    }
    Ok(start..end)
}
