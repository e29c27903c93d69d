//! Installs the sensor as a service of systemd.

use crate::apt::say;
use crate::{host, setup, shell};
use anyhow::{Context, Result};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where to install.
#[derive(Args)]
pub(crate) struct Options {
    /// Only put the files below this directory
    #[arg(long, value_name = "DIRECTORY")]
    destdir: Option<PathBuf>,
}

/// A file of the service.
struct File {
    /// Below the workspace; the program apart.
    source: &'static str,
    destination: &'static str,
    mode: &'static str,
    /// The administrator's: one that is there stays.
    kept: bool,
}

/// The program, below the root.
pub(crate) const PROGRAM: &str = "usr/bin/sensor";

const FILES: [File; 7] = [
    File { source: "deploy/sensor.toml", destination: "etc/sensor/sensor.toml", mode: "644", kept: true },
    File {
        source: "deploy/systemd/sensor.service",
        destination: "usr/lib/systemd/system/sensor.service",
        mode: "644",
        kept: false,
    },
    File {
        source: "deploy/systemd/sensor.sysusers",
        destination: "usr/lib/sysusers.d/sensor.conf",
        mode: "644",
        kept: false,
    },
    File {
        source: "deploy/systemd/remote-outputs.conf",
        destination: "usr/share/sensor/remote-outputs.conf",
        mode: "644",
        kept: false,
    },
    File {
        source: "deploy/elasticsearch/index-template.json",
        destination: "usr/share/sensor/elasticsearch/index-template.json",
        mode: "644",
        kept: false,
    },
    File {
        source: "deploy/prometheus/grafana-dashboard.json",
        destination: "usr/share/sensor/prometheus/grafana-dashboard.json",
        mode: "644",
        kept: false,
    },
    File {
        source: "deploy/prometheus/sensor-rules.yml",
        destination: "usr/share/sensor/prometheus/sensor-rules.yml",
        mode: "644",
        kept: false,
    },
];

/// What makes a service of the files.
pub(crate) const START: [&[&str]; 4] = [
    &["systemd-sysusers", "/usr/lib/sysusers.d/sensor.conf"],
    &["systemctl", "daemon-reload"],
    &["systemctl", "enable", "sensor"],
    &["systemctl", "restart", "sensor"],
];

/// Builds, installs and starts it.
pub(crate) fn install(root: &Path, options: &Options) -> Result<()> {
    setup::for_building()?;
    let program = host::build(root)?;
    if let Some(directory) = &options.destdir {
        return files(root, &program, directory);
    }
    files(root, &program, Path::new("/"))?;
    for command in START {
        perform(command)?;
    }
    perform(&["systemctl", "--no-pager", "--lines=0", "status", "sensor"])
}

/// Puts the program and its files below a directory.
pub(crate) fn files(root: &Path, program: &Path, directory: &Path) -> Result<()> {
    put(program, &directory.join(PROGRAM), "755")?;
    for File { source, destination, mode, kept } in FILES {
        let destination = directory.join(destination);
        if !(kept && destination.exists()) {
            put(&root.join(source), &destination, mode)?;
        }
    }
    Ok(())
}

/// Names and contents of the files beside the program, and whether they are the administrator's.
pub(crate) fn contents(root: &Path) -> Result<Vec<(&'static str, Vec<u8>, bool)>> {
    let read = |file: &File| {
        let path = root.join(file.source);
        Ok((file.destination, std::fs::read(&path).with_context(|| path.display().to_string())?, file.kept))
    };
    FILES.iter().map(read).collect()
}

fn put(source: &Path, destination: &Path, mode: &str) -> Result<()> {
    let mut command = Command::new("install");
    command.args(["-D", "-m", mode]).arg(source).arg(destination);
    run(command)
}

fn perform(words: &[&str]) -> Result<()> {
    let mut words = words.iter();
    let mut command = Command::new(words.next().unwrap_or(&""));
    command.args(words);
    run(command)
}

fn run(command: Command) -> Result<()> {
    let mut command = shell::as_root(command)?;
    say(&command);
    shell::run(&mut command)
}
