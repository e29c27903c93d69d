//! What gives the same bytes in whichever directory and on whichever machine something is built, and a second directory in which to
//! see that it does.

use crate::toolchain::{self, Toolchain};
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Flags of the compiler by which names of directories of this machine become fixed ones in what it writes. The crates must be there
/// already. With the toolchain if its library is built along.
pub(crate) fn remaps(root: &Path, toolchain: Option<&Toolchain>) -> Result<Vec<OsString>> {
    let mut flags = Vec::new();
    let mut map = |from: &Path, to: &str| {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(from);
        flag.push("=");
        flag.push(to);
        flags.push(flag);
    };
    map(root, "/sensor");
    if let Some(toolchain) = toolchain {
        map(&toolchain.sysroot.join("lib/rustlib/src/rust"), &format!("/rustc/{}", toolchain.version));
    }
    let registry = toolchain::cargo_home().join("registry/src");
    let entries = std::fs::read_dir(&registry).with_context(|| registry.display().to_string())?;
    for entry in entries {
        // One directory for each registry or mirror; its name depends on the address.
        map(&entry?.path(), "/registry");
    }
    Ok(flags)
}

/// The workspace's sources in another directory, removed when dropped.
pub(crate) struct Copy {
    _directory: TempDir,
    root: PathBuf,
}

impl Copy {
    /// Copies them.
    pub(crate) fn of(root: &Path) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("sensor-reproduce-").tempdir()?;
        let copy = directory.path().join("somewhere/else");
        copy_sources(root, &copy)?;
        Ok(Self { _directory: directory, root: copy })
    }

    /// Where they are.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }
}

/// Position of the first byte that two texts do not share.
pub(crate) fn difference(one: &[u8], other: &[u8]) -> Option<usize> {
    let shared = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    (shared < one.len().max(other.len())).then_some(shared)
}

/// Copies what Cargo needs of the workspace: all of it but hidden files, what was built, and links.
fn copy_sources(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| to.display().to_string())?;
    for entry in std::fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        if name.as_encoded_bytes().starts_with(b".") || name == "target" {
            continue;
        }
        if kind.is_dir() {
            copy_sources(&entry.path(), &to.join(name))?;
        } else if kind.is_file() {
            std::fs::copy(entry.path(), to.join(name)).with_context(|| entry.path().display().to_string())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_found() {
        assert_eq!(difference(b"same", b"same"), None);
        assert_eq!(difference(b"same", b"sane"), Some(2));
        assert_eq!(difference(b"same", b"same and more"), Some(4));
        assert_eq!(difference(b"", b"x"), Some(0));
    }

    #[test]
    fn copies_hold_sources_only() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("a/b"));
        for path in ["Cargo.toml", "src/deep/lib.rs", ".git/config", "target/debug/x", "src/.hidden"] {
            let path = from.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "text").unwrap();
        }
        copy_sources(&from, &to).unwrap();
        assert_eq!(std::fs::read(to.join("src/deep/lib.rs")).unwrap(), b"text");
        assert!(to.join("Cargo.toml").is_file());
        for absent in [".git", "target", "src/.hidden"] {
            assert!(!to.join(absent).exists(), "{absent}");
        }
    }

    #[test]
    fn directories_of_this_machine_get_fixed_names() {
        let flags = remaps(Path::new("/home/somebody/sensor"), None).unwrap();
        assert!(flags.contains(&"--remap-path-prefix=/home/somebody/sensor=/sensor".into()), "{flags:?}");
        assert!(flags.iter().any(|flag| flag.to_string_lossy().ends_with("=/registry")), "{flags:?}");
    }
}
