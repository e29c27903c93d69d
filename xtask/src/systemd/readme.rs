//! The README's lines that build the package and install it, which are run as they stand there.

use anyhow::{Context, Result, ensure};
use std::path::Path;

/// Command lines, without their comments.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lines {
    /// In the workspace.
    pub(super) build: String,
    /// In a directory with the package at the place where the workspace has it.
    pub(super) install: String,
}

impl Lines {
    /// Those of the workspace's README, on a processor as Debian calls it.
    pub(super) fn read(root: &Path, debian_arch: &str) -> Result<Self> {
        let text = std::fs::read_to_string(root.join("README.md")).context("README.md")?;
        Self::of(&text, debian_arch).context("README.md, `## Install`")
    }

    fn of(text: &str, debian_arch: &str) -> Result<Self> {
        let (_, section) = text.split_once("\n## Install\n").context("no such section")?;
        let (_, block) = section.split_once("```sh\n").context("no commands")?;
        let (block, _) = block.split_once("```").context("no end of the commands")?;
        let mut lines = block.lines().map(|line| line.split(" #").next().unwrap_or_default().trim_end());
        let mut line = || lines.next().map(str::to_owned).context("too few lines");
        // It is written for the most frequent processor.
        let (build, install) = (line()?, line()?.replace("amd64", debian_arch));
        let lines = Self { build, install };
        ensure!(lines.package().is_some(), "no package in `{}`", lines.install);
        Ok(lines)
    }

    /// The package's path below the workspace.
    pub(super) fn package(&self) -> Option<&str> {
        self.install.split(' ').find(|word| word.ends_with(".deb"))?.strip_prefix("./")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_has_them() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let lines = Lines::read(root, "arm64").unwrap();
        assert_eq!(lines.build, "cargo xtask package deb");
        assert!(lines.install.starts_with("sudo apt install ./"), "{lines:?}");
        let expected = format!("target/package/sensor_{}_arm64.deb", env!("CARGO_PKG_VERSION"));
        assert_eq!(lines.package(), Some(&*expected));
    }

    #[test]
    fn a_readme_without_them_is_refused() {
        for text in
            ["", "\n## Install\n", "\n## Install\n```sh\nmake\n```", "\n## Install\n```sh\nmake\nmake install\n```"]
        {
            assert!(Lines::of(text, "amd64").is_err(), "{text:?}");
        }
    }
}
