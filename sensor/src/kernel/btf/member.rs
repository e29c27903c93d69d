//! Finds where a structure holds a member, and how large the member is.

use super::{ARRAY, Btf, BtfError, CONST, ENUM, ENUM64, FLOAT, INT, MAX_DEPTH, MEMBER, PTR, RESTRICT, STRUCT};
use super::{TYPE_TAG, TYPEDEF, Type, UNION, VOLATILE, word};

/// Most members that are looked at to find one.
const MAX_MEMBERS: u32 = 1 << 16;
/// Bytes of a pointer on the supported targets.
const POINTER: u64 = 8;

/// Place and size of a structure member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Bytes from the beginning of the outermost structure.
    pub offset: u64,
    /// Bytes of the member itself.
    pub size: u64,
}

/// What is asked of a member before its size.
struct Found {
    bits: u64,
    type_id: u32,
    bitfield: bool,
}

impl Btf {
    /// Place and size of the member at a path such as `file.f_path.dentry`: a structure's name, then members' names.
    ///
    /// Anonymous structures and unions are looked through, and so are typedefs and qualifiers, but no pointers.
    ///
    /// # Errors
    /// There is no such structure or member ([`BtfError::NoType`], [`BtfError::NoMember`]), or it has no byte offset.
    pub fn member(&self, path: &str) -> Result<Member, BtfError> {
        let mut names = path.split('.');
        let name = names.next().unwrap_or_default();
        let mut found = None;
        let mut error = BtfError::NoType { name: name.to_owned() };
        // Two parts of the kernel may each have a structure of this name.
        for ty in self.named(&self.structs, name) {
            match (self.walk(ty, names.clone(), path), found) {
                (Ok(member), None) => found = Some(member),
                (Ok(member), Some(other)) if member == other => {}
                (Ok(_), Some(_)) => return Err(BtfError::Ambiguous { path: path.to_owned() }),
                (Err(reason), _) => error = reason,
            }
        }
        found.ok_or(error)
    }

    fn walk<'a>(&self, mut ty: Type, names: impl Iterator<Item = &'a str>, path: &str) -> Result<Member, BtfError> {
        let mut bits = 0_u64;
        let mut size = u64::from(ty.size_or_type);
        for name in names {
            if !matches!(ty.kind, STRUCT | UNION) {
                return Err(BtfError::NotAStruct { path: path.to_owned(), member: name.to_owned() });
            }
            let mut budget = MAX_MEMBERS;
            let found = self.find(ty, name, MAX_DEPTH, &mut budget)?;
            let found = found.ok_or_else(|| BtfError::NoMember { path: path.to_owned(), member: name.to_owned() })?;
            bits += found.bits;
            if found.bitfield || !bits.is_multiple_of(8) {
                return Err(BtfError::Bitfield { path: path.to_owned() });
            }
            ty = self.by_id(self.unqualified(found.type_id)?)?;
            size = self.size(found.type_id, MAX_DEPTH)?;
        }
        Ok(Member { offset: bits / 8, size })
    }

    /// Finds a member by name, also within anonymous structures and unions.
    fn find(&self, ty: Type, name: &str, depth: u32, budget: &mut u32) -> Result<Option<Found>, BtfError> {
        let too_deep = BtfError::Malformed { what: "structures nested without end", at: ty.body };
        let Some(depth) = depth.checked_sub(1) else {
            return Err(too_deep);
        };
        for place in 0..ty.count {
            match budget.checked_sub(1) {
                Some(left) => *budget = left,
                None => return Err(too_deep),
            }
            let at = ty.body + place * MEMBER;
            let (name_offset, type_id, offset) =
                (word(&self.data, at)?, word(&self.data, at + 4)?, word(&self.data, at + 8)?);
            let (bits, width) = if ty.flag { (offset & 0x00ff_ffff, offset >> 24) } else { (offset, 0) };
            let bits = u64::from(bits);
            if !name.is_empty() && self.is_named(name_offset, name) {
                let bitfield = width != 0 || self.is_partial(type_id)?;
                return Ok(Some(Found { bits, type_id, bitfield }));
            }
            // An unnamed bit field is padding; an unnamed structure shows its members here.
            if width == 0 && self.is_named(name_offset, "") {
                let inner = self.by_id(self.unqualified(type_id)?)?;
                if matches!(inner.kind, STRUCT | UNION)
                    && let Some(found) = self.find(inner, name, depth, budget)?
                {
                    return Ok(Some(Found { bits: bits + found.bits, ..found }));
                }
            }
        }
        Ok(None)
    }

    /// Whether a type is an integer of fewer bits than its bytes hold: how BTF marks a bit field if the structure's
    /// flag is not set.
    fn is_partial(&self, type_id: u32) -> Result<bool, BtfError> {
        let ty = self.by_id(self.unqualified(type_id)?)?;
        if ty.kind != INT {
            return Ok(false);
        }
        let [bits, _, offset, _] = word(&self.data, ty.body)?.to_le_bytes();
        Ok(u64::from(bits) != u64::from(ty.size_or_type) * 8 || offset != 0)
    }

    /// The type behind typedefs, qualifiers and tags.
    fn unqualified(&self, mut id: u32) -> Result<u32, BtfError> {
        for _ in 0..MAX_DEPTH {
            let ty = self.by_id(id)?;
            match ty.kind {
                TYPEDEF | VOLATILE | CONST | RESTRICT | TYPE_TAG => id = ty.size_or_type,
                _ => return Ok(id),
            }
        }
        Err(BtfError::Malformed { what: "types that refer to each other without end", at: id as usize })
    }

    /// Bytes of a type.
    pub(super) fn size(&self, id: u32, depth: u32) -> Result<u64, BtfError> {
        let ty = self.by_id(self.unqualified(id)?)?;
        match ty.kind {
            INT | STRUCT | UNION | ENUM | FLOAT | ENUM64 => Ok(u64::from(ty.size_or_type)),
            PTR => Ok(POINTER),
            ARRAY if depth > 0 => {
                let each = self.size(word(&self.data, ty.body)?, depth - 1)?;
                let count = u64::from(word(&self.data, ty.body + 8)?);
                let size = each.checked_mul(count);
                size.ok_or(BtfError::Malformed { what: "an array larger than memory", at: ty.body })
            }
            _ => Err(BtfError::Malformed { what: "a member of a type without a size", at: ty.body }),
        }
    }
}
