//! Archives of tar: that of the files, and the layers of the image.

use super::tree::{File, Tree, gzip};
use super::{NAME, Package};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};

/// An archive to unpack below /.
pub(super) fn build(package: &Package<'_>, directory: &Path) -> Result<PathBuf> {
    let Package { tree, arch, version, time, .. } = package;
    let path = directory.join(format!("{NAME}-{version}-{arch}.tar.gz"));
    std::fs::write(&path, gzip(&archive(tree, *time)?)?).with_context(|| path.display().to_string())?;
    Ok(path)
}

/// All files and directories, which belong to root and are as old as the sources.
pub(super) fn archive(tree: &Tree, time: u64) -> Result<Vec<u8>> {
    let mut archive = Builder::new(Vec::new());
    for directory in tree.directories() {
        add(&mut archive, EntryType::Directory, &format!("{directory}/"), 0o755, &[], time)?;
    }
    for File { path, mode, content, .. } in &tree.0 {
        add(&mut archive, EntryType::Regular, path, *mode, content, time)?;
    }
    Ok(archive.into_inner()?)
}

/// Adds an entry.
pub(super) fn add(
    archive: &mut Builder<Vec<u8>>,
    kind: EntryType,
    path: &str,
    mode: u32,
    content: &[u8],
    time: u64,
) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(time);
    header.set_size(u64::try_from(content.len())?);
    Ok(archive.append_data(&mut header, path, content)?)
}

#[cfg(test)]
mod tests {
    use super::super::tree::tests::small;
    use super::*;

    #[test]
    fn an_archive_has_everything_with_its_mode() {
        let archive = archive(&small(), 7).unwrap();
        let mut archive = tar::Archive::new(archive.as_slice());
        let seen: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                assert_eq!((header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()), (0, 0, 7));
                (entry.path().unwrap().display().to_string(), header.mode().unwrap(), header.size().unwrap())
            })
            .collect();
        let expected = [
            ("etc/", 0o755, 0),
            ("etc/sensor/", 0o755, 0),
            ("usr/", 0o755, 0),
            ("usr/bin/", 0o755, 0),
            ("etc/sensor/sensor.toml", 0o644, 7),
            ("usr/bin/sensor", 0o755, 7),
        ];
        assert_eq!(seen, expected.map(|(path, mode, size)| (path.to_owned(), mode, size)));
    }
}
