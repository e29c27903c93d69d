//! Looks at what the sensor shows to people: alerts on a real terminal (tmux), and the page of `sensor show --html` in a real browser
//! (Chromium without a window and without a network). The documents shown hold whatever an attacker may write.
//!
//! Pictures of the page are left in `target/look`. Where a program cannot be had, what needs it is skipped, by name.

pub(crate) mod browser;
mod check;
mod fixture;
mod page;
mod pty;
mod status;
mod terminal;
mod tmux;
mod validate;

use crate::tally::Tally;
use crate::{host, setup, shell};
use anyhow::{Context, Result};
use check::Report;
use fixture::Fixture;
use std::path::{Path, PathBuf};

/// What everything here needs: the sensor, what it shows, and where pictures go.
struct Scene {
    sensor: PathBuf,
    fixture: Fixture,
    pictures: PathBuf,
}

impl Scene {
    /// The page about documents of the fixture, made once.
    fn page(&self, documents: &str) -> Result<PathBuf> {
        let name = format!("{documents}.html");
        let path = self.fixture.folder.path().join(&name);
        if !path.is_file() {
            piped(&self.sensor, &["show", "--html", &name, documents], self.fixture.folder.path())?;
        }
        Ok(path)
    }
}

/// All of it.
pub(crate) fn run(root: &Path) -> Result<Tally> {
    let sensor = host::build(root)?;
    let pictures = root.join("target/look");
    std::fs::create_dir_all(&pictures).with_context(|| pictures.display().to_string())?;
    let fixture = Fixture::make(&sensor)?;
    let scene = Scene { sensor, fixture, pictures };
    let mut report = Report::default();
    if report.has("what a terminal shows", setup::for_program("tmux", "tmux")).is_some() {
        terminal::look(&scene, &mut report);
        status::look(&scene, &mut report);
    }
    let tools = validate::obtain(root);
    let tools = report.has("whether the page is valid and accessible", tools);
    if let Some(tools) = &tools {
        report.check("the page is valid", tools.validate(&scene.page("all")?));
    }
    if report.has("the page in a browser", setup::for_browsing()).is_some() {
        page::look(&scene, tools.as_ref(), &mut report)?;
    }
    Ok(report.tally)
}

/// Runs the sensor in a folder; what it writes to standard output.
fn piped(sensor: &Path, arguments: &[&str], folder: &Path) -> Result<String> {
    let mut command = std::process::Command::new(sensor);
    command.args(arguments).current_dir(folder);
    shell::output(&mut command)
}
