//! The disk of guests that need installed programs: a small Debian as people have it, made once and kept below `target/`.
//!
//! It is made anew when another list of packages is wanted, or newer ones are asked for. The programs that are tested are
//! not on it: they come with the initramfs, and what a guest writes is forgotten.

use crate::bootstrap::{self, LEFT_OUT, as_root, program, remove};
use crate::mirror::Mirrors;
use crate::setup;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// The release that is installed: the current one, in which socat and ksh are links to files of other names.
const RELEASE: &str = "trixie";
/// Packages beside those of the tests: what starts a system, and containers.
const SYSTEM: [&str; 2] = ["systemd", "podman"];
/// Size of the file system. The file has holes where nothing is.
const SIZE: &str = "2G";

/// What an image is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Recipe {
    release: String,
    packages: Vec<String>,
    left_out: Vec<String>,
    size: String,
}

impl Recipe {
    fn current() -> Self {
        let packages = setup::USERLAND.iter().map(|(_, package)| *package).chain(SYSTEM);
        Self {
            release: RELEASE.to_owned(),
            packages: packages.map(str::to_owned).collect(),
            left_out: LEFT_OUT.map(str::to_owned).to_vec(),
            size: SIZE.to_owned(),
        }
    }
}

/// The images of one processor.
pub(crate) struct Images {
    directory: PathBuf,
    debian_arch: &'static str,
}

impl Images {
    /// Below the directory given; the processor is named as Debian does.
    pub(crate) fn new(directory: &Path, debian_arch: &'static str) -> Self {
        Self { directory: directory.join("image").join(debian_arch), debian_arch }
    }

    /// The image; asks the archive only if it is not there, or if a newer one is asked for.
    pub(crate) fn obtain(&self, newer: bool) -> Result<PathBuf> {
        std::fs::create_dir_all(&self.directory).with_context(|| self.directory.display().to_string())?;
        // Another run makes the same one, which serves this one too.
        let lock = File::create(self.directory.join("lock"))?;
        lock.lock().context("waiting for another run that makes the image")?;
        let recipe = Recipe::current();
        if newer || self.kept()?.as_ref() != Some(&recipe) {
            let start = Instant::now();
            self.make(&recipe).context("the image of a distribution")?;
            println!("{} made in {} s", self.image().display(), start.elapsed().as_secs());
        }
        Ok(self.image())
    }

    fn image(&self) -> PathBuf {
        self.directory.join("root.ext4")
    }

    fn recipe_file(&self) -> PathBuf {
        self.directory.join("recipe.json")
    }

    /// What the image that is there is made of; none if there is none, or another version of this program has made it.
    fn kept(&self) -> Result<Option<Recipe>> {
        let path = self.recipe_file();
        match std::fs::read(&path) {
            Ok(text) if self.image().is_file() => Ok(serde_json::from_slice(&text).ok()),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    /// Installs the packages into a directory and makes a file system of it. Needs root, for files of several users.
    fn make(&self, recipe: &Recipe) -> Result<()> {
        let [tree, image] = ["tree", "root.ext4.new"].map(|name| self.directory.join(name));
        let mirrors = Mirrors::of_system()?;
        setup::for_program("mke2fs", "e2fsprogs")?;
        remove(&tree)?;
        let made = self.fill(recipe, &mirrors, &tree, &image);
        remove(&tree)?;
        made?;
        // An image without a recipe is made again, one with the recipe of another would be taken for it.
        match std::fs::remove_file(self.recipe_file()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => std::fs::rename(&image, self.image())?,
        }
        Ok(std::fs::write(self.recipe_file(), serde_json::to_vec_pretty(recipe)?)?)
    }

    fn fill(&self, recipe: &Recipe, mirrors: &Mirrors, tree: &Path, image: &Path) -> Result<()> {
        let Recipe { release, packages, left_out, size } = recipe;
        bootstrap::fill(tree, release, self.debian_arch, packages, left_out, mirrors)?;
        // Nothing is ever read after a crash.
        let mut format = Command::new(program("mke2fs"));
        format.args(["-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d"]).arg(tree).arg(image).arg(size);
        // The file is made here, so that it is the caller's.
        File::create(image)?;
        as_root(format)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_of_the_same_packages_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let images = Images::new(directory.path(), "amd64");
        std::fs::create_dir_all(&images.directory).unwrap();
        assert_eq!(images.kept().unwrap(), None);
        let write =
            |recipe: &Recipe| std::fs::write(images.recipe_file(), serde_json::to_vec(recipe).unwrap()).unwrap();
        write(&Recipe::current());
        assert_eq!(images.kept().unwrap(), None, "there is no image");
        std::fs::write(images.image(), "").unwrap();
        assert_eq!(images.obtain(false).unwrap(), images.image());
        let mut other = Recipe::current();
        other.packages.pop();
        write(&other);
        assert_ne!(images.kept().unwrap(), Some(Recipe::current()));
        std::fs::write(images.recipe_file(), "{}").unwrap();
        assert_eq!(images.kept().unwrap(), None);
    }

    #[test]
    fn every_program_of_the_tests_is_in_it() {
        let packages = Recipe::current().packages;
        assert!(["bash", "fish", "socat", "systemd"].iter().all(|wanted| packages.iter().any(|it| it == wanted)));
        let mut once = packages.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), packages.len());
    }
}
