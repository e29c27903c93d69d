//! Other people's judgement of the page: whether it is valid HTML (html-validate), and whether everybody can use it (axe-core, which runs
//! in the page). Both come from npm, in the versions and with the digests of `tests/look/package-lock.json`, into `target/look`.

use crate::{apt, setup, shell};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What says which versions.
const FILES: [&str; 2] = ["package.json", "package-lock.json"];
const RULES: &str = "htmlvalidate.json";

/// What was installed.
pub(super) struct Tools {
    folder: PathBuf,
    /// The program of axe-core, to be run in a page.
    pub(super) axe: String,
}

/// Installs them, unless these versions are there.
pub(super) fn obtain(root: &Path) -> Result<Tools> {
    setup::for_program("npm", "npm")?;
    let (from, folder) = (root.join("tests/look"), root.join("target/look"));
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let read = |path: PathBuf| std::fs::read(&path).with_context(|| path.display().to_string());
    // The copy of the lock is the last thing that is written.
    let [_, lock] = FILES;
    let wanted = read(from.join(lock))?;
    let installed = folder.join("installed.json");
    if !std::fs::read(&installed).is_ok_and(|there| there == wanted) {
        for file in FILES {
            std::fs::write(folder.join(file), read(from.join(file))?)?;
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--omit=dev", "--omit=optional", "--omit=peer", "--ignore-scripts", "--no-audit", "--no-fund"]);
        npm.current_dir(&folder);
        apt::say(&npm);
        shell::run(&mut npm)?;
        std::fs::write(&installed, wanted)?;
    }
    std::fs::write(folder.join(RULES), read(from.join(RULES))?)?;
    let axe = folder.join("node_modules/axe-core/axe.min.js");
    let axe = std::fs::read_to_string(&axe).with_context(|| axe.display().to_string())?;
    Ok(Tools { folder, axe })
}

impl Tools {
    /// By the rules of the standard.
    pub(super) fn validate(&self, page: &Path) -> Result<()> {
        let mut validate = Command::new(self.folder.join("node_modules/.bin/html-validate"));
        validate.args(["--formatter", "text", "--config", RULES]).arg(page).current_dir(&self.folder);
        let output = validate.output().context("html-validate")?;
        let said = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat();
        let first: Vec<&str> = said.lines().take(20).collect();
        ensure!(output.status.success(), "{}", first.join("\n"));
        Ok(())
    }
}
