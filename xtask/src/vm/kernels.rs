//! Kernels to boot: the newest package of each series, kept below `target/` by version, so that only the first run needs
//! a network.

use super::archive::{Archive, Package, file_name};
use super::series::{Series, Wanted, select};
use crate::shell;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A kernel that can be booted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// Its series.
    pub(crate) series: Series,
    /// Version of the package, such as `6.1.192-2`.
    pub(crate) version: String,
    /// The compressed image.
    pub(crate) image: PathBuf,
}

/// Packages by series, the newest first: what the archive had when it was last asked.
type Index = BTreeMap<String, Vec<Package>>;

/// The kernels of one processor.
pub(crate) struct Store {
    directory: PathBuf,
    archive: PathBuf,
    debian_arch: &'static str,
}

impl Store {
    /// Below the directory given; the processor is named as Debian does.
    pub(crate) fn new(directory: &Path, debian_arch: &'static str) -> Self {
        let [kernels, archive] = ["kernels", "apt"].map(|part| directory.join(part));
        Self { directory: kernels.join(debian_arch), archive, debian_arch }
    }

    /// The kernels wanted, the oldest first. Asks the archive only if one is not there, or if newer ones are asked for.
    pub(crate) fn obtain(&self, wanted: &[Wanted], newer: bool) -> Result<Vec<Kernel>> {
        if !newer && let Some(kernels) = self.kept(wanted)? {
            return Ok(kernels);
        }
        let archive = Archive::open(&self.archive, self.debian_arch)?;
        archive.update()?;
        let mut index = archive.kernels()?;
        loop {
            let gone = self.fetch(&archive, &select(wanted, &known(&index)?)?, &index)?;
            if gone.is_empty() {
                break;
            }
            for series in gone {
                // One that was asked for by its number is missed at the next turn.
                println!("no kernel of series {series} can be had any more");
                index.remove(&series.to_string());
            }
        }
        self.write_index(&index)?;
        self.kept(wanted)?.context("a kernel that was just fetched is not there")
    }

    /// The kernels wanted, if all of them are there.
    fn kept(&self, wanted: &[Wanted]) -> Result<Option<Vec<Kernel>>> {
        let Some(index) = self.read_index()? else { return Ok(None) };
        let Ok(selected) = select(wanted, &known(&index)?) else { return Ok(None) };
        let kernels = selected.into_iter().map(|series| {
            let packages = index.get(&series.to_string()).map_or(&[][..], Vec::as_slice);
            let newest = packages.iter().find(|package| self.image(package).is_file())?;
            Some(Kernel { series, version: newest.version.clone(), image: self.image(newest) })
        });
        Ok(kernels.collect())
    }

    /// Fetches the newest package of each series that is still on the mirror, unless it is there: all of them at once, then
    /// the one before for those that were gone. Returns the series of which all are gone.
    fn fetch(&self, archive: &Archive, series: &[Series], index: &Index) -> Result<Vec<Series>> {
        let packages = |series: &Series| index.get(&series.to_string()).into_iter().flatten();
        let mut pending: Vec<(Series, _)> = series.iter().map(|series| (*series, packages(series))).collect();
        let mut gone = Vec::new();
        loop {
            let mut round = Vec::new();
            for (series, candidates) in &mut pending {
                match candidates.next() {
                    Some(package) => round.push((*series, package)),
                    None => gone.push(*series),
                }
            }
            round.retain(|(_, package)| !self.image(package).is_file());
            pending.retain(|(series, _)| round.iter().any(|(wanted, _)| wanted == series));
            if round.is_empty() {
                return Ok(gone);
            }
            let directory = tempfile::Builder::new().prefix("fetch-").tempdir_in(self.make()?)?;
            let packages: Vec<&Package> = round.iter().map(|(_, package)| *package).collect();
            // What is wrong with those that could not be had, apt has said.
            if let Err(error) = archive.download(&packages, directory.path()) {
                println!("{error}");
            }
            for (series, package) in round {
                let file = directory.path().join(file_name(package, self.debian_arch));
                if file.is_file() {
                    self.unpack(package, &file)?;
                    pending.retain(|(fetched, _)| *fetched != series);
                } else {
                    println!("{} {} cannot be had, trying the one before", package.name, package.version);
                }
            }
        }
    }

