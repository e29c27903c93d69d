//! Finds the structure members that the eBPF programs read, in the type information of the kernel they will run on.
//!
//! The programs are compiled once and take the offsets from their read-only data. A member of another size than expected
//! would be read wrongly without a sign, so sizes are compared, and what is required must be there.

use super::btf::{Btf, BtfError};
use sensor_common::layout::{FIELDS, Field, Layout, MISSING, Need};

/// The offsets for one kernel.
#[derive(Debug)]
pub struct Resolved {
    /// Goes into the object's read-only data.
    pub layout: Layout,
    /// Optional members that this kernel does not have in the expected form: what needs them is switched off.
    pub missing: Vec<&'static Field>,
}

/// A required member cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "this kernel does not have the member {} ({}): {cause}; use kernel 5.10 or newer, or give the type information \
     of the running kernel with `[kernel] btf`",
    field.path, field.name
)]
pub struct LayoutError {
    /// The member.
    pub field: &'static Field,
    /// Why it cannot be used.
    #[source]
    pub cause: Cause,
}

/// Why a member cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// It was not found.
    #[error("{0}")]
    Btf(#[from] BtfError),
    /// It is not what the programs take it for.
    #[error("it has {found} bytes where {expected} were expected")]
    Size {
        /// Bytes that it has.
        found: u64,
        /// Bytes that the programs read.
        expected: u32,
    },
    /// Its offset does not fit into the layout's 16 bits.
    #[error("it lies {0} bytes deep, more than {max} can be told", max = MISSING - 1)]
    TooDeep(u64),
}

/// Resolves every member of [`FIELDS`].
///
/// # Errors
/// The first required member that is absent, has another size, or lies too deep.
pub fn resolve(btf: &Btf) -> Result<Resolved, LayoutError> {
    let mut offsets = [MISSING; Layout::LEN];
    let mut missing = Vec::new();
    for ((field, found), place) in examine(btf).zip(&mut offsets) {
        match found {
            Ok(offset) => *place = offset,
            Err(_) if field.need == Need::Optional => missing.push(field),
            Err(cause) => return Err(LayoutError { field, cause }),
        }
    }
    Ok(Resolved { layout: Layout::from_offsets(offsets), missing })
}

/// Each member of [`FIELDS`] with its offset in bytes within the structure its path begins with, or why it cannot be used.
pub fn examine(btf: &Btf) -> impl Iterator<Item = (&'static Field, Result<u16, Cause>)> {
    FIELDS.iter().map(|field| (field, offset(btf, field)))
}

fn offset(btf: &Btf, field: &Field) -> Result<u16, Cause> {
    let member = match btf.member(field.path) {
        Err(_) if !field.other_path.is_empty() => btf.member(field.other_path)?,
        found => found?,
    };
    if field.size != 0 && member.size != u64::from(field.size) {
        return Err(Cause::Size { found: member.size, expected: field.size });
    }
    let offset = u16::try_from(member.offset).ok().filter(|offset| *offset != MISSING);
    offset.ok_or(Cause::TooDeep(member.offset))
}

#[cfg(test)]
mod tests {
    use super::super::btf::blob::Blob;
    use super::super::btf::tests::this_kernel;
    use super::*;
    use std::collections::BTreeMap;

    /// BTF that has every member of the table, each 64 bytes behind the one before, but for the changes: path to size,
    /// no size for no member.
    fn kernel(changes: &[(&str, Option<u32>)]) -> Btf {
        // Structures by their path, and what they hold: name, size; size 0 for a structure of its own.
        let mut tree: BTreeMap<String, Vec<(String, u32)>> = BTreeMap::new();
        for field in &FIELDS {
            let size = match changes.iter().find(|(path, _)| *path == field.path) {
                Some((_, None)) => continue,
                Some((_, Some(size))) => *size,
                None => field.size.max(1),
            };
            let (mut outer, name) = field.path.rsplit_once('.').unwrap();
            tree.entry(outer.to_owned()).or_default().push((name.to_owned(), size));
            while let Some((parent, own)) = outer.rsplit_once('.') {
                let members = tree.entry(parent.to_owned()).or_default();
                if !members.iter().any(|(name, _)| name == own) {
                    members.push((own.to_owned(), 0));
                }
                outer = parent;
            }
        }
        let mut blob = Blob::new();
        let byte = blob.int("char", 1);
        let mut built: BTreeMap<&str, u32> = BTreeMap::new();
        // The longest paths first: a structure stands behind what it holds.
        let mut paths: Vec<&String> = tree.keys().collect();
        paths.sort_by_key(|path| std::cmp::Reverse(path.matches('.').count()));
        for path in paths {
            let mut members = Vec::new();
            for (place, (name, size)) in tree[path].iter().enumerate() {
                let inner = built.get(&*format!("{path}.{name}")).copied();
                let ty = inner.unwrap_or_else(|| blob.array(byte, *size));
                members.push((&**name, ty, u32::try_from(place).unwrap() * 512));
            }
            let name = path.rsplit('.').next().unwrap();
            let id = blob.structure(name, 4096, &members);
            built.insert(path, id);
        }
        Btf::parse(blob.bytes()).unwrap()
    }

