//! Where the eBPF object lies, and whether it is newer than what it is made of.
//!
//! `xtask` writes the object, the build script of `sensor` embeds it; both include this file, so that they cannot
//! disagree. Standard library only.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What the object is made of, from the root of the workspace: files, and directories of which `.rs` and `.toml` files
/// count. The recipe is one of them.
pub(crate) const SOURCES: [&str; 7] = [
    "Cargo.toml",
    "Cargo.lock",
    "sensor-common",
    "sensor-ebpf",
    "xtask/src/ebpf.rs",
    "xtask/src/line_info.rs",
    "xtask/src/reproduce.rs",
];

/// Whether the object can be used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It is newer than its sources.
    Fresh,
    /// There is none.
    Missing,
    /// This source was changed after it was built.
    Stale(PathBuf),
}

/// Path of the object for a processor, named as Cargo does (`x86_64`): kprobe programs read their arguments from the
/// registers of one. It does not depend on `CARGO_TARGET_DIR`.
pub(crate) fn path(root: &Path, arch: &str) -> PathBuf {
    root.join("target/bpf").join(arch).join("sensor.bpf.o")
}

/// Compares times of last modification. Errors: a source that cannot be read.
pub(crate) fn state(root: &Path, arch: &str) -> io::Result<State> {
    let built = match path(root, arch).metadata() {
        Ok(metadata) => metadata.modified()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::Missing),
        Err(error) => return Err(error),
    };
    let (time, source) = newest_source(root)?;
    Ok(if time > built { State::Stale(source) } else { State::Fresh })
}

/// The source that was changed last, and when.
pub(crate) fn newest_source(root: &Path) -> io::Result<(SystemTime, PathBuf)> {
    let mut newest = (SystemTime::UNIX_EPOCH, root.to_path_buf());
    let mut pending: Vec<PathBuf> = SOURCES.iter().map(|source| root.join(source)).collect();
    while let Some(path) = pending.pop() {
        let metadata = path.metadata().map_err(|error| named(&path, &error))?;
        if metadata.is_dir() {
            for entry in std::fs::read_dir(&path).map_err(|error| named(&path, &error))? {
                let entry = entry?;
                if entry.file_type()?.is_dir() || is_source(&entry.path()) {
                    pending.push(entry.path());
                }
            }
        } else {
            newest = newest.max((metadata.modified()?, path));
        }
    }
    Ok(newest)
}

fn is_source(path: &Path) -> bool {
    // An editor's backup and lock files (`.#name.rs`) come and go without a change.
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden && path.extension().is_some_and(|extension| extension == "rs" || extension == "toml")
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{File, create_dir_all};
    use std::time::Duration;

    fn write(root: &Path, path: &str, seconds: u64) {
        let path = root.join(path);
        create_dir_all(path.parent().unwrap()).unwrap();
        let file = File::create(path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    }

    fn workspace() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for source in ["Cargo.toml", "Cargo.lock", "sensor-common/src/lib.rs", "sensor-ebpf/src/main.rs"] {
            write(root.path(), source, 100);
        }
        for recipe in ["xtask/src/ebpf.rs", "xtask/src/line_info.rs", "xtask/src/reproduce.rs"] {
            write(root.path(), recipe, 100);
        }
        root
    }

    #[test]
    fn no_object_is_missing() {
        assert_eq!(state(workspace().path(), "x86_64").unwrap(), State::Missing);
    }

    #[test]
    fn an_object_as_old_as_its_newest_source_is_fresh() {
        let root = workspace();
        write(root.path(), "target/bpf/x86_64/sensor.bpf.o", 100);
        assert_eq!(state(root.path(), "x86_64").unwrap(), State::Fresh);
        assert_eq!(state(root.path(), "aarch64").unwrap(), State::Missing);
    }

    #[test]
    fn a_newer_source_is_named() {
        let root = workspace();
        write(root.path(), "target/bpf/x86_64/sensor.bpf.o", 100);
        for source in ["Cargo.lock", "sensor-ebpf/Cargo.toml", "sensor-ebpf/src/deep/new.rs", "xtask/src/ebpf.rs"] {
            write(root.path(), source, 101);
            assert_eq!(state(root.path(), "x86_64").unwrap(), State::Stale(root.path().join(source)));
            write(root.path(), source, 99);
        }
    }

    #[test]
    fn files_that_are_no_sources_do_not_count() {
        let root = workspace();
        write(root.path(), "target/bpf/x86_64/sensor.bpf.o", 100);
        for other in ["sensor-ebpf/src/.#main.rs", "sensor-ebpf/src/main.rs~", "sensor/src/lib.rs", "xtask/src/main.rs"]
        {
            write(root.path(), other, 200);
        }
        assert_eq!(state(root.path(), "x86_64").unwrap(), State::Fresh);
    }

    #[test]
    fn an_absent_source_is_an_error_that_names_it() {
        let root = workspace();
        write(root.path(), "target/bpf/x86_64/sensor.bpf.o", 100);
        std::fs::remove_file(root.path().join("Cargo.lock")).unwrap();
        assert!(state(root.path(), "x86_64").unwrap_err().to_string().contains("Cargo.lock"));
    }
}