    /// Takes the image out of a package, and leaves the rest.
    fn unpack(&self, package: &Package, file: &Path) -> Result<()> {
        let content = tempfile::Builder::new().prefix("unpack-").tempdir_in(self.make()?)?;
        shell::run(Command::new("dpkg-deb").arg("--extract").args([file, content.path()]))?;
        let image = find_image(content.path())?.with_context(|| format!("{} holds no kernel", file.display()))?;
        let kept = self.image(package);
        std::fs::create_dir_all(kept.parent().unwrap_or(&self.directory))?;
        std::fs::rename(&image, &kept).with_context(|| kept.display().to_string())
    }

    fn image(&self, package: &Package) -> PathBuf {
        self.directory.join(&package.version).join("vmlinuz")
    }

    fn index_file(&self) -> PathBuf {
        self.directory.join("index.json")
    }

    fn read_index(&self) -> Result<Option<Index>> {
        let path = self.index_file();
        match std::fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map(Some).with_context(|| path.display().to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    fn write_index(&self, index: &Index) -> Result<()> {
        let file = tempfile::NamedTempFile::new_in(self.make()?)?;
        serde_json::to_writer_pretty(&file, index)?;
        file.persist(self.index_file())?;
        Ok(())
    }

    fn make(&self) -> Result<&Path> {
        std::fs::create_dir_all(&self.directory).with_context(|| self.directory.display().to_string())?;
        Ok(&self.directory)
    }
}

fn known(index: &Index) -> Result<Vec<Series>> {
    index.keys().map(|series| series.parse()).collect()
}

/// The image, which packages have in `boot` or beside their modules.
fn find_image(content: &Path) -> Result<Option<PathBuf>> {
    let mut pending = vec![content.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_file() && entry.file_name().as_encoded_bytes().starts_with(b"vmlinuz") {
                return Ok(Some(entry.path()));
            }
            // Modules lie deeper, and are many.
            if kind.is_dir() && entry.file_name() != "kernel" {
                pending.push(entry.path());
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(version: &str) -> Package {
        Package { name: "linux-image".to_owned(), version: version.to_owned() }
    }

    fn store(directory: &Path, images: &[&str]) -> Store {
        let store = Store::new(directory, "amd64");
        let mut index = Index::new();
        index.insert("6.1".to_owned(), vec![package("6.1.192-2"), package("6.1.180-1")]);
        index.insert("7.3".to_owned(), vec![package("7.3.4-1")]);
        store.write_index(&index).unwrap();
        for version in images {
            let image = store.image(&package(version));
            std::fs::create_dir_all(image.parent().unwrap()).unwrap();
            std::fs::write(image, "").unwrap();
        }
        store
    }

    #[test]
    fn what_is_there_is_used_without_asking() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path(), &["6.1.180-1", "7.3.4-1"]);
        let kept = |wanted: &str| {
            let kernels = store.kept(&[wanted.parse().unwrap()]).unwrap();
            kernels.map(|kernels| kernels.into_iter().map(|kernel| kernel.version).collect::<Vec<_>>())
        };
        assert_eq!(kept("newest").unwrap(), ["7.3.4-1"]);
        // The newest one that was still on the mirror.
        assert_eq!(kept("all").unwrap(), ["6.1.180-1", "7.3.4-1"]);
        assert_eq!(kept("6.12"), None);
    }

    #[test]
    fn a_missing_image_or_index_is_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Store::new(directory.path(), "amd64").kept(&[Wanted::All]).unwrap(), None);
        assert_eq!(store(directory.path(), &["7.3.4-1"]).kept(&[Wanted::All]).unwrap(), None);
    }

    #[test]
    fn images_are_found_where_packages_have_them() {
        for place in ["boot/vmlinuz-6.1.0", "usr/lib/modules/7.3.4/vmlinuz"] {
            let directory = tempfile::tempdir().unwrap();
            let image = directory.path().join(place);
            std::fs::create_dir_all(image.parent().unwrap()).unwrap();
            std::fs::write(&image, "").unwrap();
            assert_eq!(find_image(directory.path()).unwrap(), Some(image));
        }
        assert_eq!(find_image(tempfile::tempdir().unwrap().path()).unwrap(), None);
    }
}
