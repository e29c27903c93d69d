//! What a host gets: names, modes and contents of all files.

use crate::install;
use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use std::io::Write as _;
use std::path::Path;

/// A file of a package.
#[derive(Clone)]
pub(super) struct File {
    /// Below the root, without a slash in front.
    pub(super) path: String,
    pub(super) mode: u32,
    pub(super) content: Vec<u8>,
    /// The administrator's: an upgrade keeps what was changed.
    pub(super) config: bool,
}

/// All files, by their paths.
pub(super) struct Tree(pub(super) Vec<File>);

const LICENSES: [&str; 3] = ["LICENSE-APACHE", "LICENSE-GPL2", "LICENSE-MIT"];
/// Where they are.
pub(super) const LICENSE_DIRECTORY: &str = "usr/share/licenses/sensor";
/// Shells that completions are for.
pub(super) const SHELLS: [&str; 3] = ["bash", "fish", "zsh"];
/// Where these look for them: what they are called when they are made, and there.
pub(super) const COMPLETIONS: [(&str, &str); 3] = [
    ("sensor.bash", "usr/share/bash-completion/completions/sensor"),
    ("sensor.fish", "usr/share/fish/vendor_completions.d/sensor.fish"),
    ("_sensor", "usr/share/zsh/site-functions/_sensor"),
];

impl Tree {
    /// The program, its configuration and units, the licences, those of others in a file, and the manual with the completions if they
    /// are wanted.
    pub(super) fn new(root: &Path, program: &Path, notices: File, manual: Option<&Path>) -> Result<Self> {
        let mut files = vec![file(install::PROGRAM, 0o755, read(program)?), notices];
        for (path, content, config) in install::contents(root)? {
            files.push(File { config, ..file(path, 0o644, content) });
        }
        for name in LICENSES {
            files.push(file(&format!("{LICENSE_DIRECTORY}/{name}"), 0o644, read(&root.join(name))?));
        }
        if let Some(manual) = manual {
            files.extend(help(manual)?);
        }
        files.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(Self(files))
    }

    /// The directories that hold the files, those above before those below.
    pub(super) fn directories(&self) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for File { path, .. } in &self.0 {
            let slashes = path.match_indices('/').map(|(place, _)| place);
            all.extend(slashes.filter_map(|place| path.get(..place)).map(str::to_owned));
        }
        all.sort();
        all.dedup();
        all
    }
}

/// The manual and the completions of shells.
fn help(manual: &Path) -> Result<Vec<File>> {
    let mut files = Vec::new();
    for (from, to) in COMPLETIONS {
        files.push(file(to, 0o644, read(&manual.join(from))?));
    }
    for entry in std::fs::read_dir(manual)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.extension().is_some_and(|section| section == "1") {
            files.push(file(&format!("usr/share/man/man1/{name}.gz"), 0o644, gzip(&read(&path)?)?));
        }
    }
    Ok(files)
}

/// A file that is not the administrator's.
pub(super) fn file(path: &str, mode: u32, content: Vec<u8>) -> File {
    File { path: path.to_owned(), mode, content, config: false }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| path.display().to_string())
}

/// Compressed, without a name or a time.
pub(super) fn gzip(content: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().write(Vec::new(), Compression::best());
    encoder.write_all(content)?;
    Ok(encoder.finish()?)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::Package;
    use super::*;

    pub(in super::super) fn package(tree: &Tree) -> Package<'_> {
        Package { tree, arch: "aarch64", debian_arch: "arm64", version: "1.2.3", time: 7 }
    }

    pub(in super::super) fn small() -> Tree {
        Tree(vec![
            File { config: true, ..file("etc/sensor/sensor.toml", 0o644, b"[rule]\n".to_vec()) },
            file("usr/bin/sensor", 0o755, b"program".to_vec()),
        ])
    }

    #[test]
    fn directories_come_before_what_they_hold() {
        assert_eq!(small().directories(), ["etc", "etc/sensor", "usr", "usr/bin"]);
    }

    #[test]
    fn compressed_it_is_always_the_same() {
        assert_eq!(gzip(b"text").unwrap(), gzip(b"text").unwrap());
        // Neither a time nor a name (RFC 1952).
        assert_eq!(gzip(b"text").unwrap().get(3..8), Some([0; 5].as_slice()));
    }
}