    #[test]
    fn every_member_gets_its_offset() {
        let resolved = resolve(&kernel(&[])).unwrap();
        assert!(resolved.missing.is_empty());
        let Layout { task_comm, task_mm, file_mnt, file_inode, mount_parent, sock_family, .. } = resolved.layout;
        assert_eq!([task_comm, task_mm, file_mnt, file_inode, mount_parent], [0, 64, 64, 64, 64]);
        assert_eq!(sock_family, 0);
        assert!(!resolved.layout.offsets().contains(&MISSING));
    }

    #[test]
    fn a_required_member_that_is_absent_is_named() {
        for field in FIELDS.iter().filter(|field| field.need == Need::Required) {
            let error = resolve(&kernel(&[(field.path, None)])).unwrap_err();
            assert_eq!(error.field, field);
            let text = error.to_string();
            assert!(text.contains(field.path) && text.contains(field.name) && text.contains("[kernel] btf"), "{text}");
        }
    }

    #[test]
    fn an_optional_member_that_is_absent_or_different_is_listed() {
        let kernel = kernel(&[("task_struct.loginuid", None), ("sock.__sk_common.skc_v6_daddr", Some(4))]);
        let resolved = resolve(&kernel).unwrap();
        let names: Vec<_> = resolved.missing.iter().map(|field| field.name).collect();
        assert_eq!(names, ["task_loginuid", "sock_v6_daddr"]);
        assert_eq!([resolved.layout.task_loginuid, resolved.layout.sock_v6_daddr], [MISSING; 2]);
        assert_ne!(resolved.layout.sock_v6_rcv_saddr, MISSING);
    }

    #[test]
    fn a_member_is_found_under_its_other_path() {
        let mut blob = Blob::new();
        let byte = blob.int("char", 1);
        let bytes = blob.array(byte, 32);
        blob.structure("dentry", 192, &[("d_iname", bytes, 56 * 8)]);
        let field = FIELDS.iter().find(|field| field.other_path == "dentry.d_iname").unwrap();
        assert_eq!(offset(&Btf::parse(blob.bytes()).unwrap(), field).unwrap(), 56);
    }

    #[test]
    fn a_member_of_another_size_is_refused() {
        let error = resolve(&kernel(&[("task_struct.comm", Some(24))])).unwrap_err();
        assert!(matches!(error.cause, Cause::Size { found: 24, expected: 16 }), "{error}");
        // The size of an embedded structure does not matter.
        assert!(resolve(&kernel(&[("mount.mnt", Some(80))])).is_ok());
    }

    #[test]
    fn an_offset_must_fit_and_not_mean_missing() {
        let field = FIELDS.iter().find(|field| field.path == "task_struct.pid").unwrap();
        for (bytes, fits) in [(65_534, true), (65_535, false), (65_536, false)] {
            let mut blob = Blob::new();
            let int = blob.int("int", 4);
            blob.structure("task_struct", 1 << 20, &[("pid", int, bytes * 8)]);
            let found = offset(&Btf::parse(blob.bytes()).unwrap(), field);
            assert_eq!(found.is_ok(), fits, "{found:?}");
        }
    }

    #[test]
    fn this_kernel_has_every_member() {
        let Some(btf) = this_kernel("layout::this_kernel_has_every_member") else {
            return;
        };
        let resolved = resolve(&btf).unwrap();
        assert!(resolved.missing.is_empty(), "{:?}", resolved.missing);
        assert_eq!(resolved.layout.task_tgid, resolved.layout.task_pid + 4);
        assert_eq!(resolved.layout.file_dentry, resolved.layout.file_mnt + 8);
        assert_eq!(resolved.layout.sock_daddr, 0);
    }
}
