//! Writes small BTF for tests, type by type.

use super::{ARRAY, CONST, DECL_TAG, ENUM64, FUNC, FUNC_PROTO, HEADER, INT, PTR, STRUCT, TYPE_TAG, TYPEDEF, UNION};

/// BTF under construction. Every method that adds a type returns its number.
#[derive(Default)]
pub(crate) struct Blob {
    types: Vec<u8>,
    strings: Vec<u8>,
    count: u32,
    /// Bytes that the header has beyond the fields that are known today.
    pub(crate) longer_header: u32,
}

/// A member: name, type number, offset in bits.
pub(crate) type MemberSpec<'a> = (&'a str, u32, u32);

impl Blob {
    pub(crate) fn new() -> Self {
        Self { strings: vec![0], ..Self::default() }
    }

    fn string(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let offset = self.strings.len();
        self.strings.extend(text.bytes().chain([0]));
        u32::try_from(offset).unwrap()
    }

    /// Any type: name, kind, flag, count, size or type, and what follows.
    pub(crate) fn add(&mut self, name: &str, kind: u8, flag: bool, count: u32, size_or_type: u32, rest: &[u32]) -> u32 {
        let name = self.string(name);
        let info = u32::from(flag) << 31 | u32::from(kind) << 24 | count;
        self.types.extend([name, info, size_or_type].iter().chain(rest).flat_map(|word| word.to_le_bytes()));
        self.count += 1;
        self.count
    }

    pub(crate) fn int(&mut self, name: &str, bytes: u32) -> u32 {
        self.add(name, INT, false, 0, bytes, &[bytes * 8])
    }

    pub(crate) fn pointer(&mut self, target: u32) -> u32 {
        self.add("", PTR, false, 0, target, &[])
    }

    pub(crate) fn array(&mut self, element: u32, length: u32) -> u32 {
        self.add("", ARRAY, false, 0, 0, &[element, element, length])
    }

    pub(crate) fn constant(&mut self, target: u32) -> u32 {
        self.add("", CONST, false, 0, target, &[])
    }

    pub(crate) fn typedef(&mut self, name: &str, target: u32) -> u32 {
        self.add(name, TYPEDEF, false, 0, target, &[])
    }

    pub(crate) fn type_tag(&mut self, name: &str, target: u32) -> u32 {
        self.add(name, TYPE_TAG, false, 0, target, &[])
    }

    /// Types that only have to be stepped over: one of each remaining shape.
    pub(crate) fn bystanders(&mut self) {
        self.add("tag", DECL_TAG, false, 0, 1, &[u32::MAX]);
        self.add("wide", ENUM64, false, 2, 8, &[0, 1, 0, 0, 2, 0]);
        self.add("narrow", super::ENUM, false, 1, 4, &[0, 1]);
        self.add("variable", super::VAR, false, 0, 1, &[0]);
        self.add(".data", super::DATASEC, false, 1, 8, &[1, 0, 8]);
        self.add("later", super::FWD, true, 0, 0, &[]);
        self.add("real", super::FLOAT, false, 0, 8, &[]);
        self.add("", super::RESTRICT, false, 0, 1, &[]);
        self.add("", super::VOLATILE, false, 0, 1, &[]);
    }

    pub(crate) fn aggregate(&mut self, name: &str, kind: u8, flag: bool, size: u32, members: &[MemberSpec<'_>]) -> u32 {
        let mut rest = Vec::new();
        for (name, ty, bits) in members {
            rest.extend([self.string(name), *ty, *bits]);
        }
        self.add(name, kind, flag, u32::try_from(members.len()).unwrap(), size, &rest)
    }

    pub(crate) fn structure(&mut self, name: &str, size: u32, members: &[MemberSpec<'_>]) -> u32 {
        self.aggregate(name, STRUCT, false, size, members)
    }

    pub(crate) fn union(&mut self, name: &str, size: u32, members: &[MemberSpec<'_>]) -> u32 {
        self.aggregate(name, UNION, false, size, members)
    }

    pub(crate) fn function(&mut self, name: &str, returns: u32, parameters: &[u32]) -> u32 {
        let rest: Vec<u32> = parameters.iter().flat_map(|ty| [0, *ty]).collect();
        let declaration = self.add("", FUNC_PROTO, false, u32::try_from(parameters.len()).unwrap(), returns, &rest);
        self.add(name, FUNC, false, 0, declaration, &[])
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let header = u32::try_from(HEADER).unwrap() + self.longer_header;
        let (types, strings) = (u32::try_from(self.types.len()).unwrap(), u32::try_from(self.strings.len()).unwrap());
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        bytes.extend([header, 0, types, types, strings].iter().flat_map(|word| word.to_le_bytes()));
        bytes.resize(header as usize, 0xee);
        bytes.extend(&self.types);
        bytes.extend(&self.strings);
        bytes
    }
}
